"""Which weights a run is made of, and whether they are still the ones it was trained with. Torch-free.

An adapter is only right on the very base it was trained on: loaded on another it answers, wrongly, without a word. So
every run's manifest names the SHA-256 of each of its root base's weight files, and `run_weights` compares them before
anybody loads anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelError
from core.models.hashes import backbone_id, combined_sha256, file_sha256, weight_hashes
from core.models.library import list_models, resolve_base
from core.models.parents import resolve_parent
from core.models.runs import find_run, weights_folder
from core.models.weights import ADAPTER, ADAPTER_CONFIG, weight_files
from core.records import WeightFile
from core.references import RunRef
from core.rundir import read_json
from core.workspace import Workspace

__all__ = ["RunWeights", "backbone_id", "combined_sha256", "file_sha256", "weight_hashes"]


# -- a run's weights --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class RunWeights:
    """What to load for a run: `adapter` on `base`, or the whole `model`. Hashes are those of the files found now.

    below: adapters that lie beneath `adapter`, in order, where it does not hold the whole chain (a checkpoint's).
    `template` is the named chat template that the run was trained with, None for the tokenizer's own. head: the folder
    with the score head, where it is a reward model.
    """

    label: str
    base: Path | None
    base_weights: tuple[WeightFile, ...]
    adapter: Path | None = None
    below: tuple[Path, ...] = ()
    model: Path | None = None
    weights: tuple[WeightFile, ...] = ()
    template: str | None = None
    head: Path | None = None

    @property
    def sha256(self) -> str:
        return combined_sha256(self.weights)


def base_weights(workspace: Workspace, text: str) -> RunWeights:
    """The whole model that `text` names as a base, labelled with its name in the workspace, else its folder.

    Raises ModelError as `library.resolve_base`.
    """
    folder = resolve_base(workspace, text)
    names = [card.name for card in list_models(workspace) if card.folder(workspace).resolve() == folder.resolve()]
    return RunWeights(
        (names or [str(folder)])[0], None, (), model=folder, weights=tuple(weight_hashes(folder, workspace))
    )


def lora_weights(workspace: Workspace, text: str, base: Path | None = None) -> RunWeights:
    """What `lora_model=` names: a run (`RUN`, `RUN:best`, …, by id or by its shown name), or a PEFT adapter folder.

    `base` is the model a bare folder is to be laid on. Raises as `run_weights` and `adapter_weights`.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        if base is None:
            named = (read_json(path / ADAPTER_CONFIG) or {}).get("base_model_name_or_path") or ""
            base = resolve_base(workspace, named) if named else None
        if base is None:
            raise ModelError("model.adapter_needs_base", adapter=str(path))
        return adapter_weights(workspace, path.resolve(), base)
    return run_weights(workspace, find_run(workspace, text) or RunRef.parse(text))


def run_weights(workspace: Workspace, ref: RunRef) -> RunWeights:
    """The weights that `RUN`, `RUN:best`, `RUN:last` or `RUN:step-40` name.

    Raises InputError `run.not_found`; ModelError where the run has none, the checkpoint does not exist, or its base is
    missing or no longer the same.
    """
    run = workspace.run(ref.run)
    folder = weights_folder(run, ref.which)
    if not ((folder / ADAPTER_CONFIG).is_file() or weight_files(folder)):
        raise ModelError("model.run_no_weights", run=str(ref), detail=f"{folder} holds none")
    parent = resolve_parent(workspace, str(ref))
    if not parent.adapters:
        return RunWeights(
            str(ref), None, (), model=folder, weights=tuple(parent.root.weights), template=parent.template,
            head=parent.head,
        )  # fmt: skip
    *below, top = parent.adapters
    weights = tuple(weight for adapter in parent.adapters for weight in weight_hashes(adapter, workspace))
    return RunWeights(
        str(ref), parent.folder, tuple(parent.root.weights), adapter=top, below=tuple(below), weights=weights,
        template=parent.template, head=parent.head,
    )  # fmt: skip


# -- an adapter folder that is no run of this workspace ---------------------------------------------------------------
def adapter_weights(workspace: Workspace, adapter: Path, base: Path) -> RunWeights:
    """A plain PEFT adapter folder on `base`, if that is the base its adapter_config.json names.

    Raises ModelError `model.no_adapter` and `model.adapter_other_base`.
    """
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise ModelError("model.no_adapter", path=str(adapter), file=ADAPTER_CONFIG)
    if not (adapter / ADAPTER).is_file():
        raise ModelError("model.no_adapter", path=str(adapter), file=ADAPTER)
    named = (read_json(adapter / ADAPTER_CONFIG) or {}).get("base_model_name_or_path") or ""
    if named not in _names_of(workspace, base) and Path(named).expanduser().resolve() != base.resolve():
        raise ModelError("model.adapter_other_base", adapter=str(adapter), expected=named or "?", base=str(base))
    weights = tuple(weight_hashes(adapter, workspace))
    return RunWeights(str(adapter), base, tuple(weight_hashes(base, workspace)), adapter=adapter, weights=weights)


def _names_of(workspace: Workspace, base: Path) -> set[str]:
    """Everything this base may rightly be called: its folder, its name in the workspace, and where it came from."""
    names = {str(base)}
    for card in list_models(workspace):
        if card.folder(workspace).resolve() == base.resolve():
            names |= {card.name, card.source, card.origin or card.source}
    return names


def check_same_base(weights: RunWeights, base: Path, base_weights: Sequence[WeightFile]) -> None:
    """Raise ModelError `model.adapter_other_base` unless `weights` belongs to this base; whole models always pass."""
    if weights.adapter is None:
        return
    if [weight.sha256 for weight in weights.base_weights] != [weight.sha256 for weight in base_weights]:
        raise ModelError("model.adapter_other_base", adapter=weights.label, expected=str(weights.base), base=str(base))
