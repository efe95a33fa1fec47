"""What others may call the model beneath a run: its id on Hugging Face where that is known. Torch-free.

    origin_of(workspace, manifest.root_base)      Origin(name="Qwen3-0.6B", repo="Qwen/Qwen3-0.6B", revision="c1899d…")

A run knows its base by a folder of this machine, which means nothing elsewhere. The card that was written when the base
was brought in says where it came from; a folder or a GGUF file of the user's own has no id, and a run's whole model has
none before it is sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from core.models.library import MERGED_BY, ModelCard, find_base, list_models
from core.records import Manifest, RootBase
from core.workspace import Workspace

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Origin:
    """`repo` is empty where no id is known. `revision`: the commit; `file`: the GGUF file within the repository.

    note: in a sentence, how the weights that were used differ from those that the id gives; "" where they do not.
    """

    name: str
    repo: str = ""
    revision: str | None = None
    file: str | None = None
    licence: str | None = None
    note: str = ""

    @property
    def called(self) -> str:
        """The id where there is one, else the name."""
        return self.repo or self.name


def origin_of(workspace: Workspace, root: RootBase) -> Origin:
    """The origin of a root base, by the card of the model with the very same weights, or of the same folder."""
    maker = maker_of(workspace, root)
    if maker is not None:
        return Origin(maker.name or maker.run)
    card = _card_of(workspace, root)
    if card is None:
        return Origin(Path(root.source).name)
    if card.converted or card.added_to:
        return Origin(card.name, licence=card.licence, note=_made_of(card))
    if card.kind == "starter":
        return Origin(
            card.name, repo=card.origin or "", licence=card.licence,
            note=f"Its weights came as a 4-bit GGUF file ({card.revision}) and were unpacked; those of the id were not "
            "rounded so, and answer a little differently.",
        )  # fmt: skip
    if card.kind == "hub":
        return _of_hub(card)
    return Origin(card.name, licence=card.licence)


def _made_of(card: ModelCard) -> str:
    """What a base that is published in another form was made from: what lies there does not fit."""
    source = card.origin or Path(card.source).name
    if card.added_to:
        base = Path(card.added_to).name
        return f"It is {source}, published as a difference, added to {base}: neither of the two alone fits."
    return (
        f"It is {source} ({card.converted}), converted by Galen to the class {card.architecture}, with other names for "
        "its weights: what is published there does not fit. `python -m core model convert` makes the same of it."
    )


def _of_hub(card: ModelCard) -> Origin:
    """Only Hugging Face names a commit (`core.models.hub`); what came from elsewhere may be called otherwise there."""
    owner, name, *file = card.source.split("/")
    if not COMMIT.fullmatch(card.revision or ""):
        return Origin(card.name, licence=card.licence, note=f"It was fetched from ModelScope as {owner}/{name}.")
    return Origin(
        card.name, f"{owner}/{name}", revision=card.revision, file=file[0] if file else None, licence=card.licence
    )


def maker_of(workspace: Workspace, root: RootBase) -> Manifest | None:
    """The manifest of the run whose whole model this base is; None for every other base."""
    card = _card_of(workspace, root)
    if card is not None and not card.source.startswith(MERGED_BY):
        return None
    ref = find_base(workspace, root.source if card is None else card.source.removeprefix(MERGED_BY))
    manifest = None if ref is None else workspace.run(ref.run).manifest()
    return manifest if manifest is not None and manifest.model_folder is not None else None


def _card_of(workspace: Workspace, root: RootBase) -> ModelCard | None:
    cards = list_models(workspace)
    wanted = [weight.sha256 for weight in root.weights]
    same = (card for card in cards if wanted and [weight.sha256 for weight in card.weights] == wanted)
    lying = (card for card in cards if card.folder(workspace) == Path(root.path))
    return next(same, None) or next(lying, None)
