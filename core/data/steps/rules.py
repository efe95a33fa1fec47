"""Rules that look at one row: its length, repetition, symbols, language, and what it contains."""

from __future__ import annotations

import re

import numpy as np
import regex

from core.configs.clean_steps import Contains, LanguageOf, Length, Repetition, Symbols
from core.data.figures import language_of, texts_of
from core.data.steps.base import Drop, Item, Job, PerRow
from core.data.steps.patterns import spots
from core.data.steps.shingles import FACTOR
from core.data.steps.texts import learnt_texts, shown, text_at
from core.errors import DataError

PIECE = 10  # characters that have to come back on end to count as repeated
LEAST_CHARS = 60  # shorter texts may repeat themselves, and be a number
LEAST_LINES = 4
PATTERN_SECONDS = 2.0  # for one row; a pattern that needs longer would need hours for a dataset

RULED = re.compile(r"[\W_]{3,}")
LETTERS = re.compile(r"[^\W\d_]+")
USUAL = re.compile(r"[\s,.!?;:'\"()\-，。！？、；：“”‘’（）《》〈〉「」【】…—～~·]+")


def length(step: Length, job: Job) -> PerRow:
    """Characters of the row and of its answers, and its turns, within bounds."""
    kind = job.kind

    def check(item: Item) -> Item | Drop:
        asked, answered, turns = texts_of(kind, item.row)
        answer = sum(map(len, answered))
        chars = sum(map(len, asked)) + answer
        figures = (
            ("chars", chars, step.min_chars, step.max_chars),
            ("answer", answer, step.min_answer_chars, step.max_answer_chars),
            ("turns", turns, step.min_turns, step.max_turns),
        )
        for name, value, least, most in figures:
            if least is not None and value < least:
                return Drop(f"step.few_{name}", {"count": value, "limit": least})
            if most is not None and value > most:
                return Drop(f"step.many_{name}", {"count": value, "limit": most})
        return item

    return check


def repetition(step: Repetition, job: Job) -> PerRow:
    """How much of each text that would be learnt comes from earlier in the same text, by pieces and by lines.

    Code may repeat itself, and so may rejected answers.
    """
    kind = job.kind

    def check(item: Item) -> Item | Drop:
        for text in filter(_long, map(without_code, learnt_texts(kind, item.row))):
            share, line = repeated_lines(text)
            if share > step.max_lines:
                return Drop("step.repeated_lines", {"percent": round(100 * share), "text": shown(line)})
            share, piece = repeated_pieces(text)
            if share > step.max_pieces:
                return Drop("step.repeated_pieces", {"percent": round(100 * share), "text": shown(piece)})
        return item

    return check


def _long(text: str) -> bool:
    return len(text) >= LEAST_CHARS


def without_code(text: str) -> str:
    """`text` without its fenced blocks of code."""
    return "\n".join(text.split("```")[::2]) if "```" in text else text


def repeated_pieces(text: str) -> tuple[float, str]:
    """(share of the places at which a piece of PIECE characters begins that stood earlier, the first such piece).

    Runs of spaces and symbols, as tables and drawings have them, count as one space.
    """
    text = RULED.sub(" ", text)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    windows = len(codes) - PIECE + 1
    if windows < 2:
        return 0.0, ""
    hashes = codes[:windows].copy()
    for step in range(1, PIECE):
        hashes *= FACTOR
        hashes += codes[step : step + windows]
    order = np.argsort(hashes, kind="stable")
    again = order[1:][hashes[order[1:]] == hashes[order[:-1]]]
    if not len(again):
        return 0.0, ""
    first = int(again.min())
    return len(again) / windows, text[first : first + PIECE]


def repeated_lines(text: str) -> tuple[float, str]:
    """(share of the characters that stand in lines which stood before, the first such line); blank lines count not."""
    lines = [line for part in text.split("\n") if (line := part.strip())]
    if len(lines) < LEAST_LINES:
        return 0.0, ""
    first = {line: place for place, line in reversed(list(enumerate(lines)))}
    again = [line for place, line in enumerate(lines) if first[line] < place]
    return (sum(map(len, again)) / sum(map(len, lines)), again[0]) if again else (0.0, "")


def symbols(step: Symbols, job: Job) -> PerRow:
    """The share of characters that are neither letters nor spaces nor usual punctuation."""
    kind = job.kind

    def check(item: Item) -> Item | Drop:
        text = text_at(kind, item.row)
        share = symbol_share(text) if _long(text) else 0.0
        return Drop("step.symbols", {"percent": round(100 * share)}) if share > step.max_share else item

    return check


def symbol_share(text: str) -> float:
    """From 0 to 1; digits count as symbols, letters of every script do not."""
    plain = sum(map(len, LETTERS.findall(text))) + sum(map(len, USUAL.findall(text)))
    return 1 - plain / len(text) if text else 0.0


def language(step: LanguageOf, job: Job) -> PerRow:
    """Rows of the chosen languages."""
    kind, kept = job.kind, frozenset(step.keep)

    def check(item: Item) -> Item | Drop:
        found = language_of(text_at(kind, item.row))
        return item if found in kept else Drop("step.language", {"language": found})

    return check


def contains(step: Contains, job: Job) -> PerRow:
    """Rows that hold (or, turned round, do not hold) one of the kinds of things, or the pattern."""
    kind, kinds = job.kind, list(step.what)
    pattern = regex.compile(step.pattern) if step.pattern else None

    def find(item: Item) -> tuple[str, str] | None:
        text = text_at(kind, item.row, step.where)
        for spot in spots(text, kinds)[:1]:
            return spot.kind, text[spot.start : spot.end]
        if pattern is not None:
            match = search_safely(pattern, text, item.line)
            if match is not None:
                return "pattern", match
        return None

    def check(item: Item) -> Item | Drop:
        found = find(item)
        if step.action == "drop":
            return item if found is None else Drop("step.contains", {"what": found[0], "text": shown(found[1])})
        return (
            Drop("step.lacks", {"what": ", ".join([*kinds, *([step.pattern] if pattern else [])])})
            if found is None
            else item
        )

    return check


def search_safely(pattern: regex.Pattern[str], text: str, line: int) -> str | None:
    """What `pattern` finds in `text`. Raises DataError `step.slow_pattern` where it takes more than two seconds."""
    try:
        match = pattern.search(text, timeout=PATTERN_SECONDS)
    except TimeoutError as error:
        raise DataError(
            "step.slow_pattern", pattern=pattern.pattern, line=line, seconds=int(PATTERN_SECONDS)
        ) from error
    return None if match is None else str(match.group())
