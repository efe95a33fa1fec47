"""Makes files a dataset of the workspace: read once, in helpers where they are large, and written whole or not at all.

    1. open every file, find its shape, and see that all are of one
    2. hash them: the version is made from content and the way it is read, so importing again finds what is there
    3. read, convert, mend if asked to; rows go to a hidden folder as they come, what is unusable beside them
    4. refuse where rows are unusable and that was not accepted
    5. keep the sources, write the card, rename the folder

Lines of several files are counted through, in the order of the files. Memory is bounded whatever the size.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from core.data.check.doctor import CheckReport, readable
from core.data.check.findings import Findings, Reading
from core.data.check.parallel import CheckStop, moved, read
from core.data.check.severity import is_error
from core.data.files.reader import Progress
from core.data.store.building import hidden_folder
from core.data.store.dataset import REPAIRED, Dataset, DatasetCard, open_version
from core.data.store.writer import VersionWriter, Written
from core.errors import DataError
from core.rundir import write_record
from core.workspace import Workspace, check_name

IMPORT_VERSION = 3  # goes into every version: to be raised when the same file would give other rows
ENDING = {"data.gzip_broken", "data.json_ends"}  # nothing after such a row could be read
INLINE_BYTES = 32_000_000  # up to which files are imported while one waits; more are a run of the stage `import`
HASHING = 0.1  # of the progress: hashing comes before reading, and is about ten times as fast
BLOCK = 1 << 22
BadRows = Literal["stop", "drop"]


@dataclass(frozen=True)
class Order:
    """What an import was asked for, beyond the files."""

    name: str
    bad_rows: BadRows = "stop"
    repair: bool = False
    format: str | None = None
    columns: Mapping[str, str] | None = None
    licence: str = ""
    origin: str = ""


def import_file(
    workspace: Workspace,
    path: Path | str,
    name: str | None = None,
    *,
    bad_rows: BadRows = "stop",
    repair: bool = False,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
    check_stop: CheckStop | None = None,
) -> Dataset:
    """Make `path` a dataset, or find the one it already is. See `import_files`."""
    order = Order(name or name_from(Path(path).name), bad_rows, repair, format, columns)
    return import_files(workspace, [Path(path)], order, on_progress=on_progress, check_stop=check_stop)


def import_files(
    workspace: Workspace,
    paths: Sequence[Path],
    order: Order,
    *,
    on_progress: Progress | None = None,
    check_stop: CheckStop | None = None,
) -> Dataset:
    """Make files of one shape one dataset, or find the one they already are.

    `on_progress(done, total)` counts bytes; `check_stop` may raise at any time. Raises DataError: `data.bad_rows` with
    every problem when a row cannot be used and `bad_rows` is "stop"; `data.none_usable` when no row can;
    `data.files_differ` when the files are of several shapes; `data.file_changed` when one changed meanwhile; the file's
    own problem when it cannot be read at all. Nothing is left then.
    """
    order = Order(**{**vars(order), "name": check_name(order.name)})
    for path in paths:
        if not path.is_file():
            raise DataError("data.no_file", file=str(path))
    work = _Import(workspace, order, paths, on_progress, check_stop)
    work.open()  # 1
    sha256 = work.sha256()  # 2
    target = workspace.datasets_dir / order.name / sha256[:10]
    existing = open_version(target)
    if existing is not None and (order.bad_rows == "drop" or not existing.card.dropped):
        return existing  # otherwise this import ends as the first one would have, with the rows listed
    with hidden_folder(workspace, 3 * work.size) as folder:
        card = work.write(folder, sha256)  # 3, 4, 5
        target.parent.mkdir(exist_ok=True)
        try:
            os.rename(folder, target)
        except OSError:  # somebody else was faster, with the same content
            existing = open_version(target)
            if existing is None:
                raise
            return existing
    return Dataset(target, card)


def name_from(filename: str) -> str:
    """A dataset's name from a file's: without its endings, other characters than `check_name` allows as `-`."""
    stem = re.sub(r"(\.(jsonl?|ndjson|csv|tsv|parquet|txt|text|gz))+$", "", filename, flags=re.IGNORECASE)
    return re.sub(r"[^\w.+\- ]+", "-", stem).strip(" .-+")[:80].rstrip(" .") or "dataset"


class _Import:
    """One import on its way: the files, and what was found in them so far."""

    def __init__(
        self,
        workspace: Workspace,
        order: Order,
        paths: Sequence[Path],
        on_progress: Progress | None,
        check_stop: CheckStop | None,
    ) -> None:
        self.workspace, self.order, self.paths = workspace, order, paths
        self.check_stop = check_stop
        self.size = sum(path.stat().st_size for path in paths)
        self._on_progress = on_progress
        self.report = CheckReport(paths[0])
        self.readings: list[Reading] = []
        self.states = [(path.stat().st_size, path.stat().st_mtime_ns) for path in paths]

    def progress(self, before: int, begin: float, share: float) -> Callable[[int, int], None]:
        """Progress of one file within the whole: `before` bytes are done, and this pass is `share` of the work."""

        def step(done: int, total: int) -> None:
            if self._on_progress is not None:
                self._on_progress(round(begin * self.size + share * (before + done)), self.size)

        return step

    def sha256(self) -> str:
        """Of the content of all files, and of everything that decides which rows come of it."""
        digests, before = [], 0
        for path in self.paths:
            digests.append(f"{path.suffix}:{self._digest(path, self.progress(before, 0.0, HASHING))}")
            before += path.stat().st_size
        how = {
            "repair": self.order.repair,
            "format": self.order.format,
            "columns": self.order.columns,
            "categories": [reading.category for reading in self.readings if reading.category],
        }
        asked = json.dumps({key: value for key, value in how.items() if value}, sort_keys=True)
        return hashlib.sha256(f"{IMPORT_VERSION}:{':'.join(digests)}:{asked}".encode()).hexdigest()

    def _digest(self, path: Path, progress: Callable[[int, int], None]) -> str:
        digest, done = hashlib.sha256(), 0
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                if self.check_stop is not None:
                    self.check_stop()
                digest.update(block)
                done += len(block)
                progress(done, self.size)
        return digest.hexdigest()

    def open(self) -> None:
        """Find the shape of every file. Raises DataError where they differ."""
        for path, state in zip(self.paths, self.states, strict=True):
            report = self.report if path is self.paths[0] else CheckReport(path)
            reading = readable(report, self.order.format, self.order.columns, repair=self.order.repair, keep=True)
            if reading.source.found != state:
                raise DataError("data.file_changed", file=path.name)
            first = self.readings[0] if self.readings else reading
            if first.shape_name != reading.shape_name:
                names = {"first": first.source.path.name, "second": path.name}
                shapes = {"one": first.shape_name or "–", "other": reading.shape_name or "–"}
                raise DataError("data.files_differ", problems=(), **names, **shapes)
            self.readings.append(reading)

    def write(self, folder: Path, sha256: str) -> DatasetCard:
        shape = self.readings[0].shape
        with ExitStack() as stack:
            writer = stack.enter_context(VersionWriter(folder, shape.kind)) if shape is not None else None
            repaired = stack.enter_context(_Diff(folder / "repaired.parquet")) if self.order.repair else None
            lines: list[int] = []
            before = 0
            for reading in self.readings:
                lines.append(
                    self._read(reading, writer, repaired, sum(lines), self.progress(before, HASHING, 1 - HASHING))
                )
                before += reading.source.found[0]
            self.report.finish()
            self._refuse()
            assert writer is not None  # there is a usable row, so there is a shape
            written = writer.close()
        self._keep_sources(folder)
        for reading in self.readings:
            reading.source.check_unchanged()
        card = self._card(sha256, written, repaired.rows if repaired is not None else 0, lines)
        write_record(folder / "card.json", card)
        return card

    def _read(
        self, reading: Reading, writer: VersionWriter | None, repaired: _Diff | None, before: int, progress: Progress
    ) -> int:
        """Read one file, whose first line is counted as `before` + 1. Returns how many lines it has."""
        last = 0
        for found in read(reading, on_progress=progress, check_stop=self.check_stop):
            last = max(last, found.last)
            found = moved(found, before)
            self.report.merge(found)
            if writer is not None and not (self.report.errors and self.order.bad_rows == "stop"):
                _put(writer, found)
            if repaired is not None:
                repaired.add(found)
        return last

    def _refuse(self) -> None:
        report = self.report
        problems = [problem for problem in report.problems if is_error(problem.code)]
        ended = [problem for problem in problems if problem.line is None or problem.code in ENDING]
        if ended:  # reading stopped there: nobody can say how many rows that would drop
            raise DataError(ended[-1].code, problems=problems if ended[-1].line else (), **ended[-1].params)
        if report.rows == 0:
            raise DataError("data.empty_file", file=report.path.name)
        figures = {"file": report.path.name, "bad": report.rows - report.usable, "rows": report.rows}
        if report.usable == 0:
            raise DataError("data.none_usable", problems=problems, **figures)
        if report.errors and self.order.bad_rows == "stop":
            raise DataError("data.bad_rows", problems=problems, **figures)

    def _keep_sources(self, folder: Path) -> None:
        for number, path in enumerate(self.paths, 1):
            ending = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
            kept = folder / (f"source{ending}" if len(self.paths) == 1 else f"source-{number:03d}{ending}")
            if path.resolve().is_relative_to(self.workspace.cache_dir):  # a download or an upload: nobody changes it
                try:
                    os.link(path, kept)
                    continue
                except OSError:  # another disk, or one that knows no links
                    pass
            shutil.copyfile(path, kept)

    def _card(self, sha256: str, written: Written, repaired: int, lines: Sequence[int]) -> DatasetCard:
        report, order = self.report, self.order
        evidence: dict[str, Any] = dict(report.evidence.params) if report.evidence else {}
        if len(self.paths) > 1:
            evidence["files"] = [[path.name, count] for path, count in zip(self.paths, lines, strict=True)]
        assert report.kind is not None
        return DatasetCard(
            name=order.name,
            version=sha256[:10],
            kind=report.kind,
            format=report.format or "",
            container=report.container or "",
            evidence=evidence,
            rows=written.rows,
            dropped=written.dropped,
            dropped_counts=written.dropped_counts,
            sha256=sha256,
            source_name=", ".join(path.name.encode(errors="replace").decode() for path in self.paths),
            source_bytes=self.size,
            created=time.time(),
            duplicates=written.duplicates,
            repaired=repaired,
            languages=written.languages,
            sources={source or order.name: count for source, count in written.sources.items()},
            licence=order.licence,
            origin=order.origin,
        )


def _put(writer: VersionWriter, found: Findings) -> None:
    for block in found.blocks:
        writer.add_block(block)
    for problem in found.dropped:
        writer.drop(problem.line, problem.code, problem.params, problem.excerpt)


class _Diff:
    """`repaired.parquet`: what was mended, row by row."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._writer: Any = pq.ParquetWriter(path, REPAIRED, compression="zstd")

    def __enter__(self) -> _Diff:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, found: Findings) -> None:
        if found.repaired:
            self.rows += len(found.repaired)
            self._writer.write_table(pa.Table.from_pylist([one._asdict() for one in found.repaired], REPAIRED))
