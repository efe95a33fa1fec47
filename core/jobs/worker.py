"""One rank of a run: `python -m core.jobs.worker RUN_DIR`, started by the supervisor, never by hand.

    1. say "importing" before anything heavy is imported
    2. import the recipe that STAGES names and call its `main(context)`
    3. turn whatever happened into a word: rank 0 into result.json, any other rank into log/rank-k.failure.json
    4. exit at once with 0 (done), 1 (failed), 2 (bad input) or 130 (stopped)

`RANK` and `WORLD_SIZE` come from the environment and are absent in a run of one process: with LOCAL_RANK set,
Accelerate would set up a process group even for one. Torch-free until the recipe is imported.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
import time
import traceback
from types import FrameType
from typing import NoReturn

from pydantic import ValidationError

from core import late
from core.configs.stages import STAGES
from core.errors import GalenError, InputError, RunError, StopRequested
from core.jobs import failures
from core.jobs.failures import Terminated
from core.records import Result
from core.report import Report, RunContext
from core.rundir import RunDir, write_record
from core.workspace import Workspace

PEER_PATIENCE = 3.0  # seconds in which the supervisor notices that another rank died


def main(run: RunDir, rank: int, world_size: int) -> int:
    """Run the recipe and leave a word about its end. Returns the exit status."""
    report = Report(run, rank)
    try:
        signal.signal(signal.SIGTERM, _on_sigterm)
        report.phase("importing")
        context = _context(run, report, rank, world_size)
        with late.left_out():
            recipe = importlib.import_module(STAGES[run.stage].recipe)
        recipe.main(context)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # done is done
    except BaseException as error:  # whatever it is, the run says so
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _flush(report)
        return _ended(run, rank, error)
    if rank == 0:
        _write(run, failures.make("succeeded", *(report.ended_early or ())))
    return 0


def _on_sigterm(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the second one must not interrupt the writing of the result
    raise Terminated


def _context(run: RunDir, report: Report, rank: int, world_size: int) -> RunContext:
    stage = STAGES.get(run.stage)
    if stage is None:
        raise RunError("run.bad_config", detail=f"there is no stage '{run.stage}'")
    try:
        config = stage.config.model_validate(run.config())
    except ValidationError as error:
        raise RunError("run.bad_config", detail=failures.first_problem(error)) from error
    on_gpu = any(device.startswith("cuda") for device in config.devices.use) and stage.waits(run.config())
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if on_gpu else "cpu"
    workspace = Workspace(run.path.resolve().parent.parent)
    return RunContext(run, workspace, config, report, rank, world_size, device)


def _ended(run: RunDir, rank: int, error: BaseException) -> int:
    """Step 3 for a recipe that did not return."""
    if isinstance(error, SystemExit) and error.code in (0, None):
        error = RunError("run.exited", rank=rank, exit_code=0)
    if not isinstance(error, StopRequested | Terminated):
        _print(error)
    result = _result(run, rank, error)
    if result is not None and rank == 0:
        _write(run, result)
    elif result is not None and result.outcome == "failed":
        write_record(failures.failure_file(run, rank), result)
    if isinstance(error, Terminated | KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)  # so that the supervisor records a death by signal, as it was
    return error.exit_status if isinstance(error, GalenError) else 1


def _result(run: RunDir, rank: int, error: BaseException) -> Result | None:
    """The word to leave; None where another's says it better, or nothing is known (killed from outside)."""
    if isinstance(error, Terminated | KeyboardInterrupt):
        if run.stop_file.exists():
            return failures.make("stopped", "run.stopped_unsaved")
        return _peer(run, rank) if rank == 0 else None
    result = failures.result_for(error)
    if rank == 0 and result.code == "run.rank_lost":
        return _peer(run, rank, patience=PEER_PATIENCE) or result
    return result


def _peer(run: RunDir, rank: int, patience: float = 0.0) -> Result | None:
    """Why another rank died, by its own word or by the supervisor's record, which may take a moment."""
    deadline = time.monotonic() + patience
    while True:
        told = failures.peer_failure(run)
        if told is not None and told.code != "run.rank_lost":
            return told
        status = run.status()
        if status is not None and any(end.signal or end.code for end in status.ranks_ended if end.rank != rank):
            return failures.of_status(status)
        if time.monotonic() >= deadline:
            return told
        time.sleep(0.05)


def _write(run: RunDir, result: Result) -> None:
    """Write result.json; on a full disk into the bytes that were set aside for it."""
    try:
        write_record(run.result_file, result)
    except OSError as error:
        if error.errno not in failures.DISK_ERRORS:
            raise
        failures.free_reserve(run)
        write_record(run.result_file, result)


def _flush(report: Report) -> None:
    """The last progress, so that a run shows the step at which it ended; on a full disk the one before."""
    try:
        report.flush()
    except OSError:
        return


def _print(error: BaseException) -> None:
    """For the log: the whole traceback, or for bad input its sentence. A full disk has no room for either."""
    try:
        if isinstance(error, InputError):
            print(f"{failures.LAST_WORDS}{error}", file=sys.stderr)
        else:
            traceback.print_exception(error)
        sys.stderr.flush()
    except OSError:
        return


def _start() -> NoReturn:
    faulthandler.enable()
    status = 1
    try:
        status = main(RunDir(sys.argv[1]), int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
        sys.stdout.flush()
    except BaseException as error:
        _print(error)
    finally:
        # Not by returning: threads and destructors of collective libraries can keep a finished process from ending.
        os._exit(status)


if __name__ == "__main__":
    _start()
