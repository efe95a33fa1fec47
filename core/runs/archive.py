"""A run as one archive, and back: a ZIP with an index that says of every file how long it is and what its hash is.

    done = export(run, Path("run.zip"))                 streamed; nothing is left where it fails
    run = bring_in(workspace, Path("run.zip"))          all of it, or nothing and the reason

Left out: checkpoints, unless they are asked for, and then without the state of their trainer; what earlier attempts
left; locks. Files over 16 MB are stored as they are, smaller ones compressed.

An archive is not trusted. Before anything is written its names are looked at (no absolute path, no `..`, no link, no
name twice, nothing that would unpickle), then the sizes that it claims against those of its index and the disk; while
it is unpacked every file is compared with its size and hash. It is unpacked beside the runs and becomes one by rename.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import struct
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import orjson
from pydantic import ValidationError

from core.configs.files import stage_of
from core.disk import require_space
from core.errors import InputError, RunError
from core.imported import Imported, imported_file
from core.records import Record
from core.rundir import MARK, RUN_ID, RunDir, flush_folder, state_of, write_record
from core.workspace import Workspace

# RuntimeError: encrypted. NotImplementedError: a compression, or a version, that zipfile does not know.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
    struct.error,
)
Progress = Callable[[int, int], None]  # (bytes done, bytes in all)
Check = Callable[[], None]

INDEX = "galen-run.json"  # the archive's last entry: hashes are known when the files are written
ROOT = "run/"
CHUNK = 1 << 20
STORED_FROM = 16 << 20  # bytes; weights do not become smaller
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MOST_FILES, MOST_INDEX = 100_000, 64 << 20  # files; bytes of the index, and of the ZIP's own list
END, END64, LOCATOR = b"PK\x05\x06", 56, 20  # mark of a ZIP's last record; lengths of the two before it in a large one
# What deflate makes of text is seldom a hundredth; a bomb is a thousandth.
MOST_RATIO, SLACK = 100, 64 << 20
NEVER = ("lock", "stop_requested", "attempts", "imported.json")
UNPICKLED = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")  # a trainer's state, or what may be code


class Packed(Record):
    """A file of the run: its path in it, bytes, SHA-256."""

    path: str
    size: int
    sha256: str


class Index(Record):
    """`galen-run.json`. version: of this layout."""

    version: int = 1
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
            pen = _Pen(archive, total, on_progress, check_stop)
            packed = [pen.add(run, name) for name, _ in files]
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


class _Pen:
    """Adds files to an archive, and says how far it is."""

    def __init__(self, archive: zipfile.ZipFile, total: int, tell: Progress | None, check: Check | None) -> None:
        self.archive, self.total, self.tell, self.check = archive, total, tell, check
        self.done = 0

    def add(self, run: RunDir, name: str) -> Packed:
        source = run.path / name
        entry = zipfile.ZipInfo(ROOT + name, time.localtime(max(source.stat().st_mtime, 315_619_200))[:6])
        entry.external_attr = (stat.S_IFREG | 0o644) << 16
        before = source.stat().st_size
        entry.compress_type = zipfile.ZIP_STORED if before >= STORED_FROM else zipfile.ZIP_DEFLATED
        with open(source, "rb") as file, self.archive.open(entry, "w", force_zip64=before >= 1 << 31) as target:
            size, sha256 = _copy(file, target, before, self._told)
        if size != before:
            raise InputError("archive.changed", file=name)
        return Packed(path=name, size=size, sha256=sha256)

    def _told(self, count: int) -> None:
        if self.check is not None:
            self.check()
        self.done += count
        if self.tell is not None:
            self.tell(self.done, self.total)


def _copy(source: IO[bytes], target: IO[bytes], most: int, told: Callable[[int], None]) -> tuple[int, str]:
    """(bytes, SHA-256) of what was copied: no more than one byte over `most`, which is then too much."""
    digest, size = hashlib.sha256(), 0
    while size <= most and (chunk := source.read(min(CHUNK, most + 1 - size))):
        target.write(chunk)
        digest.update(chunk)
        size += len(chunk)
        told(len(chunk))
    return size, digest.hexdigest()


# -- in ---------------------------------------------------------------------------------------------------------------
def bring_in(
    workspace: Workspace, path: Path, *, on_progress: Progress | None = None, check_stop: Check | None = None
) -> RunDir:
    """The run of the archive at `path`, under the id that it had. The archive stays as it is.

    Raises InputError: `archive.not_one` (no ZIP, torn, or none of ours), `archive.bad_name`, `archive.too_large`,
    `archive.other_files`, `archive.wrong_content`, `archive.is_here`, `disk.no_space`. The workspace is as before then.
    """
    with _opened(path) as archive:
        index, sha256 = _index(archive, path)
        entries = _entries(archive, index, path)
        if (workspace.runs_dir / index.run).exists():
            raise InputError("archive.is_here", run=index.run)
        total = sum(each.size for each in index.files)
        require_space(workspace.path, total)
        building = workspace.path / ".trash" / f"import-{uuid.uuid4().hex}"
        try:
            _unpack(archive, index, entries, building, path, _Count(total, on_progress, check_stop))
            _check(RunDir(building), index, path)
            _complete(RunDir(building), path, sha256)
            try:
                os.rename(building, workspace.runs_dir / index.run)
            except OSError as error:  # somebody was quicker
                raise InputError("archive.is_here", run=index.run) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return workspace.run(index.run)


class _Count:
    """How many bytes were unpacked, for whoever wants to know."""

    def __init__(self, total: int, tell: Progress | None, check: Check | None) -> None:
        self.total, self.tell, self.check, self.done = total, tell, check, 0

    def __call__(self, count: int) -> None:
        if self.check is not None:
            self.check()
        self.done += count
        if self.tell is not None:
            self.tell(self.done, self.total)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, for as long as it is read; whatever is wrong with its bytes is `archive.not_one`."""
    try:
        if not path.is_file() or _listed(path) > MOST_INDEX:
            raise zipfile.BadZipFile("its list of files is too long" if path.is_file() else "there is no such file")
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DAMAGED as error:
        raise InputError("archive.not_one", name=path.name, detail=str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the beginning of the file
            raise
        raise InputError("archive.not_one", name=path.name, detail="its list of files is damaged") from error


def _listed(path: Path) -> int:
    """Bytes of the list of files that `zipfile` is going to read whole. Raises BadZipFile."""
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - (1 << 16) - 22 - LOCATOR))
        data = file.read()
        at = data.rfind(END)
        if at < 0 or len(data) - at < 22:
            raise zipfile.BadZipFile("it is no ZIP, or its end is missing")
        (size,) = struct.unpack("<L", data[at + 12 : at + 16])
        locator = data[max(0, at - LOCATOR) : at]
        if locator.startswith(b"PK\x06\x07"):
            file.seek(struct.unpack("<Q", locator[8:16])[0])
            record = file.read(END64)
            size = max(size if size < 0xFFFFFFFF else 0, struct.unpack("<Q", record[40:48])[0])
    return int(size)


