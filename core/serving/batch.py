"""Answers that are computed together: each of them reads its prompt, then gets a token at every step.

    batch = Batch(body, answers)       whose prompts are equally long
    batch.advance()                    a piece of the prompts, or one token for each; who has ended leaves
    older.take_in(batch)               rows of another length join

An answer that breaks leaves alone; the others go on. Imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from core.errors import GalenError
from core.serving.answer import Answer
from core.serving.body import Body
from core.serving.failure import explained

PREFILL = 512  # tokens of prompts read at a time, over all rows


class Batch:
    def __init__(self, body: Body, answers: Sequence[Answer]) -> None:
        self.body = body
        self.answers = list(answers)
        self._state = body.state()
        self._unread = len(self.answers[0].prompt)  # tokens of each prompt

    @property
    def reading(self) -> bool:
        """Whether a part of the prompts is still unread."""
        return self._unread > 0

    def advance(self) -> None:
        """One forward, for all rows; where it breaks, all of them have failed. Raises nothing."""
        try:
            self._advance()
        except Exception as error:
            self.fail(explained(error))

    def fail(self, error: GalenError) -> None:
        """End every answer with `error`."""
        for answer in self.answers:
            answer.fail(error)
        self.answers.clear()

    def _advance(self) -> None:
        cancelled = [answer for answer in self.answers if answer.cancelled]
        for answer in cancelled:
            answer.end("cancelled")
        self._leave(cancelled)
        if not self.answers:
            return
        logits = self._forward()
        if not self.reading:
            self._leave([answer for answer, row in zip(self.answers, logits, strict=True) if not _takes(answer, row)])

    def _forward(self) -> Tensor:
        rows = [answer.served.adapter for answer in self.answers]
        if not self.reading:
            return self.body.forward([answer.tokens[-1:] for answer in self.answers], rows, self._state)
        length = self._unread if self.body.reads_whole else max(1, PREFILL // len(rows))
        start = len(self.answers[0].prompt) - self._unread
        pieces = [answer.prompt[start : start + length] for answer in self.answers]
        self._unread -= len(pieces[0])
        return self.body.forward(pieces, rows, self._state)

    def _leave(self, gone: Sequence[Answer]) -> None:
        if not gone:
            return
        places = [place for place, answer in enumerate(self.answers) if answer not in gone]
        self.answers = [self.answers[place] for place in places]
        if self.answers and self._state.width:
            self.body.keep(self._state, places)

    def take_in(self, other: Batch) -> None:
        """The rows of `other`, which has read its prompts as this one has; only where `body.joins`.

        Where it raises, as for want of memory, both batches are what they were.
        """
        self._state = self.body.join(self._state, len(self.answers), other._state, len(other.answers))
        self.answers += other.answers


def _takes(answer: Answer, logits: Tensor) -> bool:
    try:
        return answer.take(logits)
    except Exception as error:
        answer.fail(explained(error))
        return False
