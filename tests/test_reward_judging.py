"""What is said of a reward model on held-out pairs, and the gate before PPO."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.configs.files import resolve
from core.configs.pairs import Preference
from core.errors import ConfigError
from core.intervals import wilson
from core.messages import MESSAGES
from core.records_reward import PairReport
from core.training.judging import calibration, correlation, figures, gate, report_on
from core.training.reward import pair_losses


def drawn(pairs: int, spread: float, *, seed: int = 0, length: float = 0.0) -> PairReport:
    """A model whose differences are `spread` wide and that is exactly as sure as it is right; its score follows the
    answer's length by `length`."""
    rng = np.random.default_rng(seed)
    apart = np.abs(rng.normal(0, spread, pairs))
    signs = np.where(rng.random(pairs) < 1 / (1 + np.exp(-apart)), 1, -1)
    tokens = rng.integers(10, 100, (pairs, 2))
    scores = np.stack([apart * signs / 2, -apart * signs / 2], 1) + length * (tokens - 55)
    return report_on(scores, tokens, 0.6)


def reasons(report: PairReport) -> set[str]:
    return {reason.code.removeprefix("reward.") for reason in report.gate.reasons}


def test_the_loss_is_its_formula() -> None:
    scores = torch.tensor([[1.0, 0.5], [-0.2, 0.7]], dtype=torch.float64)
    apart = scores[:, 0] - scores[:, 1] - 0.1
    plain = -torch.log(torch.sigmoid(apart)) + 0.3 * scores.sum(1) ** 2
    torch.testing.assert_close(pair_losses(scores, 0.1, 0.3), plain)
    both = -0.8 * torch.log(torch.sigmoid(apart)) - 0.2 * torch.log(1 - torch.sigmoid(apart))
    torch.testing.assert_close(pair_losses(scores, 0.1, 0.0, 0.2), both)
    assert pair_losses(torch.zeros(1, 2), 0.0, 0.01).item() == pytest.approx(math.log(2))


def test_ties_lose_and_counts_are_counts() -> None:
    scores = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 2.0], [3.0, 1.0]])
    report = report_on(scores, np.array([[5, 9], [4, 4], [6, 2], [7, 8]]), 0.5, step=3)
    assert (report.step, report.pairs, report.ties) == (3, 4, 1)
    assert report.accuracy == 0.5
    assert report.margin == pytest.approx(0.25)
    assert (report.shorter, report.shorter_accuracy) == (2, 1.0)
    assert sum(report.chosen) == sum(report.rejected) == 4
    assert len(report.edges) == len(report.chosen) + 1
    assert report.calibration == []
    assert "eval_calibration_error" not in figures(report)
    assert figures(report)["eval_accuracy"] == 0.5


def test_a_good_model_is_fit_and_a_report_survives_the_disk() -> None:
    report = drawn(400, 3.0)
    assert reasons(report) == set()
    assert report.gate.fit
    assert PairReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (drawn(400, 0.01), "chance"),
        (drawn(30, 3.0), "few_pairs"),
        (drawn(4000, 0.8), "low_accuracy"),
        (drawn(400, 3.0, length=0.1), "prefers_longer"),
        (drawn(400, 3.0, length=-0.1), "prefers_shorter"),
        (report_on(np.zeros((90, 2)), np.ones((90, 2), dtype=np.int64), 0.69), "ties"),
    ],
)
def test_the_gate_says_why_not(report: PairReport, expected: str) -> None:
    assert not report.gate.fit
    assert expected in reasons(report)


def test_pure_length_fails_where_the_shorter_answer_is_better() -> None:
    tokens = np.random.default_rng(0).integers(10, 100, (300, 2))
    tokens[:200] = np.sort(tokens[:200])[:, ::-1]  # most chosen answers are the longer ones
    report = report_on(tokens / 10.0, tokens, 0.5)
    assert report.accuracy is not None
    assert report.accuracy > 0.7
    assert reasons(report) >= {"prefers_longer", "fails_shorter"}


def test_a_model_that_is_too_sure_is_found_out() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(400) < 0.7
    scores = np.where(right[:, None], [6.0, -6.0], [-6.0, 6.0]) + rng.normal(0, 0.1, (400, 2))
    report = report_on(scores, rng.integers(10, 100, (400, 2)), 0.9)
    assert reasons(report) == {"too_sure"}
    assert report.calibration_error == pytest.approx(0.3, abs=0.06)
    assert reasons(report_on(scores / 100, rng.integers(10, 100, (400, 2)), 0.69)) == {"too_unsure"}


def test_a_calibrated_model_is_not_blamed_for_few_pairs() -> None:
    """With few pairs the bins are noise: what is expected of a perfect model is taken off before it is judged."""
    assert not any({"too_sure", "too_unsure"} & reasons(drawn(60, 3.0, seed=seed)) for seed in range(20))
    bins = calibration(np.random.default_rng(0).normal(1, 2, 205))
    assert [each.n for each in bins] == [21] * 5 + [20] * 5
    assert [each.predicted for each in bins] == sorted(each.predicted for each in bins)


def test_nothing_held_out_is_not_fit() -> None:
    assert {reason.code for reason in gate(PairReport(step=9)).reasons} == {"reward.not_measured"}


def test_wilson_bound_and_correlation() -> None:
    assert wilson(0.5, 100)[0] == pytest.approx(0.4038, abs=1e-4)
    assert wilson(1.0, 10)[0] == pytest.approx(0.7225, abs=1e-4)
    assert correlation(np.ones(4), np.arange(4.0)) is None
    assert correlation(np.arange(4.0), -np.arange(4.0)) == pytest.approx(-1)


def test_every_reason_has_a_sentence() -> None:
    codes = ["not_measured", "few_pairs", "chance", "low_accuracy", "ties", "prefers_longer", "prefers_shorter"]
    assert {f"reward.{code}" for code in [*codes, "fails_shorter", "too_sure", "too_unsure"]} <= set(MESSAGES)


def test_noise_on_the_embeddings_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("reward", overrides=["model.base=m", "data.train=d", "optim.neftune_alpha=5"])
    assert [(problem.code, problem.key) for problem in caught.value.problems] == [
        ("reward.no_noise", "optim.neftune_alpha")
    ]
    assert Preference().centring == 0.01