def _index(archive: zipfile.ZipFile, path: Path) -> tuple[Index, str]:
    """The index and its SHA-256."""
    entries = archive.infolist()
    found = [entry for entry in entries if entry.filename == INDEX]
    if len(found) != 1 or found[0].file_size > MOST_INDEX or len(entries) > MOST_FILES:
        raise InputError("archive.not_one", name=path.name, detail=f"{INDEX} is missing, twice there, or too long")
    with archive.open(found[0]) as file:
        data = file.read(MOST_INDEX + 1)
    try:
        index = Index.model_validate(orjson.loads(data))
    except (ValidationError, orjson.JSONDecodeError) as error:
        raise InputError("archive.not_one", name=path.name, detail=f"{INDEX} is damaged") from error
    if index.version != Index(run="", exported_at=0, files=[]).version:
        raise InputError("archive.not_one", name=path.name, detail=f"it has the layout {index.version}, not 1")
    if not RUN_ID.fullmatch(index.run):
        raise InputError("archive.bad_name", name=path.name, entry=index.run)
    return index, hashlib.sha256(data).hexdigest()


def _entries(archive: zipfile.ZipFile, index: Index, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Path in the run → entry, once all of them are what a run may hold, and what the index says."""
    entries: dict[str, zipfile.ZipInfo] = {}
    folded = set()
    for entry in archive.infolist():
        if entry.filename == INDEX:
            continue
        name = entry.filename.removeprefix(ROOT)
        if not entry.filename.startswith(ROOT) or not _harmless(name, entry) or name.casefold() in folded:
            raise InputError("archive.bad_name", name=path.name, entry=entry.filename[:200])
        folded.add(name.casefold())  # one file for both, on a disk that takes no notice of case
        entries[name] = entry
    wanted = {each.path: each.size for each in index.files}
    if len(wanted) != len(index.files) or wanted != {name: entry.file_size for name, entry in entries.items()}:
        raise InputError("archive.other_files", name=path.name)
    total = sum(wanted.values())
    if total > MOST_RATIO * path.stat().st_size + SLACK:
        raise InputError("archive.too_large", name=path.name, size=f"{total / 1e6:.0f} MB")
    if "config.json" not in entries:
        raise InputError("archive.not_one", name=path.name, detail="config.json is missing")
    return entries


def _harmless(name: str, entry: zipfile.ZipInfo) -> bool:
    """Whether the entry is a plain file that stays within the run and is nothing that could be run or resumed."""
    parts = name.split("/")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    plain = kind in (0, stat.S_IFREG) and not entry.is_dir() and entry.compress_type in COMPRESSIONS
    strange = any(char in name for char in "\\:\0") or any(ord(char) < 32 for char in name)
    inside = all(part and not part.startswith(".") and len(part.encode()) < 200 for part in parts) and len(name) < 1000
    return plain and inside and not strange and parts[0] not in NEVER and not name.lower().endswith(UNPICKLED)


def _unpack(
    archive: zipfile.ZipFile,
    index: Index,
    entries: dict[str, zipfile.ZipInfo],
    building: Path,
    path: Path,
    told: _Count,
) -> None:
    for each in index.files:
        target = building / each.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entries[each.path]) as source, open(target, "xb") as file:
                size, sha256 = _copy(source, file, each.size, told)
        except (FileExistsError, NotADirectoryError) as error:  # one entry's name is another's folder
            raise InputError("archive.bad_name", name=path.name, entry=each.path) from error
        if (size, sha256) != (each.size, each.sha256):
            raise InputError("archive.wrong_content", name=path.name, file=each.path)


def _check(run: RunDir, index: Index, path: Path) -> None:
    """What lists and pages read of every run makes sense, and leads to nothing outside it.

    Raises InputError `archive.wrong_content` with the file; `config.unknown_stage`.
    """
    stage = stage_of(RunDir(index.run).stage)
    try:
        stage.config.model_validate(run.config())
    except ValidationError as error:
        if any(each["type"] != "extra_forbidden" for each in error.errors()):  # another Galen's setting is no harm
            raise InputError("archive.wrong_content", name=path.name, file="config.json") from error
    made = run.manifest()
    named = (
        []
        if made is None
        else [made.adapter_root, made.adapter_stage, made.model_folder, (made.head or {}).get("file")]
    )
    output = run.output.resolve()
    away = [each for each in named if each and not (output / str(each)).resolve().is_relative_to(output)]
    if away or (made is None and run.manifest_file.exists()) or (made is not None and made.run != index.run):
        raise InputError("archive.wrong_content", name=path.name, file="output/manifest.json")
    try:
        run.complete_checkpoints()
    except (TypeError, ValueError) as error:
        raise InputError("archive.wrong_content", name=path.name, file=f"checkpoints/…/{MARK}") from error


def _complete(run: RunDir, path: Path, sha256: str) -> None:
    """What every run has, and the mark that this one came from elsewhere."""
    for folder in (run.log_dir, run.checkpoints, run.attempts):
        folder.mkdir(exist_ok=True)
    write_record(imported_file(run), Imported(archive=path.name, sha256=sha256, at=time.time()))
    flush_folder(run.path)
