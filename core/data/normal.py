"""What makes two rows the same: their text without case, width, spaces and punctuation, and a 64-bit hash of it.

    normal_text("Ｈello， World!") == "helloworld"
    row_key("messages", row)                      one number a row, equal for rows that say the same

This is the one definition of an exact duplicate; near ones are the cleaning steps' business. Texts are mapped with a
table over the basic plane at once (numpy), because a check does this for millions of rows; only a row with a character
that becomes several, or that combines with its neighbour, goes through Unicode's own normalisation first. Characters
beyond the basic plane (emoji, rare ideographs) stay as they are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from core.data.kinds import Kind

TURN = "\ufdd8"  # stands between the turns of a row; a noncharacter, which no text may hold
DELETED, SPECIAL = 0, 1  # marks in the tables: leave the character out; normalise the row first
AS_THEY_ARE = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0xD800, 0xE000))  # ideographs, Hangul, halves

Codes = NDArray[np.uint16]


@cache
def tables() -> tuple[Codes, Codes]:
    """What every character of the basic plane becomes, [65536] each: in a text as it came, and in a normalised one."""
    normal = np.zeros(65536, dtype=np.uint16)
    for start, stop in AS_THEY_ARE:
        normal[start:stop] = np.arange(start, stop)
    normal[ord(TURN)] = ord(TURN)
    raw = normal.copy()
    others = np.flatnonzero(normal == DELETED).tolist()
    for code in others:
        char = chr(code)
        if char.isalnum() or unicodedata.category(char)[0] == "M":
            lower = char.lower()
            normal[code] = ord(lower) if len(lower) == 1 else code
    for code in others:
        one = unicodedata.normalize("NFKC", chr(code))
        joins = len(one) != 1 or one > "\uffff" or unicodedata.combining(one) or "\u1100" <= one < "\u1200"
        raw[code] = SPECIAL if joins else normal[ord(one)]
    return raw, normal


def codes_of(text: str) -> Codes:
    """The text as UTF-16 code units."""
    return np.frombuffer(text.encode("utf-16-le", "surrogatepass"), dtype="<u2")


def normalise(codes: Codes) -> Codes:
    """The code units of one text, or of one row with TURN between its texts, in normal form."""
    raw, normal = tables()
    mapped: Codes = raw.take(codes)
    if SPECIAL in mapped:
        text = codes.tobytes().decode("utf-16-le", "surrogatepass")
        mapped = normal.take(codes_of(unicodedata.normalize("NFKC", text)))
    kept: Codes = mapped[mapped != DELETED]
    return kept


def normal_text(text: str) -> str:
    """`text` in lower case and half width, without spaces, punctuation and symbols."""
    return normalise(codes_of(text)).tobytes().decode("utf-16-le", "surrogatepass")


def texts_of(kind: Kind, row: Mapping[str, Any]) -> Iterator[str]:
    """The texts of a canonical row in their order: turns, the chosen before the rejected answer, question and choices.

    A system message is marked as one, so that a row never equals another without it.
    """
    if kind == "text":
        yield row["text"]
        return
    if kind == "choice":
        yield from (row["question"], *row["choices"], row["answer"])
        return
    for column in ("messages", "prompt", "chosen", "rejected", "answers"):
        for message in row.get(column, ()):
            if message.get("role") == "system":
                yield TURN
            yield message["content"]


def row_text(kind: Kind, row: Mapping[str, Any], between: str = TURN) -> str:
    """All texts of a row as one."""
    return between.join(texts_of(kind, row))


def row_key(kind: Kind, row: Mapping[str, Any]) -> int:
    """64 bits, equal for two rows of a kind exactly when their normal texts are (but for chance: 2^-64 a pair)."""
    return xxhash.xxh3_64_intdigest(normalise(codes_of(row_text(kind, row))).tobytes())
