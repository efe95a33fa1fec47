"""What models, adapters and the cache take on the disk, and how each goes away again. Torch-free.

    stored(workspace)                   the largest first
    remove(workspace, item)             what nothing needs any more

Everything under `cache/` can be made or fetched again; a download that was cut off is there, too. Runs' own folders
are the Runs tab's, but for adapters that were brought in, which belong here.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import ModelError
from core.models.library import delete_model, dependents, list_models
from core.models.runs import brought_in
from core.rundir import state_of
from core.system import folder_size
from core.workspace import Workspace

Sort = Literal["model", "adapter", "download", "cache"]
LEFT_OUT = ("uploads",)  # the page's own, which it empties itself


@dataclass(frozen=True)
class Item:
    """One thing on the disk. size: bytes. needed: runs that start from it. name: of a cache, its folder."""

    sort: Sort
    name: str
    size: int
    needed: int = 0
    run: str = ""
    points_to: str = ""


def stored(workspace: Workspace) -> list[Item]:
    """Models, adapters, unfinished downloads and caches, the largest first."""
    found = [*_models(workspace), *_adapters(workspace), *_cache(workspace)]
    return sorted(found, key=lambda item: -item.size)


def _models(workspace: Workspace) -> Iterator[Item]:
    for card in list_models(workspace):
        size = folder_size(workspace.models_dir / card.name)
        needed = len(dependents(workspace, card.name))
        yield Item("model", card.name, size, needed, points_to=card.points_to or "")


def _adapters(workspace: Workspace) -> Iterator[Item]:
    for run in workspace.runs():
        manifest = brought_in(run)
        if manifest is not None:
            yield Item("adapter", manifest.name, folder_size(run.path), run=run.id)


def _cache(workspace: Workspace) -> Iterator[Item]:
    for folder in _folders(workspace.cache_dir):
        if folder.name == "downloads":
            yield from (Item("download", each.name, folder_size(each)) for each in _folders(folder))
        elif folder.name not in LEFT_OUT:
            yield Item("cache", folder.name, folder_size(folder))


def _folders(parent: Path) -> list[Path]:
    return [path for path in sorted(parent.iterdir()) if path.is_dir()] if parent.is_dir() else []


def remove(workspace: Workspace, item: Item) -> None:
    """Delete a model, a download or a cache; an adapter goes with its run (`core.jobs.store.delete`).

    Raises ModelError `model.in_use`, `model.not_in_workspace`, or `disk.being_written` while a run is under way.
    """
    if item.sort == "model":
        delete_model(workspace, item.name)
        return
    live = [run.id for run in workspace.runs() if state_of(run).live]  # any of them may be using it
    if live:
        raise ModelError("disk.being_written", name=item.name, runs=", ".join(live))
    parent = workspace.cache_dir / "downloads" if item.sort == "download" else workspace.cache_dir
    folder = next((each for each in _folders(parent) if each.name == item.name), None)
    if folder is None:
        raise ModelError("disk.gone", name=item.name)
    going = workspace.cache_dir / f".deleted-{uuid.uuid4().hex[:8]}"
    folder.rename(going)
    shutil.rmtree(going, ignore_errors=True)
