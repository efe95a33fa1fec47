"""Who holds which device, and who waits for it: over all workspaces and users of this machine, without a daemon.

One file per claim lies in `GALEN_LOCK_DIR` (default `/tmp/galen-devices`, writable for everybody, sticky):

    claim-000017-w    waits       claim-000017-h    holds        (renamed, so its content never changes)
    mutex             held for the milliseconds in which claims are compared

A claim's content names the run, its workspace, and the devices by GPU UUID (two workspaces share GPUs); it counts only
while its file is locked, and the lock is inherited by every process of the run: a claim outlives its supervisor and
dies with the last of them. Dead claims are removed by whoever looks next. Claims are served in the order of their
numbers: one that waits for a device keeps later ones that want the same device waiting, too. `cpu` has
`GALEN_CPU_SLOTS` slots (default 1), one a run, however many ranks it has.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import BaseModel

from core.errors import DeviceError, RunError
from core.hardware import Device, devices
from core.jobs.locks import take

LOCK_DIR = "GALEN_LOCK_DIR"
CPU_SLOTS = "GALEN_CPU_SLOTS"
CPU = "cpu"
MAX_CLAIM = 4096  # bytes; anybody on the machine may write here, so nothing unbounded is read
MUTEX_PATIENCE = 10.0
NAME = re.compile(r"claim-(\d{6,12})-([wh])")


class Holder(BaseModel):
    """Who claims: a run's id, or words such as `chat server`; `workspace` is the folder it belongs to."""

    run: str
    workspace: str
    pid: int = 0

    def told_to(self, workspace: str) -> str:
        """Its name for somebody in `workspace`: strangers are told with their folder."""
        name = "".join(char for char in self.run if char.isprintable())[:80]
        folder = "".join(char for char in self.workspace if char.isprintable())[:200]
        return name if self.workspace == workspace else f"{name} ({folder})"


class Content(BaseModel):
    holder: Holder
    keys: list[str]
    shared: bool = False


@dataclass(frozen=True)
class Seen:
    """A living claim as others see it."""

    number: int
    holds: bool
    content: Content


def key_of(device: Device) -> str:
    """What a claim calls a device: the UUID of a GPU, `cpu` for any process on the CPU."""
    return device.uuid if device.is_gpu else CPU


def lock_dir() -> Path:
    """The folder of the claims, made when missing. Not under TMPDIR: two users of one machine must meet there."""
    named = os.environ.get(LOCK_DIR)
    shared = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    folder = Path(named) if named else shared / "galen-devices"
    try:
        folder.mkdir(parents=True, mode=0o777)
        folder.chmod(0o1777)  # past the umask; sticky, so that nobody removes another's claim
    except FileExistsError:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise RunError("run.lock_dir", folder=str(folder), detail="it is not a folder") from None
    except OSError as error:
        raise RunError("run.lock_dir", folder=str(folder), detail=str(error)) from error
    return folder


# -- reading ----------------------------------------------------------------------------------------------------------
def _open_shared(path: Path) -> int:
    """Open a file that every user may lock. Without O_CREAT first: Linux refuses it on others' files in /tmp."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        os.fchmod(fd, 0o644)
        return fd


@contextmanager
def _mutex(folder: Path) -> Iterator[None]:
    """Claims are made, compared and removed by one process at a time. Raises RunError when it cannot be had."""
    path = folder / "mutex"
    deadline = time.monotonic() + MUTEX_PATIENCE
    while True:
        try:
            fd = _open_shared(path)
        except PermissionError as error:
            if time.monotonic() > deadline:
                raise RunError("run.lock_dir", folder=str(folder), detail=str(error)) from error
            time.sleep(0.01)  # its maker has not opened it to others yet
            continue
        try:
            if take(fd) and _same_file(fd, path):
                yield
                return
        finally:
            os.close(fd)
        if time.monotonic() > deadline:
            raise RunError("run.lock_dir", folder=str(folder), detail="its mutex is held by a process that hangs")
        time.sleep(0.01)


def _same_file(fd: int, path: Path) -> bool:
    """Whether `path` still names the file that is open (somebody may have cleaned the folder meanwhile)."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _living(folder: Path, *, remove_dead: bool = False, own: int = 0) -> list[Seen]:
    """Every living claim but `own`, by number. Only who holds the mutex may remove dead ones."""
    found = []
    for entry in os.scandir(folder):
        match = NAME.fullmatch(entry.name)
        if match is None or int(match[1]) == own:
            continue
        content = _read_claim(Path(entry.path))
        if content is not None:
            found.append(Seen(int(match[1]), match[2] == "h", content))
        elif remove_dead:
            try:
                os.unlink(entry.path)
            except OSError:  # another user's: it stays, and stays dead
                continue
    return sorted(found, key=lambda seen: seen.number)


