"""A file of prompts answered window by window, so that a killed run goes on with the same text.

    1  a window is some hundred lines in the order of the file; what cannot be asked gets its reason at once
    2  its prompts are sorted by length and put into batches, always the same ones
    3  the answers of a batch are appended to the window's file, in one line: a torn last line is a batch not done
    4  when all windows are there, they become one file in the order of the lines

Which lines stand in a batch depends on the file and the settings alone, and a draw on the seed and the place of the
line. So nothing depends on where a run was interrupted, or on how many devices share its windows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

from core.configs.predict import Sampled
from core.data.dialogue import Message
from core.errors import GalenError, ModelError, Problem
from core.evaluation.decoding import Drawing, decode
from core.evaluation.predictor import Speaker
from core.evaluation.prompt_files import Asked, Prompts
from core.records_predict import Batch, Failure, Prediction

MOST_ROWS = 256  # of a batch: the scores of a large vocabulary are kept for each


# -- files ------------------------------------------------------------------------------------------------------------
class Windows:
    """The answers of a run that is not finished, a file for each window."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def path(self, number: int) -> Path:
        return self.folder / f"window-{number:06d}.jsonl"

    def batches(self, number: int) -> list[Batch]:
        """What a window has got so far, in whole batches."""
        return [Batch.model_validate_json(line) for line in self._lines(number)]

    def _lines(self, number: int) -> list[bytes]:
        try:
            data = self.path(number).read_bytes()
        except FileNotFoundError:
            return []
        return data[: data.rfind(b"\n") + 1].splitlines()

    def done(self, number: int) -> tuple[int, int]:
        """How many batches of a window there are, and how many lines they answer."""
        rows = [len(orjson.loads(line)["rows"]) for line in self._lines(number)]
        return len(rows), sum(rows)

    def mend(self, number: int) -> None:
        """Cut a torn last line off, before others are appended."""
        path = self.path(number)
        if path.exists():
            whole = path.read_bytes().rfind(b"\n") + 1
            with open(path, "r+b") as file:
                file.truncate(whole)

    def append(self, number: int, batch: Batch) -> None:
        """Raises OSError where the disk is full; what was there before stays readable."""
        with open(self.path(number), "ab") as file:
            file.write(batch.model_dump_json(exclude_none=True).encode() + b"\n")

    def lines(self, count: int) -> Iterator[tuple[Prediction, float]]:
        """All answers of the first `count` windows in order, and with the first of a batch its seconds."""
        for number in range(count):
            found = [
                (place, row, 0.0 if at else batch.seconds)
                for batch in self.batches(number)
                for at, (place, row) in enumerate(batch.rows)
            ]
            for _, row, seconds in sorted(found, key=lambda each: each[0]):
                yield row, seconds


def line_of(row: Prediction) -> bytes:
    """A line of `predictions.jsonl`: what a line with an answer has, or one without."""
    if row.error is None:
        return orjson.dumps(row.model_dump(exclude={"error"})) + b"\n"
    return orjson.dumps(row.model_dump(include={"line", "input", "output", "error"})) + b"\n"


# -- one window -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Ready:
    """A line that can be asked: its place in the window, and its prompt's ids."""

    place: int
    asked: Asked
    ids: list[int]


@dataclass(frozen=True)
class Way:
    """How lines are asked and answered. `tokens`: of a batch, prompts and answers. `on_step` is told after every token
    how many lines of the batch are done; what it raises ends the work."""

    speaker: Speaker
    generation: Sampled
    system: str
    seed: int
    tokens: int
    on_step: Callable[[int], None]

    @property
    def drawing(self) -> Drawing:
        return Drawing(**self.generation.model_dump(exclude={"max_new_tokens"}))


def answer_window(way: Way, prompts: Prompts, window: Sequence[Any], first: int, done: int) -> Iterator[Batch]:
    """The batches of a window but for the first `done`, which are there already. `first`: its first line, from 0.

    Raises what `way.on_step` raises.
    """
    ready, failed = sort_out(way, [prompts.ask(row) for row in window])
    works: list[list[Ready] | Batch] = [Batch(rows=failed)] if failed else []
    works += batched(ready, way.generation.max_new_tokens, way.tokens)
    for work in works[done:]:
        if isinstance(work, Batch):
            yield work
            continue
        began = time.monotonic()
        rows = answer_batch(way, work, first)
        yield Batch(rows=rows, seconds=round(time.monotonic() - began, 3))


def sort_out(way: Way, asked: Sequence[Asked]) -> tuple[list[Ready], list[tuple[int, Prediction]]]:
    """The lines that can be asked, and those that cannot, with the reason."""
    ready: list[Ready] = []
    failed: list[tuple[int, Prediction]] = []
    for place, each in enumerate(asked):
        if each.problem is not None:
            failed.append((place, _failure(each, each.problem)))
            continue
        try:
            ids = way.speaker.ids(with_system(each.messages, way.system))
            if way.speaker.context is not None and len(ids) >= way.speaker.context:
                raise ModelError("predict.no_room", tokens=len(ids), context=way.speaker.context)
        except ModelError as error:
            failed.append((place, _failure(each, error)))
            continue
        ready.append(Ready(place, each, ids))
    return ready, failed


def with_system(messages: list[Message], system: str) -> list[Message]:
    if not system or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


def _failure(asked: Asked, why: Problem | GalenError) -> Prediction:
    sentence = f"{why.message} {why.remedy}".strip()
    failure = Failure(code=why.code, params=why.params, sentence=sentence)
    return Prediction(line=asked.line, input=asked.shown, error=failure)


def batched(ready: Sequence[Ready], new: int, tokens: int) -> list[list[Ready]]:
    """Prompts of like length together, the shortest first: as many as `tokens` hold with answers, at least one."""
    batches: list[list[Ready]] = []
    for each in sorted(ready, key=lambda one: (len(one.ids), one.place)):
        room = tokens // (len(each.ids) + new)
        if not batches or len(batches[-1]) >= min(room, MOST_ROWS):
            batches.append([])
        batches[-1].append(each)
    return batches


def answer_batch(way: Way, batch: Sequence[Ready], first: int) -> list[tuple[int, Prediction]]:
    """The answers, with their places in the window. Where the memory of a GPU is not enough, in two halves."""
    said = None
    try:
        said = _said(way, batch, first)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    if said is None:  # only out here is the error gone, and with it the frames that hold the cache
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return [*answer_batch(way, batch[:half], first), *answer_batch(way, batch[half:], first)]
    rows = []
    for each, ids in zip(batch, said, strict=True):
        text, ended = way.speaker.text(ids)
        finish = "stop" if ended else "length"
        row = Prediction(line=each.asked.line, input=each.asked.shown, output=text, tokens=len(ids), finish=finish)
        rows.append((each.place, row))
    return rows


def _said(way: Way, batch: Sequence[Ready], first: int) -> list[list[int]]:
    limit, context = way.generation.max_new_tokens, way.speaker.context
    return decode(
        way.speaker.model,
        [each.ids for each in batch],
        [limit if context is None else min(limit, context - len(each.ids)) for each in batch],
        [first + each.place for each in batch],
        way.drawing,
        stop_ids=way.speaker.stop_ids,
        seed=way.seed,
        on_step=way.on_step,
    )
