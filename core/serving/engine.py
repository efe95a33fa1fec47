"""The decode loop: one thread that computes all answers of all models, and scores in between. Imports torch.

    1. take in what was asked since: answers of one model with equally long prompts read them together
    2. a piece of the prompts of one such group; a group that has read joins the batch of its model
    3. one token for every row of every batch, each chosen by its own rules with its own generator
    4. one conversation to score

The first token of one answer waits for no more than a token of the others, and the others for no more than one piece
of its prompt. In fp32 a row's numbers are those it would have alone, but for the order of sums: the same seed and
weights give the same text beside whatever neighbours.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from core.errors import GalenError
from core.serving.answer import Answer
from core.serving.batch import Batch
from core.serving.body import Body
from core.serving.failure import explained

MOST_ROWS = 64  # answers in the making; others wait
log = logging.getLogger(__name__)


class Job(Protocol):
    """Something else that needs the models, in turns."""

    def turn(self) -> bool:
        """Do a part. False when there is none left; raises nothing."""

    def fail(self, error: GalenError) -> None:
        """End it with `error`."""


class Engine:
    """Answers and jobs under way, and the thread that computes them."""

    def __init__(self) -> None:
        self._asked: deque[Answer] = deque()
        self._jobs: deque[Job] = deque()
        self._batches: list[Batch] = []
        self._changed = threading.Condition()
        self._closing = False
        self._uses = 0  # of `in_use`, that last
        self._last_use = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="decode", daemon=True)
        self._thread.start()

    def submit(self, answer: Answer) -> None:
        self._enqueue(lambda: self._asked.append(answer))

    def run(self, job: Job) -> None:
        self._enqueue(lambda: self._jobs.append(job))

    def _enqueue(self, add: Callable[[], None]) -> None:
        with self._changed:
            self._last_use = time.monotonic()
            add()
            self._changed.notify()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within, the server is at work for somebody, as by loading a model."""
        with self._changed:
            self._uses += 1
        try:
            yield
        finally:
            with self._changed:
                self._uses -= 1
                self._last_use = time.monotonic()

    def close(self) -> None:
        """End every answer as cancelled, and the thread."""
        with self._changed:
            self._closing = True
            for answer in self._answers():
                answer.cancel()
            self._changed.notify()
        self._thread.join(30)

    @property
    def active(self) -> int:
        """Answers, jobs and other uses that have not ended."""
        with self._changed:
            return len(self._answers()) + len(self._jobs) + self._uses

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last use ended or was asked for; 0 while there is one."""
        return 0.0 if self.active else time.monotonic() - self._last_use

    def _answers(self) -> list[Answer]:
        return [*self._asked, *(answer for batch in self._batches for answer in batch.answers)]

    # -- the thread ---------------------------------------------------------------------------------------------------
    def _work(self) -> None:
        going_on = True
        while going_on:
            try:
                going_on = self._round()
            except Exception as error:  # nothing may end this thread but `close`: everybody waits for it
                self._give_up(explained(error))

    def _round(self) -> bool:
        """Steps 1 to 4, once there is something to do. False when all is over."""
        with self._changed:
            while not (self._asked or self._batches or self._jobs):
                if self._closing:
                    return False
                self._changed.wait()
            self._take_in()
            reading = next((batch for batch in self._batches if batch.reading), None)
            writing = [batch for batch in self._batches if not batch.reading]
            job = self._jobs[0] if self._jobs else None
        for batch in [*([reading] if reading else []), *writing]:
            batch.advance()
        goes_on = job is not None and job.turn()
        with self._changed:
            self._sort(reading)
            if job is not None:
                self._jobs.popleft()
                self._jobs.extend([job] if goes_on else [])
            self._last_use = time.monotonic()
        return True

    def _give_up(self, error: GalenError) -> None:
        """End all there is with `error`; what comes next begins anew."""
        with self._changed:
            given_up = [*self._answers(), *self._jobs]
            for kept in (self._asked, self._jobs, self._batches):
                kept.clear()
        for each in given_up:
            each.fail(error)

    def _take_in(self) -> None:
        """Step 1."""
        room = MOST_ROWS - sum(len(batch.answers) for batch in self._batches)
        groups: dict[tuple[Body, int, int], list[Answer]] = {}
        taken = list(self._asked)[:room]
        for number, answer in enumerate(taken):
            body = answer.served.body
            alone = 0 if body.joins else number + 1
            groups.setdefault((body, len(answer.prompt), alone), []).append(answer)
        self._batches += [Batch(body, answers) for (body, _, _), answers in groups.items()]
        for _ in taken:
            self._asked.popleft()

    def _sort(self, reading: Batch | None) -> None:
        """Who has read joins those who write; whoever still reads lets others read first; empty batches go."""
        if reading is not None and reading.answers:
            self._batches.remove(reading)
            body = reading.body
            writing = (each for each in self._batches if each.body is body and each.answers and not each.reading)
            older = next(writing, None) if body.joins and not reading.reading else None
            if older is None or not _joined(older, reading):
                self._batches.append(reading)
        self._batches = [batch for batch in self._batches if batch.answers]


def _joined(older: Batch, newer: Batch) -> bool:
    """Whether `older` has the rows of both now. Apart they need less memory, and each is computed all the same."""
    try:
        older.take_in(newer)
    except Exception as error:
        log.warning("two batches stay apart: %s", error)
        return False
    return True
