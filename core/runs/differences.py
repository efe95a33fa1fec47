"""The settings of several runs side by side, and which of them differ.

    [row for row in settings(runs) if row.differs]

What a run's config does not have, because its stage has no such setting or its Galen was another, is `ABSENT`, which
differs from every value, the empty one too. The name is left out, it is what the columns are called; so is a run's
place among others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.configs.files import fields_of, flat
from core.configs.stages import STAGES
from core.rundir import RunDir
from core.runs.clone import OWN

ABSENT = object()


@dataclass(frozen=True)
class Setting:
    """One dotted key, and its value in each of the runs, in their order."""

    key: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        return any(value != self.values[0] or type(value) is not type(self.values[0]) for value in self.values)

    @property
    def section(self) -> str:
        return self.key.partition(".")[0]


def settings(runs: Sequence[RunDir]) -> list[Setting]:
    """Every setting that one of the runs has, in the order of the first run's stage, then of the others'."""
    flats = [flat(run.config()) for run in runs]
    order: dict[str, None] = {}
    for run, values in zip(runs, flats, strict=True):
        stage = STAGES.get(run.stage)
        declared = fields_of(stage.config) if stage is not None else {}
        order.update(dict.fromkeys([*(key for key in declared if key in values), *values]))
    sections = list(dict.fromkeys(key.partition(".")[0] for key in order))
    keys = sorted((key for key in order if key not in OWN), key=lambda key: sections.index(key.partition(".")[0]))
    return [Setting(key, tuple(values.get(key, ABSENT) for values in flats)) for key in keys]


def in_words(value: Any) -> str:
    """A value as the command line takes it; a dash for one that is not there."""
    if value is ABSENT:
        return "–"
    if value is None or value == "" or value == []:
        return "(empty)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
