"""words: rows on sensitive topics, found by lists of words.

The lists that ship are in `presets/words`: `<topic>.zh.txt` and `<topic>.en.txt`, one word or phrase a line. They name
what is offered, instructed or sold rather than the subject itself: a question about depression, an overdose or an
injury is medicine. A word in Latin letters counts only as a whole word; case and width do not matter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from core.configs.clean_steps import Words
from core.configs.files import SHIPPED
from core.data.steps.base import Drop, Item, Job, PerRow
from core.data.steps.texts import text_at
from core.errors import DataError

LISTS = SHIPPED / "words"
OWN = "own"  # the topic of words that the user brings
SHOWN_WORDS = 5
LATIN = re.compile(r"[a-z]")
LETTERS_AND_DIGITS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


def words(step: Words, job: Job) -> PerRow:
    """Drop or mark rows that hold enough of the words."""
    kind, topics = job.kind, word_topics(step)
    matcher = Matcher(topics)

    def check(item: Item) -> Item | Drop:
        hit = matcher.find(normal(text_at(kind, item.row, step.where)))
        if len(hit) < step.min_hits:
            return item
        if step.action == "mark":
            item.score = 0.0
            return item
        shown = ", ".join(hit[:SHOWN_WORDS]) + (" …" if len(hit) > SHOWN_WORDS else "")
        return Drop("step.words", {"words": shown, "topics": ", ".join(dict.fromkeys(topics[word] for word in hit))})

    return check


def word_topics(step: Words) -> dict[str, str]:
    """Word → topic. Raises DataError `step.no_words` where there are none, or as `read_words` does."""
    found: dict[str, str] = {}
    for topic in step.topics:
        for file in sorted(LISTS.glob(f"{topic}.*.txt")):
            found.update(dict.fromkeys(read_words(file), topic))
    if step.path:
        found.update(dict.fromkeys(read_words(Path(step.path).expanduser()), OWN))
    found.update(dict.fromkeys(filter(None, map(normal, step.words)), OWN))
    if not found:
        raise DataError("step.no_words")
    return found


def read_words(path: Path) -> list[str]:
    """The words of a list, normal: one a line, blank lines and remarks (`#`) left out.

    Raises DataError `step.words_not_utf8`.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError("step.words_not_utf8", file=str(path)) from error
    return [word for line in lines if (word := normal(line.partition("#")[0].strip()))]


def normal(text: str) -> str:
    """Lower case and half width, spaces as they are."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower()


class Matcher:
    """Finds words as trees of their letters: each place of a text is looked at once, however many words there are."""

    def __init__(self, listed: Iterable[str]) -> None:
        listed = list(listed)
        latin = [word for word in listed if LATIN.search(word)]
        other = [word for word in listed if not LATIN.search(word)]
        self._latin = re.compile(f"(?:{_tree_pattern(latin)})(?![a-z0-9])") if latin else None
        self._other = re.compile(_tree_pattern(other)) if other else None

    def find(self, text: str) -> list[str]:
        """The different words that stand in `text`, which must be `normal`."""
        found = dict.fromkeys(self._other.findall(text)) if self._other is not None else {}
        if self._latin is not None and LATIN.search(text):
            found.update(dict.fromkeys(self._whole_words(self._latin, text)))
        return list(found)

    def _whole_words(self, pattern: re.Pattern[str], text: str) -> Iterator[str]:
        place = 0
        while match := pattern.search(text, place):
            begins = match.start() == 0 or text[match.start() - 1] not in LETTERS_AND_DIGITS
            if begins:
                yield match.group()
            place = match.end() if begins else match.start() + 1


def _tree_pattern(words: Iterable[str]) -> str:
    tree: dict[str, Any] = {}
    for word in words:
        place = tree
        for char in word:
            place = place.setdefault(char, {})
        place[""] = {}
    return _written(tree)


def _written(tree: dict[str, Any]) -> str:
    """Longer words before the shorter ones that they begin with."""
    branches = [re.escape(char) + _written(below) for char, below in tree.items() if char]
    if not branches:
        return ""
    inner = branches[0] if len(branches) == 1 and "" not in tree else f"(?:{'|'.join(branches)})"
    return f"{inner}?" if "" in tree else inner
