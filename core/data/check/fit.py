"""Whether rows fit a model: prompts that are longer than its context, answers that shortening would leave nothing of.

    fit = Fit(Encoder(tokenizer, max_length=512), context=2048)
    wrong = fit.look(kind, rows)          one Problem or None a row
    fit.truncated                         rows that are shortened, and still have something to learn

Only the tokenizer is needed, not the weights. Rows of plain text are cut into blocks later on, so any length fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from core.data.check.examine import Examined
from core.data.dialogue import Message
from core.data.encode.encoded import Refusal
from core.data.files.containers import excerpt
from core.data.kinds import Kind, Row
from core.errors import ModelError, Problem

if TYPE_CHECKING:
    from core.data.encode.encoding import Encoder

AT_ONCE = 500  # rows given to the tokenizer


@dataclass
class Fit:
    """`context`: tokens that the model can read at once; None where that is not known."""

    encoder: Encoder
    context: int | None = None
    truncated: int = field(default=0, init=False)

    def look(self, kind: Kind, rows: Sequence[Row]) -> list[Problem | None]:
        """What is wrong with each row, in this model's eyes."""
        if kind == "messages":
            return self._conversations([row["messages"] for row in rows])
        if kind in ("prompt", "preference"):
            return [self._prompt(row["prompt"]) for row in rows]
        return [None] * len(rows)

    def apply(self, kind: Kind, examined: Examined) -> Examined:
        """The same findings, without the rows that do not fit."""
        wrong: list[Problem | None] = []
        for start in range(0, len(examined.rows), AT_ONCE):
            wrong += self.look(kind, examined.rows[start : start + AT_ONCE])
        kept = [at for at, problem in enumerate(wrong) if problem is None]
        if len(kept) == len(wrong):
            return examined
        found = [
            replace(problem, line=meta.line, excerpt=excerpt(row))
            for problem, meta, row in zip(wrong, examined.metas, examined.rows, strict=True)
            if problem is not None
        ]
        return replace(
            examined,
            rows=[examined.rows[at] for at in kept],
            metas=[examined.metas[at] for at in kept],
            keys=examined.keys[kept],
            exact=examined.exact[kept],
            bad=examined.bad + len(found),
            problems=sorted([*examined.problems, *found], key=lambda problem: problem.line or 0),
        )

    def _conversations(self, conversations: Sequence[Sequence[Message]]) -> list[Problem | None]:
        wrong: list[Problem | None] = []
        for messages, (result, truncated) in zip(conversations, self.encoder.encode_batch(conversations), strict=True):
            if isinstance(result, Refusal):
                wrong.append(Problem("data.template_refuses_row", {"detail": result.reason}))
            elif not np.any(result[1][1:] >= 0):  # the first token is never predicted
                wrong.append(self._unlearnable(messages))
            else:
                self.truncated += truncated
                wrong.append(None)
        return wrong

    def _unlearnable(self, messages: Sequence[Message]) -> Problem:
        """Why nothing is left to learn: the last question alone is too long, for the model or for max_length."""
        system = [message for message in messages[:1] if message["role"] == "system"]
        over = self._prompt([*system, messages[-2]]) if len(messages) > 1 else None
        return over or Problem("data.no_label_left", {"max_length": self.encoder.max_length})

    def _prompt(self, messages: Sequence[Message]) -> Problem | None:
        try:
            tokens = len(self.encoder.prompt_ids(messages))
        except ModelError as error:
            return Problem("data.template_refuses_row", {"detail": str(error.params.get("detail", ""))})
        if self.context is None or tokens < self.context:
            return None
        return Problem("data.prompt_over_context", {"tokens": tokens, "context": self.context})
