"""Who answers a file of prompts: a base, a run, or an adapter laid on a base, and in which template. Torch-free.

    found = find_answerer(workspace, "starter", "sft-2026…-ab12")     the run, if it was trained on that base
    found = find_answerer(workspace, "ziya", "/path/to/lora")         a folder of another program, if it names that base

An adapter is right on the very base it was trained on: on another one it answers, wrongly, without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.data.encode.named import NAMED
from core.errors import GalenError, ModelError
from core.models import families
from core.models.library import list_models
from core.models.parents import Parent, resolve_parent
from core.models.runs import find_run
from core.models.sources import base_of, holds_adapter
from core.models.weights import ADAPTER_CONFIG, has_template, has_tokenizer
from core.rundir import read_json
from core.workspace import Workspace


@dataclass(frozen=True)
class Answerer:
    """`parent` is merged as its chain says; `adapter` is a folder to be laid on that, which no run has made.

    `name`: what the user calls it; `lora`: the lasting name of what is laid on a base.
    """

    name: str
    parent: Parent
    adapter: Path | None = None
    lora: str = ""

    @property
    def tokenizer(self) -> Path:
        """Where its tokenizer lies, unless the user names another."""
        own = self.adapter
        return own if own is not None and has_tokenizer(own) else self.parent.tokenizer


def find_answerer(workspace: Workspace, base: str, lora: str, *, hashed: bool = True) -> Answerer:
    """What `base` and `lora` name, one of which may be empty. hashed: as in `resolve_parent`.

    Raises as `resolve_parent`; ModelError `predict.no_adapter`, `predict.whole_model`, `predict.other_base` or
    `parent.scores_only`.
    """
    if not lora:
        return Answerer(base, _writes(resolve_parent(workspace, base, hashed=hashed), base))
    run = find_run(workspace, lora)
    if run is not None:
        return Answerer(lora, _writes(_run_on(workspace, base, lora, hashed), lora), lora=str(run))
    folder = Path(lora).expanduser().resolve()
    if not folder.is_dir():
        raise ModelError("predict.no_adapter", adapter=lora)
    if not holds_adapter(folder):
        whole = (folder / "config.json").is_file()
        if whole:
            raise ModelError("predict.whole_model", adapter=lora, base=base or "–")
        raise ModelError("model.no_adapter", path=str(folder), file=ADAPTER_CONFIG)
    parent = resolve_parent(workspace, base_of(workspace, folder, base or None), hashed=hashed)
    if base:
        _check_named(workspace, folder, parent.folder, base)
    return Answerer(lora, _writes(parent, base), folder, str(folder))


def _writes(parent: Parent, text: str) -> Parent:
    if parent.head is not None:
        raise ModelError("parent.scores_only", run=text)
    return parent


def _run_on(workspace: Workspace, base: str, lora: str, hashed: bool) -> Parent:
    """The run `lora` with what lies beneath it, of which `base` must be a part. Raises ModelError."""
    found = resolve_parent(workspace, lora, hashed=hashed)
    if not base:
        return found
    if not found.adapters:
        raise ModelError("predict.whole_model", adapter=lora, base=base)
    below = resolve_parent(workspace, base, hashed=hashed)
    links = [link.run for link in below.chain]
    beneath = [link.run for link in found.chain[:-1]]
    if not _same_folder(workspace, below.folder, found.folder) or links != beneath[: len(links)]:
        raise ModelError("predict.other_base", adapter=lora, expected=_named(found), base=base)
    return found


def _named(parent: Parent) -> str:
    return " + ".join([parent.root.source, *(link.run for link in parent.chain[:-1])])


def _same_folder(workspace: Workspace, one: Path, other: Path) -> bool:
    """Whether two model folders hold the same weights; hashes are read only where they are not the same folder."""
    if one.resolve() == other.resolve():
        return True
    both = [resolve_parent(workspace, str(folder)).root.weights for folder in (one, other)]
    return [each.sha256 for each in both[0]] == [each.sha256 for each in both[1]]


def _check_named(workspace: Workspace, adapter: Path, base: Path, text: str) -> None:
    """Raise ModelError `predict.other_base` where the adapter names a base that cannot be this one.

    What it names is a hub id, or a path on the machine where it was trained: where it leads nowhere here, its last part
    must be one of the names of this base.
    """
    named = str((read_json(adapter / ADAPTER_CONFIG) or {}).get("base_model_name_or_path") or "").replace("\0", "")
    if not named:
        return
    try:
        fits = _same_folder(workspace, resolve_parent(workspace, named, hashed=False).folder, base)
    except GalenError:
        fits = _last_part(named) in _names_of(workspace, base, text)
    if not fits:
        raise ModelError("predict.other_base", adapter=str(adapter), expected=named, base=text)


def _names_of(workspace: Workspace, base: Path, text: str) -> set[str]:
    names = [text, str(base)]
    for card in list_models(workspace):
        if card.folder(workspace).resolve() == base.resolve():
            names += [card.name, card.source, card.origin or ""]
    return {_last_part(name) for name in names}


def _last_part(name: str) -> str:
    return Path(name).name.lower()


# -- how it is asked --------------------------------------------------------------------------------------------------
def check_template(found: Answerer, named: str | None, tokenizer: Path | None) -> None:
    """Raise ModelError where there is no chat template to ask in: `predict.no_template`, `model.unknown_template`.

    named: the template that the user chose; tokenizer: the folder of another tokenizer, where one is named.
    """
    known = ", ".join(NAMED)
    if named is not None and named not in NAMED:
        raise ModelError("model.unknown_template", template=named, known=known)
    if named is None and found.parent.template is None and not has_template(tokenizer or found.tokenizer):
        suggested = families.template_for(families.read_config(found.parent.folder))
        raise ModelError("predict.no_template", model=found.name, suggested=suggested, known=known)


def check_tokenizer(text: str) -> Path:
    """The folder of another tokenizer. Raises ModelError `predict.no_tokenizer`."""
    folder = Path(text).expanduser().resolve()
    if not has_tokenizer(folder):
        raise ModelError("predict.no_tokenizer", path=text)
    return folder
