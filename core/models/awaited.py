"""What a run may start from before it is there: runs that it waits for, and earlier steps of a planned chain.

Of these only the stage and the settings are known: enough to say what can never be, and whether the lengths asked for
fit the model at the bottom. The rest is said when the run starts, by `core.models.parents`. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import GalenError, ModelError
from core.models import parents
from core.models.library import bottom_of
from core.models.runs import find_run
from core.workspace import Workspace


@dataclass(frozen=True)
class Awaited:
    """A run, or a step of a chain, that has made nothing yet. `config` as JSON."""

    stage: str
    config: Mapping[str, Any]


Awaiting = Mapping[str, Awaited]  # by the run's id, or by the step's name in braces: {sft}


def find_awaited(workspace: Workspace, text: str, awaiting: Awaiting) -> str | None:
    """The lasting name of `text` where it means something that is awaited, or weights of it; None otherwise."""
    if not awaiting or not text:
        return None
    if text.partition(":")[0] in awaiting:
        return text
    ref = find_run(workspace, text)
    return str(ref) if ref is not None and ref.run in awaiting else None


def check_start(workspace: Workspace, awaiting: Awaiting, stage: str, text: str, *, go_on: bool = False) -> str:
    """As `parents.check_start`, which is asked about everything that is there already."""
    name = find_awaited(workspace, text, awaiting)
    if name is None:
        return parents.check_start(workspace, stage, text, go_on=go_on)
    code = _objection(stage, awaiting[name.partition(":")[0]], go_on)
    if code:
        raise ModelError(code, run=text, base=text)
    return name


def _objection(stage: str, start: Awaited, go_on: bool) -> str:
    """The code of what will be wrong with this start, whatever it makes; "" where nothing need be."""
    adapter = (start.config.get("tuning") or {}).get("method", "lora") == "lora"
    if start.stage in (*parents.UNCHAINED, "predict"):
        return "pipeline.no_start"
    if start.stage == "reward" and stage not in (*parents.JUDGED_BY, "push"):
        return "parent.scores_only"
    if start.stage != "reward" and stage == "score":
        return "parent.scores_nothing"
    if stage == "merge" and (start.stage in ("merge", "vocabulary") or not adapter):
        return "parent.nothing_to_merge"
    return "parent.nothing_to_continue" if go_on and not adapter else ""


def root_of(workspace: Workspace, text: str, awaiting: Awaiting) -> Path | None:
    """The folder of the model at the bottom of `text`; None where what is awaited has none there yet.

    Raises as `parents.resolve_parent` where nothing is awaited.
    """
    if find_awaited(workspace, text, awaiting) is None:
        return parents.resolve_parent(workspace, text, hashed=False).folder
    seen: set[str] = set()
    while (name := find_awaited(workspace, text, awaiting)) is not None and name not in seen:
        seen.add(name)
        text = str((awaiting[name.partition(":")[0]].config.get("model") or {}).get("base") or "")
    try:
        return parents.resolve_parent(workspace, bottom_of(workspace, text), hashed=False).folder
    except GalenError:
        return None
