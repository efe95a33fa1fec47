"""Mixtures and curricula: every row as often as it should, in the order asked for, whatever epoch one begins in."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from core.configs.sections import Data, weighted
from core.data.encode.curriculum import Curriculum, filled, series


def test_a_series_of_permutations_shows_every_number_equally_often_wherever_it_is_cut() -> None:
    whole = series(1, (0,), 7, 0, 35)
    assert Counter(whole.tolist()) == dict.fromkeys(range(7), 5)
    assert all(sorted(whole[at : at + 7].tolist()) == list(range(7)) for at in range(0, 35, 7))
    parts = [series(1, (0,), 7, start, start + 5) for start in range(0, 35, 5)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert series(1, (1,), 7, 0, 35).tolist() != whole.tolist()
    assert len(series(1, (0,), 7, 3, 3)) == 0


def test_weights_say_how_often_rows_are_seen() -> None:
    mixture = Curriculum([40, 30, 10], [1, 0.5, 2])
    seen = Counter(np.concatenate([mixture(3, epoch) for epoch in range(4)]).tolist())
    assert len(mixture) == 40 + 15 + 20
    assert [{seen[row] for row in rows} for rows in (range(40), range(40, 70), range(70, 80))] == [{4}, {2}, {8}]
    assert mixture(3, 2).tolist() == Curriculum([40, 30, 10], [1, 0.5, 2])(3, 2).tolist()
    assert mixture(3, 2).tolist() != mixture(3, 3).tolist()
    assert mixture(4, 2).tolist() != mixture(3, 2).tolist()
    first = mixture(3, 0)
    assert 3 < int((first[:38] >= 40).sum()) < 35  # shuffled together, not one set after another


def test_a_small_weight_still_takes_a_row() -> None:
    assert len(Curriculum([10, 10], [1, 0.001])) == 11


def test_easy_first_goes_up_in_every_epoch_and_shuffles_equals() -> None:
    difficulty = np.array([3, 1, 2, 1, 1, 1, np.nan, 3], dtype=float)
    curriculum = Curriculum([8], [1], difficulty=difficulty)
    orders = [curriculum(0, epoch) for epoch in range(4)]
    known = filled(difficulty)
    assert known[6] == 1
    for order in orders:
        assert sorted(order.tolist()) == list(range(8))
        assert (np.diff(known[order]) >= 0).all()
    assert len({tuple(order) for order in orders}) > 1


@pytest.mark.parametrize("epochs", [1.0, 3.0, 2.5])
def test_phases_train_on_the_easy_rows_first_and_on_all_equally_often(epochs: float) -> None:
    difficulty = np.random.default_rng(0).random(60)
    curriculum = Curriculum([60], [1], difficulty=difficulty, phases=3, epochs=epochs)
    order = np.concatenate([curriculum(5, epoch) for epoch in range(4)])[: round(60 * epochs)]
    third = round(20 * epochs)
    easy, middle, hard = (order[at * third : (at + 1) * third] for at in range(3))
    assert difficulty[easy].max() < difficulty[middle].min()
    assert difficulty[middle].max() < difficulty[hard].min()
    seen = Counter(order.tolist())
    assert set(seen) == set(range(60))
    assert set(seen.values()) <= {int(np.floor(epochs)), int(np.ceil(epochs))}
    assert (np.diff(difficulty[easy]) < 0).any()  # shuffled within
    shares = [share for share, _ in curriculum.phase_ends()]
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])


def test_phases_of_a_mixture_keep_the_weights() -> None:
    difficulty = np.concatenate([np.linspace(0, 1, 40), np.linspace(0, 1, 40)])
    curriculum = Curriculum([40, 40], [1, 0.5], difficulty=difficulty, phases=4, epochs=2)
    seen = Counter(np.concatenate([curriculum(0, epoch) for epoch in range(2)]).tolist())
    assert {seen[row] for row in range(40)} == {2}
    assert {seen[row] for row in range(40, 80)} == {1}
    assert len(curriculum(0, 7)) == len(curriculum)  # beyond the plan it goes on with the hardest


def test_more_phases_than_kinds_of_rows_are_left_out() -> None:
    curriculum = Curriculum([6], [1], difficulty=np.arange(6.0), phases=10, epochs=1)
    assert curriculum(0, 0).tolist() == [0, 1, 2, 3, 4, 5]
    same = Curriculum([6], [1], difficulty=np.full(6, np.nan), phases=3, epochs=1)
    assert sorted(same(0, 0).tolist()) == list(range(6))


# -- the setting ------------------------------------------------------------------------------------------------------
def test_a_mixture_is_written_as_lines_or_yaml() -> None:
    lines = ["general: 0.5", "extra"]
    assert Data(train="d", mix="general: 0.5\n\nextra").mix == lines
    assert Data(train="d", mix=[{"general": 0.5}, "extra"]).mix == lines
    assert Data(train="d", mix={"general": 0.5}).mix == lines[:1]
    assert [weighted(line) for line in lines] == [("general", 0.5), ("extra", 1.0)]
    assert weighted("C:file.jsonl") == ("C:file.jsonl", 1.0)
    assert weighted("a@v1: 2") == ("a@v1", 2.0)
    assert weighted("123") == ("123", 1.0)


@pytest.mark.parametrize("mix", [["a: 0"], ["a: -1"], ["a: nan"], ["a: 1000"], [": 2"], ["a: 1", "a: 2"], [3]])
def test_weights_that_mean_nothing_are_refused(mix: list[object]) -> None:
    with pytest.raises(ValidationError):
        Data(train="d", mix=mix)
