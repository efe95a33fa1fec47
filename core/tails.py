"""Files that grow, read from where the last reader stopped, once for all who look at them in this process.

A file that was replaced (another inode) or has become shorter is read anew: a resumed run cuts its metrics.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from core.rundir import read_jsonl

KEPT_FILES = 24
CURVE_POINTS = 320
Points = list[tuple[float, float]]


class Tail:
    """The rows of one JSONL file so far: columns of (step, value) for numbers, and the rows themselves if asked for.

    times: (step, seconds since the epoch) of each row.
    """

    def __init__(self, path: Path, keep_rows: bool) -> None:
        self.path = path
        self.keep_rows = keep_rows
        self._lock = threading.Lock()
        self._reset(0)

    def _reset(self, inode: int) -> None:
        self._inode, self._offset = inode, 0
        self.columns: dict[str, Points] = {}
        self.rows: list[dict[str, Any]] = []
        self.last: dict[str, float] = {}
        self.times: Points = []

    def refresh(self) -> Tail:
        """Read what was appended since the last call."""
        with self._lock:
            try:
                stat = os.stat(self.path)
            except FileNotFoundError:
                self._reset(0)
                return self
            if stat.st_ino != self._inode or stat.st_size < self._offset:
                self._reset(stat.st_ino)
            if stat.st_size > self._offset:
                rows, self._offset = read_jsonl(self.path, self._offset)
                self._take(rows)
        return self

    def _take(self, rows: list[dict[str, Any]]) -> None:
        if self.keep_rows:
            self.rows.extend(rows)
            return
        for row in rows:
            step = row.get("step")
            if not isinstance(step, (int, float)):
                continue
            for key, value in row.items():
                if key == "time" and isinstance(value, (int, float)):
                    self.times.append((step, value))
                elif key != "step" and isinstance(value, (int, float)):
                    self.columns.setdefault(key, []).append((step, value))
                    self.last[key] = value

    def names(self) -> list[str]:
        """The columns that there are by now."""
        with self._lock:
            return list(self.columns)

    def curve(self, key: str, points: int = CURVE_POINTS) -> Points:
        """The column `key` in at most about `points` points; each bucket gives its mean, the last point is exact."""
        with self._lock:
            column = self.columns.get(key, [])
            return downsample(column, points)


def downsample(column: Points, points: int) -> Points:
    """Means over equal buckets; a column that is short enough comes back as it is. O(len(column))."""
    if len(column) <= points:
        return list(column)
    width = len(column) / points
    found: Points = []
    for bucket in range(points):
        part = column[int(bucket * width) : int((bucket + 1) * width)]
        if part:
            middle = part[len(part) // 2][0]
            found.append((middle, sum(value for _, value in part) / len(part)))
    found[0] = (column[0][0], found[0][1])
    found[-1] = (column[-1][0], found[-1][1])
    return found


_tails: OrderedDict[tuple[Path, bool], Tail] = OrderedDict()
_guard = threading.Lock()


def tail(path: Path, *, keep_rows: bool = False) -> Tail:
    """The shared, refreshed tail of `path`; the least recently asked for are forgotten."""
    with _guard:
        key = path, keep_rows
        found = _tails.get(key)
        if found is None:
            found = _tails[key] = Tail(path, keep_rows)
            if len(_tails) > KEPT_FILES:
                _tails.popitem(last=False)
        _tails.move_to_end(key)
    return found.refresh()


def last_text(path: Path, limit: int) -> tuple[str, bool]:
    """The last `limit` bytes of a log from a whole line on, and whether something before them was left out."""
    try:
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            file.seek(max(0, length - limit))
            data = file.read(limit)
    except FileNotFoundError:
        return "", False
    cut = length > limit
    if cut:
        data = data[data.find(b"\n") + 1 :]
    return data.decode("utf-8", "replace"), cut
