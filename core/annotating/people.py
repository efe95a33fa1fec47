"""Rows that wait for a person, and what people said of them: two files in a run's folder `annotating/`.

    replies.jsonl      rank 0    what models replied (`core.annotating.asking`)
    answers.jsonl      rank 0    answers that were sampled, to be put in order
    work.jsonl         rank 0    what is put before a person, row by row; written once, whole
    judgements.jsonl   people    one line a judgement, whoever made it; a later line on a row replaces an earlier one

    ratings = Ratings(run)
    for card in ratings.cards(20):                       those without a judgement, in order
    ratings.judge([{"number": 7, "order": [1, 0]}])      "number" is the row's; see `Judgement`

Judgements come from the page and from terminals, each line in one write under a lock, so they may come at once. The run
is no process meanwhile: it has ended with `annotate.waiting`, and a resume makes a dataset of what has been judged.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from core.annotating.tasks import Work
from core.annotating.verdicts import Mark, Verdict
from core.configs.annotate import DIFFICULTIES, MARKS, TaskKind
from core.errors import InputError
from core.rundir import RunDir, append_jsonl, read_jsonl, write_text

WAITING = ("annotate.waiting", "annotate.made_and_waiting")  # codes with which a run ends until somebody has judged
KEYS = 5  # a person marks from 1 to this, with one key
MOST_ANSWERS = 10  # that a person can put in order: a key for each, the tenth 0
LONGEST_TEXT = 100_000  # characters of an answer that somebody writes


class Judgement(BaseModel):
    """What a person said of row `number`, one of: a grade from 1 to KEYS; the `order` of the answers as shown, from 0,
    the best first; a better answer (`text`); a `mark`. `undo`: nothing, after all. at: seconds since the epoch."""

    model_config = ConfigDict(extra="ignore", strict=True)

    number: int
    grade: int | None = None
    order: list[int] | None = None
    text: str | None = None
    mark: Mark = ""
    undo: bool = False
    at: float = 0.0

    @property
    def said(self) -> dict[str, Any]:
        return self.model_dump(exclude={"at"}, exclude_defaults=True)


class Card(BaseModel):
    """What a person sees of one row. `answers` as they are shown."""

    model_config = ConfigDict(extra="ignore")

    number: int
    line: int
    question: str = ""
    answer: str = ""
    answers: list[str] = []
    document: str = ""


def annotating(run: RunDir) -> Path:
    return run.path / "annotating"


def work_file(run: RunDir) -> Path:
    return annotating(run) / "work.jsonl"


def put_before_people(run: RunDir, works: Iterable[Work]) -> int:
    """Write the cards, whole or not at all. Returns how many."""
    cards = [
        Card(
            number=work.number,
            line=work.item.line,
            question=work.question,
            answer=work.answer,
            answers=list(work.answers),
            document=work.document,
        )
        for work in works
    ]
    annotating(run).mkdir(exist_ok=True)
    lines = (orjson.dumps(card.model_dump(exclude_defaults=True)).decode("utf-8") + "\n" for card in cards)
    write_text(work_file(run), "".join(lines))
    return len(cards)


def waits_for_person(run: RunDir) -> bool:
    """Whether the run has ended for now, with rows that somebody may judge."""
    result = run.result()
    return result is not None and result.outcome == "stopped" and result.code in WAITING


class Ratings:
    """The cards of a run and their judgements, read from its files as they are now. Raises InputError
    `annotate.nothing_waits` for a run that puts nothing before people."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        if not work_file(run).is_file():
            raise InputError("annotate.nothing_waits", run=run.id)
        self.file = annotating(run) / "judgements.jsonl"

    @cached_property
    def task(self) -> TaskKind:
        kind: TaskKind = self.run.config()["task"]["kind"]
        return kind

    @cached_property
    def all_cards(self) -> dict[int, Card]:
        return {row["number"]: Card.model_validate(row) for row in read_jsonl(work_file(self.run))[0]}

    def judgements(self) -> dict[int, Judgement]:
        """The last word on each row."""
        found: dict[int, Judgement] = {}
        for row in read_jsonl(self.file)[0]:
            try:
                one = Judgement.model_validate(row)
            except ValidationError:
                continue
            found.pop(one.number, None)
            if not one.undo:
                found[one.number] = one
        return found

    def cards(self, count: int, *, without: Sequence[int] = ()) -> list[Card]:
        """The next `count` cards that nobody has judged, but those whose numbers are in `without`."""
        passed = {*self.judgements(), *without}
        return [card for number, card in self.all_cards.items() if number not in passed][:count]

    def judge(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep judgements, in their order; what is said already is not written again.

        Raises InputError `annotate.bad_judgement` for the first that says nothing of a row of this run; those before it
        are kept.
        """
        with self._locked():
            now = self.judgements()
            for row in rows:
                one = self._checked(row)
                before = now.get(one.number)
                if (before is None) if one.undo else (before is not None and before.said == one.said):
                    continue
                append_jsonl(self.file, {**one.said, "at": one.at or time.time()})
                now.pop(one.number, None)
                if not one.undo:
                    now[one.number] = one

    def _checked(self, row: Mapping[str, Any]) -> Judgement:
        try:
            one = Judgement.model_validate(row)
        except ValidationError as error:
            raise InputError("annotate.bad_judgement", said=_shown(row)) from error
        card = self.all_cards.get(one.number)
        if card is None or not (one.undo or fits(self.task, card, one)):
            raise InputError("annotate.bad_judgement", said=_shown(row))
        return one

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(annotating(self.run) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def fits(task: TaskKind, card: Card, one: Judgement) -> bool:
    """Whether the judgement says something, and something that this task asks."""
    said = [one.grade is not None, one.order is not None, one.text is not None, bool(one.mark)]
    if sum(said) != 1:
        return False
    if one.mark:
        allowed = {"rank": ("tie", "bad", "skip"), "improve": ("fine", "skip")}
        return one.mark in allowed.get(task, ("skip",))
    if one.text is not None:
        return task in ("rank", "improve") and bool(one.text.strip()) and len(one.text) <= LONGEST_TEXT
    if one.order is not None:
        return task == "rank" and sorted(one.order) == list(range(len(card.answers)))
    return task in ("difficulty", "score") and one.grade is not None and 1 <= one.grade <= KEYS


def verdict_of(task: TaskKind, one: Judgement) -> Verdict:
    """A judgement as what a model would have said. Grades become difficulties as they are; as marks, 1 is the lowest
    and KEYS the highest."""
    if one.grade is not None:
        low, high = DIFFICULTIES if task == "difficulty" else MARKS
        return Verdict(number=low + (one.grade - 1) / (KEYS - 1) * (high - low))
    return Verdict(order=tuple(one.order) if one.order is not None else None, text=one.text, mark=one.mark)


def _shown(row: Mapping[str, Any]) -> str:
    text = str(dict(row))
    return text if len(text) <= 120 else text[:119] + "…"
