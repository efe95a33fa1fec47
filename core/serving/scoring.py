"""Scores of conversations by a reward model: the head on the last hidden state of the answer's last token.

As in training and `core.training.judges`: a row ends with the end-of-turn token, without what a template writes after
it. One conversation at a time, between two tokens of the answers under way. Imports torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.data.dialogue import Message
from core.data.encode.encoding import Encoder
from core.data.encode.pairs import Unusable, encode_answers
from core.errors import GalenError, InputError, RunError
from core.serving.adapters import Adapters
from core.serving.failure import explained

OnScores = Callable[[list[float] | None, GalenError | None], None]


@dataclass(frozen=True)
class Scorer:
    """A reward model under the name that requests use. head [1, h]; `hidden` maps ids to [h], both fp32 on the CPU.

    `provenance` is that of `core.serving.registry.Served`.
    """

    name: str
    encoder: Encoder
    context: int | None
    provenance: dict[str, Any]
    head: Tensor
    hidden: Callable[[Sequence[int]], Tensor]

    def ids(self, conversation: Sequence[Message]) -> list[int]:
        """Raises InputError: `serve.no_answer` where the last turn is not the assistant's; what cannot be encoded."""
        if not conversation or conversation[-1]["role"] != "assistant":
            raise InputError("serve.no_answer")
        found = encode_answers(self.encoder, conversation[:-1], [conversation[-1]["content"]])
        if isinstance(found, Unusable):
            raise InputError(found.code, **found.params)
        return [int(number) for number in np.concatenate(found[0])]

    def score(self, ids: Sequence[int]) -> float:
        """Raises RunError `serve.not_finite`."""
        score = float(self.hidden(ids) @ self.head[0])
        if not np.isfinite(score):
            raise RunError("serve.not_finite", model=self.name)
        return score


@torch.inference_mode()
def last_hidden(model: Any, ids: Sequence[int], *, adapters: Adapters | None = None, name: str | None = None) -> Tensor:
    """[h]: the last hidden state of the last id, with the adapter `name` of `adapters`."""
    decoder = model.get_decoder()
    place = model.get_input_embeddings().weight.device
    with contextlib.nullcontext() if adapters is None else adapters.for_rows([name]):
        output = decoder(input_ids=torch.tensor([ids], device=place), use_cache=False)
    hidden: Tensor = output.last_hidden_state[0, -1]
    return hidden.float().cpu()


class Scoring:
    """A job of the engine: the scores of `rows` (ids of conversations), handed to `on_end` from its thread."""

    def __init__(self, scorer: Scorer, rows: Sequence[Sequence[int]], on_end: OnScores) -> None:
        self._scorer, self._rows, self._on_end = scorer, rows, on_end
        self._scores: list[float] = []
        self._cancelled = False

    def cancel(self) -> None:
        """Score no further; nobody is told."""
        self._cancelled = True

    def turn(self) -> bool:
        if self._cancelled:
            return False
        try:
            self._scores.append(self._scorer.score(self._rows[len(self._scores)]))
        except Exception as error:
            self.fail(explained(error))
            return False
        if len(self._scores) < len(self._rows):
            return True
        self._on_end(self._scores, None)
        return False

    def fail(self, error: GalenError) -> None:
        """End with an error instead of scores."""
        self._on_end(None, error)
