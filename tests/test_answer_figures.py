"""Figures of answers against worked cases and the libraries' own corpus figures; intervals against known spreads."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from core.evaluation.texts import bleu_of, corpus_bleu, measure, overlap, same, words
from core.intervals import Draws, of_wins, wilson

ROWS = [
    ("多喝水，多休息。", "发烧时要多喝水，注意休息。"),
    ("糖尿病患者要控制饮食", "糖尿病患者要注意控制饮食。"),
    ("", "去医院。"),
]


# -- answers ----------------------------------------------------------------------------------------------------------
def test_the_bleu_of_a_corpus_is_sacrebleus_own() -> None:
    found = [overlap(answer, reference) for answer, reference in ROWS]
    answers, references = (list(column) for column in zip(*ROWS, strict=True))
    own = BLEU(tokenize="zh").corpus_score(answers, [references]).score
    assert math.isclose(corpus_bleu(each for each in found if each is not None), own)
    english = [("Drink plenty of water.", "Drink water, plenty of it."), ("Call a doctor now!", "Call a doctor.")]
    found = [overlap(answer, reference) for answer, reference in english]
    answers, references = (list(column) for column in zip(*english, strict=True))
    own = BLEU(tokenize="13a").corpus_score(answers, [references]).score
    assert math.isclose(corpus_bleu(each for each in found if each is not None), own)
    assert bleu_of([]) == 0


def test_character_bleu_by_hand() -> None:
    """abcd against abce: 3 of 4, 2 of 3, 1 of 2 and 0 of 1, the last smoothed to 1/2; no penalty for length."""
    expected = 100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4)
    assert math.isclose(measure("ab cd", "a bce")["char_bleu4"], expected)
    shorter = measure("abc", "abcdef")["char_bleu4"]  # no four in a row: three orders, all of them right
    assert math.isclose(shorter, 100 * math.exp(1 - 6 / 3))


def test_rouge_by_hand() -> None:
    """the cat sat / the cat ate: 2 of 3 words, 1 of 2 pairs, a common subsequence of 2."""
    found = measure("The cat sat.", "the cat ate")
    assert [round(found[name], 6) for name in ("rouge1", "rouge2", "rougeL")] == [0.666667, 0.5, 0.666667]
    repeated = measure("the the the the", "the cat ate")  # 1 of 4 and 1 of 3, not 1 of 1
    assert math.isclose(repeated["rouge1"], 2 / 7, abs_tol=1e-6)
    backwards = measure("ate cat the", "the cat ate")
    assert [round(backwards[name], 6) for name in ("rouge1", "rouge2", "rougeL")] == [1.0, 0.0, 0.333333]


def test_chinese_is_cut_into_words_by_jieba() -> None:
    assert words("高血压患者，要注意Aspirin！", chinese=True) == ["高血压", "患者", "要", "注意", "aspirin"]
    found = measure("高血压患者要多运动", "高血压患者要少吃盐")
    assert math.isclose(found["rouge1"], 4 / 9, abs_tol=1e-6)  # two of 高血压|患者|要|多|运动 and 高血压|患者|要少|吃盐


@pytest.mark.parametrize(
    ("answer", "reference", "equal"),
    [
        ("Yes.", "yes", True),
        ("ＡＢＣ", "abc", True),
        (" 是的。 ", "是的", True),
        ("1.5 mg", "15 mg", False),
        ("-5", "5", True),  # a sign at the edge is punctuation here: said in the definition
        ("", "。", False),
        ("a b", "ab", False),
    ],
)
def test_exact_match(answer: str, reference: str, equal: bool) -> None:
    assert same(answer, reference) is equal
    assert measure(answer, reference)["exact"] == equal


def test_repetition_and_length() -> None:
    assert overlap("a", None) is overlap("a", " ") is None
    found = measure("a b c d a b c d", None)
    assert found == {"chars": 15.0, "repetition": 1 / 5}  # five runs of four, one of them twice
    assert measure("多喝水多喝水", None)["repetition"] == 0  # three runs of four, all different
    assert measure("不不不不不不", "  ") == {"chars": 6.0, "repetition": 2 / 3}
    assert measure("", None) == {"chars": 0.0, "repetition": 0.0}


def test_an_empty_answer_scores_nothing_and_fails_nowhere() -> None:
    for answer in ("", " ", "。", "😀"):
        figures = measure(answer, "去医院吧")
        assert figures["bleu"] == figures["char_bleu4"] == figures["rouge1"] == figures["exact"] == 0


def test_cutting_words_prints_nothing_and_writes_no_cache(tmp_path: Path) -> None:
    code = (
        "import os, tempfile; tempfile.tempdir = os.environ['HERE']\n"
        "from core.evaluation.texts import words; words('高血压', chinese=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"HERE": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(filter(None, sys.path))},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
    assert not list(tmp_path.iterdir())


# -- intervals --------------------------------------------------------------------------------------------------------
def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(5, 2, 2000)
    low, high = Draws(2000, seed=0).mean(values).interval
    error = values.std() / math.sqrt(2000)
    assert math.isclose(high - low, 2 * 1.96 * error, rel_tol=0.1)
    assert low < values.mean() < high
    again = Draws(2000, seed=0).mean(values).interval
    assert again == (low, high)


def test_a_paired_difference_is_much_surer_than_two_figures() -> None:
    rng = np.random.default_rng(2)
    hardness = rng.normal(0, 3, 400)
    base, tuned = hardness + rng.normal(0, 0.1, 400), hardness + 0.1 + rng.normal(0, 0.1, 400)
    draws = Draws(400, seed=7)
    first, second = draws.mean(base), draws.mean(tuned)
    assert first.interval[1] > second.interval[0]  # apart they say nothing
    low, high = second.minus(first).interval
    assert 0.08 < low < 0.1 < high < 0.12


def test_a_ratio_weighs_rows_by_what_they_hold() -> None:
    nats, tokens = np.array([10.0, 1.0]), np.array([100.0, 1.0])
    found = Draws(2, seed=0).ratio(nats, tokens)
    assert math.isclose(found.value, 11 / 101)
    assert found.interval == pytest.approx((0.1, 1.0))
    assert math.isclose(found.map(np.exp).value, math.exp(11 / 101))
    with pytest.raises(ZeroDivisionError):
        Draws(2, seed=0).ratio(nats, np.zeros(2))


def test_resamples_without_a_value_are_left_out() -> None:
    found = Draws(2, seed=0).ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    assert found.interval == (0.5, 0.5)


def test_wilson_knows_shares_at_the_edge() -> None:
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-3)  # Brown, Cai & DasGupta 2001
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0.0, 0) == (0.0, 1.0)
    won = Draws(10, seed=0).mean(np.ones(10))
    assert won.interval == (1.0, 1.0)  # as if the next ten could not go otherwise
    assert of_wins(won, 10) == wilson(1.0, 10)
    mixed = Draws(10, seed=0).mean(np.array([1.0, 0.5] * 5))
    assert of_wins(mixed, 10) == mixed.interval


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I: the score method without continuity correction
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits / count, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson(1 - hits / count, count) == pytest.approx((1 - high, 1 - low), abs=5e-5)
