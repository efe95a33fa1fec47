"""The alignment-tax report, as `output/report.json` holds it. Torch-free; made by `core.evaluation.report`.

Rows are models, the base first; blocks are datasets. Numbers and codes only: every reader says them in its language.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from core.records import Record
from core.records_evaluation import Role

# What is reported of a set, in the order of the columns, and whether more of it is better (1), worse (-1) or neither.
MEASURES: dict[str, int] = {
    "accuracy": 1, "accuracy_norm": 1, "perplexity": -1, "bits_per_byte": -1,
    "safe": 1, "reward": 1, "win": 1, "tokens": 0,
}  # fmt: skip
SECOND = ("accuracy_norm",)  # another reading of what stands there already: in the table, and nowhere else
SHARES = ("accuracy", "accuracy_norm", "safe", "win")  # shown in per cent, and their changes in points


Verdict = Literal["", "better", "worse", "changed", "open"]


class Figure(Record):
    """One measure of one model. [low, high] holds the true value with 95 % probability; None for too few rows.

    change: the difference to the base on the `pairs` rows that both have, with an interval of its own; None for the
    base, and where the two do not compare. Of a win rate it is what lies above one half. verdict: whether that is good,
    where the interval leaves out 0; `changed` where a change is neither good nor bad; `open` where it holds 0, or
    there are too few pairs for one.
    """

    value: float
    low: float | None = None
    high: float | None = None
    rows: int
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    pairs: int = 0
    verdict: Verdict = ""


Figures = dict[str, Figure]  # by measure


class Block(Record):
    """One set: a dataset, what it stands for, which measures some model has, and the categories of its rows.

    label: what it is called, the dataset's name; with the version where two of them are called alike. learnt_by: names
    of the models that were trained on these very rows.
    """

    dataset: str
    label: str = ""
    role: Role = ""
    measures: list[str] = []
    categories: list[str] = []
    learnt_by: list[str] = []


class Line(Record):
    """One model; `figures` and `groups` (by category) run along the blocks."""

    name: str
    run: str | None = None
    stage: str | None = None
    figures: list[Figures] = []
    groups: list[dict[str, Figures]] = []


class Told(Record):
    """A sentence: a code of `core.messages`. A parameter may be a list of such sentences (`said`)."""

    code: str
    params: dict[str, Any] = {}


class TaxReport(Record):
    """`report.json`. told: what was gained and lost, a sentence for each model but the base. notes: what to mind."""

    runs: list[str] = []
    lines: list[Line] = []
    blocks: list[Block] = []
    told: list[Told] = []
    notes: list[Told] = []
    reward: str = ""
    by: str = ""
    resamples: int = 0
    seed: int = 0


Say = Callable[[str, dict[str, Any]], str]


def said(told: Told | Mapping[str, Any], say: Say, joint: str) -> str:
    """A sentence in words; `say` gives those of a code, `joint` stands between the parts of a list."""
    told = told if isinstance(told, Told) else Told.model_validate(told)
    params = {
        name: joint.join(said(part, say, joint) for part in value) if isinstance(value, list) else value
        for name, value in told.params.items()
    }
    return say(told.code, params)


def between(measure: str, low: float | None, high: float | None, *, change: bool = False) -> str:
    """`[28.2 %, 43.0 %]`; "" where there is no interval."""
    if low is None or high is None:
        return ""
    write = signed if change else shown
    return f"[{write(measure, low)}, {write(measure, high)}]"


def shown(measure: str, value: float | None) -> str:
    """A figure as people read it."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if measure in SHARES else f"{value:.4g}"


def signed(measure: str, value: float | None) -> str:
    """A change; of shares in points."""
    if value is None:
        return "–"
    return f"{100 * value:+.1f}" if measure in SHARES else f"{value:+.3g}"


def report_file(output: Path, ending: str = "json") -> Path:
    """`report.json`, and beside it `report.csv`, `report.md` and `report.svg`."""
    return output / f"report.{ending}"
