"""Is there room, asked before anything large is written, so that a full disk is a message and not a torn file; and is
all of it on the disk, before anything says that it is whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from core.errors import InputError

SPARE = 100_000_000  # bytes left free in any case


def require_space(folder: Path, need: int) -> None:
    """Raise InputError `disk.no_space` unless `need` bytes (and a little more) fit on the disk of `folder`."""
    existing = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < need + SPARE:
        raise InputError("disk.no_space", folder=str(folder), need=_megabytes(need + SPARE), free=_megabytes(free))


def _megabytes(count: int) -> str:
    return f"{max(0, count) / 1e6:.0f} MB"


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for `source`; a copy on file systems that give none (exFAT, some network shares)."""
    try:
        os.link(source, target)
    except OSError:
        require_space(target.parent, source.stat().st_size)
        shutil.copy2(source, target)


def flush_folder(folder: Path) -> None:
    """Have the disk hold everything in `folder` before anything says that it is whole; returns when it does."""
    for path in (*folder.rglob("*"), folder):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
