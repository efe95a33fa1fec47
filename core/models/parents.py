"""What a stage starts from: a base model, or a finished run with everything beneath it. Torch-free.

parent = resolve_parent(workspace, "starter")          a base: root, no chain
parent = resolve_parent(workspace, "sft-2026…-ab12")   a run: its root base, and the adapters to merge, in order

A run that made a whole model (full tuning, a new vocabulary, a merge) is its own root: nothing beneath it is needed.
`offers` says what each stage may start from, and why not from the rest. Loading is `core.models.backbone`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.errors import GalenError, ModelError, Problem
from core.models import again, families
from core.models.again import imported_from
from core.models.hashes import backbone_id, combined_sha256, weight_hashes
from core.models.library import ModelCard, card_at, find_base, list_models, resolve_base
from core.models.runs import BRINGS_IN, brought_in, weights_folder
from core.models.weights import (
    ADAPTER_CONFIG,
    SCORE,
    check_folder,
    has_tokenizer,
    lora_scaling,
    read_header,
    weight_files,
)
from core.records import ChainLink, Manifest, RootBase, WeightFile
from core.rundir import RunDir, State, read_json, state_of
from core.workspace import Workspace


@dataclass(frozen=True)
class Parent:
    """The backbone of a stage: `root` with the adapters of `adapters` merged into it, in fp32, in this order.

    chain: what was merged, link by link; one folder of `adapters` may hold several of them, concatenated. run: the run
    that was named, None for a base. template: the named chat template that the run was trained with. start: the adapter
    that `lora.start=continue` goes on training; it is not in the chain then. grown: the vocabulary has new tokens that
    nothing has been trained on yet. head: the folder with the score head, where the run made a reward model.
    """

    root: RootBase
    chain: tuple[ChainLink, ...] = ()
    adapters: tuple[Path, ...] = ()
    run: str | None = None
    template: str | None = None
    start: Path | None = None
    tokenizer_folder: Path | None = None
    grown: bool = False
    head: Path | None = None

    @property
    def folder(self) -> Path:
        """The root's folder."""
        return Path(self.root.path)

    @property
    def tokenizer(self) -> Path:
        return self.tokenizer_folder or self.folder

    @property
    def backbone_id(self) -> str:
        return backbone_id(self.root.weights, self.chain)

    def sentence(self) -> str:
        """What a stage starts from, for its log."""
        merged = f", with the adapters of {', '.join(link.run for link in self.chain)} merged in" if self.chain else ""
        goes_on = f", and goes on with that of {self.run}" if self.start is not None else ""
        return f"starts from {self.root.source}{merged}{goes_on}"


def resolve_parent(
    workspace: Workspace, text: str, *, go_on: bool = False, hashed: bool = True, scoring: bool = False
) -> Parent:
    """What `text` names: a run (`RUN`, `RUN:best`, …, by id or shown name) or whatever `resolve_base` takes.

    go_on: the run's own adapter is to be trained further, not merged (`lora.start=continue`). hashed: compare the
    root's weights with those the run was trained on; without, hashes are left empty, nothing large is read, and the
    result is for looking at only. scoring: it may be a model that writes no text, from anywhere. Raises as
    `resolve_base`; ModelError `parent.nothing_to_continue`, `parent.chain_broken`, `model.base_missing`,
    `model.base_changed` and their kin (`core.models.again`).
    """
    ref = find_base(workspace, text)
    if ref is None:
        if go_on:
            raise ModelError("parent.nothing_to_continue", base=text)
        folder = resolve_base(workspace, text, scoring=scoring)
        head = None if families.writes_text(families.read_config(folder)) else folder
        return Parent(_root(workspace, text, folder, hashed), head=head)
    run = workspace.run(ref.run)
    folder, manifest = weights_folder(run, ref.which), run.manifest()
    judges = run.stage == "reward" or (manifest is not None and manifest.kind == "reward")  # so may a merge
    head = folder if judges else None
    if (folder / ADAPTER_CONFIG).is_file():
        own = manifest if ref.which == "output" else None
        return replace(_of_adapter(workspace, run, folder, own, go_on, hashed), head=head)
    if go_on:
        raise ModelError("parent.nothing_to_continue", base=text)
    check_folder(folder)
    return Parent(
        RootBase(source=str(ref), path=str(folder), weights=_hashes(workspace, folder, hashed)),
        run=run.id,
        template=template_of(run),
        grown=run.stage == "vocabulary",
        head=head,
    )


