"""Checkpoints appear whole or not at all, and old ones go: what every training does round its own files.

with writing(run, step, mark, limit=3, rank=0, barrier=…) as folder: …     everything that is to be saved, into `folder`
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.disk import flush_folder
from core.rundir import MARK, RunDir, best_checkpoint, write_json


@contextmanager
def writing(
    run: RunDir, step: int, mark: Callable[[], dict[str, Any]], *, limit: int, rank: int, barrier: Callable[[], None]
) -> Iterator[Path]:
    """A folder that all ranks may write into; once all have, rank 0 makes it `checkpoints/step-<step>`.

    mark: what COMPLETE says. limit: of the checkpoints the newest so many stay, and the best.
    """
    final, temporary = run.checkpoints / f"step-{step}", run.checkpoints / f"tmp-step-{step}"
    if rank == 0:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
    barrier()
    yield temporary
    barrier()
    if rank == 0:
        flush_folder(temporary)
        write_json(temporary / MARK, mark())
        temporary.rename(final)
        flush_folder(run.checkpoints)
        prune(run, limit)


def prune(run: RunDir, limit: int) -> None:
    """Remove all checkpoints but the newest `limit` and the best."""
    checkpoints = run.complete_checkpoints()
    best = best_checkpoint(checkpoints)
    for checkpoint in checkpoints[:-limit]:
        if best is None or checkpoint.step != best.step:
            (checkpoint.path / MARK).unlink()  # first, so that it never looks whole while it is being removed
            shutil.rmtree(checkpoint.path)