def _read_claim(path: Path) -> Content | None:
    """What a claim says, if it is alive; None when its lock is free or it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or take(fd, shared=True):
            return None
        return Content.model_validate(orjson.loads(os.read(fd, MAX_CLAIM)))
    except ValueError:
        return None
    finally:
        os.close(fd)


def holders(found: Iterable[Device] | None = None, workspace: str = "") -> dict[str, str]:
    """Device id → who holds it now (several are joined by commas); free devices are left out."""
    living = [seen for seen in _living(lock_dir()) if seen.holds]
    named: dict[str, str] = {}
    for device in devices() if found is None else found:
        names = [seen.content.holder.told_to(workspace) for seen in living if key_of(device) in seen.content.keys]
        if names:
            named[device.id] = ", ".join(names)
    return named


# -- claiming ---------------------------------------------------------------------------------------------------------
class Claim:
    """A place in the queue, and later the devices themselves. Children that inherit `fd` keep it alive."""

    def __init__(self, wanted: Iterable[Device], holder: Holder, *, shared: bool = False) -> None:
        """Queue up. Raises RunError where the folder of the claims cannot be used."""
        keys = sorted({key_of(device) for device in wanted})
        self.content = Content(holder=holder, keys=keys, shared=shared)
        self.folder = lock_dir()
        self.holds = False
        with _mutex(self.folder):
            names = [NAME.fullmatch(name) for name in os.listdir(self.folder)]
            self.number = 1 + max((int(match[1]) for match in names if match), default=0)
            # A number is used again only once every later claim has gone, so order is kept.
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self.fd = os.open(self._path, flags, 0o644)
            os.fchmod(self.fd, 0o644)
            fcntl.flock(self.fd, fcntl.LOCK_EX)
            os.write(self.fd, self.content.model_dump_json().encode())

    @property
    def _path(self) -> Path:
        return self.folder / f"claim-{self.number:06d}-{'h' if self.holds else 'w'}"

    def try_take(self) -> list[str]:
        """Take all devices or none. Returns whom we wait for, holders first, then those ahead; [] when taken."""
        with _mutex(self.folder):
            others = _living(self.folder, remove_dead=True, own=self.number)
            blocking = self._blocking(others)
            if not blocking:
                waiting = self._path
                self.holds = True
                os.rename(waiting, self._path)
        mine = self.content.holder.workspace
        return list(dict.fromkeys(seen.content.holder.told_to(mine) for seen in blocking))

    def _blocking(self, others: list[Seen]) -> list[Seen]:
        overlap = [seen for seen in others if set(seen.content.keys) & set(self.content.keys)]
        ahead = [seen for seen in overlap if not seen.holds and seen.number < self.number]
        holding = [seen for seen in overlap if seen.holds and not (seen.content.shared and self.content.shared)]
        on_cpu = [seen for seen in holding if CPU in seen.content.keys]
        if CPU in self.content.keys and len(on_cpu) < cpu_slots():
            gpus = set(self.content.keys) - {CPU}
            holding = [seen for seen in holding if gpus & set(seen.content.keys)]
        return [*holding, *ahead]

    def touch(self) -> None:
        """Make the claim look used, so that no cleaner of old files in /tmp takes it away."""
        os.utime(self.fd)

    def release(self) -> None:
        """Give everything back. Children that inherited `fd` and live on keep nothing: the claim's file is gone."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass
        os.close(self.fd)


def cpu_slots() -> int:
    text = os.environ.get(CPU_SLOTS, "1")
    return max(1, int(text)) if text.isdigit() else 1


def acquire(wanted: Iterable[Device], holder: Holder, *, shared: bool = False) -> Claim:
    """The devices at once, without queueing (a chat server does not wait). Raises DeviceError `device.busy`."""
    wanted = list(wanted)
    claim = Claim(wanted, holder, shared=shared)
    waiting_for = claim.try_take()
    if waiting_for:
        claim.release()
        names = ", ".join(device.id for device in wanted)
        raise DeviceError("device.busy", device=names, holder=", ".join(waiting_for))
    return claim
