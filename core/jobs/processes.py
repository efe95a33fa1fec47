"""Finding and ending the processes of a run.

A process belongs to a run when its own environment says so (`RUN_ID` and the run's folder) and it runs as us or as
the folder's owner. Neither pid reuse nor a moved clock can mislead that, as they could a remembered pid with its start
time; names and command lines are never looked at. Children inherit the environment, so helpers of helpers are found.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping

import psutil

from core.rundir import RunDir

RUN_ID = "RUN_ID"
RUN_FOLDER = "GALEN_RUN_FOLDER"
SUPERVISES = "GALEN_SUPERVISES"
RENDEZVOUS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PR_SET_CHILD_SUBREAPER = 36


def clean_environment() -> dict[str, str]:
    """Our environment without what ties a process to a run: a run may itself submit another."""
    ours = (RUN_ID, RUN_FOLDER, SUPERVISES, *RENDEZVOUS)
    return {name: value for name, value in os.environ.items() if name not in ours}


def marks(run: RunDir) -> dict[str, str]:
    """The environment that every process of the run carries."""
    return {RUN_ID: run.id, RUN_FOLDER: str(run.path.resolve())}


def become_subreaper() -> None:
    """Adopt the orphans among our descendants (Linux; elsewhere they are found by what they carry)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def carriers(run: RunDir) -> list[psutil.Process]:
    """The living processes that carry the run's marks; never its supervisor, never ourselves."""
    return _with(run, marks(run))


def supervisor(run: RunDir) -> psutil.Process | None:
    """The run's living supervisor."""
    found = _with(run, {SUPERVISES: str(run.path.resolve())})
    return found[0] if found else None


def _with(run: RunDir, wanted: Mapping[str, str]) -> list[psutil.Process]:
    try:
        owners = {os.getuid(), run.path.stat().st_uid}
    except OSError:  # somebody removed the folder under a live run
        owners = {os.getuid()}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.uids().real not in owners:
                continue
            environment = process.environ()
            if all(environment.get(name) == value for name, value in wanted.items()):
                found.append(process)
        except (psutil.Error, OSError):  # gone, a zombie, or not ours to look at
            continue
    return found


def descendants() -> list[psutil.Process]:
    """Our living children and theirs, adopted orphans among them."""
    try:
        return [child for child in psutil.Process().children(recursive=True) if alive(child)]
    except psutil.Error:
        return []


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Signal each of them; those that ended meanwhile are passed over (psutil compares start times first)."""
    for process in processes:
        try:
            process.send_signal(number)
        except (psutil.Error, OSError):
            continue


def send_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def end_carriers(run: RunDir, *, grace: float, patience: float = 10.0) -> list[int]:
    """SIGTERM, SIGKILL after `grace` seconds, until nobody carries the run's marks. Returns the pids left."""
    start = time.monotonic()
    send(carriers(run), signal.SIGTERM)
    while left := carriers(run):
        waited = time.monotonic() - start
        if waited > grace + patience:
            break
        if waited > grace:
            send(left, signal.SIGKILL)
        time.sleep(0.05)
    return [process.pid for process in left]
