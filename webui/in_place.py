"""The tick beside Start: the form starts in the place of the shown run, so that what waits for that one goes on.

It is there while the shown run has ended without success and others wait for it, and is set at first: whoever mends the
form beneath a failed stage means that stage.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.configs.files import flat
from core.configs.stages import StageConfig
from core.errors import GalenError
from core.imported import is_imported
from core.jobs import store, waiting
from core.pipeline import again
from core.pipeline.plan import HANDED
from core.rundir import RunDir, State, state_of
from webui.catalog import Catalog
from webui.figures import literal
from webui.forms import Form
from webui.page import Page
from webui.text import t

Said = tuple[str, str, str]  # the run, label and help of the tick; empty texts where there is none
NONE: Said = ("", "", "")


@dataclass(frozen=True)
class Place:
    """`run`: the one in whose place the form starts. `own`: the form was filled from that run."""

    run: RunDir
    own: bool


class InPlace:
    """Build it beneath Start. `tick` is an input of whatever starts the form."""

    def __init__(self, page: Page, form: Form) -> None:
        self.page = page
        self.form = form

    def build(self) -> None:
        self.tick = gr.Checkbox(
            False, label="", visible=False, interactive=True, container=False, elem_classes=["in-place"],
            elem_id=f"{self.form.stage}-in-place",
        )  # fmt: skip
        self.filled = gr.State("")  # the run whose settings were put into the form last

    # -- showing ------------------------------------------------------------------------------------------------------
    def said(self, catalog: Catalog, run: RunDir | None, lang: str) -> Said:
        """What the tick says beneath the shown run."""
        own = next((each for each in catalog.runs if run is not None and each.id == run.id), None)
        if run is None or own is None or own.state.live or own.state is State.SUCCEEDED or is_imported(run):
            return NONE
        held = [each for each in catalog.runs if each.held is not None and each.held.params.get("parent") == run.id]
        if not held:
            return NONE
        before = flat(run.config())
        starts = dict.fromkeys(name for key in HANDED for name in again.runs_in(key, before.get(key)))
        names = ", ".join(catalog.name_of(name) for name in starts)
        goes_on = ", ".join(each.name for each in reversed(held))
        label = t("run.in_place", lang, name=own.name, waiting=goes_on)
        return run.id, label, t("run.in_place_starts", lang, starts=names) if names else ""

    def update(self, said: Said) -> Any:
        shown, label, info = said
        return gr.update(visible=bool(shown), value=bool(shown), label=label, info=literal(info) or None)

    # -- starting -----------------------------------------------------------------------------------------------------
    def inputs(self, select: gr.Dropdown) -> list[Any]:
        """What `read` reads, with the form behind it. `select`: the shown run."""
        return [self.tick, self.filled, select, *self.form.components]

    def read(self, values: Sequence[Any]) -> tuple[Place | None, Sequence[Any]]:
        """(place, values of the form) of `inputs`; None for a start of its own."""
        ticked, filled, run_id, *form = values
        try:
            run = self.page.workspace.run(run_id) if ticked and run_id else None
        except GalenError:
            run = None
        if run is None or run.stage != self.form.stage or is_imported(run) or state_of(run).live:
            return None, form
        return (Place(run, filled == run.id) if waiting.held_by(self.page.workspace, run) else None), form

    def config(self, values: Sequence[Any], place: Place | None) -> StageConfig:
        """The config of the form, in its place. Raises as `Form.resolve`."""
        workspace = self.page.workspace
        if place is None:
            return self.form.resolve(values, workspace)
        given = again.given(place.run, self.form.read(values), own=place.own)
        return again.as_rehearsed(place.run, self.form.resolve(values, workspace, given))

    def submit(self, config: StageConfig, place: Place | None) -> RunDir:
        """Raises as `store.submit`."""
        workspace = self.page.workspace
        if place is None:
            return store.submit(workspace, self.form.stage, config, wait=True)
        return again.in_place(workspace, place.run, config)

    def command(self, place: Place, config: StageConfig | None) -> str:
        """The same from a terminal: what differs from the run's own settings."""
        before = flat(place.run.config())
        after = flat(config.model_dump(mode="json")) if config is not None else {}
        changed = {key: value for key, value in after.items() if key in before and value != before[key]}
        words = [*self.form.opening(self.page.workspace, "jobs", "replace"), place.run.id]
        return shlex.join([*words, *(self.form.word(key, value) for key, value in changed.items())])
