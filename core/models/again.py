"""A base that is gone, or no longer what it was: how the same may be had once more. Torch-free.

    raise gone(workspace, run, root, path)        with what `python -m core model import` takes

A run knows its base by the SHA-256 of its weights: wherever they come from, and whatever they are called then, the run
finds them again (`parents.find_root`).
"""

from __future__ import annotations

from pathlib import Path

from core.errors import ModelError
from core.models.library import MERGED_BY, STARTER, STARTER_NAME, ModelCard, looks_like_hub_id
from core.models.runs import BRINGS_IN
from core.records import RootBase
from core.workspace import Workspace


def imported_from(card: ModelCard | None) -> str:
    """What a model of the workspace was imported from, as an import takes it; "" where no import made it."""
    return "" if card is None or card.source.startswith(MERGED_BY) else card.source


def source_of(workspace: Workspace, root: RootBase) -> str:
    """What an import takes to get this base again; "" where nobody knows, or what is known is gone as well.

    Runs of earlier versions have not recorded it: then what brought the model in may still say it.
    """
    source = root.imported_from or _by_name(workspace, root.source)
    return source if source == STARTER or looks_like_hub_id(source) or Path(source).exists() else ""


def _by_name(workspace: Workspace, name: str) -> str:
    if name in (STARTER, STARTER_NAME):
        return STARTER
    for run in workspace.runs():
        asked = (run.config().get("model") or {}) if run.stage == BRINGS_IN else {}
        source = str(asked.get("source") or "")
        if source and name in (asked.get("folder"), Path(source).name, Path(source).stem):
            return source
    return name


def gone(workspace: Workspace, run: str, root: RootBase, path: Path) -> ModelError:
    """`model.base_missing` with the source to get it from, or `model.base_lost` where none is known."""
    source = source_of(workspace, root)
    if source:
        return ModelError("model.base_missing", run=run, path=str(path), source=source)
    return ModelError("model.base_lost", run=run, path=str(path), source=root.source)


def changed(workspace: Workspace, run: str, root: RootBase, path: Path, file: str) -> ModelError:
    """`model.base_changed`, with the source of the original; `model.base_lost` where none is known."""
    source = source_of(workspace, root)
    if source:
        return ModelError("model.base_changed", run=run, path=str(path), source=source, file=file)
    return ModelError("model.base_altered", run=run, path=str(path), file=file)
