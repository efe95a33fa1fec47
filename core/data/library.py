"""The datasets of a workspace: immutable versions, each a folder that appears whole or not at all.

    datasets/<name>/<version>/card.json        what it is (DatasetCard)
                              data.parquet     canonical rows and the source line of each, in row groups of 2000
                              dropped.parquet  the rows that could not be used: line, reason, excerpt
                              source.*         the file as it came

The version is made from the content: importing a file again finds what is there. Import builds a hidden folder and
renames it; what a killed import left behind goes with the next one.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from core.data.dataset import DROPPED, GROUP_ROWS, SCHEMAS, Dataset, DatasetCard
from core.data.doctor import CheckReport, usable_rows
from core.data.formats import Row
from core.data.reader import Progress
from core.errors import DataError, Problem
from core.rundir import read_record, state_of, write_record
from core.workspace import Workspace, check_name

__all__ = [
    "Dataset", "DatasetCard", "delete_dataset", "import_file", "list_datasets", "live_users", "name_from",
    "open_dataset", "resolve",
]  # fmt: skip

IMPORT_VERSION = 1  # goes into every version: to be raised when the same file would give other rows
TEMPORARY = ".tmp-"
ENDING = {"data.gzip_broken", "data.json_ends"}  # nothing after such a row could be read
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


# -- import -----------------------------------------------------------------------------------------------------------
def import_file(
    workspace: Workspace,
    path: Path | str,
    name: str | None = None,
    *,
    bad_rows: Literal["stop", "drop"] = "stop",
    on_progress: Progress | None = None,
) -> Dataset:
    """Make `path` a dataset, or find the one it already is.

    Raises DataError: `data.bad_rows` with every problem when a row cannot be used and `bad_rows` is "stop";
    `data.none_usable` when no row can; the file's own problem when it cannot be read at all. Nothing is left then.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("data.no_file", file=str(path))
    name = check_name(name) if name else name_from(path.name)
    sha256 = _sha256(path)
    target = workspace.datasets_dir / name / sha256[:10]
    existing = _open(target)
    if existing is not None and (bad_rows == "drop" or not existing.card.dropped):
        return existing  # otherwise this import ends as the first one would have, with the rows listed
    with _temporary_folder(workspace, path) as temporary:
        card = _write(path, temporary, name, sha256, bad_rows, on_progress)
        target.parent.mkdir(exist_ok=True)
        try:
            os.rename(temporary, target)
        except OSError:  # somebody else was faster, with the same content
            existing = _open(target)
            if existing is None:
                raise
            return existing
    return Dataset(target, card)


def name_from(filename: str) -> str:
    """A dataset's name from a file's: without its endings, other characters than `check_name` allows as `-`."""
    stem = re.sub(r"(\.(jsonl?|ndjson|csv|tsv|parquet|txt|text|gz))+$", "", filename, flags=re.IGNORECASE)
    return re.sub(r"[^\w.+\- ]+", "-", stem).strip(" .-+")[:80].rstrip(" .") or "dataset"


def _write(
    path: Path, folder: Path, name: str, sha256: str, bad_rows: str, on_progress: Progress | None
) -> DatasetCard:
    report = CheckReport(path)
    dropped: list[dict[str, Any]] = []

    def note(problem: Problem) -> None:
        dropped.append(
            {"line": problem.line, "code": problem.code, "message": problem.message, "excerpt": problem.excerpt}
        )

    writer: pq.ParquetWriter | None = None
    group: list[Row] = []
    try:
        for line, row in usable_rows(report, on_progress=on_progress, on_problem=note):
            if writer is None and report.kind is not None:
                schema = SCHEMAS[report.kind]
                writer = pq.ParquetWriter(folder / "data.parquet", schema, compression="zstd")
            group.append({"line": line, **row})
            if len(group) == GROUP_ROWS and writer is not None:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group.clear()
        if group and writer is not None:
            writer.write_table(pa.Table.from_pylist(group, schema))
    finally:
        if writer is not None:
            writer.close()
    _refuse(report, bad_rows)
    pq.write_table(pa.Table.from_pylist(dropped, DROPPED), folder / "dropped.parquet", compression="zstd")
    shutil.copyfile(path, folder / f"source{''.join(path.suffixes[-2:]) if path.suffix == '.gz' else path.suffix}")
    assert report.kind is not None  # there is a usable row, so there is a shape
    card = DatasetCard(
        name=name,
        version=sha256[:10],
        kind=report.kind,
        format=report.format or "",
        container=report.container or "",
        evidence=report.evidence.params if report.evidence else {},
        stages=report.stages,
        rows=report.usable,
        dropped=report.rows - report.usable,
        dropped_counts=dict(report.counts),
        sha256=sha256,
        source_name=path.name,
        source_bytes=path.stat().st_size,
        created=time.time(),
    )
    write_record(folder / "card.json", card)
    return card


