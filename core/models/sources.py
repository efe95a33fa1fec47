"""What a user names when a model is to be brought in: the starter, a hub id, a GGUF file, or a folder. Torch-free.

The page and the command line ask here before they submit a fetch run, so that a misspelt source never becomes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelError
from core.models.library import STARTER, STARTER_NAME, Kind, looks_like_hub_id
from core.workspace import check_name


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
    """What kind of source `text` is, and the model's name here. Raises ModelError, InputError `name.bad`."""
    path = Path(text).expanduser()
    if text == STARTER:
        found = Source("starter", text, STARTER_NAME)
    elif path.is_dir():
        found = Source("folder", str(path.resolve()), path.resolve().name, path=path.resolve())
    elif path.is_file():
        found = Source("gguf", str(path.resolve()), path.stem, path=path.resolve())
    elif looks_like_hub_id(text):
        parts = text.split("/")
        file = parts[2] if len(parts) == 3 else None
        found = Source("hub", text, Path(file).stem if file else parts[1], repo="/".join(parts[:2]), file=file)
    else:
        raise ModelError("model.unknown_source", source=text)
    return Source(found.kind, found.text, check_name(name or found.name), found.repo, found.file, found.path)
