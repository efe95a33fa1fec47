"""One reader per kind of file: bytes in, rows out. A row that cannot be read is a `Raw` with its problem.

Line numbers count from 1 and are those of the uncompressed file: the line on which the row begins; for Parquet, which
has no lines, the row's number. JSON, CSV and Parquet are here; files of lines are read in `core.data.files.lines`.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import heapq
import io
import itertools
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import DataError, Problem

BOM = codecs.BOM_UTF8
EXCERPT_CHARS = 120
MAX_ROW_BYTES = 8_000_000  # some two million tokens: no context holds it
CHUNK = 1 << 20
BATCH_BYTES = 8_000_000
BATCH_ROWS = 2000
LONG_BYTES = 8 * BATCH_BYTES  # of a batch of Parquet whose texts may all be the longest
LOOKED_AT = 64  # rows of a row group, for how many texts stand in one
BETWEEN = re.compile(r"[\s,]*")  # two elements of JSON
CELL_ERRORS = (ValueError, OverflowError)  # text that is not UTF-8, a date beyond the year 9999 (pyarrow raises them)


@dataclass(frozen=True, slots=True)
class Raw:
    """One row as the file has it: `value` parsed from JSON, CSV or Parquet, or the problem that kept it from being.

    `text` is its JSON, where that is what the file holds.
    """

    line: int
    value: Any = None
    problem: Problem | None = None
    text: bytes | None = None


@dataclass(slots=True)
class Batch:
    """Some rows in order. `texts` is as long as `values` where the file is JSON, else empty; each problem is a row."""

    lines: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values) + len(self.problems)

    def add(self, raw: Raw) -> None:
        if raw.problem is not None:
            self.problems.append(raw.problem)
            return
        self.lines.append(raw.line)
        self.values.append(raw.value)
        if raw.text is not None:
            self.texts.append(raw.text)

    def raws(self) -> Iterator[Raw]:
        """The rows one by one, the unreadable ones where they stood."""
        texts: Sequence[bytes | None] = self.texts or [None] * len(self.values)
        good = (Raw(line, value, text=text) for line, value, text in zip(self.lines, self.values, texts, strict=True))
        broken = (Raw(problem.line or 0, problem=problem) for problem in self.problems)
        yield from heapq.merge(good, broken, key=lambda raw: raw.line)


Rows = Callable[[BinaryIO], Iterator[Raw]]


def excerpt(value: Any, around: int = 0) -> str:
    """At most 120 characters of a row, for somebody who has to find it again; from shortly before `around` on.

    Control characters are written as `\\u0007`, so that a terminal shows them and does not obey.
    """
    if isinstance(value, bytes):
        text = value[: 4 * EXCERPT_CHARS].decode("utf-8", errors="replace").strip()
    elif isinstance(value, str):
        start = max(0, around - EXCERPT_CHARS // 3)
        text = ("…" if start else "") + value[start : start + 4 * EXCERPT_CHARS].strip()
    else:
        text = _json_of(value)
    text = text if len(text) <= EXCERPT_CHARS else text[: EXCERPT_CHARS - 1] + "…"
    if not text.isprintable():
        shown = (c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
        text = "".join(shown)[: EXCERPT_CHARS - 1] + ("…" if text.endswith("…") else "")
    return text


def _json_of(value: Any) -> str:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # orjson reads deeper nesting than it writes
        return "{" + ", ".join(map(str, value)) + ": …}" if isinstance(value, dict) else "[…]"


def batches_of(raws: Iterable[Raw]) -> Iterator[Batch]:
    """`raws` by batches of BATCH_ROWS, or fewer where their text is long."""
    batch, size = Batch(), 0
    for raw in raws:
        batch.add(raw)
        size += len(raw.text) if raw.text is not None else _weight(raw.value)
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = Batch(), 0
    if len(batch):
        yield batch


def _weight(value: Any) -> int:
    """About how much text a row holds, however deep: characters."""
    if isinstance(value, str | bytes):
        return len(value)
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_weight, within))


# -- what is wrong with a row ----------------------------------------------------------------------------------------
def too_long(line: int, size: int, text: bytes | str) -> Problem:
    params = {"megabytes": round(size / 1e6, 1), "limit": MAX_ROW_BYTES // 1_000_000}
    return Problem("data.row_too_long", params, line=line, excerpt=excerpt(text))


def not_utf8(line: int, data: bytes) -> Problem:
    """Says which byte is wrong, and the encoding it would fit where that is the usual Chinese one."""
    try:
        data.decode("utf-8")
        column = 1
    except UnicodeDecodeError as error:
        column = error.start + 1
    guess = "GB18030"
    try:
        data.decode("gb18030")
    except UnicodeDecodeError:
        guess = "ISO-8859-1"
    return Problem("data.not_utf8", {"byte": column, "guess": guess}, line=line, excerpt=excerpt(data))


def parse(line: int, data: bytes, *, last: bool) -> Raw:
    """One JSON value. `last`: the file ends here without a line break, so broken JSON means that it was cut off."""
    try:
        return Raw(line, orjson.loads(data), text=data)
    except orjson.JSONDecodeError as error:
        detail, column = error.msg.split(": line ")[0], error.colno
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return Raw(line, problem=not_utf8(line, data))
    if last and "end of data" in detail:
        return Raw(line, problem=Problem("data.truncated_line", line=line, excerpt=excerpt(data)))
    problem = Problem("data.json_broken", {"column": column, "detail": detail}, line=line, excerpt=excerpt(data))
    return Raw(line, problem=problem)


# -- JSON -------------------------------------------------------------------------------------------------------------
def json_rows(stream: BinaryIO) -> Iterator[Raw]:
    """The elements of one array, or objects one after another over several lines, without reading the file whole.

    After a broken element nothing says where the next begins, so reading ends there.
    """
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    scan = json.JSONDecoder().raw_decode
    text = decode.decode(stream.read(CHUNK)).removeprefix("\ufeff")
    position, line, ended = 0, 1, False
    array = text.lstrip().startswith("[")
    opened = not array
    while True:
        start = position
        between = BETWEEN.match(text, position)
        assert between is not None  # it matches nothing, too
        position = between.end()
        line += text.count("\n", start, position)
        if not opened and position < len(text):
            opened, position = True, position + 1
            continue
        failure: json.JSONDecodeError | None = None
        if position < len(text):
            if array and text[position] == "]":
                return
            try:
                _, end = scan(text, position)
            except RecursionError:
                failure = json.JSONDecodeError("nested too deeply", text, position)
            except json.JSONDecodeError as error:
                failure = error
            else:
                data = text[position:end].encode("utf-8", "surrogateescape")
                yield _element(line, data)
                line += text.count("\n", position, end)
                position = end
                continue
        if not ended and (failure is None or _may_go_on(text, position, failure)):
            more = stream.read(max(CHUNK, len(text) - position))
            ended = not more
            text, position = text[position:] + decode.decode(more, final=ended), 0
            continue
        if failure is not None or array:
            yield _end_of_json(text, position, line, failure)
        return


def _element(line: int, data: bytes) -> Raw:
    if len(data) > MAX_ROW_BYTES:
        return Raw(line, problem=too_long(line, len(data), data))
    return parse(line, data, last=False)


def _may_go_on(text: str, position: int, failure: json.JSONDecodeError) -> bool:
    """Whether the element may only be incomplete: it fails where the text read so far ends, or inside a string."""
    if len(text) - position > 2 * MAX_ROW_BYTES:
        return False
    return failure.msg.startswith("Unterminated string") or failure.pos >= len(text) - 16


def _end_of_json(text: str, position: int, line: int, failure: json.JSONDecodeError | None) -> Raw:
    rest = text[position:]
    if len(rest) > MAX_ROW_BYTES:
        return Raw(line, problem=too_long(line, len(rest), rest))
    if failure is None or _may_go_on(text, position, failure):
        return Raw(line, problem=Problem("data.truncated_line", line=line, excerpt=excerpt(rest)))
    params = {"column": failure.colno, "detail": failure.msg}
    line += text.count("\n", position, failure.pos)
    return Raw(line, problem=Problem("data.json_ends", params, line=line, excerpt=excerpt(rest)))


# -- CSV --------------------------------------------------------------------------------------------------------------
def csv_rows(stream: BinaryIO) -> Iterator[Raw]:
    """Rows by the names in the first line; cells may hold line breaks. The separator is that of the first line."""
    csv.field_size_limit(MAX_ROW_BYTES)
    wrong: list[Problem] = []
    lines = _csv_lines(stream, wrong)
    header_line = next(lines, "")
    delimiter = _delimiter(header_line)
    try:
        header = _names(header_line)
    except csv.Error as error:
        yield Raw(1, problem=Problem("data.csv_broken", {"detail": str(error)}, line=1, excerpt=excerpt(header_line)))
        return
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    if wrong:
        yield Raw(1, problem=wrong.pop())
        return
    while True:
        line = rows.line_num + 2  # the header was read before, and lines count from 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Raw(line, problem=Problem("data.csv_broken", {"detail": str(error)}, line=line))
            continue
        if wrong:
            yield Raw(line, problem=wrong[0])
            wrong.clear()
        elif len(cells) not in (0, len(header)):
            params = {"found": len(cells), "expected": len(header)}
            yield Raw(
                line, problem=Problem("data.csv_cells", params, line=line, excerpt=excerpt(delimiter.join(cells)))
            )
        elif any(cell.strip() for cell in cells):
            yield Raw(line, dict(zip(header, cells, strict=True)))


def repeated_columns(head: bytes) -> list[str]:
    """Names that stand twice in the first line: of such columns only the last can be read."""
    first = head.removeprefix(BOM).split(b"\n", 1)[0].decode("utf-8", errors="replace")
    try:
        return sorted(name for name, times in Counter(_names(first)).items() if times > 1)
    except csv.Error:  # reading the rows says so
        return []


def _delimiter(header: str) -> str:
    return max(",\t;", key=header.count)


def _names(header: str) -> list[str]:
    """The columns that the first line names. Raises csv.Error."""
    return [name.strip() for name in next(csv.reader([header], delimiter=_delimiter(header)), [])]


def _csv_lines(stream: BinaryIO, wrong: list[Problem]) -> Iterator[str]:
    """Lines as text; one that is not UTF-8 is noted in `wrong`, and passed on with replacement characters."""
    number = 0
    while data := stream.readline(MAX_ROW_BYTES + 1):
        number += 1
        data = data.removeprefix(BOM) if number == 1 else data
        try:
            yield data.decode("utf-8")
        except UnicodeDecodeError:
            wrong.append(not_utf8(number, data))
            yield data.decode("utf-8", errors="replace")


# -- Parquet ----------------------------------------------------------------------------------------------------------
def parquet_rows(stream: BinaryIO) -> Iterator[Raw]:
    """Rows by column name. Parquet is read from its end, so a gzip'd one is unpacked to a temporary file first."""
    with contextlib.ExitStack() as stack:
        seekable: Any = stream
        if not isinstance(stream, io.BufferedReader):
            seekable = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(stream, seekable, CHUNK)
            seekable.seek(0)
        try:
            number = 0
            with pq.ParquetFile(seekable) as file:
                for group in range(file.num_row_groups):
                    for batch in file.iter_batches(batch_size=_rows_at_once(file, seekable, group), row_groups=[group]):
                        yield from _parquet_batch(batch, number + 1)
                        number += batch.num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of the name of a column
            raise DataError("data.parquet_broken", detail=str(error).split("\n")[0]) from error


