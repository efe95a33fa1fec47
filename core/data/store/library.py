"""The datasets of a workspace: immutable versions, each a folder that appears whole or not at all.

    datasets/<name>/<version>/card.json         what it is (DatasetCard)
                              data.parquet      canonical rows and what is known of each, in row groups of 2000
                              figures.parquet   lengths, language and duplicate key of each row, in the same order
                              search.arrow      their texts, laid out for searching
                              dropped.parquet   the rows that are not in it: line, reason, excerpt
                              repaired.parquet  what an import with repair has changed
                              source.*          the file as it came

A version is made from the content: importing a file again (`bring.importing`) finds what is there. What makes a
dataset builds a hidden folder and renames it; what a killed process left behind goes with the next one.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.configs.sections import weighted
from core.data.bring.importing import BadRows, import_file, name_from
from core.data.store.building import hidden_name
from core.data.store.dataset import Dataset, DatasetCard, open_version
from core.errors import DataError
from core.rundir import state_of
from core.workspace import Workspace

__all__ = [
    "Dataset", "DatasetCard", "delete_dataset", "import_file", "list_datasets", "live_users", "name_from",
    "names_file", "open_dataset", "resolve",
]  # fmt: skip

LONGEST_REF = 255  # bytes, as of a name in a file system


# -- finding ----------------------------------------------------------------------------------------------------------
def list_datasets(workspace: Workspace) -> list[Dataset]:
    """Every version of every dataset, the newest first."""
    folders = workspace.datasets_dir.glob("*/*/")
    found = [
        dataset for folder in folders if not folder.parent.name.startswith(".") and (dataset := open_version(folder))
    ]
    return sorted(found, key=lambda dataset: dataset.card.created, reverse=True)


def open_dataset(workspace: Workspace, ref: str) -> Dataset:
    """The dataset `name@version`, or the newest version of `name`. Raises DataError `data.no_dataset`."""
    found = _versions(workspace, ref)
    if not found:
        raise _no_dataset(workspace, ref)
    return found[0]


def live_users(workspace: Workspace, datasets: Iterable[Dataset]) -> list[str]:
    """The ids of runs, queued or working, that train or evaluate on one of `datasets`, or make another of it."""
    refs = {dataset.ref for dataset in datasets}
    found = []
    for run in workspace.runs():
        if refs & _named_in(run.config()) and state_of(run).live:
            found.append(run.id)
    return found


def _named_in(config: dict[str, Any]) -> set[Any]:
    """The datasets that a run's config names: for training and evaluation, as inputs of a recipe, in its steps."""
    data, recipe = config.get("data") or {}, config.get("recipe") or {}
    steps = [value for step in recipe.get("steps", ()) for value in step.values() if isinstance(value, str)]
    named = [value if isinstance(value, list) else [value] for value in data.values()]
    own = [text for values in named for text in values if isinstance(text, str)]
    own += [weighted(line)[0] for line in data.get("mix") or ()]
    own.append(str((config.get("words") or {}).get("corpus")))
    own += (config.get("new") or {}).get("against") or []
    return {*own, *(each["dataset"] for each in recipe.get("inputs", ())), *steps}


def delete_dataset(workspace: Workspace, ref: str) -> None:
    """Remove `name@version`, or all versions of `name`.

    Raises DataError `data.no_dataset`, or `data.in_use` while a run that needs it is queued or working.
    """
    found = _versions(workspace, ref)
    if not found:
        raise _no_dataset(workspace, ref)
    live = live_users(workspace, found)
    if live:
        raise DataError("data.in_use", ref=ref, runs=", ".join(live))
    for dataset in found:
        (workspace.edits_dir / f"{dataset.ref}.json").unlink(missing_ok=True)  # or they would wait for it to come again
        grave = workspace.datasets_dir / hidden_name()
        os.rename(dataset.folder, grave)  # from here on nobody finds half of it
        shutil.rmtree(grave)
        if not any(dataset.folder.parent.iterdir()):
            dataset.folder.parent.rmdir()


def resolve(workspace: Workspace, text: str, *, bad_rows: BadRows = "stop") -> Dataset:
    """What a user wrote into a data field: a dataset of the workspace, or a file, which is imported.

    Raises DataError as `open_dataset` and `import_file` do.
    """
    found = _versions(workspace, text)
    if found:
        return found[0]
    if names_file(text):
        return import_file(workspace, Path(text).expanduser(), bad_rows=bad_rows)
    if os.sep in text or Path(text).suffix:
        raise DataError("data.no_file", file=text)
    raise _no_dataset(workspace, text)


def names_file(text: str) -> bool:
    """Whether `text` is the path of a file; what can be no path (too long, with a NUL, of an unknown user) is none."""
    try:
        return Path(text).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _versions(workspace: Workspace, ref: str) -> list[Dataset]:
    name, at, version = ref.partition("@")
    if not name or Path(name).name != name or Path(version).name != version or name.startswith("."):
        return []
    if len(ref.encode(errors="replace")) > LONGEST_REF or "\0" in ref:
        return []
    if at and not version:  # `name@$VERSION` of a variable that is not set: not all versions of it
        return []
    folders = [workspace.datasets_dir / name / version] if version else (workspace.datasets_dir / name).glob("*/")
    found = [dataset for folder in folders if (dataset := open_version(folder))]
    return sorted(found, key=lambda dataset: dataset.card.created, reverse=True)


def _no_dataset(workspace: Workspace, ref: str) -> DataError:
    names = sorted({dataset.name for dataset in list_datasets(workspace)})
    nearest = difflib.get_close_matches(ref.partition("@")[0], names, 1)
    known = ", ".join(names[:20]) or "–"
    return DataError("data.no_dataset", ref=ref, known=known, nearest=nearest[0] if nearest else "")
