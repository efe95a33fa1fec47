"""One generator per kind of file: bytes in, `Raw` rows out. A row that cannot be read is a `Raw` with its problem.

Line numbers count from 1 and are those of the uncompressed file: the line on which the row begins; for Parquet, which
has no lines, the row's number.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import DataError, Problem

BOM = codecs.BOM_UTF8
EXCERPT_CHARS = 120
MAX_ROW_BYTES = 8_000_000  # some two million tokens: no context holds it
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Raw:
    """One row as the file has it: `value` parsed from JSON, CSV or Parquet, or the problem that kept it from being."""

    line: int
    value: Any = None
    problem: Problem | None = None


Reader = Callable[[BinaryIO], Iterator[Raw]]


def excerpt(value: Any) -> str:
    """At most 120 characters of a row, for somebody who has to find it again."""
    if isinstance(value, bytes):
        text = value[: 4 * EXCERPT_CHARS].decode("utf-8", errors="replace").strip()
    elif isinstance(value, str):
        text = value[: 4 * EXCERPT_CHARS].strip()
    else:
        text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return text if len(text) <= EXCERPT_CHARS else text[: EXCERPT_CHARS - 1] + "…"


# -- lines ------------------------------------------------------------------------------------------------------------
def byte_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
    """(line number, bytes, size) of every line that is not blank; of one over the limit only the first bytes."""
    number = 0
    while chunk := stream.readline(MAX_ROW_BYTES + 1):
        number += 1
        size = len(chunk)
        if size > MAX_ROW_BYTES and not chunk.endswith(b"\n"):
            while rest := stream.readline(CHUNK):
                size += len(rest)
                if rest.endswith(b"\n"):
                    break
            chunk = chunk[:1000]
        if number == 1:
            chunk = chunk.removeprefix(BOM)
        if size > MAX_ROW_BYTES or not chunk.isspace():
            yield number, chunk, size


def too_long(line: int, size: int, text: bytes | str) -> Raw:
    params = {"megabytes": round(size / 1e6, 1), "limit": MAX_ROW_BYTES // 1_000_000}
    return Raw(line, problem=Problem("data.row_too_long", params, line=line, excerpt=excerpt(text)))


def not_utf8(line: int, data: bytes) -> Raw:
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
    return Raw(
        line, problem=Problem("data.not_utf8", {"byte": column, "guess": guess}, line=line, excerpt=excerpt(data))
    )


def parse(line: int, data: bytes, *, last: bool) -> Raw:
    """One JSON value. `last`: the file ends here without a line break, so broken JSON means that it was cut off."""
    try:
        return Raw(line, orjson.loads(data))
    except orjson.JSONDecodeError as error:
        detail, column = error.msg.split(": line ")[0], error.colno
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return not_utf8(line, data)
    if last and "end of data" in detail:
        return Raw(line, problem=Problem("data.truncated_line", line=line, excerpt=excerpt(data)))
    problem = Problem("data.json_broken", {"column": column, "detail": detail}, line=line, excerpt=excerpt(data))
    return Raw(line, problem=problem)


# -- JSONL and TXT ----------------------------------------------------------------------------------------------------
def jsonl_rows(stream: BinaryIO) -> Iterator[Raw]:
    for number, data, size in byte_lines(stream):
        if size > MAX_ROW_BYTES:
            yield too_long(number, size, data)
        else:
            yield parse(number, data, last=not data.endswith(b"\n"))


def txt_rows(stream: BinaryIO) -> Iterator[Raw]:
    """Every line is a row `{"text"}`."""
    for number, data, size in byte_lines(stream):
        if size > MAX_ROW_BYTES:
            yield too_long(number, size, data)
            continue
        try:
            yield Raw(number, {"text": data.decode("utf-8").strip("\r\n")})
        except UnicodeDecodeError:
            yield not_utf8(number, data)


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
        while position < len(text) and (text[position].isspace() or text[position] == ","):
            position += 1
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
                yield too_long(line, len(data), data) if len(data) > MAX_ROW_BYTES else parse(line, data, last=False)
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


def _may_go_on(text: str, position: int, failure: json.JSONDecodeError) -> bool:
    """Whether the element may only be incomplete: it fails where the text read so far ends, or inside a string."""
    if len(text) - position > 2 * MAX_ROW_BYTES:
        return False
    return failure.msg.startswith("Unterminated string") or failure.pos >= len(text) - 16


def _end_of_json(text: str, position: int, line: int, failure: json.JSONDecodeError | None) -> Raw:
    rest = text[position:]
    if len(rest) > MAX_ROW_BYTES:
        return too_long(line, len(rest), rest)
    if failure is None or _may_go_on(text, position, failure):
        return Raw(line, problem=Problem("data.truncated_line", line=line, excerpt=excerpt(rest)))
    params = {"column": failure.colno, "detail": failure.msg}
    line += text.count("\n", position, failure.pos)
    return Raw(line, problem=Problem("data.json_ends", params, line=line, excerpt=excerpt(rest)))


# -- CSV --------------------------------------------------------------------------------------------------------------
def csv_rows(stream: BinaryIO) -> Iterator[Raw]:
    """Rows by the names in the first line; cells may hold line breaks. The separator is that of the first line."""
    csv.field_size_limit(MAX_ROW_BYTES)
    wrong: list[Raw] = []
    lines = _csv_lines(stream, wrong)
    header_line = next(lines, "")
    delimiter = max(",\t;", key=header_line.count)
    header = [name.strip() for name in next(csv.reader([header_line], delimiter=delimiter), [])]
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    if wrong:
        yield wrong.pop()
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
            yield wrong[0]
            wrong.clear()
        elif len(cells) not in (0, len(header)):
            params = {"found": len(cells), "expected": len(header)}
            yield Raw(
                line, problem=Problem("data.csv_cells", params, line=line, excerpt=excerpt(delimiter.join(cells)))
            )
        elif any(cell.strip() for cell in cells):
            yield Raw(line, dict(zip(header, cells, strict=True)))


def _csv_lines(stream: BinaryIO, wrong: list[Raw]) -> Iterator[str]:
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
            for batch in pq.ParquetFile(seekable).iter_batches(batch_size=1000):
                for value in batch.to_pylist():
                    number += 1
                    yield Raw(number, value)
        except (pa.ArrowException, OSError) as error:
            raise DataError("data.parquet_broken", detail=str(error).split("\n")[0]) from error