def _root(workspace: Workspace, text: str, folder: Path, hashed: bool) -> RootBase:
    source = imported_from(card_at(workspace, folder))
    weights = _hashes(workspace, folder, hashed)
    return RootBase(source=text, path=str(folder), weights=weights, imported_from=source)


def template_of(run: RunDir) -> str | None:
    """The named chat template that a run was configured with: an adapter's checkpoint holds no tokenizer to say it."""
    return (run.config().get("model") or {}).get("template")


def _hashes(workspace: Workspace, folder: Path, hashed: bool) -> list[WeightFile]:
    return weight_hashes(folder, workspace) if hashed else []


# -- a run that trained an adapter ------------------------------------------------------------------------------------
def _of_adapter(
    workspace: Workspace, run: RunDir, folder: Path, manifest: Manifest | None, go_on: bool, hashed: bool
) -> Parent:
    """`folder` is the whole chain's adapter where there is a `manifest`, else a checkpoint: the stage's own adapter."""
    own = folder if manifest is None else run.output / (manifest.adapter_stage or folder.name)
    tokenizer = next((each for each in (folder, own) if has_tokenizer(each)), None)
    if go_on or manifest is None:
        below = beneath(workspace, run, hashed=hashed)
        found = replace(below, tokenizer_folder=tokenizer or below.tokenizer_folder)
    else:
        root = find_root(workspace, run.id, manifest.root_base, hashed=hashed)
        found = Parent(root, chain=tuple(manifest.chain), tokenizer_folder=tokenizer)
    found = replace(found, run=run.id, template=template_of(run) or found.template, grown=False, start=None)
    if go_on:
        return replace(found, start=own)
    sha256 = combined_sha256(weight_hashes(own, workspace)) if hashed else ""
    link = ChainLink(run=run.id, adapter_sha256=sha256, scaling=lora_scaling(read_json(own / ADAPTER_CONFIG) or {}))
    merged = (*found.adapters, own) if manifest is None else (folder,)
    return replace(found, chain=(*found.chain, link), adapters=merged)


def beneath(workspace: Workspace, run: RunDir, *, hashed: bool = True) -> Parent:
    """The backbone that a run's own adapter sits on. Raises ModelError `parent.chain_broken` where a link is gone."""
    manifest, config = run.manifest(), run.config()
    base = str((config.get("model") or {}).get("base", ""))
    if manifest is not None and not manifest.chain:
        return Parent(find_root(workspace, run.id, manifest.root_base, hashed=hashed))
    continues = (config.get("lora") or {}).get("start") == "continue"
    if manifest is None and find_base(workspace, base) is None:
        return Parent(find_root(workspace, run.id, _base_of(workspace, base), hashed=hashed))
    try:
        below = resolve_parent(workspace, base, go_on=continues, hashed=hashed)
    except GalenError as error:
        raise ModelError("parent.chain_broken", run=run.id, parent=base, detail=error.message) from error
    if manifest is not None and hashed and list(below.chain) != manifest.chain:
        raise ModelError("parent.chain_broken", run=run.id, parent=base, detail="its adapter has changed since")
    return below


