"""Marks that are set into the texts of a conversation before a template renders it, and taken out afterwards.

They are Unicode noncharacters, which no text may hold; `clean` replaces any that a text holds nevertheless.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from core.data.dialogue import Message

Span = tuple[int, int]

ANSWER_START, ANSWER_END, TURN_END, TYPED_START, TYPED_END = "\ufdd0\ufdd1\ufdd2\ufdd3\ufdd4"
MARKS = re.compile("[\ufdd0-\ufddf]")


def clean(messages: Iterable[Message]) -> list[Message]:
    """The same messages without noncharacters in their texts."""
    return [
        {**message, "content": MARKS.sub("\ufffd", message["content"])} if MARKS.search(message["content"]) else message
        for message in messages
    ]


def any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Matches any of `tokens`, the longest first; nothing where there are none."""
    longest = sorted(tokens, key=len, reverse=True)
    return re.compile("(?:" + ("|".join(map(re.escape, longest)) or "(?!)") + ")")


def unmark(marked: str) -> tuple[str, list[tuple[str, int]], list[int]]:
    """The text without marks, each mark with its place in that text, and the places of the marks in `marked`."""
    found, places = [], []
    for count, match in enumerate(MARKS.finditer(marked)):
        found.append((match.group(), match.start() - count))
        places.append(match.start())
    return MARKS.sub("", marked), found, places


def pairs(found: list[tuple[str, int]]) -> tuple[Span, ...]:
    """The spans of typed control tokens; one that the template tore apart is none any more."""
    marks = [(mark, place) for mark, place in found if mark in (TYPED_START, TYPED_END)]
    return tuple(
        (start, end)
        for (first, start), (second, end) in itertools.pairwise(marks)
        if first == TYPED_START and second == TYPED_END
    )


def outside(text: str, spans: Sequence[Span]) -> list[str]:
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
