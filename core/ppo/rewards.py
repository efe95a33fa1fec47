"""What an answer is worth: reward models, rules and a judge, each scored by itself, then weighted and added.

    sources = Sources([Source("length", 0.5, of_rule(rule)), …], text)
    scores = sources.score(samples)          {"length": [1.0, 0.3, …], …}, before weights
    worth = sources.total(scores)            Σ weight · score, [n]

A reward run on the policy's very backbone (equal `backbone_id`) is one more adapter there; any other is loaded apart
and reads the answers as text, in its own template and tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.data.encode.pairs import Unusable, encode_answers
from core.errors import RunError
from core.ppo.judge import AIJudge
from core.ppo.roles import Roles
from core.ppo.rollout import Sample, judged
from core.rules import Answer, BoundRule
from core.training.judges import Judge

Scores = dict[str, list[float]]
Scorer = Callable[[Sequence[Sample], Sequence[str]], Sequence[float | None]]  # answers and their texts → scores


@dataclass(frozen=True)
class Source:
    """judge: of a source that may leave answers unmarked; they count as the mean of those that it marked."""

    label: str
    weight: float
    scorer: Scorer
    judge: AIJudge | None = None


class Sources:
    """All of a run's sources, in the order of the config. `text`: an answer's ids as text.

    shift, scale: of the weighted sum, so that demonstrations have mean 0 and deviation 1 (`normalise`).
    """

    def __init__(self, sources: Sequence[Source], text: Callable[[Sequence[int]], str]) -> None:
        self.sources, self.text = list(sources), text
        self.shift, self.scale = 0.0, 1.0

    def score(self, samples: Sequence[Sample]) -> Scores:
        """Every source's scores. Raises RunError `ppo.reward_nan` where one gives no number for an answer, and
        `judge.nothing_marked` where a judge has marked none."""
        texts = [self.text(each.ids.tolist()) for each in samples]
        found: Scores = {}
        for source in self.sources:
            scores = source.scorer(samples, texts)
            marked = [score for score in scores if score is not None]
            unmarked = 0 if source.judge is not None else len(scores) - len(marked)
            if source.judge is not None:
                _check_marks(source, len(marked), len(scores))
            bad = unmarked + sum(not math.isfinite(score) for score in marked)
            if bad:
                raise RunError("ppo.reward_nan", source=source.label, count=bad)
            middle = sum(marked) / len(marked) if marked else 0.0
            found[source.label] = [middle if score is None else float(score) for score in scores]
        return found

    @property
    def spent(self) -> bool:
        """Whether a judge will mark no more answers: from then on rewards would not compare with earlier ones."""
        return any(source.judge is not None and source.judge.spent for source in self.sources)

    def total(self, scores: Mapping[str, Sequence[float]]) -> NDArray[np.float64]:
        """Σ weight · score of every answer, shifted and scaled."""
        parts = [source.weight * np.asarray(scores[source.label], dtype=np.float64) for source in self.sources]
        worth: NDArray[np.float64] = (np.sum(parts, axis=0) - self.shift) / self.scale
        return worth

    def normalise(self, demonstrations: Sequence[Sample]) -> None:
        """[21] From now on demonstrations have mean 0 and deviation 1."""
        worth = self.total(self.score(demonstrations))
        self.shift, self.scale = float(worth.mean()), float(worth.std()) or 1.0


def _check_marks(source: Source, marked: int, count: int) -> None:
    """Say how many answers a judge gave no mark; raise RunError `judge.nothing_marked` where it was all of them."""
    if source.judge is None or source.judge.spent or marked == count:
        return
    if not marked:
        raise RunError("judge.nothing_marked", source=source.label, count=count)
    print(f"{source.label}: {count - marked} of {count} answers got no mark, and count as the mean of the others")


# -- the kinds of sources ---------------------------------------------------------------------------------------------
def of_rule(rule: BoundRule) -> Scorer:
    return lambda samples, texts: [rule.score(_answer(each, text)) for each, text in zip(samples, texts, strict=True)]


def of_judge(judge: AIJudge) -> Scorer:
    return lambda samples, texts: judge.score([_answer(each, text) for each, text in zip(samples, texts, strict=True)])


def of_adapter(roles: Roles, judge: str, granted: int, check_stop: Callable[[], None]) -> Scorer:
    """A reward model on the policy's backbone: it reads the very tokens."""
    return lambda samples, texts: judged(roles, judge, samples, granted=granted, check_stop=check_stop)


def of_model(judge: Judge, granted: int, check_stop: Callable[[], None]) -> Scorer:
    """A reward model with a backbone and tokenizer of its own: it reads the text. Raises RunError `ppo.reward_unread`
    where it cannot: its context is too short, or its template takes no such conversation."""

    def scores(samples: Sequence[Sample], texts: Sequence[str]) -> list[float | None]:
        encoded = []
        for each, text in zip(samples, texts, strict=True):
            one = encode_answers(judge.encoder, each.prompt.messages, [text])
            if isinstance(one, Unusable):
                length = judge.encoder.max_length
                raise RunError("ppo.reward_unread", line=each.prompt.line, length=length)
            encoded.append(one[0])
        check_stop()
        return [scores[0] for scores in judge.score(encoded, tokens=granted)]

    return scores


def _answer(sample: Sample, text: str) -> Answer:
    question = sample.prompt.messages[-1]["content"]
    return Answer(text, question, sample.prompt.reference, tokens=len(sample.ids), ended=sample.ended)


def labels_of(names: Sequence[str]) -> list[str]:
    """Names as figures call them: one that comes twice is numbered, `length`, `length-2`."""
    found: list[str] = []
    for name in names:
        label, number = name, 1
        while label in found:
            number += 1
            label = f"{name}-{number}"
        found.append(label)
    return found
