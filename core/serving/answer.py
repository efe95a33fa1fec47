"""One answer in the making: from logits to tokens to text, and what is told of it at its end. Imports torch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from core.errors import GalenError, InputError, RunError
from core.serving.registry import Served
from core.serving.sampling import Sampling, choose
from core.serving.text import Detokeniser, StopWords

Finish = Literal["stop", "length", "cancelled"]
OnText = Callable[[str], None]
OnEnd = Callable[[dict[str, Any] | None, GalenError | None], None]


class Answer:
    """`on_text` and `on_end` are called from the engine's thread; `on_end` once, with facts or with an error."""

    def __init__(
        self, served: Served, prompt: Sequence[int], sampling: Sampling, on_text: OnText, on_end: OnEnd
    ) -> None:
        """Raises InputError `serve.context` where the prompt leaves no room for an answer."""
        self.served, self.sampling = served, sampling
        self._on_text, self._on_end = on_text, on_end
        self.prompt = list(prompt)
        room = (served.context or 1 << 30) - len(self.prompt)
        if room < 1:
            raise InputError("serve.context", tokens=len(self.prompt), allowed=served.context)
        self._limit = min(sampling.max_tokens, room)
        self.tokens: list[int] = []
        self._generator = torch.Generator().manual_seed(sampling.seed)
        self._text, self._words = Detokeniser(served.decode), StopWords(sampling.stop)
        self._cancelled = threading.Event()
        self._started = time.monotonic()
        self._first_token: float | None = None

    def cancel(self) -> None:
        """End it before its next token. Safe from any thread, at any time."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def take(self, logits: Tensor) -> bool:
        """Choose the next token from `logits` [v]. False when the answer has ended."""
        if not bool(logits.max().isfinite()):  # nor is it where any of them is no number
            raise RunError("serve.not_finite", model=self.served.name)
        token = choose(logits, [*self.prompt, *self.tokens], self.sampling, self._generator)
        self.tokens.append(token)
        if self._first_token is None:
            self._first_token = time.monotonic()
        if token in self.served.stop_ids:
            return self.end("stop")
        self._show(self._words.push(self._text.push(token)))
        if self._words.found:
            return self.end("stop")
        return True if len(self.tokens) < self._limit else self.end("length")

    def _show(self, text: str) -> None:
        if text:
            self._on_text(text)

    def end(self, reason: Finish) -> bool:
        """Hand out what is left, and the facts. Always False."""
        if not self._words.found:
            self._show(self._words.push(self._text.finish()) + self._words.finish())
        self._on_end(self._facts(reason), None)
        return False

    def fail(self, error: GalenError) -> None:
        """End with an error instead of facts."""
        self._on_end(None, error)

    def _facts(self, reason: Finish) -> dict[str, Any]:
        """Which weights produced this answer, and how: the object `galen` of the last chunk."""
        now = time.monotonic()
        return {
            **self.served.provenance,
            "seed": self.sampling.seed,
            "tokens": len(self.tokens),
            "prompt_tokens": len(self.prompt),
            "finish_reason": reason,
            "seconds": round(now - self._started, 3),
            "seconds_to_first_token": round((self._first_token or now) - self._started, 3),
        }
