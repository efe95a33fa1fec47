"""Texts as sets of 5-character pieces (shingles), many rows at once: what near-duplicates are told by.

Pieces are taken from the normal text (`core.data.normal`: no case, width, spaces, punctuation), in Chinese and in Latin
script alike: without spaces a piece of five letters is about a word. A text shorter than a piece is one piece itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.data.normal import DELETED, SPECIAL, normalise, tables

PIECE = 5  # characters
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, bits well mixed (2^64 / golden ratio)


@dataclass(frozen=True)
class Shingles:
    """`hashes` [all pieces of all rows], uint64; those of row n are `hashes[offsets[n]:offsets[n + 1]]`, repeats kept.

    A row without letters has none.
    """

    hashes: NDArray[np.uint64]
    offsets: NDArray[np.int64]

    def unique(self, row: int) -> NDArray[np.uint32]:
        """The set of one row's pieces, ascending, as 32 bits each."""
        return np.unique(self.hashes[self.offsets[row] : self.offsets[row + 1]].astype(np.uint32))


def shingles_of(texts: Sequence[str], piece: int = PIECE) -> Shingles:
    """The pieces of every text, `piece` characters each, in one go over the letters of all of them."""
    codes, lengths = _normal_codes(texts)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    hashes = _windows(codes, piece)
    pieces = np.where(lengths == 0, 0, np.maximum(lengths - piece + 1, 1))
    offsets = np.concatenate([[0], np.cumsum(pieces)]).astype(np.int64)
    places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], pieces)
    found = hashes[places]
    for row in np.flatnonzero((lengths > 0) & (lengths < piece)).tolist():
        found[offsets[row]] = _short(codes[starts[row] : ends[row]])
    return Shingles(found, offsets)


def _normal_codes(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """(normal code units of all texts on end, how many each text has)."""
    encoded = [text.encode("utf-16-le", "surrogatepass") for text in texts]
    sizes = np.array([len(data) // 2 for data in encoded], dtype=np.int64)
    mapped = tables()[0][np.frombuffer(b"".join(encoded), dtype="<u2")]
    borders = np.concatenate([[0], np.cumsum(sizes)])
    if (mapped == SPECIAL).any():  # these few need Unicode's own normalisation, text by text
        special = np.unique(np.searchsorted(borders, np.flatnonzero(mapped == SPECIAL), side="right") - 1)
        parts = np.split(mapped, borders[1:-1])
        for row in special.tolist():
            parts[row] = normalise(np.frombuffer(encoded[row], dtype="<u2"))
        mapped = np.concatenate(parts)
        borders = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    kept = mapped != DELETED
    before = np.concatenate([[0], np.cumsum(kept)])
    return mapped[kept].astype(np.uint64), np.diff(before[borders])


def _windows(codes: NDArray[np.uint64], piece: int) -> NDArray[np.uint64]:
    """A hash of every `piece` code units on end; the last few, which reach over the end, count zeros there."""
    padded = np.concatenate([codes, np.zeros(piece, dtype=np.uint64)])
    hashes = padded[: len(codes)].copy()
    for step in range(1, piece):
        hashes *= FACTOR
        hashes += padded[step : step + len(codes)]
    return _mixed(hashes)


def _short(codes: NDArray[np.uint64]) -> np.uint64:
    value = np.array([len(codes)], dtype=np.uint64)
    for code in codes:
        value = value * FACTOR + code
    mixed: np.uint64 = _mixed(value)[0]
    return mixed


def _mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of the result depends on every bit of the sum (the end of MurmurHash3's finaliser)."""
    hashes ^= hashes >> np.uint64(33)
    hashes *= np.uint64(0xFF51AFD7ED558CCD)
    hashes ^= hashes >> np.uint64(33)
    return hashes
