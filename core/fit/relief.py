"""What a run that died of memory could be started again with: its own config, with less to hold."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import ValidationError

from core.configs.stages import STAGES
from core.errors import GalenError
from core.fit.ladder import after_memory_failure
from core.fit.weighing import Rung
from core.fit.work import Sized
from core.rundir import RunDir
from core.workspace import Workspace

MEMORY_FAILURES = ("run.out_of_memory", "run.out_of_gpu_memory", "run.killed_memory")


def relief(workspace: Workspace, run: RunDir, code: str) -> list[Rung]:
    """The rungs for `run`, which ended with the failure `code`; none where it was another failure, or nothing helps."""
    stage = STAGES.get(run.stage)
    if code not in MEMORY_FAILURES or stage is None or not issubclass(stage.config, get_args(Sized)):
        return []
    try:
        config: Any = stage.config.model_validate(run.config())
        return after_memory_failure(config, workspace)
    except (ValidationError, GalenError):  # its model, data or device is gone meanwhile
        return []