def find_root(workspace: Workspace, run: str, root: RootBase, *, hashed: bool = True) -> RootBase:
    """The root base of `run` where it lies now, also after the workspace was moved or the model was got again.

    Raises ModelError as `again.gone`; as `again.changed` where its weights are not the ones of the manifest.
    """
    lay, moved = Path(root.path), _moved(workspace, root.weights)
    path = lay if lay.is_dir() else moved
    if path is None or not path.is_dir():
        raise again.gone(workspace, run, root, lay)
    if not hashed:
        return root.model_copy(update={"path": str(path)})
    file = _changed(root, weight_hashes(path, workspace))
    if file and moved is not None and moved != path and not _changed(root, weight_hashes(moved, workspace)):
        path, file = moved, ""  # the original, got again beside it
    if file:
        raise again.changed(workspace, run, root, path, file)
    return root.model_copy(update={"path": str(path), "weights": weight_hashes(path, workspace)})


def _changed(root: RootBase, found: list[WeightFile]) -> str:
    """The first weight file of `found` that is not the one of the manifest; "" where all are, or none is recorded."""
    if not root.weights:
        return ""
    other = [new.name for old, new in zip(root.weights, found, strict=False) if old.sha256 != new.sha256]
    return (other or ["weights"])[0] if other or len(root.weights) != len(found) else ""


def _base_of(workspace: Workspace, text: str) -> RootBase:
    """The base that a config names; where it no longer resolves, the path as it stands there."""
    try:
        folder = resolve_base(workspace, text)
        return RootBase(source=text, path=str(folder), imported_from=imported_from(card_at(workspace, folder)))
    except ModelError:
        return RootBase(source=text, path=text)


def _moved(workspace: Workspace, expected: list[WeightFile]) -> Path | None:
    """A model of this workspace with the very same weights."""
    wanted = [weight.sha256 for weight in expected]
    for card in list_models(workspace):
        if wanted and [weight.sha256 for weight in card.weights] == wanted:
            return card.folder(workspace)
    return None


# -- what a stage may start from --------------------------------------------------------------------------------------
# Their runs make no weights, but for an adapter that was brought in.
UNCHAINED = (BRINGS_IN, "import", "prepare", "perplexity", "evaluate", "score", "push", "annotate")
JUDGED_BY = ("score", "evaluate", "merge")  # the stages that take a reward model


@dataclass(frozen=True)
class Offer:
    """`value` goes into `model.base`, `name` is shown. `reason`: why a choice that is not `legal` cannot be made."""

    value: str
    name: str
    kind: Literal["run", "model"]
    legal: bool
    reason: Problem | None = None
    stage: str = ""  # of a run


def offers(workspace: Workspace, stage: str) -> list[Offer]:
    """Every run that makes weights, newest first, then every model of the workspace: what `stage` may start from.

    Reads a file or two of each and hashes nothing, so a choice that is offered may still be refused at the start, when
    the base turns out to have changed.
    """
    found = []
    for run in workspace.runs():
        manifest = brought_in(run) if run.stage in UNCHAINED else run.manifest()
        if run.stage not in UNCHAINED or manifest is not None:
            reason = _objection(workspace, stage, run, manifest)
            name = (manifest.name if manifest is not None else (run.config().get("run") or {}).get("name")) or run.id
            found.append(Offer(run.id, name, "run", reason is None, reason, run.stage))
    for card in list_models(workspace):
        reason = _objection_to_model(stage, card)
        found.append(Offer(card.name, card.name, "model", reason is None, reason))
    return found


