"""`run.retries`: whether a run that broke off is started again by its own supervisor, and how its files are made ready;
and whether it is worth anybody's while to resume one.

What would only happen again is not tried again: bad input, a memory or a disk that is too small, a loss that is no
number. Left out: a run whose supervisor was killed, too; nobody is there to start it, and it waits for Resume.
"""

from __future__ import annotations

import os
from pathlib import Path

from core.imported import is_imported
from core.jobs import failures
from core.jobs.attempts import set_aside
from core.records import Status
from core.rundir import RunDir, State

# Codes of failures that the same config on the same machine meets again.
HOPELESS = frozenset(
    {
        "run.out_of_memory", "run.out_of_gpu_memory", "run.disk_full", "run.file_limit", "run.missing_file",
        "run.permission", "run.missing_package", "run.no_model", "run.bad_config", "run.nan_loss",
        "run.diverged",
    }
)  # fmt: skip
# Codes of bad input that is mended without another config: a network, a token, a disk, or what the config names.
MENDED_OUTSIDE = frozenset(
    {
        "adapter.base_unknown", "annotate.endpoint_down", "data.no_file", "disk.filled", "disk.no_space",
        "file.bad_checksum", "hub.failed", "hub.gated", "hub.missing", "hub.no_modelscope", "hub.no_network",
        "model.base_altered", "model.base_changed", "model.base_lost", "model.base_missing", "model.name_taken",
        "model.no_pip", "model.not_on_index", "model.starter_no_network", "ppo.judge_down", "push.bad_token",
        "push.failed", "push.forbidden", "push.is_public", "push.no_network", "push.no_token", "push.not_found",
        "push.other_content",
    }
)  # fmt: skip
CLEAN_EXITS = (0, 130)  # of a rank: done, or stopped when asked to
BAD_INPUT = 2  # exit status
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before a new attempt: a GPU or a network may need a moment


def retries_of(run: RunDir) -> int:
    """How often the config lets the run start again by itself."""
    asked = (run.config().get("run") or {}).get("retries")
    return asked if isinstance(asked, int) else 0


def wait_before(attempt: int) -> float:
    """Seconds to wait before new attempt number `attempt`, from 1: twice as long each time."""
    return float(min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** min(attempt - 1, 10)))


def broke_off(run: RunDir, status: Status) -> bool:
    """Whether the ranks, which are all gone, ended in a way that another attempt may survive."""
    if run.manifest_file.exists() or run.stop_file.exists() or status.killed:
        return False
    result = run.result()
    if result is not None and result.outcome != "failed":
        return False
    why = result or failures.peer_failure(run) or failures.of_status(status)
    # The first that ended badly is the cause: the others were told to go.
    cause = next((end for end in status.ranks_ended if end.signal is not None or end.code not in CLEAN_EXITS), None)
    return cause is not None and cause.code != BAD_INPUT and why.code not in HOPELESS


def worth_resuming(run: RunDir, state: State) -> bool:
    """Whether a run that is over and unfinished may come to another end: what was bad in its config or its files stays
    bad, unless it got as far as a checkpoint. Never one that came from another machine."""
    if is_imported(run):
        return False
    if state is not State.FAILED:
        return state in (State.STOPPED, State.INTERRUPTED)
    status, why = run.status(), failures.explain(run, state)
    bad = status is not None and any(end.rank == 0 and end.code == BAD_INPUT for end in status.ranks_ended)
    return not bad or (why is not None and why.code in MENDED_OUTSIDE) or bool(run.complete_checkpoints())


def make_ready(run: RunDir) -> int:
    """Set aside what the attempt left, and go on writing to a new supervisor's log. Returns the step to go on from.

    The caller holds the run's lock and has ended every process of the attempt. A stop request that comes meanwhile
    stays where it is.
    """
    step = set_aside(run, keep=(run.stop_file.name,))
    _log_to(run.supervisor_log)
    return step


def _log_to(path: Path) -> None:
    """Point our stdout and stderr to `path`: the file they led to was moved."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(fd, stream)
    os.close(fd)
