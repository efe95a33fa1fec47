"""Keeps a cache of folders small (`encode.encoded`, `store.columns`): what was not used for long goes when the
next folder is made.

A folder's last use is the time of change of its facts.json. One used within the last day is never removed, so neither
is that of a training at work (its files are mapped into memory: on Linux they would outlive their removal, too).
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from core.data.store.building import TEMPORARY, hidden_name
from core.system import folder_size

MARK = "facts.json"
DAY = 86_400.0  # seconds
KEPT_SECONDS = 30 * DAY
KEPT_BYTES = 20_000_000_000


def touch(folder: Path) -> None:
    """Note that `folder` is used now, if it is there and may be written."""
    try:
        os.utime(folder / MARK)
    except OSError:
        return


def sweep(cache_dir: Path, *, now: float | None = None, kept_bytes: int | None = None) -> list[str]:
    """Remove what is older than a month, then the least recently used beyond `kept_bytes` (20 GB). Returns their names.

    Half-built folders of processes that were killed go after a day.
    """
    now = time.time() if now is None else now
    most = KEPT_BYTES if kept_bytes is None else kept_bytes
    used: dict[Path, float] = {}
    for folder in cache_dir.glob("*/"):
        mark = folder if folder.name.startswith(TEMPORARY) else folder / MARK
        try:
            used[folder] = mark.stat().st_mtime
        except OSError:  # not one of ours, or gone
            continue
    going: list[Path] = []
    held = 0
    for folder, last in sorted(used.items(), key=lambda item: -item[1]):
        held += folder_size(folder)
        half_built = folder.name.startswith(TEMPORARY)
        if now - last > DAY and (half_built or now - last > KEPT_SECONDS or held > most):
            going.append(folder)
    for folder in going:
        _remove(folder)
    return [folder.name for folder in going]


def _remove(folder: Path) -> None:
    """Renamed first: nobody may find half of it."""
    grave = folder.with_name(hidden_name())
    try:
        os.rename(folder, grave)
    except OSError:  # another process is at it
        return
    shutil.rmtree(grave, ignore_errors=True)
