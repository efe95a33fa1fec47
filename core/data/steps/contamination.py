"""contamination: rows that hold a passage of a test, or one of its short questions whole.

    1. cut every text of the evaluation dataset into units: words, or single Chinese characters, without punctuation
    2. its passages are all runs of 13 words (20 characters where it is Chinese); a question shorter than that, as in
       multiple-choice tests, is one passage as a whole if it has 10 units
    3. a passage that stands in many test rows is a phrase of the trade ("which of the following is not true of"), and
       does not count
    4. of every row, look up all runs of the shortest length among the beginnings of passages, and only where one is
       found compare the passage

A term such as 慢性阻塞性肺疾病急性加重期 has 13 characters and gives nothing away, hence 20 for Chinese.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.configs.clean_steps import Contamination
from core.data.figures import texts_of
from core.data.kinds import Kind, Row
from core.data.steps.base import Drop, Item, Job, PerRow
from core.data.steps.shingles import FACTOR
from core.data.steps.texts import shown, text_at
from core.data.store.dataset import Dataset

UNITS = re.compile(r"[a-z\u00df-\u024f0-9]+|[^\W_]")
HAN = re.compile(r"[\u3400-\u9fff]")
COMMON = 5  # a passage in more test rows than this is a phrase


class Passage(NamedTuple):
    """A run of units of the test: how many, their hash, and where they stand (row of the evaluation dataset)."""

    length: int
    hash: int
    row: int


class Index:
    """The passages of a test, found by the hash of their first `head` units."""

    def __init__(self, test: Dataset, step: Contamination, job: Job) -> None:
        self.head = min(step.shortest, step.words, step.chars)
        found: dict[tuple[int, int], list[int]] = {}  # (length, hash) → test rows
        heads: dict[tuple[int, int], int] = {}
        for start in range(0, len(test), 2000):
            for place, row in enumerate(test.rows(start, 2000), start):
                for length, value, head in self._passages(test.card.kind, row, step):
                    rows = found.setdefault((length, value), [])
                    if len(rows) <= COMMON and (not rows or rows[-1] != place):
                        rows.append(place)
                    heads[length, value] = head
            job.check_stop()
        self._passages_of: dict[int, list[Passage]] = {}
        for key, rows in found.items():
            if len(rows) <= COMMON:
                self._passages_of.setdefault(heads[key], []).append(Passage(*key, rows[0]))
        self._heads = np.sort(np.fromiter(self._passages_of, dtype=np.uint64, count=len(self._passages_of)))

    def _passages(self, kind: Kind, row: Row, step: Contamination) -> Iterator[tuple[int, int, int]]:
        """(length, hash, hash of the head) of every passage of a test row."""
        asked, answered, _ = texts_of(kind, row)
        question = asked[:1] if kind == "choice" else asked
        for text in (*asked, *answered):
            units = units_of(text)
            long = step.chars if len(HAN.findall(text)) > len(units) / 2 else step.words
            if len(units) < long and (text not in question or len(units) < step.shortest):
                continue
            length = min(long, len(units))
            hashes = _hashes(units)
            for value, head in zip(runs(hashes, length).tolist(), runs(hashes, self.head).tolist(), strict=False):
                yield length, value, head

    def find(self, text: str) -> tuple[Passage, str] | None:
        """The first passage of the test that `text` holds, and how it is written there."""
        hashes = _hashes(units_of(text))
        begins = runs(hashes, self.head)
        places = np.searchsorted(self._heads, begins)
        hits = (
            np.flatnonzero(self._heads[np.minimum(places, len(self._heads) - 1)] == begins) if len(self._heads) else ()
        )
        for place in hits:
            for passage in self._passages_of[int(begins[place])]:
                run = runs(hashes[place : place + passage.length], passage.length)
                if len(run) and int(run[0]) == passage.hash:
                    return passage, _written(text, int(place), passage.length)
        return None


def contamination(step: Contamination, job: Job) -> PerRow:
    """Drop rows that share a passage with the evaluation dataset; the reason names its row."""
    kind, test = job.kind, job.dataset(step.against)
    index = Index(test, step, job)

    def check(item: Item) -> Item | Drop:
        found = index.find(text_at(kind, item.row))
        if found is None:
            return item
        passage, text = found
        return Drop("step.contaminated", {"line": test.lines([passage.row])[0], "test": test.name, "text": shown(text)})

    return check


def units_of(text: str) -> list[str]:
    """Words and single characters of a script without spaces, in lower case and half width."""
    return UNITS.findall(unicodedata.normalize("NFKC", text).lower())


def _hashes(units: list[str]) -> NDArray[np.uint64]:
    values = np.fromiter(map(hash, units), dtype=np.int64, count=len(units)).astype(np.uint64)
    return values * FACTOR ^ (values >> np.uint64(32))


def runs(hashes: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """A hash of every `length` units on end."""
    count = max(0, len(hashes) - length + 1)
    value = hashes[:count].copy()
    for step in range(1, length):
        value *= FACTOR
        value += hashes[step : step + count]
    return value


def _written(text: str, place: int, length: int) -> str:
    """Units `place` … `place + length` as they stand in the text."""
    normal = unicodedata.normalize("NFKC", text)
    found = list(UNITS.finditer(normal.lower()))
    return normal[found[place].start() : found[place + length - 1].end()]
