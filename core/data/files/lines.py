"""Reads files of lines (JSONL and TXT) by chunks of whole lines, which several processes may do side by side.

A chunk is parsed at once, and line by line only where something is wrong with it. Memory is bounded by the chunk and by
`MAX_ROW_BYTES`, whatever the file holds.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from gzip import BadGzipFile
from typing import Protocol

import orjson

from core.data.files.containers import BATCH_BYTES, BOM, MAX_ROW_BYTES, Batch, Raw, not_utf8, parse, too_long

GZIP_ERRORS = (EOFError, BadGzipFile, zlib.error)


class Stream(Protocol):
    """What a file of lines is read from."""

    def read1(self, size: int = ..., /) -> bytes: ...


Lines = Callable[[bytes, int, bool], Batch]


def line_batches(
    stream: Stream, read: Lines, size: int = BATCH_BYTES, *, at_start: bool = True
) -> Iterator[tuple[Batch, int]]:
    """(rows, number of lines they take) for chunks of about `size` bytes. Raises what a damaged gzip stream raises.

    `at_start`: a byte order mark may stand before the first line, and is left out. Memory is bounded: of a line over
    the limit only the first bytes are kept.
    """
    first, rest, skipped = 1, b"", 0  # `skipped` bytes belong to a line that is too long, and `rest` is its beginning
    while True:
        block, fault = _fill(stream, size)
        ended = fault is not None or not block
        if skipped:
            end = block.find(b"\n") + 1
            if not end and not ended:
                skipped += len(block)
                continue
            yield Batch(problems=[too_long(first, skipped + (end or len(block)), rest)]), 1
            first, rest, skipped, block = first + 1, b"", 0, block[end:] if end else b""
        cut = block.rfind(b"\n") + 1
        if not cut and not ended:
            rest += block
            if len(rest) > MAX_ROW_BYTES:
                skipped, rest = len(rest), rest[:1000]
            continue
        data = rest + block[:cut] if cut or fault is None else b""  # what a damaged archive gives last is half a line
        rest = block[cut:]
        if data:
            count = data.count(b"\n") + (not cut)
            yield read(data.removeprefix(BOM) if at_start and first == 1 else data, first, not cut), count
            first += count
        if fault is not None:
            raise fault
        if ended:
            return


def _fill(stream: Stream, size: int) -> tuple[bytes, Exception | None]:
    """`size` bytes or what is left, and the damage that kept it from reading on."""
    pieces: list[bytes] = []
    while size > 0:
        try:
            piece = stream.read1(size)
        except GZIP_ERRORS as error:
            return b"".join(pieces), error
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces), None


def jsonl_lines(data: bytes, first: int, cut_off: bool) -> Batch:
    """Every line is one JSON value. `cut_off`: the data ends in the middle of a line."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if max(map(len, lines), default=0) <= MAX_ROW_BYTES:
        try:  # nearly every chunk is well-formed
            return Batch(list(range(first, first + len(lines))), list(map(orjson.loads, lines)), lines)
        except orjson.JSONDecodeError:
            pass
    batch = Batch()
    for raw in _json_lines(lines, first, cut_off):
        batch.add(raw)
    return batch


def _json_lines(lines: list[bytes], first: int, cut_off: bool) -> Iterator[Raw]:
    end = first + len(lines) - 1
    for number, line in enumerate(lines, first):
        if len(line) > MAX_ROW_BYTES:
            yield Raw(number, problem=too_long(number, len(line), line))
        elif line and not line.isspace():
            yield parse(number, line, last=cut_off and number == end)


def txt_lines(data: bytes, first: int, cut_off: bool) -> Batch:
    """Every line is a row `{"text"}`."""
    batch = Batch()
    for number, line in enumerate(data.split(b"\n"), first):
        if len(line) > MAX_ROW_BYTES:
            batch.problems.append(too_long(number, len(line), line))
        elif line and not line.isspace():
            try:
                text = line.decode("utf-8").strip("\r")
            except UnicodeDecodeError:
                batch.problems.append(not_utf8(number, line))
            else:
                batch.lines.append(number)
                batch.values.append({"text": text})
    return batch
