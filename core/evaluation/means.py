"""How an exam is held, the same for every kind of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Means:
    """Tokens of a row, tokens at a time, where encoded rows are kept, and whom to tell."""

    max_length: int
    stride: int
    tokens: int
    cache: Path
    check_stop: Callable[[], None]
    on_progress: Callable[[int], None]
