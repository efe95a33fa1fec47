"""What a file of prompts asks, line by line: plain lines, rows of every shape with or without an answer, or a dataset.

    source = open_prompts(workspace, "questions.jsonl")
    for window in source.windows(512):                 raw rows, 512 at a time: never the whole file
        asked = [source.ask(row) for row in window]    a conversation each, or the reason why there is none

Every line of the file is a row, an empty one too, so that what comes out can be laid beside what went in. An answer
that a row has already is left out of the question. Left out: shapes in which several lines are one conversation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from core.data.dialogue import Message, RowError, check_order, kind_of, read_turns, with_system
from core.data.files.containers import Batch, Raw, excerpt
from core.data.files.lines import Lines
from core.data.files.reader import LINES, Source, open_source
from core.data.kinds import Row
from core.data.shapes.dialogues import asked_in
from core.data.shapes.formats import SHAPES
from core.data.store.library import Dataset, open_dataset
from core.errors import DataError, Problem
from core.evaluation.answers import asked
from core.workspace import Workspace

TURNS = ("messages", "conversations", "conversation")
TEXTS = ("instruction", "prompt", "question", "query", "text", "content", "input")
# Shapes whose question is read from the keys above, since they want an answer that need not be there.
DIALOGUES = {"sharegpt", "messages", "alpaca", "prompt-response", "prompt", "text"}


@dataclass(frozen=True)
class Asked:
    """One line: its number, the conversation up to the answer or the `problem`, and what is shown as its input."""

    line: int
    shown: str | list[Message] | None
    messages: list[Message]
    problem: Problem | None = None


@dataclass(frozen=True)
class Prompts:
    """`total` rows; `sha256` of the content; `rows()` gives them raw and in order, `ask` says what one asks."""

    name: str
    total: int
    sha256: str
    rows: Callable[[], Iterator[Any]]
    ask: Callable[[Any], Asked]

    def windows(self, size: int) -> Iterator[list[Any]]:
        rows = islice(self.rows(), self.total)
        while window := list(islice(rows, size)):
            yield window


def open_prompts(workspace: Workspace, text: str, limit: int | None, check_stop: Callable[[], None]) -> Prompts:
    """A file, or a dataset by its reference; of its rows the first `limit`. A file is read once, to count and to hash.

    Raises DataError where it cannot be read, or holds nothing. Raises what `check_stop` raises, between two batches.
    """
    if not Path(text).is_absolute():
        return _of_dataset(open_dataset(workspace, text), limit)
    source = open_source(Path(text), otherwise="txt")
    total = 0
    for batch in _batches(source):
        check_stop()
        total += len(batch)
        if limit is not None and total >= limit:
            total = limit
            break
    if not total:
        raise DataError("data.empty_file", file=source.path.name)
    with open(source.path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    source.check_unchanged()
    return Prompts(source.path.name, total, sha256, partial(_raws, source), ask)


# -- rows of a file ---------------------------------------------------------------------------------------------------
def _raws(source: Source) -> Iterator[Raw]:
    for batch in _batches(source):
        yield from batch.raws()


def _batches(source: Source) -> Iterator[Batch]:
    """The rows of a file; of a file of lines the empty ones, too, as problems."""
    read = LINES.get(source.container)
    return source.batches() if read is None else source.batches(read=partial(_every_line, read))


def _every_line(read: Lines, data: bytes, first: int, cut_off: bool) -> Batch:
    batch = read(data, first, cut_off)
    count = data.count(b"\n") + (not data.endswith(b"\n"))
    if len(batch) < count:
        there = {*batch.lines, *(problem.line for problem in batch.problems)}
        blank = [number for number in range(first, first + count) if number not in there]
        batch.problems += [Problem("predict.blank_line", line=number, excerpt="") for number in blank]
        batch.problems.sort(key=lambda problem: problem.line or 0)
    return batch


def ask(raw: Raw) -> Asked:
    """What a row of a file asks."""
    if raw.problem is not None:
        return Asked(raw.line, raw.problem.excerpt, [], raw.problem)
    try:
        messages = asked_by(raw.value)
    except RowError as error:
        return Asked(raw.line, excerpt(raw.value), [], Problem(error.code, error.params, line=raw.line))
    return Asked(raw.line, _shown(messages), messages)


def asked_by(value: Any) -> list[Message]:
    """The conversation up to the answer, of one row. Raises RowError where it asks nothing, or more than one thing."""
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict):
        raise RowError("predict.asks_nothing", found=kind_of(value))
    shape = next((each for each in SHAPES if each.detected and each.gather is None and each.matches(value)), None)
    if shape is None or shape.name in DIALOGUES:
        return _unanswered(value)
    found = shape.convert(value)
    rows = found if isinstance(found, list) else [found]
    questions = [asked(shape.kind, row)[0] for row in rows]
    if any(each != questions[0] for each in questions):
        raise RowError("predict.asks_more", count=len(questions))
    return questions[0]


def _unanswered(row: Row) -> list[Message]:
    """The question of a dialogue, whether or not its answer follows."""
    turns = next((key for key in TURNS if row.get(key) is not None), None)
    if turns is not None:
        messages = with_system(row, read_turns(row[turns], turns))
        if messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        if not messages:
            raise RowError("data.no_question")
        return check_order(messages, answered=False)
    text = next((key for key in TEXTS if row.get(key) is not None), None)
    if text is None:
        raise RowError("predict.asks_nothing", found=", ".join(map(str, islice(row, 40))) or "–")
    return check_order(asked_in(row, text), answered=False)


def _shown(messages: list[Message]) -> str | list[Message]:
    """A single question as its text."""
    return messages[0]["content"] if len(messages) == 1 else messages


# -- rows of a dataset ------------------------------------------------------------------------------------------------
def _of_dataset(dataset: Dataset, limit: int | None) -> Prompts:
    def rows() -> Iterator[tuple[int, Row]]:
        numbered = (row for batch in dataset.batches() for row in batch)
        return enumerate(numbered, 1)

    def ask_row(row: tuple[int, Row]) -> Asked:
        messages, _ = asked(dataset.card.kind, row[1])
        return Asked(row[0], _shown(messages), messages)

    total = len(dataset) if limit is None else min(limit, len(dataset))
    return Prompts(dataset.ref, total, dataset.card.sha256, rows, ask_row)
