"""Health alarms of a PPO run: what its figures say is going wrong. Torch-free; a pure function of its metrics.

    for alarm in alarms(rows):
        print(alarm.step, *sentence(alarm.code, alarm.params))

Rows of training are those with "reward"; evaluations are skipped. A row is judged by what stands before it alone, so
rows that follow never take an alarm back. An alarm begins at the step where what it says becomes true, and lasts while
it is; one that comes back within `WINDOW` rows has not ended. A figure that is missing or no number is skipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

WINDOW = 5  # rows that are averaged, or must all agree: a single rollout of few prompts is mostly noise
REWARD_RISE = 0.5  # of the answers' deviation at the start: three standard errors, at 16 prompts a rollout
KL_OF_ANSWER = 25.0  # nats, as evaluation.best_max_kl: a reward model has seen no answers from so far away
KL_OF_TOKEN = 0.5  # nats; short answers have left the language long before they reach the limit above
LENGTH_GROWTH = 2.0  # times the start; shorter answers are no alarm: most policies first learn to end
REWARD_STD = 1e-3  # below it, or below the next, answers are all worth the same and advantages are noise
REWARD_STD_SHARE = 0.02  # of the start
RATIO_OFF = 0.1  # at the first minibatch nothing has been learnt yet, and rounding to bf16 makes 0.05
ENTROPY_SHARE = 0.2  # of the start; a policy that learns well may lose half
ENTROPY_START = 0.05  # nats a token; what begins below has nothing to lose
NO_END = 0.9  # of the answers; when nearly all get the same penalty, none says what a better one is
CRITIC_WARMUP = 10  # rows; a fresh critic explains nothing yet
CRITIC_WINDOW = 10  # rows; explained variance jumps more than other figures, so it is judged by its median

Figures = NDArray[np.float64]  # [rows], NaN where there is no number
Reduce = Callable[..., Any]


@dataclass(frozen=True)
class Alarm:
    """`params` fill the sentence that `core.messages` has for `code`. ended: the first step without it, if any."""

    code: str
    step: int
    params: dict[str, float] = field(default_factory=dict)
    ended: int | None = None


@dataclass(frozen=True)
class Finding:
    """In which rows something is wrong, and the figures that tell of it."""

    wrong: NDArray[np.bool_]
    told: dict[str, Figures]


def alarms(rows: Sequence[Mapping[str, Any]]) -> list[Alarm]:
    """The alarms of a run whose metrics are `rows`, in the order in which they begin."""
    trained = [row for row in rows if "reward" in row]
    figures = Table(trained)
    steps = [int(number) if not math.isnan(number) else at for at, number in enumerate(figures["step"].tolist(), 1)]
    found = [alarm for code, look in ALARMS.items() for alarm in _stretches(code, steps, look(figures))]
    return sorted(found, key=lambda alarm: alarm.step)


class Table:
    """Figures of rows by name: `table["kl"]` is [rows]."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = rows

    def __getitem__(self, name: str) -> Figures:
        return np.array([_number(row.get(name)) for row in self._rows], dtype=np.float64)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else math.nan


# -- what may be wrong ------------------------------------------------------------------------------------------------
def _hacking(figures: Table) -> Finding:
    """The reward rises while KL or length runs away: what it measures gets better, and the answers may not."""
    reward, std, kl, length = (_rolling(figures[name]) for name in ("reward", "reward_std", "kl", "length"))
    risen = reward - _start(reward) > REWARD_RISE * _start(std)
    far = (kl > KL_OF_ANSWER) | (kl > KL_OF_TOKEN * length)
    longer = length > LENGTH_GROWTH * _start(length)
    told = {"reward": reward, "before": _start(reward), "kl": kl, "length": length, "length_before": _start(length)}
    return Finding(risen & (far | longer), told)


def _collapsed_reward(figures: Table) -> Finding:
    """All answers of a rollout are worth the same."""
    std = figures["reward_std"]
    highest = _rolling(std, np.max)
    limit = np.fmax(REWARD_STD, REWARD_STD_SHARE * _start(_rolling(std)))
    return Finding(highest <= limit, {"std": highest})


def _ratio(figures: Table) -> Finding:
    """The probabilities that are learnt from are not those that answers were scored with."""
    off = figures["ratio_off"]
    return Finding(off > RATIO_OFF, {"ratio": off})


def _entropy(figures: Table) -> Finding:
    """Nearly every token is certain: the policy has stopped trying things."""
    entropy = _rolling(figures["entropy"])
    start = _start(entropy)
    return Finding((entropy < ENTROPY_SHARE * start) & (start > ENTROPY_START), {"entropy": entropy, "before": start})


def _truncated(figures: Table) -> Finding:
    """Hardly an answer ends within the limit."""
    share = _rolling(figures["no_end"], np.min)
    return Finding(share > NO_END, {"percent": 100 * share})


def _critic(figures: Table) -> Finding:
    """The critic explains nothing of what answers turn out to be worth."""
    explained = figures["explained_variance"]
    explained[:CRITIC_WARMUP] = np.nan
    middle = _rolling(explained, np.median, CRITIC_WINDOW)
    return Finding(middle <= 0, {"explained": middle})


ALARMS: dict[str, Callable[[Table], Finding]] = {
    "alarm.hacking": _hacking,
    "alarm.collapsed_reward": _collapsed_reward,
    "alarm.ratio": _ratio,
    "alarm.entropy": _entropy,
    "alarm.truncated": _truncated,
    "alarm.critic": _critic,
}


# -- figures ----------------------------------------------------------------------------------------------------------
def _rolling(values: Figures, reduce: Reduce = np.mean, window: int = WINDOW) -> Figures:
    """`reduce` of the last `window` numbers up to each row; NaN as long as there are fewer."""
    rolling = np.full(len(values), np.nan)
    places = np.flatnonzero(~np.isnan(values))
    if len(places) >= window:
        reduced = reduce(sliding_window_view(values[places], window), axis=1)
        last = np.searchsorted(places, np.arange(len(values)), side="right") - window
        rolling[last >= 0] = reduced[last[last >= 0]]
    return rolling


def _start(rolling: Figures) -> Figures:
    """The first number of `rolling`, in every row from there on."""
    known = ~np.isnan(rolling)
    return np.where(known, rolling[known.argmax()], np.nan) if known.any() else rolling


def _stretches(code: str, steps: Sequence[int], finding: Finding) -> Iterator[Alarm]:
    places = np.flatnonzero(finding.wrong)
    if not len(places):
        return
    for stretch in np.split(places, np.flatnonzero(np.diff(places) > WINDOW) + 1):
        first, after = int(stretch[0]), int(stretch[-1]) + 1
        params = {name: _rounded(figure[first]) for name, figure in finding.told.items()}
        yield Alarm(code, steps[first], params, steps[after] if after < len(steps) else None)


def _rounded(value: float) -> float:
    """Three digits, which are enough for a sentence."""
    short = float(f"{value:.3g}")
    return int(short) if short.is_integer() else short