def check_start(workspace: Workspace, stage: str, text: str, *, go_on: bool = False) -> str:
    """The lasting name of what `text` means as the start of `stage`: a run's id, a model's name, or a path.

    Raises ModelError with the reason of `offers`, or as `resolve_parent`, which it asks without hashing anything; for
    `score`, `reward.unknown`, `reward.no_head` and `reward.not_one_score`.
    """
    ref = find_base(workspace, text)
    if stage == "push" and (ref is None or ref.which != "output"):
        raise ModelError("push.no_run", run=text)
    if ref is not None and ref.which == "output":
        run = workspace.run(ref.run)
        reason = _objection(workspace, stage, run, run.manifest())
        if reason is not None:
            raise ModelError(reason.code, **reason.params)
        if stage == "push":  # what lies beneath an adapter is not sent, and may be gone
            return ref.run
    try:
        parent = resolve_parent(workspace, text, go_on=go_on, hashed=False, scoring=stage in JUDGED_BY)
    except ModelError as error:
        if stage == "score" and error.code == "model.unknown":
            raise ModelError("reward.unknown", run=text) from error
        raise
    if stage == "score" and parent.head is None:
        raise ModelError("parent.scores_nothing", run=text)
    if parent.head is not None and stage not in (*JUDGED_BY, "reward"):  # a checkpoint: what it delivered is above
        raise ModelError("parent.scores_only", run=text)
    if stage == "merge" and not parent.adapters:
        raise ModelError("parent.nothing_to_merge", run=text)
    if ref is not None:
        return str(ref)
    if stage == "score":
        _check_head(parent.folder)
    return parent.folder.name if parent.folder.parent == workspace.models_dir else str(parent.folder)


def _check_head(folder: Path) -> None:
    """Raise ModelError unless the sequence-classification model in `folder` gives one score."""
    found = next((header[SCORE] for path in weight_files(folder) if SCORE in (header := read_header(path))), None)
    if found is None:
        raise ModelError("reward.no_head", path=str(folder))
    if found["shape"][0] != 1:
        raise ModelError("reward.not_one_score", path=str(folder), count=found["shape"][0])


def _objection(workspace: Workspace, stage: str, run: RunDir, manifest: Manifest | None) -> Problem | None:
    """Why `stage` cannot start from what this run delivered; None where it can."""
    if stage == "push":
        return _objection_to_sending(run, manifest)
    if manifest is None:
        state = state_of(run)
        code = "parent.unfinished" if state.live else "parent.undelivered"
        return Problem(code, _about(run, state=str(state)))
    relative = manifest.adapter_root or manifest.model_folder
    if relative is None or not (run.output / relative).is_dir():
        return Problem("parent.no_weights", _about(run))
    if manifest.kind == "reward" and stage not in JUDGED_BY:
        return Problem("parent.scores_only", _about(run))
    if manifest.kind != "reward" and stage == "score":
        return Problem("parent.scores_nothing", _about(run))
    if manifest.adapter_root is None and stage == "merge":
        return Problem("parent.nothing_to_merge", _about(run))
    root = manifest.root_base
    if manifest.adapter_root is not None and not (Path(root.path).is_dir() or _moved(workspace, root.weights)):
        lost = again.gone(workspace, run.id, root, Path(root.path))
        return Problem(lost.code, lost.params)
    return None


def _objection_to_sending(run: RunDir, manifest: Manifest | None) -> Problem | None:
    """Adapters, whole models and reward models may be sent, whatever has become of their base."""
    state = state_of(run)
    if state is not State.SUCCEEDED:
        return Problem("push.unfinished", _about(run, state=str(state)))
    relative = None if manifest is None else manifest.adapter_root or manifest.model_folder
    if relative is None:
        return Problem("push.nothing", _about(run, stage=run.stage))
    return None if (run.output / relative).is_dir() else Problem("parent.no_weights", _about(run))


def _objection_to_model(stage: str, card: ModelCard) -> Problem | None:
    params: dict[str, Any] = {"run": card.name}
    if stage == "push":
        return Problem("push.no_run", params)
    if stage == "merge":
        return Problem("parent.nothing_to_merge", params)
    writes = families.writes_text({"architectures": [card.architecture]} if card.architecture else {})
    if writes and stage == "score":
        return Problem("parent.scores_nothing", params)
    if not writes and stage not in ("score", "evaluate"):
        return Problem("parent.scores_only", params)
    return None


def _about(run: RunDir, **params: Any) -> dict[str, Any]:
    return {"run": run.id, **params}
