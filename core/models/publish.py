"""A run's result as it goes out: a folder with the weights, what is needed to load them, and the card. Torch-free.

    parcel = pack(workspace, run, card, repo, folder)      card: Markdown; "" for the one that `core.models.card` writes

What is packed is links to the run's own files, apart from the card and an adapter's config, whose base is called by the
name that others know. Nothing else of the run goes out: no config, no log, no rows. Before anything is sent, every file
is searched for paths of this machine. Sending is `core.models.upload`.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from core.disk import link_or_copy
from core.errors import InputError, ModelError
from core.hubs import HUBS, TOKENS
from core.models.card import model_card
from core.models.library import CARD
from core.models.origin import Origin
from core.models.subject import Subject, subject_of
from core.models.usage import REPO
from core.models.weights import ADAPTER_CONFIG, TOKENIZER_FILES
from core.rundir import RunDir, read_json, write_text
from core.workspace import Workspace

README = "README.md"
WEIGHTS = ".safetensors"
WORDS = (*TOKENIZER_FILES, "merges.txt")  # vocabularies: `/data` is a word in many
HEAD = 8  # bytes before the table of contents of a safetensors file, which give its length


@dataclass(frozen=True)
class Parcel:
    """What lies in `folder`, by name; sizes in bytes."""

    folder: Path
    sizes: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.sizes.values())


def require_token() -> None:
    """Raise InputError `push.no_token` unless the environment holds one; what `hf auth login` keeps is not used."""
    token = TOKENS["huggingface"]
    if not os.environ.get(token):
        raise InputError("push.no_token", token=token, hub=HUBS["huggingface"])


def pack(workspace: Workspace, run: RunDir, card: str, repo: str, folder: Path) -> Parcel:
    """Fill the empty `folder` with what is sent to `repo`. Raises ModelError `push.leak`, and as `model_card`."""
    subject = subject_of(workspace, run)
    for path in sorted(subject.folder.iterdir()):
        if path.is_file() and path.name not in (README, CARD, ADAPTER_CONFIG) and not path.name.startswith("."):
            link_or_copy(path, folder / path.name)
    if subject.is_adapter:
        write_text(folder / ADAPTER_CONFIG, _adapter_config(subject.folder, subject.base))
    write_text(folder / README, (card or model_card(workspace, run)).replace(REPO, repo).strip() + "\n")
    _search(subject, folder)
    return Parcel(folder, {path.name: path.stat().st_size for path in sorted(folder.iterdir())})


def _adapter_config(folder: Path, base: Origin) -> str:
    """As PEFT wrote it, with the base by its id and commit, or at least by its name: `AutoPeftModel` reads them."""
    config = read_json(folder / ADAPTER_CONFIG) or {}
    config |= {"base_model_name_or_path": base.called, "revision": base.revision}
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def _search(subject: Subject, folder: Path) -> None:
    """Raise ModelError `push.leak` where a file holds the workspace's path, that of the base, or of the user's home."""
    paths = {str(subject.workspace.path), subject.manifest.root_base.path, str(Path.home())}
    patterns = {path: _spelt(path) for path in paths if Path(path).is_absolute() and path != os.sep}
    for file in sorted(folder.iterdir()):
        if file.name in WORDS:
            continue
        content = _head(file) if file.name.endswith(WEIGHTS) else file.read_bytes()
        for path, pattern in patterns.items():
            if pattern.search(content):
                raise ModelError("push.leak", file=file.name, path=path, folder=str(subject.folder))


def _spelt(path: str) -> re.Pattern[bytes]:
    """A path as it stands in Markdown, and as JSON writes what is not ASCII; not as a part of an address or a name."""
    forms = {re.escape(form.encode()) for form in (path, json.dumps(path)[1:-1])}
    return re.compile(rb"(?<![\w.])(?:" + b"|".join(sorted(forms)) + rb")(?![\w.-])")


def _head(path: Path) -> bytes:
    """The table of contents of a safetensors file, with the notes that its writer has left there."""
    with open(path, "rb") as file:
        return file.read(int.from_bytes(file.read(HEAD), "little"))
