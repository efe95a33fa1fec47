"""A run once more, in the place of one that is over: what waits for that one goes on from the new one. Torch-free.

    python -m core jobs replace RUN data.bad_rows=drop      its own settings, with changes
    config = as_rehearsed(run, resolve(…, values={**filled, **given(run, filled)}))
    in_place(workspace, run, config)                        what somebody filled into a form

What the chain handed to the old run is not in the form that it was queued from: `given` says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.configs.files import fields_of, flat, resolve, stage_of
from core.configs.sections import lines_of
from core.configs.stages import StageConfig
from core.configs.starts import WEIGHTED, named_starts
from core.errors import RunError
from core.jobs import store
from core.pipeline.plan import HANDED, Step
from core.pipeline.rehearsal import limited, rehearsal_of
from core.rundir import RUN_ID, RunDir, state_of
from core.workspace import Workspace

PLACE = ("run.after", "run.rehearsal")  # where among others a run stands


def given(run: RunDir, filled: Mapping[str, Any], *, own: bool = False) -> dict[str, Any]:
    """The settings, by dotted key, that lie on `filled` in the place of `run`: where it stands among others, its name
    where none is filled in, and the runs that it started from. `own`: what is filled in began as the settings of `run`,
    so that what it starts from is what somebody means."""
    before = flat(run.config())
    found = {key: before[key] for key in PLACE if key in before}
    if not filled.get("run.name") or rehearsal_of(run):
        found["run.name"] = before.get("run.name", "")
    handed = {key: before[key] for key in HANDED if runs_in(key, before.get(key))}
    return found if own else found | handed


def runs_in(key: str, value: Any) -> list[str]:
    """The runs that the setting `key` names as starts; a checkpoint's run, too."""
    section, _, name = key.partition(".")
    starts = named_starts({section: {name: lines_of(value) if key in WEIGHTED else value}})
    runs = (text.partition(":")[0] for text in starts)
    return [text for text in runs if RUN_ID.fullmatch(text)]


def as_rehearsed(run: RunDir, config: StageConfig) -> StageConfig:
    """`config` with as little to do as `run` had, where that belongs to a rehearsal."""
    return limited([Step(run.stage, run.stage, config)])[0].config if rehearsal_of(run) else config


def in_place(workspace: Workspace, run: RunDir, config: StageConfig) -> RunDir:
    """Submit `config` in the place of `run`; runs at work that it starts from are waited for. Raises as
    `store.replace`; RunError `run.live`."""
    if (state := state_of(run)).live:
        raise RunError("run.live", run=run.id, state=str(state))
    return store.replace(workspace, run, store.waiting_for_live(workspace, config))


def once_more(
    workspace: Workspace, run: RunDir, changes: Mapping[str, Any] | None = None, words: Sequence[str] = ()
) -> RunDir:
    """The settings of `run` with `changes` by dotted key, and `key=value` words, in its place. Raises as `in_place`."""
    known = fields_of(stage_of(run.stage).config)
    values = {key: value for key, value in flat(run.config()).items() if key in known}
    config = resolve(run.stage, values={**values, **(changes or {})}, overrides=words, workspace=workspace)
    return in_place(workspace, run, config)
