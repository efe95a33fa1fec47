"""What the terminal shows: errors as text or JSON, tables, sizes and durations. The one place that prints an error."""

from __future__ import annotations

import json
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from core.errors import GalenError

SHOWN_PROBLEMS = 20
TELL_SECONDS = 1.0  # between two lines of progress


def fail(error: GalenError, *, json: bool = False) -> int:
    """Print `error` (stderr, and with `json` one object on stdout) and return its exit status."""
    print(f"error: {error.message} {error.remedy}".rstrip(), file=sys.stderr)
    for problem in error.problems[:SHOWN_PROBLEMS]:
        print(f"  {problem}", file=sys.stderr)
        if problem.excerpt:
            print(f"      {problem.excerpt}", file=sys.stderr)
    left = len(error.problems) - SHOWN_PROBLEMS
    if left > 0:
        print(f"  … and {left} more", file=sys.stderr)
    if json:
        print_json({"error": error.as_dict()})
    return error.exit_status


def print_json(data: Any) -> None:
    """`data` as one line of JSON on stdout."""
    try:
        text = orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # the name of a file may hold bytes that are no text
        text = json.dumps(data, default=str)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Teller:
    """A line on stderr every second of work: what `line` makes of the progress that the work tells."""

    def __init__(self, line: Callable[..., str]) -> None:
        self._line = line
        self._last = time.monotonic()

    def __call__(self, *at: Any) -> None:
        if time.monotonic() - self._last >= TELL_SECONDS:
            self._last = time.monotonic()
            print(self._line(*at), file=sys.stderr, flush=True)


def rows_told(doing: str) -> Teller:
    """`doing: 2000 of 64000 rows`."""
    return Teller(lambda done, total: f"{doing}: {done} of {total} rows")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Left-aligned columns, cut to the terminal's width; CJK characters count as two columns."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(columns, column)) for column in zip(*cells, strict=True)]
    screen = shutil.get_terminal_size((120, 24)).columns
    lines = []
    for row in cells:
        padded = [cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)]
        lines.append(cut("  ".join(padded).rstrip(), screen))
    return "\n".join(lines)


def columns(text: str) -> int:
    """How many terminal columns `text` takes."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, with an ellipsis where it was longer."""
    if columns(text) <= width:
        return text
    used, kept = 0, []
    for char in text:
        used += columns(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def words_of(changes: dict[str, Any]) -> str:
    """Changed settings as they are typed."""
    shown = ((key, str(value).lower() if isinstance(value, bool) else value) for key, value in changes.items())
    return " ".join(f"{key}={value}" for key, value in shown)


def size(count: float) -> str:
    """Bytes in words: 271.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float | None) -> str:
    """Seconds in words: 48s, 3m 05s, 2h 10m; – when unknown."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
