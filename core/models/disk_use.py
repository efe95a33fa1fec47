"""What models, adapters and the cache take on the disk, and how each goes away again. Torch-free.

    stored(workspace)                   the largest first
    remove(workspace, item)             what nothing needs any more

Everything under `cache/` can be made or fetched again; a download that was cut off is there, too. Runs' own folders
are the Runs tab's, but for adapters that were brought in and whole models that were made, which belong here.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import ModelError
from core.models.library import MERGED_BY, based_on, delete_model, dependents, list_models
from core.models.runs import BRINGS_IN
from core.rundir import state_of
from core.system import folder_size
from core.workspace import Workspace

Sort = Literal["model", "adapter", "made", "download", "cache"]
LEFT_OUT = ("uploads",)  # the page's own, which it empties itself


@dataclass(frozen=True)
class Item:
    """One thing on the disk. size: bytes. needed: ids of the runs that stop working without it. name: of a cache, its
    folder. run: of an adapter that was brought in, or of a whole model that was made, the run whose output it is.
    shares: the model of the workspace that is made of the same files, which are counted there."""

    sort: Sort
    name: str
    size: int
    needed: tuple[str, ...] = ()
    run: str = ""
    points_to: str = ""
    shares: str = ""


def stored(workspace: Workspace) -> list[Item]:
    """Models, adapters, whole models of runs, unfinished downloads and caches, the largest first."""
    found = [*_models(workspace), *_of_runs(workspace), *_cache(workspace)]
    return sorted(found, key=lambda item: -item.size)


def _models(workspace: Workspace) -> Iterator[Item]:
    for card in list_models(workspace):
        size = folder_size(workspace.models_dir / card.name)
        needed = tuple(dependents(workspace, card.name))
        yield Item("model", card.name, size, needed, points_to=card.points_to or "")


def _of_runs(workspace: Workspace) -> Iterator[Item]:
    named = {card.source: card.name for card in list_models(workspace)}
    for run in workspace.runs():
        manifest = run.manifest()
        if manifest is None or (run.stage != BRINGS_IN and manifest.model_folder is None):
            continue
        size, shares = folder_size(run.path), named.get(MERGED_BY + run.id, "")
        if shares and manifest.model_folder is not None:  # links to the same files
            size -= folder_size(run.output / manifest.model_folder)
        sort: Sort = "adapter" if run.stage == BRINGS_IN else "made"
        needed = tuple(based_on(workspace, run.id)) if manifest.model_folder is not None else ()
        yield Item(sort, manifest.name, size, needed, run=run.id, shares=shares)


def _cache(workspace: Workspace) -> Iterator[Item]:
    for folder in _folders(workspace.cache_dir):
        if folder.name == "downloads":
            yield from (Item("download", each.name, folder_size(each)) for each in _folders(folder))
        elif folder.name not in LEFT_OUT:
            yield Item("cache", folder.name, folder_size(folder))


def _folders(parent: Path) -> list[Path]:
    return [path for path in sorted(parent.iterdir()) if path.is_dir()] if parent.is_dir() else []


def remove(workspace: Workspace, item: Item) -> None:
    """Delete a model, a download or a cache; what a run has made goes with it (`core.jobs.store.delete`).

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
