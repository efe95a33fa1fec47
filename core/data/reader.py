"""Opens a data file and streams its rows: JSONL, JSON, CSV, Parquet and TXT, each also gzip'd.

The container is told by content first and by name where content cannot tell. A row that cannot be read becomes a
`Raw` with a problem and reading goes on; only a file that cannot be read at all raises. What a row means is
`core.data.formats`' business.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import orjson

from core.data import containers
from core.data.containers import BOM, Raw, Reader
from core.errors import DataError, Problem

Progress = Callable[[int, int], None]  # (bytes read, bytes in the file)

HEAD_BYTES = 65_536
PROGRESS_ROWS = 500
WIDE_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
BY_NAME = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".txt": "txt", ".text": "txt",
}  # fmt: skip
READERS: dict[str, Reader] = {
    "jsonl": containers.jsonl_rows,
    "json": containers.json_rows,
    "csv": containers.csv_rows,
    "txt": containers.txt_rows,
    "parquet": containers.parquet_rows,
}


@dataclass
class Source:
    """A file that can be read. `notes` are worth saying, but make no row unusable."""

    path: Path
    container: str
    gzipped: bool
    notes: list[Problem] = field(default_factory=list)

    def rows(self, on_progress: Progress | None = None) -> Iterator[Raw]:
        """Every row in order, blank lines left out. Memory is bounded by the longest row (`MAX_ROW_BYTES`)."""
        total = self.path.stat().st_size
        with open(self.path, "rb") as file:
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=file) if self.gzipped else file)
            rows = READERS[self.container](stream)
            seen, last = 0, 0
            try:
                for raw in rows:
                    seen, last = seen + 1, raw.line
                    yield raw
                    if on_progress is not None and seen % PROGRESS_ROWS == 0:
                        on_progress(min(file.tell(), total), total)
            except (EOFError, gzip.BadGzipFile, zlib.error):
                yield Raw(last + 1, problem=Problem("data.gzip_broken", line=last + 1))
        if on_progress is not None:
            on_progress(total, total)


def open_source(path: Path) -> Source:
    """Find out what `path` holds. Raises DataError where there is no such file, or nothing that could be rows."""
    if not path.is_file():
        raise DataError("data.no_file", file=str(path))
    try:
        head, gzipped = _head(path)
    except PermissionError as error:
        raise DataError("data.unreadable", file=path.name) from error
    if not head.removeprefix(BOM).strip() and len(head) < HEAD_BYTES:
        raise DataError("data.empty_file", file=path.name)
    container = _container(path, head)
    source = Source(path, container, gzipped)
    if head.startswith(BOM):
        source.notes.append(Problem("data.bom"))
    return source


def _head(path: Path) -> tuple[bytes, bool]:
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        if not head.startswith(b"\x1f\x8b"):
            return head, False
        file.seek(0)
        try:
            return gzip.GzipFile(fileobj=file).read1(HEAD_BYTES), True
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError("data.gzip_broken") from error


def _container(path: Path, head: bytes) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    named = BY_NAME.get(suffixes[-1]) if suffixes else None
    if head.startswith(b"PAR1"):
        return "parquet"
    for mark, encoding in WIDE_MARKS.items():
        if head.startswith(mark):
            raise DataError("data.wide_encoding", file=path.name, encoding=encoding)
    if named == "parquet" or b"\0" in head:
        raise DataError("data.unknown_container", file=path.name)
    if named in ("csv", "txt"):
        return named
    first = head.removeprefix(BOM).lstrip()[:1]
    if first == b"[":
        return "json"
    if first == b"{":
        return "jsonl" if named == "jsonl" or _object_on_one_line(head) else "json"
    if named is None:
        raise DataError("data.unknown_container", file=path.name)
    return "jsonl"


def _object_on_one_line(head: bytes) -> bool:
    """Tells JSONL from objects that are printed over several lines."""
    line = io.BytesIO(head.removeprefix(BOM).lstrip()).readline()
    if not line.endswith(b"\n"):
        return True
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return line.strip() != b"{"
    return True
