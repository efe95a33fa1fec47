"""A run's files under names in the one folder that the page serves files from. No gradio."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from core.data.bring.export import export_folder
from core.disk import link_or_copy
from core.rundir import RunDir
from core.workspace import Workspace


def copy_of(workspace: Workspace, run: RunDir, source: Path) -> Path:
    """Another name for `source`, a file of a run that is over; made again where the file is a newer one.

    Several tabs may ask at once, and one may be fetching it: the name never stands for nothing, nor for a part.
    """
    copy = export_folder(workspace) / f"{run.id}-{source.name}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not copy.is_file() or copy.stat().st_mtime_ns != source.stat().st_mtime_ns:
        temporary = copy.with_name(f".{copy.name}.{secrets.token_hex(4)}")
        try:
            link_or_copy(source, temporary)
            os.replace(temporary, copy)
        finally:
            temporary.unlink(missing_ok=True)  # two names of one file are not replaced by each other
    return copy
