"""Which findings make a row unusable (errors), and which only make it doubtful (warnings)."""

from __future__ import annotations

from typing import Literal

WARNINGS = {
    "data.invisible_characters",
    "data.replacement_character",
    "data.markup",
}


def is_error(code: str) -> bool:
    return code not in WARNINGS


def severity_of(code: str) -> Literal["error", "warning"]:
    """What a finding with this code means for its row."""
    return "warning" if code in WARNINGS else "error"
