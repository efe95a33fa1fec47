"""Which weights a run is made of, and whether they are still the ones it was trained with. Torch-free.

An adapter is only right on the very base it was trained on: loaded on another it answers, wrongly, without a word. So
every run's manifest names the SHA-256 of each of its root base's weight files, and `run_weights` compares them before
anybody loads anything. Hashes are cached by path, size and time of change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelError
from core.models.library import list_models, resolve_base
from core.models.runs import find_run, weights_folder
from core.models.weights import ADAPTER, ADAPTER_CONFIG, weight_files
from core.records import ChainLink, Manifest, Record, WeightFile
from core.rundir import RunDir, RunRef, read_json, read_record, write_text
from core.workspace import Workspace

CHUNK = 1 << 22  # bytes hashed at once


# -- hashes -----------------------------------------------------------------------------------------------------------
class _Cached(Record):
    path: str
    size: int
    mtime_ns: int
    sha256: str


def file_sha256(path: Path, workspace: Workspace | None = None) -> str:
    """SHA-256 of a file, in hex. With a workspace the result is kept there until size or time of change differ."""
    stat = path.stat()
    if workspace is None:
        return _sha256(path)
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    kept = workspace.cache_dir / "hashes" / f"{name}.json"
    cached = read_record(kept, _Cached)
    if cached is not None and (cached.size, cached.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return cached.sha256
    entry = _Cached(path=str(path), size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=_sha256(path))
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_text(kept, entry.model_dump_json(), durable=False)
    return entry.sha256


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def weight_hashes(folder: Path, workspace: Workspace | None = None) -> list[WeightFile]:
    """Name and SHA-256 of every weight file of a model or adapter folder, in order."""
    return [WeightFile(name=path.name, sha256=file_sha256(path, workspace)) for path in weight_files(folder)]


def combined_sha256(weights: Sequence[WeightFile]) -> str:
    """One hash for a set of files: the file's own where there is one, else the hash of all names and hashes."""
    if len(weights) == 1:
        return weights[0].sha256
    return hashlib.sha256("\n".join(f"{w.name} {w.sha256}" for w in weights).encode()).hexdigest()


def backbone_id(root: Sequence[WeightFile], chain: Sequence[ChainLink] = (), vocabulary: str = "") -> str:
    """What an adapter sits on: the root's weights, the adapters merged into it in order, and any change of vocabulary.

    File names do not count (the same weights sharded under other names are another set of files, though).
    """
    parts = [weight.sha256 for weight in root]
    parts += [f"{link.adapter_sha256}*{link.scaling!r}" for link in chain]
    return hashlib.sha256("\n".join([*parts, vocabulary]).encode()).hexdigest()


# -- a run's weights --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class RunWeights:
    """What to load for a run: `adapter` on `base`, or the whole `model`. Hashes are those of the files found now.

    `template` is the named chat template that the run was trained with, None for the tokenizer's own.
    """

    label: str
    base: Path | None
    base_weights: tuple[WeightFile, ...]
    adapter: Path | None = None
    model: Path | None = None
    weights: tuple[WeightFile, ...] = ()
    template: str | None = None

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
    if (folder / ADAPTER_CONFIG).is_file():
        return _adapter_weights(workspace, run, run.manifest(), folder, str(ref))
    weights = tuple(weight_hashes(folder, workspace))
    if not weights:
        raise ModelError("model.run_no_weights", run=str(ref), detail=f"{folder} holds none")
    return RunWeights(str(ref), None, (), model=folder, weights=weights, template=_template(run))


def _template(run: RunDir) -> str | None:
    """A checkpoint holds no tokenizer that would say it."""
    return (run.config().get("model") or {}).get("template")


def _adapter_weights(
    workspace: Workspace, run: RunDir, manifest: Manifest | None, folder: Path, label: str
) -> RunWeights:
    if manifest is not None:
        path, source, expected = Path(manifest.root_base.path), manifest.root_base.source, manifest.root_base.weights
    else:  # a checkpoint of a run that has not ended: its config pins the base
        source, expected = str((run.config().get("model") or {}).get("base", "")), []
        path = _base_folder(workspace, source)
    if not path.is_dir():
        path = _moved(workspace, expected) or path
    if not path.is_dir():
        raise ModelError("model.base_missing", run=run.id, path=str(path), source=source)
    found = weight_hashes(path, workspace)
    changed = [new.name for old, new in zip(expected, found, strict=False) if old.sha256 != new.sha256]
    if expected and (changed or len(expected) != len(found)):
        raise ModelError(
            "model.base_changed", run=run.id, path=str(path), source=source, file=(changed or ["weights"])[0]
        )
    weights = tuple(weight_hashes(folder, workspace))
    return RunWeights(label, path, tuple(found), adapter=folder, weights=weights, template=_template(run))


def _base_folder(workspace: Workspace, source: str) -> Path:
    try:
        return resolve_base(workspace, source)
    except ModelError:
        return Path(source)


def _moved(workspace: Workspace, expected: list[WeightFile]) -> Path | None:
    """A model of this workspace with the very same weights: the workspace was moved, or the model got again."""
    wanted = [weight.sha256 for weight in expected]
    for card in list_models(workspace):
        if wanted and [weight.sha256 for weight in card.weights] == wanted:
            return card.folder(workspace)
    return None


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