def _refuse(report: CheckReport, bad_rows: str) -> None:
    ended = [problem for problem in report.problems if problem.line is None or problem.code in ENDING]
    if ended:  # reading stopped there: nobody can say how many rows that would drop
        raise DataError(ended[-1].code, problems=report.problems if ended[-1].line else (), **ended[-1].params)
    figures = {"file": report.path.name, "bad": report.rows - report.usable, "rows": report.rows}
    if report.usable == 0:
        raise DataError("data.none_usable", problems=report.problems, **figures)
    if report.counts and bad_rows == "stop":
        raise DataError("data.bad_rows", problems=report.problems, **figures)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(f"{IMPORT_VERSION}:{path.suffix}:{content}".encode()).hexdigest()


@contextmanager
def _temporary_folder(workspace: Workspace, path: Path) -> Iterator[Path]:
    """A hidden folder that is gone afterwards unless it was renamed. A full disk becomes a DataError."""
    _sweep(workspace)
    folder = workspace.datasets_dir / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(3)}"
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = shutil.disk_usage(workspace.datasets_dir).free
        needed = round(2 * path.stat().st_size / 1e6, 1)
        place = str(workspace.datasets_dir)
        raise DataError("data.disk_full", folder=place, needed=needed, free=round(free / 1e6, 1)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(workspace: Workspace) -> None:
    for folder in workspace.datasets_dir.glob(f"{TEMPORARY}*"):
        owner = folder.name.removeprefix(TEMPORARY).split("-")[0]
        if not (owner.isdigit() and psutil.pid_exists(int(owner))):
            shutil.rmtree(folder, ignore_errors=True)


# -- finding ----------------------------------------------------------------------------------------------------------
def list_datasets(workspace: Workspace) -> list[Dataset]:
    """Every version of every dataset, the newest first."""
    folders = workspace.datasets_dir.glob("*/*/")
    found = [dataset for folder in folders if not folder.parent.name.startswith(".") and (dataset := _open(folder))]
    return sorted(found, key=lambda dataset: dataset.card.created, reverse=True)


def open_dataset(workspace: Workspace, ref: str) -> Dataset:
    """The dataset `name@version`, or the newest version of `name`. Raises DataError `data.no_dataset`."""
    found = _versions(workspace, ref)
    if not found:
        raise _no_dataset(workspace, ref)
    return found[0]


def live_users(workspace: Workspace, datasets: Iterable[Dataset]) -> list[str]:
    """The ids of runs, queued or working, that train or evaluate on one of `datasets`."""
    refs = {dataset.ref for dataset in datasets}
    found = []
    for run in workspace.runs():
        data = run.config().get("data") or {}
        if refs & {data.get("train"), data.get("validation")} and state_of(run).live:
            found.append(run.id)
    return found


def delete_dataset(workspace: Workspace, ref: str) -> None:
    """Remove `name@version`, or all versions of `name`.

    Raises DataError `data.no_dataset`, or `data.in_use` while a run that needs it is queued or working.
    """
    found = _versions(workspace, ref)
    if not found:
        raise _no_dataset(workspace, ref)
    live = live_users(workspace, found)
    if live:
        raise DataError("data.in_use", ref=ref, runs=", ".join(live))
    for dataset in found:
        grave = workspace.datasets_dir / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(3)}"
        os.rename(dataset.folder, grave)  # from here on nobody finds half of it
        shutil.rmtree(grave)
        if not any(dataset.folder.parent.iterdir()):
            dataset.folder.parent.rmdir()


def resolve(workspace: Workspace, text: str, *, bad_rows: Literal["stop", "drop"] = "stop") -> Dataset:
    """What a user wrote into a data field: a dataset of the workspace, or a file, which is imported.

    Raises DataError as `open_dataset` and `import_file` do.
    """
    found = _versions(workspace, text)
    if found:
        return found[0]
    path = Path(text).expanduser()
    if path.is_file():
        return import_file(workspace, path, bad_rows=bad_rows)
    if os.sep in text or path.suffix:
        raise DataError("data.no_file", file=text)
    raise _no_dataset(workspace, text)


def _versions(workspace: Workspace, ref: str) -> list[Dataset]:
    name, _, version = ref.partition("@")
    if not name or Path(name).name != name or Path(version).name != version or name.startswith("."):
        return []
    folders = [workspace.datasets_dir / name / version] if version else (workspace.datasets_dir / name).glob("*/")
    found = [dataset for folder in folders if (dataset := _open(folder))]
    return sorted(found, key=lambda dataset: dataset.card.created, reverse=True)


def _no_dataset(workspace: Workspace, ref: str) -> DataError:
    names = sorted({dataset.name for dataset in list_datasets(workspace)})
    nearest = difflib.get_close_matches(ref.partition("@")[0], names, 1)
    known = ", ".join(names[:20]) or "–"
    return DataError("data.no_dataset", ref=ref, known=known, nearest=nearest[0] if nearest else "")


def _open(folder: Path) -> Dataset | None:
    card = read_record(folder / "card.json", DatasetCard)
    return None if card is None else Dataset(folder, card)
