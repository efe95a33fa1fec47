"""What a run of the stage `predict` leaves. Torch-free; `core.records` has the records of every run.

    predictions/plan.json              Plan: what the answers were made with; a resumed run must find the same
    predictions/window-000000.jsonl    the answers of a window of lines, a batch a line, as they come (`Batch`)
    output/predictions.jsonl           all answers in the order of the lines; then the windows are gone
    output/summary.json                Summary: how many, how fast, by which weights

Written by `core.evaluation.predicting`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from core.records import Record

PREDICTIONS, SUMMARY, PLAN = "predictions.jsonl", "summary.json", "plan.json"
Finish = Literal["stop", "length"]


class Failure(Record):
    """Why a line has no answer: a code of `core.messages` with its parameters, and the English sentence."""

    code: str
    params: dict[str, Any] = {}
    sentence: str


class Prediction(Record):
    """A line of `predictions.jsonl`. `input`: the text that was asked, or the messages of a conversation; its beginning
    where the line cannot be read. `tokens` were written; the limit ended an answer with finish "length"."""

    line: int
    input: str | list[dict[str, str]] | None = None
    output: str | None = None
    tokens: int = 0
    finish: Finish | None = None
    error: Failure | None = None


class Batch(Record):
    """A line of a window's file: answers with their places in the window, and the seconds that they took."""

    rows: list[tuple[int, Prediction]]
    seconds: float = 0.0


class Plan(Record):
    """The settings that decide what is said, the content of the input, the weights, and the lines of a batch."""

    settings: dict[str, Any]
    sha256: str
    weights: str
    tokens: int


class Summary(Record):
    """`summary.json`. `failed` counts lines by the code of their error; `seconds` of computing, over all attempts and
    devices. `base` and `adapters` name the weights, `weights` is their hash."""

    lines: int = 0
    answered: int = 0
    cut_off: int = 0
    failed: dict[str, int] = {}
    tokens: int = 0
    seconds: float = 0.0
    base: str = ""
    adapters: list[str] = []
    weights: str = ""
    template: str = ""
    dtype: str = ""
    device: str = ""
    generation: dict[str, Any] = {}
    packages: dict[str, str] = {}
    copy_at: str = ""  # the second file that the answers were written to


def windows_folder(run: Path) -> Path:
    """Where the answers lie until all are there; `run` is the run's folder."""
    return run / "predictions"


def answers_begun(run: Path) -> bool:
    """Whether lines were answered by a plan that a resumed run has to keep."""
    return (windows_folder(run) / PLAN).is_file()


def predictions_file(output: Path) -> Path:
    return output / PREDICTIONS


def summary_file(output: Path) -> Path:
    return output / SUMMARY
