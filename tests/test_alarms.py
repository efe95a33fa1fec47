"""Alarms: each is raised by what it is for, none by a healthy run, and none is taken back."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from core.alarms import ALARMS, CRITIC_WARMUP, CRITIC_WINDOW, WINDOW, alarms
from core.errors import Problem
from core.messages import MESSAGES

Rows = list[dict[str, Any]]


def healthy(count: int = 60, seed: int = 0) -> Rows:
    """Metrics as a run has them that learns well: reward up, KL to 8 nats, answers that learn to end."""
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for step in range(1, count + 1):
        done = 1 - math.exp(-step / 30)
        noise = rng.standard_normal(8)
        rows.append(
            {
                "step": step,
                "reward": -0.2 + 0.8 * done + 0.15 * noise[0],
                "reward_std": max(0.05, 0.6 - 0.3 * done + 0.05 * noise[1]),
                "kl": 8 * done + 0.5 * noise[2],
                "length": 70 - 30 * done + 4 * noise[3],
                "entropy": 2.0 - 1.0 * done + 0.05 * noise[4],
                "no_end": min(1.0, max(0.0, 0.8 * (1 - done) + 0.05 * noise[5])),
                "ratio_off": abs(0.02 * noise[6]),
                "explained_variance": 0.5 - 0.8 * math.exp(-step / 5) + 0.1 * noise[7],
            }
        )
        if step % 5 == 0:
            rows.append({"step": step, "eval_reward": 0.1, "eval_kl": 1e9})
    return rows


def changed(rows: Rows, since: int, until: int = 10**9, **figures: Any) -> Rows:
    """`rows` with these figures at the steps from `since` on; a function is called with the step."""
    return [
        {**row, **{name: value(row["step"]) if callable(value) else value for name, value in figures.items()}}
        if since <= row["step"] < until and "reward" in row
        else row
        for row in rows
    ]


PROVOKED = {  # code: (what goes wrong at step 21, how many steps later it is certain)
    "hacking by kl": ("alarm.hacking", {"reward": 5.0, "kl": 80.0}, 1),
    "hacking by kl a token": ("alarm.hacking", {"reward": 5.0, "kl": 20.0, "length": 12.0}, WINDOW),
    "hacking by length": ("alarm.hacking", {"reward": 5.0, "length": 400.0}, WINDOW),
    "collapsed reward": ("alarm.collapsed_reward", {"reward_std": 1e-4}, WINDOW),
    "collapsed reward, large scores": ("alarm.collapsed_reward", {"reward_std": 0.005}, WINDOW),
    "ratio": ("alarm.ratio", {"ratio_off": 0.3}, 1),
    "entropy": ("alarm.entropy", {"entropy": 0.02}, WINDOW),
    "truncated": ("alarm.truncated", {"no_end": 0.97}, WINDOW),
    "critic": ("alarm.critic", {"explained_variance": -0.5}, CRITIC_WINDOW),
}


@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_run_raises_none(seed: int) -> None:
    assert alarms(healthy(seed=seed)) == []


def test_no_rows_and_few_rows_raise_none() -> None:
    assert alarms([]) == []
    assert alarms([{"step": 0, "eval_reward": 1.0}]) == []
    assert alarms(healthy(3)) == []


@pytest.mark.parametrize("name", PROVOKED)
def test_each_is_raised_once_where_it_begins_and_says_its_figures(name: str) -> None:
    code, wrong, certain = PROVOKED[name]
    [alarm] = alarms(changed(healthy(), 21, **wrong))
    assert alarm.code == code
    assert 21 <= alarm.step < 21 + certain + 1
    assert alarm.ended is None
    problem = Problem(alarm.code, alarm.params)
    assert "{" not in problem.message + problem.remedy
    assert problem.remedy


def test_all_are_provoked_and_have_sentences() -> None:
    assert {code for code, _, _ in PROVOKED.values()} == set(ALARMS)
    assert set(ALARMS) == {code for code in MESSAGES if code.startswith("alarm.")}


@pytest.mark.parametrize("name", PROVOKED)
def test_one_that_ends_says_when(name: str) -> None:
    code, wrong, _ = PROVOKED[name]
    [alarm] = alarms(changed(healthy(), 21, 41, **wrong))
    assert alarm.code == code
    assert 41 <= (alarm.ended or 0) <= 41 + max(WINDOW, CRITIC_WINDOW)


def test_one_that_flickers_is_one_and_one_that_comes_back_late_is_two() -> None:
    flickering = changed(healthy(), 20, 50, ratio_off=lambda step: 0.5 if step % 3 == 0 else 0.01)
    assert [alarm.step for alarm in alarms(flickering)] == [21]
    twice = changed(changed(healthy(), 10, 12, ratio_off=0.5), 40, 41, ratio_off=0.5)
    assert [(alarm.step, alarm.ended) for alarm in alarms(twice)] == [(10, 12), (40, 41)]


def test_rows_that_follow_take_no_alarm_back_and_add_none_before() -> None:
    rows = healthy()
    for _, wrong, _ in PROVOKED.values():
        rows = changed(rows, 25, 40, **wrong)
    begun = [(alarm.code, alarm.step) for alarm in alarms(rows)]
    assert len({code for code, _ in begun}) == len(ALARMS)
    for count in range(len(rows)):
        so_far = {(alarm.code, alarm.step) for alarm in alarms(rows[:count])}
        last = max((row["step"] for row in rows[:count] if "reward" in row), default=0)
        assert so_far == {one for one in begun if one[1] <= last}


def test_a_reward_that_rises_within_the_noise_is_no_hacking() -> None:
    assert alarms(changed(healthy(), 21, reward=0.0, kl=80.0)) == []


def test_a_short_spell_is_no_collapse() -> None:
    spell = changed(healthy(), 21, 21 + WINDOW - 1, reward_std=0.0, no_end=1.0)
    assert alarms(spell) == []


def test_a_critic_is_given_time() -> None:
    slow = changed(healthy(), 1, CRITIC_WARMUP + 4, explained_variance=-2.0)
    assert alarms(slow) == []
    [alarm] = alarms(changed(healthy(), 1, explained_variance=0.0))
    assert alarm.step == CRITIC_WARMUP + CRITIC_WINDOW


def test_what_is_no_number_is_skipped() -> None:
    rows = healthy()
    names = [name for name in rows[0] if name != "step"]
    for odd in (None, math.nan, math.inf, -math.inf, "many"):
        assert alarms(changed(rows, 1, **dict.fromkeys(names, odd))) == []
        assert alarms(changed(rows, 20, 30, **dict.fromkeys(names, odd))) == []
    assert alarms([{"reward": None} for _ in range(50)]) == []
    gaps = changed(rows, 21, entropy=lambda step: None if step % 2 else 0.01)
    [alarm] = alarms(gaps)
    assert alarm.code == "alarm.entropy"


def test_a_hundred_thousand_rows_take_a_moment() -> None:
    rows = healthy(2000) * 50
    began = time.monotonic()
    alarms(rows)
    assert time.monotonic() - began < 20
