"""Folders on their way out of a workspace, or into it: `.trash/NAME-HEX`, in no list, and of no use by themselves.

What is removed leaves its place at once, however long the removal takes; what is brought in appears whole. A process
that is killed in the middle leaves its folder here, and whoever comes next removes it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.jobs.locks import take
from core.workspace import Workspace


def throw_away(workspace: Workspace, path: Path) -> None:
    """Remove the folder `path` of the workspace. Raises OSError where it cannot leave its place."""
    _sweep(workspace)
    gone = _place(workspace, path.name)
    os.rename(path, gone)
    shutil.rmtree(gone, ignore_errors=True)


@contextmanager
def coming_in(workspace: Workspace) -> Iterator[Path]:
    """A new folder for what is going to be moved to its own place; gone at the end where it was not."""
    _sweep(workspace)
    folder = _place(workspace, "import")
    folder.mkdir()
    held = os.open(folder, os.O_RDONLY)
    try:
        _free(held)  # so that nobody sweeps it
        yield folder
    finally:
        os.close(held)
        shutil.rmtree(folder, ignore_errors=True)


def _place(workspace: Workspace, name: str) -> Path:
    trash = workspace.path / ".trash"
    trash.mkdir(exist_ok=True)
    return trash / f"{name}-{uuid.uuid4().hex[:8]}"


def _sweep(workspace: Workspace) -> None:
    """Remove what others have left. Two may do so at once; what one of them holds stays."""
    for folder in (workspace.path / ".trash").glob("*"):
        try:
            held = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        free = _free(held)
        os.close(held)
        if free:
            shutil.rmtree(folder, ignore_errors=True)


def _free(folder: int) -> bool:
    """Whether nobody held the open folder; then we do."""
    try:
        return take(folder)
    except OSError:  # a file system that locks no folders: nobody can tell
        return False
