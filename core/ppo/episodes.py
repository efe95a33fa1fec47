"""Every answer of a run into its rollout files, as the page shows them (`core.records_ppo.Episode`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.data.look.pieces import Mark, Spelling
from core.ppo.rollout import Prompt, Sample
from core.records_ppo import Episode
from core.rundir import RunDir, write_text

if TYPE_CHECKING:
    from core.ppo.lessons import Judged


class Scribe:
    """Writes one file a rollout, whole or not at all. Silent on every rank but the one that `writes`."""

    def __init__(self, run: RunDir, tokenizer: Any, *, writes: bool) -> None:
        self.run, self.tokenizer, self.writes = run, tokenizer, writes
        self.spelling = Spelling(tokenizer.backend_tokenizer)

    def write(self, name: str, step: int, answers: Sequence[Judged], rewards: Sequence[float]) -> None:
        if not self.writes:
            return
        self.run.rollouts.mkdir(exist_ok=True)
        lines = [self._episode(step, each, reward) for each, reward in zip(answers, rewards, strict=True)]
        text = "".join(line.model_dump_json(exclude_none=True) + "\n" for line in lines)
        write_text(self.run.rollouts / f"{name}.jsonl", text, durable=False)

    def _episode(self, step: int, each: Judged, reward: float) -> Episode:
        one = each.sample
        pieces, kl = self._pieces(one, each.scored.kl)
        return Episode(
            step=step,
            number=one.number,
            line=one.prompt.line,
            prompt=conversation(one.prompt),
            question=one.prompt.messages[-1]["content"],
            answer=answer_text(self.tokenizer, one.ids.tolist()),
            reference=one.prompt.reference,
            pieces=pieces,
            kl=kl,
            scores={name: round(score, 5) for name, score in each.scores.items()},
            reward=round(reward, 5),
            ended=one.ended,
        )

    def _pieces(self, one: Sample, kl: np.ndarray) -> tuple[list[str], list[float]]:
        """The answer's tokens as text, those together that make a character only together; and the KL of each."""
        pieces = self.spelling.pieces(Mark(int(token), labelled=True, cut=False) for token in one.ids)
        ends = np.cumsum([len(piece.ids) for piece in pieces])
        sums = [float(part.sum()) for part in np.split(kl, ends[:-1])]
        return [piece.text or piece.raw for piece in pieces], [round(value, 4) for value in sums]


def answer_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """An answer's ids as text, without its end mark."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def conversation(prompt: Prompt) -> str:
    """The messages before the answer; of several, each with who says it."""
    if len(prompt.messages) == 1:
        return prompt.messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt.messages)
