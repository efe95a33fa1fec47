"""Ending a run: asking it, and killing it. Both work when the supervisor is gone.

`stop` asks: the ranks agree on a step, save a checkpoint and exit. They have `stop_grace` seconds for it, and longer
while they write, since nobody knows how long a first save takes. After that the supervisor kills them, or, where it was
killed itself, a janitor that `stop` starts in its place: `python -m core.jobs.stopping RUN_DIR`. A run counts as ended
only when its lock can be taken.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from core.errors import RunError
from core.jobs import processes
from core.jobs.locks import take_run
from core.records import Progress
from core.rundir import RunDir, beats, lock_held, state_of
from core.system import python_command, python_environment

STOP_SECONDS = "GALEN_STOP_SECONDS"  # the least time a run has for a clean stop
DEFAULT_STOP_SECONDS = 60.0
MOST_WRITING_SECONDS = 1800.0  # for one phase that writes; after that it hangs
TERM_GRACE = 10.0
KILL_GRACE = 3.0  # seconds between SIGTERM and SIGKILL of `kill`
KILL_PATIENCE = 20.0
SUPERVISOR_PATIENCE = 10.0  # in which it ends what is left and records how all ended


def least_stop_seconds() -> float:
    try:
        return max(0.0, float(os.environ.get(STOP_SECONDS, "")))
    except ValueError:
        return DEFAULT_STOP_SECONDS


def stop_grace(progress: Progress | None) -> float:
    """Seconds that a run has from the request to its end: max(60, 3 x its last step + its last save)."""
    if progress is None:
        return least_stop_seconds()
    return max(least_stop_seconds(), 3 * (progress.step_seconds or 0.0) + (progress.save_seconds or 0.0))


def term_grace(most: float = TERM_GRACE) -> float:
    """Seconds from SIGTERM to SIGKILL."""
    return min(most, least_stop_seconds())


def stop_deadline(run: RunDir) -> float | None:
    """When the run is killed if it has not stopped by then, seconds since the epoch; None when no stop is pending."""
    asked = run.stop_requested_at()
    if asked is None or not (lock_held(run.lock_file) or beats(run)):
        return None
    progress = run.progress()
    deadline = asked + stop_grace(progress)
    if progress is not None and progress.writing:
        return max(deadline, progress.phase_began + MOST_WRITING_SECONDS)
    return deadline


class Countdown:
    """`stop_deadline` for whoever enforces it: counted from now, by a clock that cannot be moved."""

    def __init__(self) -> None:
        self.asked = time.monotonic()
        self.phase_began: float | None = None  # of the writing phase, as progress.json has it
        self.writing_since = 0.0  # the same by our clock

    def is_over(self, progress: Progress | None) -> bool:
        """Whether the run, which is at `progress`, has had its time."""
        now = time.monotonic()
        if progress is not None and progress.writing:
            if progress.phase_began != self.phase_began:
                self.phase_began = progress.phase_began
                self.writing_since = now - max(0.0, time.time() - progress.phase_began)
            if now - self.writing_since < MOST_WRITING_SECONDS:
                return False
        return now - self.asked > stop_grace(progress)


def stop(run: RunDir) -> None:
    """Ask a live run to stop and return at once; asking twice changes nothing. Raises RunError `run.not_live`."""
    if not _live_or_swept(run):
        return
    ask(run)
    if processes.supervisor(run) is None and lock_held(run.lock_file):
        _start_janitor(run)


def ask(run: RunDir) -> None:
    """Make `stop_requested`; the time of an earlier request is kept, since the countdown runs from it."""
    try:
        os.close(os.open(run.stop_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return


def kill(run: RunDir) -> None:
    """End a live run now, saved or not, and wait for it. Raises RunError `run.not_live`, `run.kill_failed`, and
    `run.elsewhere` for one on other hosts, which has then been asked to stop."""
    if not _live_or_swept(run):
        return
    ask(run)
    supervisor = processes.supervisor(run)
    if supervisor is None and beats(run) and not processes.carriers(run):
        beat = run.heartbeat()
        raise RunError("run.elsewhere", run=run.id, host=beat.host if beat is not None else "?")
    if supervisor is not None:
        processes.send([supervisor], signal.SIGTERM)  # it kills its ranks and records how they ended
    left = processes.end_carriers(run, grace=term_grace(KILL_GRACE), patience=KILL_PATIENCE)
    deadline = time.monotonic() + SUPERVISOR_PATIENCE
    while lock_held(run.lock_file) and time.monotonic() < deadline:
        time.sleep(0.05)
    if lock_held(run.lock_file) and supervisor is not None:
        processes.send([supervisor], signal.SIGKILL)
        left = processes.end_carriers(run, grace=0.0)
        time.sleep(0.1)
    if left or lock_held(run.lock_file):
        raise RunError("run.kill_failed", run=run.id, pids=", ".join(map(str, left)) or "unknown")


def _live_or_swept(run: RunDir) -> bool:
    """True for a live run. Helpers that outlived a dead one are ended; without any: RunError `run.not_live`."""
    state = state_of(run)
    if state.live:
        return True
    lock = take_run(run)
    if lock is None:
        return True
    try:
        if not processes.carriers(run):
            raise RunError("run.not_live", run=run.id, state=str(state))
        sweep(run)
    finally:
        os.close(lock)
    return False


def sweep(run: RunDir) -> None:
    """End helpers that outlived the ranks; the caller holds the lock. Raises RunError `run.kill_failed`."""
    left = processes.end_carriers(run, grace=term_grace(KILL_GRACE))
    if left:
        raise RunError("run.kill_failed", run=run.id, pids=", ".join(map(str, left)))


# -- the janitor ------------------------------------------------------------------------------------------------------
def _start_janitor(run: RunDir) -> None:
    with open(run.supervisor_log, "ab") as log:
        subprocess.Popen(
            python_command("core.jobs.stopping", str(run.path.resolve())),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=python_environment(processes.clean_environment()),
        )


def _janitor(run: RunDir) -> None:
    """Wait until the run has stopped by itself; kill it when its time is over, and what it left behind in any case."""
    countdown = Countdown()
    while lock_held(run.lock_file) and not countdown.is_over(run.progress()):
        time.sleep(0.2)
    if lock_held(run.lock_file) and run.stop_file.exists():
        kill(run)
    lock = take_run(run)
    if lock is not None:  # else it has been resumed meanwhile, and whoever carries its marks is wanted
        sweep(run)


if __name__ == "__main__":
    _janitor(RunDir(sys.argv[1]))
