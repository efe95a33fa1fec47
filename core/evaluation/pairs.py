"""Which of two answers a model prefers: a language model by how likely it finds them, a reward model by its scores.

A language model's verdict is the mean log-probability of an answer's tokens: the sum would prefer whichever is shorter.
A tie is lost, as it is in training a reward model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.data.encode.encoding import IGNORED
from core.data.encode.pairs import EncodedPairs
from core.evaluation.marks import share_error
from core.training.judging import report_on

Ids = NDArray[np.int32]
Floats = NDArray[np.float64]


class Answers:
    """Both answers of every pair as rows for `perplexity.sum_rows`: row 2i is the chosen one of pair i, 2i + 1 the
    rejected one, each behind its prompt, with labels on the answer alone."""

    def __init__(self, pairs: EncodedPairs) -> None:
        self.pairs = pairs
        prompts, answers = pairs.parts[:, :1], pairs.parts[:, 1:]
        self.lengths: NDArray[np.int64] = (prompts + answers).reshape(-1)
        self.label_counts: NDArray[np.int64] = pairs.answers.reshape(-1)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[Ids, Ids]:
        prompt, *answers = self.pairs[index // 2]
        ids = np.concatenate([prompt, answers[index % 2]])
        labels = np.full_like(ids, IGNORED)
        start = len(ids) - int(self.label_counts[index])
        labels[start:] = ids[start:]
        return ids, labels


def preference(scores: Floats, answers: NDArray[np.int64]) -> dict[str, float]:
    """scores [pairs, 2] of both answers, answers [pairs, 2] their tokens → figures.

    `accuracy` (ties are lost), mean `margin`, `ties`, and where there is one, the `accuracy_error` and the
    `length_correlation`.
    """
    report = report_on(scores, answers, loss=None)
    share = report.accuracy or 0.0
    named = {
        "accuracy": share,
        "accuracy_error": share_error(share, len(scores)) if len(scores) > 1 else None,
        "margin": report.margin,
        "ties": float(report.ties),
        "length_correlation": report.length_correlation,
    }
    return {name: value for name, value in named.items() if value is not None}
