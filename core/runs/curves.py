"""One figure of several runs on common axes: what is drawn over each other, and what goes into a table.

    wanted = Wanted(metric="eval_loss", axis="tokens", smoothing=0.6, log=True)
    curves = overlay([workspace.run(name) for name in names], wanted)

A row that was logged without the axis (an evaluation has no tokens) gets it from the rows round it: epoch, tokens and
time grow with the step, so they are interpolated. Time is what the clock showed since the first row of the run's
metrics, pauses between two attempts with it.
"""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from core.errors import InputError
from core.rundir import RunDir
from core.runs.scales import smooth
from core.system import whole_text
from core.tails import CURVE_POINTS, Points, Tail, downsample, tail

Axis = Literal["step", "epoch", "tokens", "time"]
AXES: tuple[Axis, ...] = get_args(Axis)
MOST_RUNS = 16  # lines that can still be told apart
MOST_SMOOTHING = 0.99
FIRST = ("loss", "reward", "eval_loss", "eval_reward")  # what is shown before anybody chose, by what the runs have
NO_METRIC = ("epoch", "tokens")


@dataclass(frozen=True)
class Wanted:
    """smoothing: weight of the moving average, from 0 (none) to 0.99. log: the figure on a logarithmic scale."""

    metric: str = ""
    axis: Axis = "step"
    smoothing: float = 0.0
    log: bool = False

    @classmethod
    def of(cls, values: dict[str, Any]) -> Wanted:
        """What a page asks for; whatever makes no sense is as by default."""
        found = cls(metric=whole_text(str(values.get("metric") or "")), log=bool(values.get("log")))
        axis, smoothing = values.get("axis"), values.get("smoothing")
        found = replace(found, axis=axis) if axis in AXES else found
        if isinstance(smoothing, int | float) and math.isfinite(smoothing):
            found = replace(found, smoothing=min(MOST_SMOOTHING, max(0.0, float(smoothing))))
        return found


@dataclass(frozen=True)
class RunCurve:
    """A run's line. `points` (x, y) as they are drawn, `raw` before they were smoothed, [] where they were not.

    last: the last logged value. Both are empty for a run that has not logged the figure, or not on this axis.
    """

    run: str
    name: str
    points: Points
    raw: Points
    last: float | None


def overlay(runs: Sequence[RunDir], wanted: Wanted, points: int = CURVE_POINTS) -> list[RunCurve]:
    """A curve of each run, in their order, in at most about `points` points. Raises InputError `runs.too_many`."""
    if len(runs) > MOST_RUNS:
        raise InputError("runs.too_many", count=len(runs), limit=MOST_RUNS)
    return [_curve(run, wanted, points) for run in runs]


def _curve(run: RunDir, wanted: Wanted, most: int) -> RunCurve:
    rows = tail(run.metrics_file)
    column = [point for point in rows.columns.get(wanted.metric, ()) if math.isfinite(point[1])]
    last = column[-1][1] if column else None
    smoothed = smooth(column, wanted.smoothing) if wanted.smoothing else column
    lines = [downsample(line, most) for line in (smoothed, column if wanted.smoothing else [])]
    drawn, raw = ([point for point in _placed(line, rows, wanted) if _drawable(point, wanted)] for line in lines)
    return RunCurve(run.id, name_of(run), drawn, raw, last)


def _drawable(point: tuple[float, float], wanted: Wanted) -> bool:
    return not wanted.log or point[1] > 0


def _placed(line: Points, rows: Tail, wanted: Wanted) -> Points:
    """The points with the axis in place of the step."""
    if wanted.axis == "step":
        return line
    steps, places = axis_of(rows, wanted.axis)
    return [(x, y) for step, y in line if (x := _between(steps, places, step)) is not None]


def axis_of(rows: Tail, axis: Axis) -> tuple[list[float], list[float]]:
    """(steps, places) by ascending step: where on the axis the rows of a run stand that say so."""
    column = rows.times if axis == "time" else rows.columns.get(axis, [])
    known = dict(reversed(column))  # the first row of a step counts: an evaluation comes after it
    steps = sorted(known)
    start = known[steps[0]] if axis == "time" and steps else 0.0
    return steps, [known[step] - start for step in steps]


def _between(steps: list[float], places: list[float], step: float) -> float | None:
    """The place of `step`, on a straight line between its neighbours; beyond both ends that of the end."""
    if not steps:
        return None
    at = bisect_left(steps, step)
    if at == len(steps) or steps[at] == step or at == 0:
        return places[min(at, len(steps) - 1)]
    share = (step - steps[at - 1]) / (steps[at] - steps[at - 1])
    return places[at - 1] + share * (places[at] - places[at - 1])


def metrics_of(runs: Sequence[RunDir]) -> list[str]:
    """Every figure that one of the runs has logged: those that most of them have first, then by name."""
    found = Counter(
        key for run in runs for key in tail(run.metrics_file).names() if key not in NO_METRIC
    )  # fmt: skip
    return sorted(found, key=lambda key: (-found[key], key))


def first_metric(metrics: Sequence[str]) -> str:
    """What is drawn before anybody chose; "" where nothing is logged."""
    return next((key for key in FIRST if key in metrics), metrics[0] if metrics else "")


def name_of(run: RunDir) -> str:
    return str((run.config().get("run") or {}).get("name") or run.id)


# -- a table ----------------------------------------------------------------------------------------------------------
def csv_lines(runs: Sequence[RunDir], wanted: Wanted) -> Iterator[str]:
    """Every logged value, none left out: run, name, step, epoch, tokens, seconds, the figure, and the same smoothed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    heads = [wanted.metric, *([f"{wanted.metric} smoothed {wanted.smoothing:g}"] if wanted.smoothing else [])]
    writer.writerow(["run", "name", "step", "epoch", "tokens", "seconds", *heads])
    for run in runs:
        rows, name = tail(run.metrics_file), name_of(run)
        column = list(rows.columns.get(wanted.metric, ()))
        smoothed = smooth(column, wanted.smoothing) if wanted.smoothing else None
        axes = [axis_of(rows, axis) for axis in ("epoch", "tokens", "time")]
        for at, (step, value) in enumerate(column):
            places = [_between(*axis, step) for axis in axes]
            more = [smoothed[at][1]] if smoothed is not None else []
            at_step = ["" if place is None else place for place in places]
            writer.writerow([run.id, name, step, *at_step, value, *more])
            if buffer.tell() > 1 << 16:
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
    yield buffer.getvalue()
