"""What is said of a reward model on held-out pairs: the record of `pairs.json`, and of each checkpoint's own copy.

Scores are those of the model, in no unit; a pair's difference is the log-odds that the chosen answer is the better one
(Bradley and Terry 1952). Nothing is computed here: `core.training.judging` does it.
"""

from __future__ import annotations

from typing import Any

from core.records import Record


class CalibrationBin(Record):
    """Of `n` pairs: how sure the model was on average that it orders them rightly, and how many it did order so."""

    predicted: float
    observed: float
    n: int


class GateReason(Record):
    """Why a reward model is not fit: a code of `core.messages` and its parameters."""

    code: str
    params: dict[str, Any] = {}


class Gate(Record):
    """Whether PPO may learn from these scores. The thresholds are in `core.training.judging`."""

    fit: bool = False
    reasons: list[GateReason] = []


class WorstPair(Record):
    """A pair in the wrong order, or with equal scores. `line` is that of the dataset's source; texts may be cut."""

    dataset: str
    line: int
    prompt: str
    chosen: str
    rejected: str
    chosen_score: float
    rejected_score: float


class PairReport(Record):
    """Figures over held-out pairs after `step`. A tie counts as wrong.

    accuracy: share of pairs with chosen above rejected. margin: mean difference. edges [n + 1], chosen [n], rejected
    [n]: histogram of the scores. length_correlation: Pearson's, of an answer's score with its length in tokens.
    shorter, shorter_accuracy: the pairs whose chosen answer is the shorter one, and the share of them in order.
    calibration_error: mean distance of predicted and observed, weighted by pairs; calibration_noise: what a perfectly
    calibrated model would show on so few pairs. None: there is nothing to compute it from.
    """

    step: int
    pairs: int = 0
    ties: int = 0
    accuracy: float | None = None
    margin: float | None = None
    loss: float | None = None
    edges: list[float] = []
    chosen: list[int] = []
    rejected: list[int] = []
    length_correlation: float | None = None
    shorter: int = 0
    shorter_accuracy: float | None = None
    calibration: list[CalibrationBin] = []
    calibration_error: float | None = None
    calibration_noise: float | None = None
    gate: Gate = Gate()
    worst: list[WorstPair] = []
