"""A run's settings for a new run: all but its name, which the new one makes for itself, and what it waited for.

config = cloned(workspace, run, ["optim.learning_rate=1e-4"])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.configs.files import fields_of, flat, resolve, stage_of
from core.configs.stages import StageConfig
from core.hardware import expand
from core.imported import is_imported
from core.rundir import RunDir
from core.workspace import Workspace

DEVICES = "devices.use"
OWN = ("run.name", "run.after", "run.rehearsal")  # which run it is, and its place among others
# What an archive from elsewhere does not bring along: to run its code, and to tell its people.
NOT_IMPORTED = ("model.trust_remote_code", "models.trust_remote_code", "annotator.trust_remote_code", "run.webhook")


def values_of(run: RunDir) -> dict[str, Any]:
    """The settings of `run` that its stage has today, by dotted key, without those that place it among others.

    A run keeps the devices that it was placed on, not that they were left to it: where these are what `auto` finds
    here, or of another machine, they are left out. Raises InputError `config.unknown_stage`.
    """
    known = fields_of(stage_of(run.stage).config)
    found = {key: value for key, value in flat(run.config()).items() if key in known}
    left_out = {*OWN, *(NOT_IMPORTED if is_imported(run) else ())}
    if is_imported(run) or found.get(DEVICES) == expand(["auto"]):
        left_out.add(DEVICES)
    return {key: value for key, value in found.items() if key not in left_out}


def cloned(workspace: Workspace, run: RunDir, words: Sequence[str] = ()) -> StageConfig:
    """The config of a new run, with the settings of `words` changed. Raises ConfigError."""
    return resolve(run.stage, values=values_of(run), overrides=words, workspace=workspace)
