"""The steps of a recipe by name. Settings are in `core.configs.steps`; each kind of table is told in `base`.

To add a step: declare its settings, write its function in a module here, and add a line to one of these tables.
"""

from __future__ import annotations

from core.data.steps import cleaning, shaping
from core.data.steps.base import KindAfter, Overall, Parting, PerRowMaker

PER_ROW: dict[str, PerRowMaker] = {**cleaning.PER_ROW, **shaping.PER_ROW}
OVERALL: dict[str, Overall] = {**cleaning.OVERALL, **shaping.OVERALL}
PARTING: dict[str, Parting] = {**shaping.PARTING}
KIND_AFTER: dict[str, KindAfter] = {**shaping.KIND_AFTER}  # only of steps that change the kind, or take only some
