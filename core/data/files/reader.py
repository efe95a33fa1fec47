"""Opens a data file and streams its rows: JSONL, JSON, CSV, Parquet and TXT, each also gzip'd.

The container is told by content first and by name where content cannot tell. A row that cannot be read becomes a
`Raw` with a problem and reading goes on; only a file that cannot be read at all raises. What a row means is
`core.data.shapes.formats`' business.
"""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from core.data.files import containers, lines
from core.data.files.containers import BATCH_BYTES, BOM, MAX_ROW_BYTES, Batch, Raw
from core.data.files.foreign import AsUTF8, foreign
from core.errors import DataError, Problem

Gather = Callable[[Iterable[Raw]], Iterator[Raw]]
Progress = Callable[[int, int], None]  # (bytes read, bytes in the file)

HEAD_BYTES = 65_536
PIECE = 1 << 16  # bytes that are read at once from the disk
FEW = 100  # of so many bytes of a text, one may be zero
FIRST_BYTES = 1 << 18  # read at once by whoever wants only the first rows
WIDEST_MARKS = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")  # of UTF-32
BY_NAME = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".txt": "txt", ".text": "txt",
}  # fmt: skip
READERS: dict[str, containers.Rows] = {
    "json": containers.json_rows,
    "csv": containers.csv_rows,
    "parquet": containers.parquet_rows,
}
LINES: dict[str, lines.Lines] = {"jsonl": lines.jsonl_lines, "txt": lines.txt_lines}


@dataclass
class Source:
    """A file that can be read. `notes` are worth saying, but make no row unusable. `found` tells whether it changed.

    `encoding`: that of its text where it is not UTF-8.
    """

    path: Path
    container: str
    gzipped: bool
    encoding: str = ""
    notes: list[Problem] = field(default_factory=list)
    found: tuple[int, int] = (0, 0)  # size in bytes, time of the last change in ns

    @property
    def of_lines(self) -> bool:
        """Whether any stretch of whole lines can be read without what stands before it."""
        return self.container in LINES and not self.gzipped and not self.encoding

    def batches(
        self,
        on_progress: Progress | None = None,
        size: int = BATCH_BYTES,
        gather: Gather | None = None,
        read: lines.Lines | None = None,
    ) -> Iterator[Batch]:
        """Every row in order, blank lines left out. Memory is bounded by the longest row (`MAX_ROW_BYTES`).

        `gather` puts rows together first, as some shapes need. `read`: another way from a file's lines to rows.
        """
        batches = self._all(on_progress, size, read)
        if gather is None:
            return batches
        return containers.batches_of(gather(raw for batch in batches for raw in batch.raws()))

    def _all(self, on_progress: Progress | None, size: int, read: lines.Lines | None) -> Iterator[Batch]:
        total = self.found[0]
        at_end = self.container == "parquet" and not self.gzipped  # where Parquet is read from
        on_read = None if at_end else on_progress
        with io.BufferedReader(_Told(open(self.path, "rb", buffering=0), total, on_read), PIECE) as file:
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=file) if self.gzipped else file)
            if self.of_lines:  # not beyond what was there when it was opened: somebody may be writing to it
                stream = cast(BinaryIO, _Part(file, total))
            if self.encoding:
                stream = io.BufferedReader(AsUTF8(stream, self.encoding))
            last = 0
            try:
                for batch in self._batches(stream, size, read):
                    last = max(last, *batch.lines[-1:], *(problem.line or 0 for problem in batch.problems[-1:]))
                    yield batch
                    if on_progress is not None:
                        on_progress(min(file.tell(), total), total)
            except lines.GZIP_ERRORS:
                yield Batch(problems=[Problem("data.gzip_broken", line=last + 1)])
        if on_progress is not None:
            on_progress(total, total)

    def raws(self) -> Iterator[Raw]:
        """The rows one by one, read in small pieces: for whoever wants only the first of them."""
        return itertools.chain.from_iterable(batch.raws() for batch in self.batches(size=FIRST_BYTES))

    def part(self, start: int, stop: int) -> Iterator[tuple[Batch, int]]:
        """The rows of the lines within these bytes, counted from line 1, and how many lines each batch takes."""
        with open(self.path, "rb") as file:
            file.seek(start)
            size = min(stop - start, 2 * MAX_ROW_BYTES)
            read = LINES[self.container]
            yield from lines.line_batches(_Part(file, stop - start), read, size, at_start=start == 0)

    def parts(self, size: int = BATCH_BYTES) -> Iterator[tuple[int, int]]:
        """Stretches of whole lines, of about `size` bytes each: (first byte, byte after the last)."""
        with open(self.path, "rb") as file:
            start = 0
            while start < self.found[0]:
                stop = min(_line_end(file, start + size), self.found[0])
                yield start, stop
                start = stop

    def check_unchanged(self) -> None:
        """Raise DataError `data.file_changed` where the file is not the one that was opened any more."""
        if not self.path.is_file() or _state(self.path) != self.found:
            raise DataError("data.file_changed", file=self.path.name)

    def _batches(self, stream: BinaryIO, size: int, read: lines.Lines | None) -> Iterator[Batch]:
        if self.container in LINES:
            for batch, _ in lines.line_batches(cast(lines.Stream, stream), read or LINES[self.container], size):
                if len(batch):
                    yield batch
        else:
            yield from containers.batches_of(READERS[self.container](stream))


