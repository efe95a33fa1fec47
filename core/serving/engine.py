"""The decode loop: one thread that gives every answer in turn its next token. Imports torch.

    1. take the answer whose turn it is; drop it if nobody wants it any more
    2. read the next piece of its prompt (`PREFILL` tokens; all of it, where the model reads none in pieces), or compute
       its next token with its own cache
    3. choose a token with its own generator; hand out the text that is certain
    4. put it at the end of the queue, unless it has ended

Turns, not batches: the numbers of an answer never depend on what else is being answered, so the same seed and weights
give the same text, alone or beside others. Two panes stream at the same time because turns are a token long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from core.errors import GalenError, InputError, RunError
from core.serving.registry import Served
from core.serving.sampling import Sampling, choose
from core.serving.text import Detokeniser, StopWords

PREFILL = 512  # prompt tokens read in one turn
log = logging.getLogger(__name__)

Finish = Literal["stop", "length", "cancelled"]
OnText = Callable[[str], None]
OnEnd = Callable[[dict[str, Any] | None, GalenError | None], None]


class Answer:
    """One answer in the making. `on_text` and `on_end` are called from the engine's thread."""

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
        self._tokens: list[int] = []
        self._read = 0
        # ChatGLM-6B's prompt attends to what follows, too: read in pieces it would be another one.
        whole = getattr(served.model, "reads_prompts_whole", False)
        self._prefill = max(PREFILL, len(self.prompt)) if whole else PREFILL
        self._cache: Any = None
        self._generator = torch.Generator().manual_seed(sampling.seed)
        self._text, self._words = Detokeniser(served.decode), StopWords(sampling.stop)
        self._cancelled = threading.Event()
        self._started = time.monotonic()
        self._first_token: float | None = None

    def cancel(self) -> None:
        """End it at its next turn. Safe from any thread, at any time."""
        self._cancelled.set()

    def turn(self) -> bool:
        """One turn (steps 2 and 3). False when the answer has ended."""
        if self._cancelled.is_set():
            return self._end("cancelled")
        if self._read < len(self.prompt):
            piece = self.prompt[self._read : self._read + self._prefill]
            self._read += len(piece)
            logits = self._forward(piece)
            if self._read < len(self.prompt):
                return True
        else:
            logits = self._forward(self._tokens[-1:])
        if not bool(torch.isfinite(logits).any()) or bool(torch.isnan(logits).any()):
            raise RunError("serve.not_finite", model=self.served.name)
        return self._take(choose(logits, [*self.prompt, *self._tokens], self.sampling, self._generator))

    def _forward(self, ids: list[int]) -> torch.Tensor:
        """Logits [vocabulary] after the last of `ids`, in fp32 on the CPU; the cache grows by `ids`."""
        output = self.served.model(
            input_ids=torch.tensor([ids], device=self.served.device),
            past_key_values=self._cache,
            use_cache=True,
            **self.served.options,
        )
        self._cache = output.past_key_values
        logits: torch.Tensor = output.logits[0, -1]
        return logits.float().cpu()

    def _take(self, token: int) -> bool:
        self._tokens.append(token)
        if self._first_token is None:
            self._first_token = time.monotonic()
        if token in self.served.stop_ids:
            return self._end("stop")
        self._show(self._words.push(self._text.push(token)))
        if self._words.found:
            return self._end("stop")
        return True if len(self._tokens) < self._limit else self._end("length")

    def _show(self, text: str) -> None:
        if text:
            self._on_text(text)

    def _end(self, reason: Finish) -> bool:
        if not self._words.found:
            self._show(self._words.push(self._text.finish()) + self._words.finish())
        self._cache = None
        self._on_end(self._facts(reason), None)
        return False

    def fail(self, error: GalenError) -> None:
        """End with an error instead of facts."""
        self._cache = None
        self._on_end(None, error)

    def _facts(self, reason: Finish) -> dict[str, Any]:
        """Which weights produced this answer, and how: the object `galen` of the last chunk."""
        now = time.monotonic()
        return {
            **self.served.provenance,
            "seed": self.sampling.seed,
            "tokens": len(self._tokens),
            "prompt_tokens": len(self.prompt),
            "finish_reason": reason,
            "seconds": round(now - self._started, 3),
            "seconds_to_first_token": round((self._first_token or now) - self._started, 3),
        }


class Engine:
    """Answers waiting for their turns, and the thread that gives them."""

    def __init__(self) -> None:
        self._answers: deque[Answer] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._last_use = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="decode", daemon=True)
        self._thread.start()

    def submit(self, answer: Answer) -> None:
        with self._changed:
            self._last_use = time.monotonic()
            self._answers.append(answer)
            self._changed.notify()

    def close(self) -> None:
        """End every answer as cancelled, and the thread."""
        with self._changed:
            self._closing = True
            for answer in self._answers:
                answer.cancel()
            self._changed.notify()
        self._thread.join(30)

    @property
    def active(self) -> int:
        return len(self._answers)

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last answer ended or was asked for; 0 while one is being made."""
        return 0.0 if self._answers else time.monotonic() - self._last_use

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._answers:
                    if self._closing:
                        return
                    self._changed.wait()
                answer = self._answers[0]  # stays in the queue while it works, so that `active` counts it
            goes_on = self._turn(answer)
            with self._changed:
                self._answers.popleft()
                self._last_use = time.monotonic()
                if goes_on:
                    self._answers.append(answer)

    @staticmethod
    def _turn(answer: Answer) -> bool:
        try:
            with torch.inference_mode():
                return answer.turn()
        except GalenError as error:
            answer.fail(error)
        except Exception as error:  # one broken answer must not end the others
            log.exception("an answer broke off")
            detail = str(error).splitlines()[0] if str(error) else type(error).__name__
            answer.fail(RunError("serve.failed", detail=detail))
        return False
