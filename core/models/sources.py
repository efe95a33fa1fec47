"""What a user names when a model is to be brought in: the starter, a hub id, a GGUF file, or a folder with a model, an
adapter or a difference. Torch-free.

The page and the command line ask here before they submit a fetch run, so that a misspelt source never becomes one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import GalenError, ModelError
from core.models.library import STARTER, STARTER_NAME, Kind, list_models, looks_like_hub_id
from core.models.parents import resolve_parent
from core.models.weights import ADAPTER_CONFIG, BIN_INDEX, BIN_SINGLE, INDEX, SINGLE
from core.rundir import read_json
from core.workspace import Workspace, check_name

BINS = (BIN_SINGLE, BIN_INDEX)
# Names under which weights were published as a difference to LLaMA's.
DIFFERENCE = re.compile(r"Ziya-LLaMA-13B-(v1|v1\.1|Pretrain-v1)$|(^|[-_])(delta|diff)([-_]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """What the user named, understood. `repo` and `file` belong to a hub, `path` to this machine."""

    kind: Kind
    text: str
    name: str
    repo: str = ""
    file: str | None = None
    path: Path = Path()


def understand(text: str, name: str = "") -> Source:
    """What kind of source `text` is, and the model's name here.

    Raises ModelError `model.is_file`, `model.unknown_source`; InputError `name.bad`.
    """
    path = Path(text).expanduser()
    try:
        folder, file = path.is_dir(), path.is_file()
    except OSError:  # longer than any name of a file
        folder = file = False
    if text == STARTER:
        found = Source("starter", text, STARTER_NAME)
    elif folder:
        found = Source("folder", str(path.resolve()), path.resolve().name, path=path.resolve())
    elif file:
        if path.suffix.lower() != ".gguf":
            raise ModelError("model.is_file", path=str(path.resolve()))
        found = Source("gguf", str(path.resolve()), path.stem, path=path.resolve())
    elif looks_like_hub_id(text):
        parts = text.split("/")
        named = parts[2] if len(parts) == 3 else None
        found = Source("hub", text, Path(named).stem if named else parts[1], repo="/".join(parts[:2]), file=named)
    else:
        raise ModelError("model.unknown_source", source=text)
    return Source(found.kind, found.text, check_name(name or found.name), found.repo, found.file, found.path)


def holds_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter and no whole model; where there is both, the model counts."""
    return (folder / ADAPTER_CONFIG).is_file() and not _whole(folder)


def _whole(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in (SINGLE, INDEX, *BINS))


def is_difference(source: Source, wanted: str) -> bool:
    """Whether the weights of `source` have to be added to a base; `wanted`: yes, no, or auto for what its name says."""
    path = Path(source.text)
    cached = [part.rpartition("--")[2] for part in path.parts[-3:] if "--" in part]  # the hub's: …--NAME/snapshots/…
    return wanted == "yes" or (wanted == "auto" and any(map(DIFFERENCE.search, (path.name, *cached))))


def base_of(workspace: Workspace, folder: Path, given: str | None) -> str:
    """The whole model that the adapter in `folder` belongs to, as its name here or its path: the one that is `given`,
    else the one that it names itself.

    Raises ModelError `adapter.base_unknown`, `adapter.base_chain`, or as `resolve_parent` for what is given.
    """
    config = read_json(folder / ADAPTER_CONFIG)
    if not isinstance(config, dict):
        raise ModelError("adapter.torn", path=str(folder), detail=f"{ADAPTER_CONFIG} is damaged")
    named = str(config.get("base_model_name_or_path") or "").replace("\0", "")
    text = given or _called(workspace, named)
    if text is None:
        known = ", ".join(card.name for card in list_models(workspace)) or "none"
        raise ModelError("adapter.base_unknown", path=str(folder), base=named or "?", known=known)
    return whole_model(workspace, text)


def whole_model(workspace: Workspace, text: str) -> str:
    """The lasting name of the whole model that `text` names: a run's id, a model's name, or a path.

    Raises ModelError `adapter.base_chain` for an adapter, or as `resolve_parent`.
    """
    parent = resolve_parent(workspace, text, hashed=False)
    if parent.adapters:
        raise ModelError("adapter.base_chain", base=text)
    here = (card.name for card in list_models(workspace) if card.folder(workspace).resolve() == parent.folder.resolve())
    return parent.run or next(here, str(parent.folder))


def _called(workspace: Workspace, named: str) -> str | None:
    """What an adapter calls its base is a hub id, or a path on the machine where it was trained: by its last part."""
    try:
        resolve_parent(workspace, named, hashed=False)
        return named
    except GalenError:
        last = Path(named).name.lower()
    cards = [card for card in list_models(workspace) if last in _last_parts(card.name, card.source, card.origin or "")]
    return cards[0].name if last and len(cards) == 1 else None


def _last_parts(*names: str) -> set[str]:
    return {Path(name).name.lower() for name in names}