class _Told(io.RawIOBase):
    """A file that tells of every piece that is read, so that whoever waits may stop it within a line without an end."""

    def __init__(self, file: io.FileIO, total: int, on_progress: Progress | None) -> None:
        super().__init__()
        self.file, self.total, self.on_progress = file, total, on_progress

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, to: int, whence: int = io.SEEK_SET, /) -> int:
        return self.file.seek(to, whence)

    def readinto(self, buffer: Any, /) -> int | None:
        if self.on_progress is not None:
            self.on_progress(min(self.file.tell(), self.total), self.total)
        return self.file.readinto(buffer)

    def close(self) -> None:
        self.file.close()
        super().close()


class _Part:
    """The next so many bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.left = file, size

    def read1(self, size: int = -1, /) -> bytes:
        data = self.file.read(min(size, self.left) if size >= 0 else self.left)
        self.left -= len(data)
        return data


def _line_end(file: BinaryIO, place: int) -> int:
    """The first byte after the line that holds byte `place - 1`; `place` or the end of the file where there is none."""
    file.seek(place - 1)
    while block := file.read(HEAD_BYTES):
        end = block.find(b"\n") + 1
        if end:
            return file.tell() - len(block) + end
    return max(file.tell(), place)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def open_source(path: Path, *, otherwise: str = "") -> Source:
    """Find out what `path` holds. Raises DataError where there is no such file, or nothing that could be rows.

    otherwise: the container of a text whose name says nothing; without, it is refused.
    """
    if not path.is_file():
        raise DataError("data.no_file", file=str(path))
    try:
        head, gzipped = _head(path)
    except PermissionError as error:
        raise DataError("data.unreadable", file=path.name) from error
    if not head.removeprefix(BOM).strip() and len(head) < HEAD_BYTES:
        raise DataError("data.empty_file", file=path.name)
    encoding = _encoding(path, head)
    if encoding:
        head = io.BufferedReader(AsUTF8(io.BytesIO(head), encoding)).read()
    container = _container(path, head, otherwise)
    source = Source(path, container, gzipped, encoding, found=_state(path))
    if encoding:
        source.notes.append(Problem("data.read_as", {"encoding": encoding}))
    elif head.startswith(BOM):
        source.notes.append(Problem("data.bom"))
    if container == "csv":
        twice = containers.repeated_columns(head)
        if twice:
            source.notes.append(Problem("data.column_twice", {"columns": ", ".join(twice)}))
    return source


def _head(path: Path) -> tuple[bytes, bool]:
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        if not head.startswith(b"\x1f\x8b"):
            return head, False
        file.seek(0)
        try:
            return gzip.GzipFile(fileobj=file).read1(HEAD_BYTES), True
        except lines.GZIP_ERRORS as error:
            raise DataError("data.gzip_broken") from error


def _encoding(path: Path, head: bytes) -> str:
    """The encoding of a text that is not UTF-8; "" for UTF-8 and for files that are no text."""
    if head.startswith(WIDEST_MARKS):
        raise DataError("data.wide_encoding", file=path.name, encoding="UTF-32")
    return "" if head.startswith(b"PAR1") else foreign(head)


def _container(path: Path, head: bytes, otherwise: str) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    named = BY_NAME.get(suffixes[-1]) if suffixes else None
    if head.startswith(b"PAR1"):
        return "parquet"
    if named == "parquet" or _binary(head):
        raise DataError("data.unknown_container", file=path.name)
    if named in ("csv", "txt"):
        return named
    first = head.removeprefix(BOM).lstrip()[:1]
    if first == b"[":
        return "json"
    if first == b"{":
        return "jsonl" if named == "jsonl" or _object_on_one_line(head) else "json"
    if named is None and not otherwise:
        raise DataError("data.unknown_container", file=path.name)
    return otherwise if named is None else "jsonl"


def _binary(head: bytes) -> bool:
    """Zero bytes, and not just a few of them in a text, where they spoil only the rows that hold them."""
    zeros = head.count(b"\0")
    if not zeros:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # which lets the last character be cut in two
    except UnicodeDecodeError:
        return True
    return zeros * FEW > len(head)


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
