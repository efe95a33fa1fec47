"""Looks at the texts of many rows at once: the hashes by which they are compared, and which of them need a closer look.

A row is its texts with TURN between them, a batch is its rows with ROW behind each, and all of it is one array of
UTF-16 code units; numpy maps it with two tables, one for the normal form and one for suspicious characters. So a check
of millions of rows looks closer only at the few in which something may be wrong (`core.data.check.faults`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from core.data.normal import DELETED, SPECIAL, Codes, codes_of, normalise, tables

ROW = "\ufdd9"  # stands behind every row; a noncharacter, which no text may hold

# Why a row needs a closer look; FOLLOWS only confirms the character before it.
CONTROL, INVISIBLE, REPLACED, LATIN, MARKUP, HAN, FILLER, FOLLOWS = (1 << bit for bit in range(8))
SEVERAL = 3  # signs of HAN that a row must have

# What the bytes 0x80 … 0xBF become when UTF-8 is read as Latin-1, or as CP1252.
FOLLOWING = bytes(range(0x80, 0xC0)).decode("latin-1") + bytes(range(0x80, 0xA0)).decode("cp1252", "ignore")
# The first two bytes of most Chinese characters and of their punctuation; read as GBK, they become rare characters.
FIRST_HALVES = b"".join(bytes((lead, trail)) for lead in range(0xE4, 0xEA) for trail in range(0x80, 0xC0))
FIRST_HALVES += b"\xe2\x80\xe3\x80\xef\xbc"


class Scan(NamedTuple):
    """Of every row: `keys` of its normal form, `exact` of its text as it is (both uint64), and `marks` (uint8)."""

    keys: NDArray[np.uint64]
    exact: NDArray[np.uint64]
    marks: NDArray[np.uint8]


@cache
def _suspicious() -> NDArray[np.uint8]:
    table = np.zeros(65536, dtype=np.uint8)
    table[[*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0)]] = CONTROL
    table[[0x200B, 0x2060, 0xFEFF]] = INVISIBLE
    table[0xFFFD] = REPLACED
    table[0xC2:0xF5] |= LATIN
    table[[ord("<"), ord("&")]] = MARKUP
    table[[ord(char) for char in FIRST_HALVES.decode("gbk")]] = HAN
    table[[ord(char) for char in "锟烫屯"]] = FILLER
    table[[ord(char) for char in FOLLOWING]] |= FOLLOWS
    return table


def scan(texts: Sequence[str]) -> Scan:
    """Scan rows, each given as its texts with TURN between them (`core.data.normal.row_text`)."""
    if not texts:
        none = np.zeros(0, dtype=np.uint64)
        return Scan(none, none, np.zeros(0, dtype=np.uint8))
    codes = codes_of(ROW.join(texts) + ROW)
    ends = np.flatnonzero(codes == ord(ROW))
    if len(ends) != len(texts):  # somebody's text holds the noncharacter
        texts = [text.replace(ROW, "\ufffd") for text in texts]
        codes = codes_of(ROW.join(texts) + ROW)
        ends = np.flatnonzero(codes == ord(ROW))
    starts = np.concatenate([[0], ends[:-1] + 1])
    return Scan(_keys(codes, starts, ends), _hashes(codes, starts, ends), _marks(codes, ends))


def _hashes(codes: Codes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
    data = memoryview(codes.data).cast("B")
    digest = xxhash.xxh3_64_intdigest
    bounds = zip((starts * 2).tolist(), (ends * 2).tolist(), strict=True)
    return np.array([digest(data[start:end]) for start, end in bounds], dtype=np.uint64)


def _keys(codes: Codes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The same as `row_key` of each row."""
    mapped = tables()[0].take(codes)
    kept = mapped != DELETED
    sizes = np.add.reduceat(kept, starts, dtype=np.int64)  # ROW itself is deleted, so no row is empty here
    stops = np.cumsum(sizes)
    keys = _hashes(mapped[kept], stops - sizes, stops)
    special = np.searchsorted(ends, np.flatnonzero(mapped == SPECIAL))
    for row in np.unique(special).tolist():
        keys[row] = xxhash.xxh3_64_intdigest(normalise(codes[starts[row] : ends[row]]).tobytes())
    return keys


def _marks(codes: Codes, ends: NDArray[np.int64]) -> NDArray[np.uint8]:
    found = _suspicious().take(codes)
    places = np.flatnonzero(found & ~np.uint8(FOLLOWS))
    marks = np.zeros(len(ends), dtype=np.uint8)
    if not len(places):
        return marks
    signs, after = found[places], codes[places + 1]  # behind a sign there is always something: ROW at the least
    letter = ((after | 0x20) - ord("a") < 26) | (after == ord("/")) | (after == ord("#"))
    idle = ((signs & LATIN) > 0) & ((found[places + 1] & FOLLOWS) == 0) | (signs == MARKUP) & ~letter
    places, signs = places[~idle], signs[~idle]
    rows = np.searchsorted(ends, places)
    np.bitwise_or.at(marks, rows, signs & ~np.uint8(FOLLOWS))
    few = np.bincount(rows[signs == HAN], minlength=len(ends)) < SEVERAL
    marks[few] &= ~np.uint8(HAN)
    return marks
