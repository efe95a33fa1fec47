"""What the steps that change the kind of rows have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.data.figures import language_of
from core.data.kinds import Kind, Row
from core.data.steps.base import Item, Outcome
from core.errors import DataError


def all_rows(step: Any) -> None:
    """A step after which rows have another kind, or lie in other datasets, cannot leave some as they are.

    Raises DataError `step.all_rows`.
    """
    if step.only_sources or step.except_sources:
        raise DataError("step.all_rows", step=step.do)


def several(item: Item, rows: list[Row]) -> Outcome:
    """`item` with another row, or an item for each of several."""
    items = [replace(item, row=row) for row in rows]
    return items[0] if len(items) == 1 else items


def kind_of_row(row: Row) -> Kind:
    """The kind of a canonical row, by its columns."""
    if "messages" in row:
        return "messages"
    if "text" in row:
        return "text"
    if "choices" in row:
        return "choice"
    return "preference" if "chosen" in row else "ranked" if "answers" in row else "prompt"


def tongue(*texts: str) -> str:
    """The language that words of ours beside these texts should have: zh or en."""
    return "zh" if language_of("\n".join(texts)) in ("zh", "mixed") else "en"
