"""An AI judge: the model behind an OpenAI-compatible endpoint marks answers from 0 to 10. Torch-free.

    with AIJudge(config.rewards, cache, report.check_stop) as judge:
        judge.check()                     before anything else: does it answer?
        marks = judge.score(answers)      0 to 1 each, None where it gave no mark

How it is asked is `core.annotating`'s: every answer that it was asked about becomes a line of the cache, so a resumed
run does not ask again, and the limit holds over all attempts. A key comes from GALEN_JUDGE_KEY; it is sent to the
endpoint, and written nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from core.annotating.asking import Asking
from core.annotating.endpoint import AT_ONCE, JUDGE_KEY, RETRIES, Endpoint, completion
from core.annotating.replies import number_in
from core.configs.ppo import Rewards
from core.rules import Answer

__all__ = ["AT_ONCE", "JUDGE_KEY", "RETRIES", "AIJudge", "mark_of"]

BEST = 10.0
FILLED = re.compile(r"\{(question|answer|reference)\}")


class AIJudge:
    """backoff: seconds before the first new try; each further one waits twice as long.

    Raises RunError `ppo.judge_down` for an address or a key that cannot be used.
    """

    def __init__(
        self, config: Rewards, cache: Path, check_stop: Callable[[], None] = lambda: None, *, backoff: float = 1.0
    ) -> None:
        self.config = config
        self._endpoint = Endpoint(
            config.judge_url or "",
            config.judge_model,
            key_name=JUDGE_KEY,
            timeout=config.judge_timeout,
            check_stop=check_stop,
            backoff=backoff,
            down_code="ppo.judge_down",
        )
        self._asking = Asking(self._endpoint, cache, limit=config.judge_limit)
        self._told_limit = False

    def __enter__(self) -> AIJudge:
        return self

    def __exit__(self, *error: object) -> None:
        self._endpoint.__exit__(*error)

    @property
    def spent(self) -> bool:
        """Whether it has been asked about as many answers as it may be."""
        return self._asking.spent

    def check(self) -> None:
        """Raises RunError `ppo.judge_down` where nobody answers or the key is refused; asks for no mark."""
        self._endpoint.check()

    def score(self, answers: Sequence[Answer]) -> list[float | None]:
        """Marks from 0 to 1; None for nonsense, for no reply, and beyond the limit.

        Raises RunError `ppo.judge_down` where none of them gets a reply, after the first `AT_ONCE` that failed, and
        whatever `check_stop` raises, which is called again and again.
        """
        prompts = {str(place): self.prompt(answer) for place, answer in enumerate(answers)}
        marks = {place: _mark(reply.text) for place, reply in self._asking.ask(prompts, _is_mark)}
        if len(marks) < len(prompts) and not self._told_limit:
            print(f"The judge may be asked about {self.config.judge_limit} answers; from here on it marks no new ones.")
            self._told_limit = True
        return [marks.get(place) for place in prompts]

    def prompt(self, answer: Answer) -> str:
        """What the judge is asked about an answer. Braces round anything but the three names stay as they are."""
        values = {"question": answer.question, "answer": answer.text, "reference": answer.reference or ""}
        text = FILLED.sub(lambda found: values[found[1]], self.config.judge_prompt)
        return text.encode("utf-8", "replace").decode("utf-8")


def mark_of(data: bytes) -> float | None:
    """The mark in a chat completion, 0 to 1: its one number, if that is one of 0 to 10."""
    return _mark(completion(data)[0])


def _mark(text: str | None) -> float | None:
    number = number_in(text, 0, BEST)
    return None if number is None else number / BEST


def _is_mark(text: str) -> bool:
    return _mark(text) is not None
