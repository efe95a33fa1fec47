"""What is counted of every row when a dataset is written: lengths, turns, language, and the key of its duplicates.

    figures_of("messages", row) -> RowFigures(chars=812, answer_chars=640, turns=4, language="zh", key=…)

It runs once a row, two million times, so everything is counted by C code over bytes: a language is told by scripts
alone, and nothing here looks at grammar. Which rows are duplicates of which is `core.data.normal`'s business.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from core.data.kinds import Kind, Row
from core.data.normal import row_key

Language = Literal["zh", "en", "mixed", "code", "other"]
LANGUAGES: tuple[Language, ...] = ("zh", "en", "mixed", "code", "other")

FENCE = "```"
CODE_SHARE = 0.4  # of the characters stand in fenced blocks
LETTERS_A_WORD = 5  # a Chinese character says about as much as a short English word
MINOR_SHARE = 0.15  # of the words: with less than this of one language, the text is in the other
OTHER_SHARE = 0.3  # of the words are in scripts that are neither Han nor Latin


def _classes() -> tuple[bytes, bytes]:
    """A table from the bytes of UTF-8 to the class of the character that they begin, and the bytes that begin none.

    h: Han (U+4000 … U+9FFF); l: Latin, with and without accents; o: the other alphabets; s: syllables (Hangul);
    k: kana, and the punctuation of Chinese, which has the same first byte.
    """
    classes = {
        b"h": range(0xE4, 0xEA),
        b"l": [*range(0x41, 0x5B), *range(0x61, 0x7B), *range(0xC3, 0xCA)],
        b"o": range(0xCA, 0xE2),
        b"s": range(0xEA, 0xEE),
        b"k": [0xE3],
    }
    table = bytearray(256)
    for name, codes in classes.items():
        for code in codes:
            table[code] = name[0]
    return bytes(table), bytes(code for code in range(256) if not table[code])


_CLASS, _NONE = _classes()
_KANA = (b"\xe3\x81", b"\xe3\x82", b"\xe3\x83")


class RowFigures(NamedTuple):
    """`chars` of all texts; `answer_chars` of those a model would learn to write; `turns` without the system's.

    `key` is an unsigned 64-bit hash of the normalised text: equal for exact duplicates.
    """

    chars: int
    answer_chars: int
    turns: int
    language: Language
    key: int


def figures_of(kind: Kind, row: Row, key: int | None = None) -> RowFigures:
    """The figures of one canonical row; `key` where it is known already."""
    asked, answered, turns = texts_of(kind, row)
    answer_chars = sum(map(len, answered))
    chars = sum(map(len, asked)) + answer_chars
    language = language_of("\n".join((*asked, *answered)))
    return RowFigures(chars, answer_chars, turns, language, row_key(kind, row) if key is None else key)


def texts_of(kind: Kind, row: Row) -> tuple[list[str], list[str], int]:
    """(the texts that are given, those a model would learn to write, the number of turns) of a canonical row."""
    if kind == "messages":
        messages = row["messages"]
        asked = [message["content"] for message in messages if message["role"] != "assistant"]
        answered = [message["content"] for message in messages if message["role"] == "assistant"]
        return asked, answered, len(messages) - (messages[0]["role"] == "system" if messages else 0)
    if kind == "text":
        return [], [row["text"]], 1
    if kind == "choice":
        return [row["question"], *row["choices"]], [], 1
    prompt = row["prompt"]
    asked = [message["content"] for message in prompt]
    turns = len(prompt) - (prompt[0]["role"] == "system" if prompt else 0)
    if kind == "preference":
        return asked, [message["content"] for key in ("chosen", "rejected") for message in row[key]], turns + 1
    if kind == "ranked":
        return asked, [answer["content"] for answer in row["answers"]], turns + 1
    return asked, [], turns


def language_of(text: str) -> Language:
    """By the scripts of its letters: zh, en (any Latin script), both mixed, another; code where fences hold it."""
    if FENCE in text and sum(map(len, text.split(FENCE)[1::2])) >= CODE_SHARE * len(text):
        return "code"
    data = text.encode()
    found = data.translate(_CLASS, _NONE)
    if text.isascii():
        return "en" if found else "other"
    han = found.count(b"h")
    other = found.count(b"s") + found.count(b"o") / LETTERS_A_WORD
    marks = found.count(b"k")
    if marks > OTHER_SHARE * (han + other):
        other += sum(map(data.count, _KANA))
    latin = found.count(b"l") / LETTERS_A_WORD
    words = latin + han + other
    if not words or other > OTHER_SHARE * words:
        return "other"
    if han < MINOR_SHARE * words:
        return "en"
    return "zh" if latin < MINOR_SHARE * words else "mixed"
