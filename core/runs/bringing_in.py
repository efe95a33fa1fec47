"""The archive of a run becomes a run of this workspace: all of it, or nothing and the reason.

    run = bring_in(workspace, Path("run.zip"))

    1. look at the archive's list and its index: no absolute path, no `..`, no link, no name twice, nothing that would
       unpickle, no file that the index does not name, no size that the disk or a sane archive has not
    2. unpack it beside the runs, comparing every file with its size and hash
    3. look at what lists and pages are going to read of it, and mark it as imported (`core.imported`)
    4. make it a run by one rename

An archive is not trusted, whoever made it. It can be viewed, served and merged; it is never resumed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from pydantic import ValidationError

from core.configs.files import stage_of
from core.disk import flush_folder, require_space
from core.errors import InputError
from core.imported import Imported, imported_file
from core.jobs.trash import coming_in
from core.rundir import MARK, RUN_ID, RunDir, write_record
from core.runs.archive import INDEX, NEVER, ROOT, UNPICKLED, VERSION, Check, Counter, Index, Progress, copy
from core.workspace import Workspace

COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MOST_FILES, MOST_INDEX = 100_000, 64 << 20  # files; bytes of the index, and of the ZIP's own list
END, END64, LOCATOR = b"PK\x05\x06", 56, 20  # mark of a ZIP's last record; lengths of the two before it in a large one
# What deflate makes of text is seldom a hundredth; a bomb is a thousandth.
MOST_RATIO, SLACK = 100, 64 << 20
# RuntimeError: encrypted. NotImplementedError: a compression, or a version, that zipfile does not know.
DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError, struct.error,
)  # fmt: skip


def bring_in(
    workspace: Workspace,
    path: Path,
    *,
    on_progress: Progress | None = None,
    check_stop: Check | None = None,
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
        with coming_in(workspace) as building:
            _unpack(archive, index, entries, building, path, Counter(total, on_progress, check_stop))
            _check(RunDir(building), index, path)
            _complete(RunDir(building), path, sha256)
            try:
                os.rename(building, workspace.runs_dir / index.run)
            except OSError as error:  # somebody was quicker
                raise InputError("archive.is_here", run=index.run) from error
    return workspace.run(index.run)


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
    if index.version != VERSION:
        raise InputError("archive.not_one", name=path.name, detail=f"it has the layout {index.version}, not {VERSION}")
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
    told: Counter,
) -> None:
    for each in index.files:
        target = building / each.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entries[each.path]) as source, open(target, "xb") as file:
                size, sha256 = copy(source, file, each.size, told)
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