def _rows_at_once(file: Any, stream: Any, at: int) -> int:
    """How many rows of a row group fit into memory together.

    A text that a column holds once, in its dictionary, may stand in every row: so the longest of each dictionary
    counts for all of them. The columns' own metadata are not asked: where they are damaged, pyarrow ends the process.
    """
    group, columns = file.metadata.row_group(at), [file.schema.column(number) for number in range(len(file.schema))]
    size = BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    if texts and group.num_rows:
        reader = pq.ParquetFile(stream, metadata=file.metadata, read_dictionary=texts, buffer_size=CHUNK)
        first = next(reader.iter_batches(LOOKED_AT, row_groups=[at], columns=texts), None)
        heaviest = _longest(first.to_struct_array()) / first.num_rows if first is not None and first.num_rows else 0.0
        size = min(size, int(LONG_BYTES / max(1.0, heaviest)))
    return int(min(BATCH_ROWS, max(1, size)))


def _longest(array: Any) -> int:
    """Bytes of an array, however nested, if every text in it were the longest of its dictionary."""
    if pa.types.is_dictionary(array.type):
        return len(array) * int(pc.max(pc.binary_length(array.dictionary)).as_py() or 0)
    if pa.types.is_struct(array.type):
        return sum(_longest(array.field(number)) for number in range(array.type.num_fields))
    if pa.types.is_map(array.type):
        return _longest(array.keys) + _longest(array.items)
    return _longest(array.values) if hasattr(array, "values") else 0


def _parquet_batch(batch: Any, first: int) -> Iterator[Raw]:
    try:
        yield from itertools.starmap(Raw, enumerate(batch.to_pylist(), first))
        return
    except CELL_ERRORS:  # before the first row of the batch: now one by one, to find the rows that are to blame
        pass
    for at in range(batch.num_rows):
        try:
            yield Raw(first + at, batch.slice(at, 1).to_pylist()[0])
        except CELL_ERRORS as error:
            detail = str(error).split("\n")[0].rstrip(".")
            yield Raw(first + at, problem=Problem("data.cell_unreadable", {"detail": detail}, line=first + at))
