"""A run as one archive: a ZIP with an index that says of every file how long it is and what its hash is.

    done = export(run, Path("run.zip"))                 streamed; nothing is left where it fails

Left out: checkpoints, unless they are asked for, and then without the state of their trainer; what earlier attempts
left; locks. Files over 16 MB are stored as they are, smaller ones compressed. The way back is `core.runs.bringing_in`.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from core.disk import require_space
from core.errors import InputError, RunError
from core.records import Record
from core.rundir import RunDir, state_of

Progress = Callable[[int, int], None]  # (bytes done, bytes in all)
Check = Callable[[], None]

INDEX = "galen-run.json"  # the archive's last entry: hashes are known when the files are written
ROOT = "run/"
VERSION = 1  # of this layout
CHUNK = 1 << 20
STORED_FROM = 16 << 20  # bytes; weights do not become smaller
NEVER = ("lock", "heartbeat.json", "stop_requested", "attempts", "imported.json")
FIRST_TIME = 315_619_200.0  # a ZIP knows no day before 1980
UNPICKLED = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")  # a trainer's state, or what may be code


class Packed(Record):
    """A file of the run: its path in it, bytes, SHA-256."""

    path: str
    size: int
    sha256: str


class Index(Record):
    """`galen-run.json`."""

    version: int = VERSION
    run: str
    exported_at: float
    files: list[Packed]


@dataclass(frozen=True)
class Exported:
    path: Path
    files: int
    bytes: int


# -- out --------------------------------------------------------------------------------------------------------------
def export(
    run: RunDir,
    path: Path,
    *,
    checkpoints: bool = False,
    overwrite: bool = False,
    on_progress: Progress | None = None,
    check_stop: Check | None = None,
) -> Exported:
    """Write a run that is over to `path`, a ZIP.

    Raises RunError `run.live`; InputError `archive.exists`, `archive.no_folder`, `disk.no_space`, `archive.changed`
    where a file changes meanwhile; and what `check_stop` raises.
    """
    state = state_of(run)
    if state.live:
        raise RunError("run.live", run=run.id, state=str(state))
    if path.exists() and (path.is_dir() or not overwrite):
        raise InputError("archive.exists", path=str(path))
    if not path.parent.is_dir():
        raise InputError("archive.no_folder", folder=str(path.parent))
    files = sorted(_leaving(run, checkpoints))
    total = sum(size for _, size in files)
    require_space(path.parent, total)
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(hidden, "xb") as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            told = Counter(total, on_progress, check_stop)
            packed = [_add(archive, run, name, told) for name, _ in files]
            index = Index(run=run.id, exported_at=time.time(), files=packed)
            archive.writestr(INDEX, index.model_dump_json())
        with open(hidden, "rb") as written:
            os.fsync(written.fileno())
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)
    return Exported(path, len(packed), path.stat().st_size)


def _leaving(run: RunDir, checkpoints: bool) -> Iterator[tuple[str, int]]:
    """(path in the run, bytes) of every file that goes along; links do not, nor what is hidden."""
    whole = {each.path.name for each in run.complete_checkpoints()}
    for folder, names, files in os.walk(run.path):
        inside = PurePosixPath(Path(folder).relative_to(run.path).as_posix())
        if not inside.parts:
            names[:] = [name for name in names if name not in NEVER and (checkpoints or name != "checkpoints")]
        if inside.as_posix() == "checkpoints":
            names[:] = [name for name in names if name in whole]
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            path = Path(folder) / name
            hidden = name.startswith(".") or (not inside.parts and name in NEVER)
            if not hidden and path.suffix.lower() not in UNPICKLED and not path.is_symlink() and path.is_file():
                yield (inside / name).as_posix(), path.stat().st_size


class Counter:
    """How many bytes are done, for whoever wants to know; and whether to go on at all."""

    def __init__(self, total: int, tell: Progress | None, check: Check | None) -> None:
        self.total, self.tell, self.check, self.done = total, tell, check, 0

    def __call__(self, count: int) -> None:
        if self.check is not None:
            self.check()
        self.done += count
        if self.tell is not None:
            self.tell(self.done, self.total)


def _add(archive: zipfile.ZipFile, run: RunDir, name: str, told: Counter) -> Packed:
    """Pack one file. Raises InputError `archive.changed` where it grows or shrinks meanwhile."""
    source = run.path / name
    before = source.stat()
    entry = zipfile.ZipInfo(ROOT + name, time.localtime(max(before.st_mtime, FIRST_TIME))[:6])
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.compress_type = zipfile.ZIP_STORED if before.st_size >= STORED_FROM else zipfile.ZIP_DEFLATED
    with open(source, "rb") as file, archive.open(entry, "w", force_zip64=before.st_size >= 1 << 31) as target:
        size, sha256 = copy(file, target, before.st_size, told)
    if size != before.st_size:
        raise InputError("archive.changed", file=name)
    return Packed(path=name, size=size, sha256=sha256)


def copy(source: IO[bytes], target: IO[bytes], most: int, told: Callable[[int], None]) -> tuple[int, str]:
    """(bytes, SHA-256) of what was copied: no more than one byte over `most`, which is then too much."""
    digest, size = hashlib.sha256(), 0
    while size <= most and (chunk := source.read(min(CHUNK, most + 1 - size))):
        target.write(chunk)
        digest.update(chunk)
        size += len(chunk)
        told(len(chunk))
    return size, digest.hexdigest()
