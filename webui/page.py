"""What every part of the page shares while it is built: workspace, language, catalog, and who wants news of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from core.data.store.dataset import Dataset
from core.data.store.library import open_dataset
from core.errors import GalenError
from core.hardware import cores, devices
from core.jobs.queue import holders
from core.workspace import Workspace
from webui.catalog import Catalog, Reader
from webui.labels import Labels
from webui.parents import Parents
from webui.text import t

TRAINING = ("pretrain", "sft", "reward", "ppo", "dpo")  # the stages whose tabs take a dataset
LIVE_SECONDS = 2.0  # between ticks while a run lives
IDLE_SECONDS = 5.0
QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}  # no veil, no waiting in line
# For what only turns to something: a click counts while an earlier one is being answered, where Gradio would drop it.
EACH: dict[str, Any] = {**QUIET, "trigger_mode": "multiple"}

News = Callable[..., Sequence[Any]]


@dataclass(frozen=True)
class Listener:
    """`tell(catalog, lang, *values of inputs)` gives one update for each of `outputs`."""

    tell: News
    inputs: list[Any]
    outputs: list[Any]


@dataclass
class Page:
    """Handed to every tab. `lang` is the language switch: an input of every handler that says something.

    dismissed: unfinished side runs that somebody has seen enough of, until the page's server starts anew. kept: what a
    reloaded page gets back from the browser, each under a name of its own.
    """

    workspace: Workspace
    labels: Labels
    catalog: Reader
    lang: gr.Radio
    listeners: list[Listener] = field(default_factory=list)
    dismissed: set[str] = field(default_factory=set)
    kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parents = Parents(self.workspace)

    def dataset(self, ref: str | None) -> Dataset | None:
        """The dataset `ref`; None where none is named, or there is none any more."""
        try:
            return open_dataset(self.workspace, ref) if ref else None
        except GalenError:
            return None

    def device_ids(self) -> list[str]:
        """What a run or a chat may be told to compute on: every GPU, and one or two processes on the CPU."""
        return [device.id for device in devices(2 if cores() > 1 else 1)]

    def device_choices(self, lang: str) -> list[tuple[str, str]]:
        """The device picker's entries: each device with its free memory (whole GB, so it seldom changes) and holder."""
        found = devices(2 if cores() > 1 else 1)
        held = holders(found, str(self.workspace.path))
        names = {run.id: run.name for run in self.catalog.read().live}
        choices = [(t("run.device_auto", lang), "auto")]
        for device in found:
            facts = [device.id, *([device.name] if device.is_gpu else [])]
            facts.append(t("run.device_note", lang, free=f"{device.memory_free / 1e9:.0f} GB"))
            holder = held.get(device.id)
            facts += [t("side.held", lang, holder=names.get(holder, holder))] if holder else []
            choices.append((" · ".join(facts), device.id))
        return choices

    def on_catalog(self, tell: News, inputs: list[Any], outputs: list[Any]) -> None:
        """Call `tell` at load, and at each tick on which the workspace, the language or the session is new."""
        self.listeners.append(Listener(tell, inputs, outputs))

    def keep(self, name: str, component: Any) -> None:
        """Have the browser keep the text that a component holds, over a reload of the page."""
        self.kept[name] = component
        component.change(None, component, None, js=f"(value) => {{ if (galen.ready) galen.keep('{name}', value); }}")

    def tell_all(self, catalog: Catalog, lang: str, values: Sequence[Any]) -> list[Any]:
        """The updates of all listeners; `values` are those of all their inputs, in order."""
        updates: list[Any] = []
        at = 0
        for listener in self.listeners:
            mine = values[at : at + len(listener.inputs)]
            at += len(listener.inputs)
            updates.extend(listener.tell(catalog, lang, *mine))
        return updates
