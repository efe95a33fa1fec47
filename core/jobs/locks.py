"""`flock` on files: taken without blocking, inherited by children, freed by the kernel with the last of them.

A lock belongs to the open file, not to the process: a child that inherits the descriptor keeps it held after its
parent's SIGKILL. That is why a run's state can be read from its lock. Nothing here unlocks by hand: closing does.
"""

from __future__ import annotations

import fcntl
import os
import time

from core.rundir import RunDir, lock_held

READERS_PATIENCE = 5.0  # seconds; a reader holds its shared lock for microseconds


def take(fd: int, *, shared: bool = False) -> bool:
    """Lock the open file `fd` now, or return False."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_run(run: RunDir) -> int | None:
    """The descriptor of the run's lock, held exclusively; None when the run is live.

    `state_of` asks with a shared lock, so one refusal proves nothing: only a lock that a reader cannot share is held.
    """
    fd = os.open(run.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + READERS_PATIENCE
    while not take(fd):
        if lock_held(run.lock_file) or time.monotonic() > deadline:
            os.close(fd)
            return None
        time.sleep(0.002)
    return fd
