"""Where a dataset version is built: a hidden folder that is renamed once it is whole, and goes if it never is.

What a killed process left behind goes with the next build.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from core.errors import DataError
from core.workspace import Workspace

TEMPORARY = ".tmp-"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def hidden_folder(workspace: Workspace, size: int) -> Iterator[Path]:
    """A folder beside the datasets that is gone afterwards unless it was renamed.

    A full disk becomes DataError `data.disk_full`, which says that `size` bytes are needed.
    """
    sweep(workspace)
    folder = workspace.datasets_dir / hidden_name()
    try:
        with full_disk_told(workspace.datasets_dir, size):
            folder.mkdir()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hidden_name() -> str:
    """A new name for what is not whole yet, or is about to go; it says which process is at it."""
    return f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(3)}"


@contextmanager
def full_disk_told(folder: Path, size: int) -> Iterator[None]:
    """A full disk becomes DataError `data.disk_full`, which says that `size` bytes are needed in `folder`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = shutil.disk_usage(folder).free
        raise DataError(
            "data.disk_full", folder=str(folder), needed=round(size / 1e6, 1), free=round(free / 1e6, 1)
        ) from error


def sweep(workspace: Workspace) -> None:
    """Remove the hidden folders of processes that are gone."""
    for folder in workspace.datasets_dir.glob(f"{TEMPORARY}*"):
        owner = folder.name.removeprefix(TEMPORARY).split("-")[0]
        if not (owner.isdigit() and psutil.pid_exists(int(owner))):
            shutil.rmtree(folder, ignore_errors=True)
