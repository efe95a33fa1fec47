"""How well a reward model orders held-out pairs, and whether PPO may learn from it.

    judge = PairJudge(context, dataset, rows)      an Evaluator: figures for metrics.jsonl, and pairs.json beside it
    report = report_on(scores, answers, loss)      the figures alone, from scores [pairs, 2]

The gate asks four things. Does the model order enough pairs rightly, and more than chance would? Does it, where the
better answer is the shorter one? Does its score follow the length of an answer, which PPO would then learn to stretch?
Is it as sure as it is right? Each has a threshold below, and a sentence in `core.messages`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.data.encode.pairs import EncodedPairs
from core.data.store.library import Dataset
from core.intervals import wilson
from core.records_reward import CalibrationBin, Gate, GateReason, PairReport, WorstPair
from core.report import RunContext
from core.rundir import PAIRS, write_record
from core.training.evaluating import Walk

WORST, TEXT = 50, 2000  # pairs kept in the report, and characters of each text
BINS, BIN_PAIRS = 10, 20  # most bins of the calibration, and fewest pairs in one (fewer than two bins say nothing)
COLUMNS = 24  # of the histogram

FEWEST_PAIRS = 50  # with fewer, an accuracy of 65 % cannot be told from chance
LEAST_ACCURACY = 0.65  # people agree with each other on 63 to 77 % of such pairs (InstructGPT, arXiv 2203.02155, 3.4)
MOST_LENGTH = 0.5  # a quarter of the score's variance is then the answer's length
FEWEST_SHORTER = 20  # pairs with a shorter chosen answer, to say something about them
MOST_MISCALIBRATED = 0.1
MOST_TIES = 0.05

Scores = NDArray[np.float64]


class PairJudge:
    """Scores `rows` of `dataset`. On rank 0 it writes the report of every evaluation."""

    def __init__(self, context: RunContext, dataset: Dataset, rows: EncodedPairs) -> None:
        self.context, self.dataset, self.pairs = context, dataset, rows

    @property
    def rows(self) -> int:
        return len(self.pairs)

    @torch.no_grad()
    def __call__(self, objective: Any, walk: Walk) -> dict[str, float]:
        scores = torch.zeros(len(self.pairs), 2, dtype=torch.float64)
        loss = torch.zeros(1, dtype=torch.float64)
        for indices, _, found in walk.packs(self.pairs, objective.packing(walk.granted), objective.scores):
            loss += objective.losses(found).sum().double().cpu()
            scores[indices] = found.double().cpu()
        both = walk.total(torch.cat([scores.flatten(), loss])).numpy()
        report = self._report(both[:-1].reshape(-1, 2), float(both[-1]) / len(self.pairs), walk.step)
        objective.report = report  # goes with a checkpoint that is saved before the next step
        return figures(report)

    def _report(self, scores: Scores, loss: float, step: int) -> PairReport:
        report = report_on(scores, self.pairs.answers, loss, step=step)
        if self.context.rank == 0:
            report.worst = worst_pairs(self.dataset, self.pairs.rows, scores)
            run = self.context.run
            write_record(run.pairs_file, report)
            checkpoint = run.checkpoints / f"step-{step}"
            if checkpoint.is_dir():  # evaluated late: it was saved before
                write_record(checkpoint / PAIRS, report)
        return report


def figures(report: PairReport) -> dict[str, float]:
    """A report as one line of metrics; what could not be computed is left out."""
    named = {
        "eval_loss": report.loss,
        "eval_accuracy": report.accuracy,
        "eval_margin": report.margin,
        "eval_length_correlation": report.length_correlation,
        "eval_calibration_error": report.calibration_error,
    }
    return {name: value for name, value in named.items() if value is not None}


def worst_pairs(dataset: Dataset, rows: NDArray[np.int64], scores: Scores) -> list[WorstPair]:
    """The pairs that are not in order, the most wrong first, at most `WORST`; scores [pairs, 2] of `rows`."""
    difference = scores[:, 0] - scores[:, 1]
    places = [int(place) for place in np.argsort(difference, kind="stable") if difference[place] <= 0][:WORST]
    indices = [int(rows[place]) for place in places]
    return [
        WorstPair(
            dataset=dataset.ref,
            line=line,
            prompt="\n\n".join(message["content"] for message in row["prompt"])[-TEXT:],
            chosen=row["chosen"][-1]["content"][:TEXT],
            rejected=row["rejected"][-1]["content"][:TEXT],
            chosen_score=float(scores[place, 0]),
            rejected_score=float(scores[place, 1]),
        )
        for place, line, row in zip(places, dataset.lines(indices), dataset.take(indices), strict=True)
    ]


# -- figures ----------------------------------------------------------------------------------------------------------
def report_on(scores: Scores, answers: NDArray[np.int64], loss: float | None, *, step: int = 0) -> PairReport:
    """Everything but the worst pairs. scores [pairs, 2] of chosen and rejected, answers [pairs, 2] their tokens."""
    difference = scores[:, 0] - scores[:, 1]
    shorter = answers[:, 0] < answers[:, 1]
    edges = np.histogram_bin_edges(scores, COLUMNS)
    bins = calibration(difference)
    report = PairReport(
        step=step,
        pairs=len(scores),
        ties=int((difference == 0).sum()),
        accuracy=float((difference > 0).mean()),
        margin=float(difference.mean()),
        loss=loss,
        edges=edges.tolist(),
        chosen=np.histogram(scores[:, 0], edges)[0].tolist(),
        rejected=np.histogram(scores[:, 1], edges)[0].tolist(),
        length_correlation=correlation(scores.ravel(), answers.ravel().astype(float)),
        shorter=int(shorter.sum()),
        shorter_accuracy=float((difference[shorter] > 0).mean()) if shorter.any() else None,
        calibration=bins,
        calibration_error=_weighted(bins, [abs(each.predicted - each.observed) for each in bins]),
        calibration_noise=_weighted(bins, [_chance(each) for each in bins]),
    )
    report.gate = gate(report)
    return report


def correlation(first: Scores, second: Scores) -> float | None:
    """Pearson's correlation; None where one of the two does not vary."""
    if first.std() == 0 or second.std() == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def calibration(difference: Scores) -> list[CalibrationBin]:
    """How sure and how right, in bins of equal numbers of pairs, the least sure first; [] for too few pairs.

    The model calls the answer with the higher score the better one, and its own probability of that is σ(|difference|):
    reliability as Guo et al. measure it (arXiv 1706.04599), for a choice of two.
    """
    count = min(BINS, len(difference) // BIN_PAIRS)
    if count < 2:
        return []
    sure = 1 / (1 + np.exp(-np.abs(difference)))
    order = np.argsort(sure, kind="stable")
    return [
        CalibrationBin(predicted=float(sure[part].mean()), observed=float((difference[part] > 0).mean()), n=len(part))
        for part in np.array_split(order, count)
    ]


def _weighted(bins: list[CalibrationBin], values: list[float]) -> float | None:
    total = sum(each.n for each in bins)
    return sum(each.n * value for each, value in zip(bins, values, strict=True)) / total if total else None


def _chance(each: CalibrationBin) -> float:
    """Mean |observed − predicted| of a bin whose pairs come out right with just the predicted probability: that of a
    normal variable with the binomial's variance, √(2/π)·s."""
    return math.sqrt(2 / math.pi * each.predicted * (1 - each.predicted) / each.n)


# -- the gate ---------------------------------------------------------------------------------------------------------
def gate(report: PairReport) -> Gate:
    """Whether PPO may learn from these scores, and every reason why not."""
    reasons: list[GateReason] = []

    def because(code: str, **params: Any) -> None:
        reasons.append(GateReason(code=f"reward.{code}", params=params))

    if not report.pairs or report.accuracy is None:
        because("not_measured")
        return Gate(fit=False, reasons=reasons)
    percent = round(100 * report.accuracy)
    if report.pairs < FEWEST_PAIRS:
        because("few_pairs", pairs=report.pairs, least=FEWEST_PAIRS)
    if wilson(report.accuracy, report.pairs)[0] <= 0.5:
        because("chance", percent=percent, pairs=report.pairs)
    elif report.accuracy < LEAST_ACCURACY:
        because("low_accuracy", percent=percent, least=round(100 * LEAST_ACCURACY))
    if report.ties > MOST_TIES * report.pairs:
        because("ties", ties=report.ties, pairs=report.pairs)
    if report.length_correlation is not None and abs(report.length_correlation) > MOST_LENGTH:
        kind = "longer" if report.length_correlation > 0 else "shorter"
        because(f"prefers_{kind}", correlation=round(report.length_correlation, 2))
    if report.shorter >= FEWEST_SHORTER and (report.shorter_accuracy or 0.0) < 0.5:
        because("fails_shorter", percent=round(100 * (report.shorter_accuracy or 0.0)), pairs=report.shorter)
    error, noise = report.calibration_error, report.calibration_noise
    if error is not None and noise is not None and error - noise > MOST_MISCALIBRATED:
        oversure = _weighted(report.calibration, [each.predicted - each.observed for each in report.calibration]) or 0.0
        because("too_sure" if oversure > 0 else "too_unsure", percent=round(100 * error))
    return Gate(fit=not reasons, reasons=reasons)
