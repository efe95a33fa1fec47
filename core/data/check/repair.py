"""Mends a row where that is safe: invisible characters go, wrongly decoded text is decoded again, turns are set right.

    mend(shape, row) -> Mended(value, rows, codes), or None where the row would still not be usable

    data.control_characters, data.invisible_characters   taken out
    data.double_encoded                                   decoded as it was meant, where every byte fits
    data.same_role_twice                                  the two turns become one, with a line break between them
    data.no_answer                                        a last question that nobody answers is taken out

The row is mended in its own shape, so that before and after can be laid side by side. Nothing is invented: a row that
lacks something stays unusable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from core.data.check.checks import answer_fault
from core.data.check.faults import faults, mended
from core.data.check.severity import is_error
from core.data.dialogue import ROLES, RowError
from core.data.kinds import Row
from core.data.normal import texts_of
from core.data.shapes.formats import Shape, rows_of

MENDABLE = {
    "data.control_characters", "data.invisible_characters", "data.double_encoded", "data.same_role_twice",
    "data.no_answer",
}  # fmt: skip
KEYS = (("from", "value"), ("role", "content"))  # of a turn
Turns = list[dict[str, Any]]


class Mended(NamedTuple):
    """The row as it should be, in the file's own shape; what it converts to; the codes of what was wrong."""

    value: Any
    rows: list[Row]
    codes: list[str]


def mend(shape: Shape, value: Any) -> Mended | None:
    """The mended row, or None where there is nothing to mend, or where that does not make it usable."""
    codes: set[str] = set()
    new = _clean(value, "\n".join(_strings(value)), codes)
    for _ in range(len(FIXES) + 1):
        try:
            rows = rows_of(shape, new)
        except RowError as error:
            fixed = FIXES[error.code](new) if error.code in FIXES else new
            if fixed == new:
                return None
            codes.add(error.code)
            new = fixed
        else:
            return Mended(new, rows, sorted(codes)) if codes and all(_usable(shape, row) for row in rows) else None
    return None


def _usable(shape: Shape, row: Row) -> bool:
    wrong = answer_fault(shape.kind, row) is not None
    return not wrong and not any(is_error(fault.code) for fault in faults(list(texts_of(shape.kind, row))))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _clean(value: Any, whole: str, codes: set[str]) -> Any:
    """`value` with every text in it mended."""
    if isinstance(value, str):
        new, found = mended(value, whole)
        codes |= found
        return new
    if isinstance(value, list):
        return [_clean(part, whole, codes) for part in value]
    if isinstance(value, dict):
        return {key: _clean(part, whole, codes) for key, part in value.items()}
    return value


def common_ends(before: str, after: str) -> tuple[int, int]:
    """How many characters of the row as it was and as it is are the same: at the beginning, and at the end of the rest.

    What lies between is what a person wants to see of a change.
    """
    start = _alike(before, after)
    return start, _alike(before[start:][::-1], after[start:][::-1])


def _alike(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


# -- turns ------------------------------------------------------------------------------------------------------------
def _in_turns(change: Callable[[Turns], Turns]) -> Callable[[Any], Any]:
    """The same row with `change` made to each of its lists of turns."""

    def fix(row: Any) -> Any:
        return {key: change(part) if _are_turns(part) else part for key, part in row.items()}

    return fix


def _are_turns(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(turn, dict) and _role(turn) for turn in value)


def _role(turn: dict[str, Any]) -> str | None:
    said = turn.get("from", turn.get("role"))
    return ROLES.get(said.lower()) if isinstance(said, str) else None


def _merge(turns: Turns) -> Turns:
    """Neighbours of one role become one turn, where both are text."""
    merged: Turns = []
    for turn in turns:
        key = next((text for who, text in KEYS if who in turn), "content")
        last = merged[-1] if merged else {}
        both = [last.get(key), turn.get(key)]
        if merged and _role(last) == _role(turn) != "system" and all(isinstance(text, str) for text in both):
            merged[-1] = {**last, key: "\n".join(text for text in both if isinstance(text, str) and text.strip())}
        else:
            merged.append(turn)
    return merged


def _without_last_question(turns: Turns) -> Turns:
    """What comes before a last turn of the user; nothing changes where no answer would be left."""
    kept = list(turns)
    while kept and _role(kept[-1]) == "user":
        kept.pop()
    return kept if any(_role(turn) == "assistant" for turn in kept) else turns


FIXES: dict[str, Callable[[Any], Any]] = {
    "data.same_role_twice": _in_turns(_merge),
    "data.no_answer": _in_turns(_without_last_question),
}
