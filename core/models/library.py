"""The base models of a workspace: cards, names, and how a text that a user typed becomes a model folder. Torch-free.

    models/<name>/galen.json   the card, written last: a folder without one is not a model of the workspace
    models/<name>/…            safetensors, tokenizer, config; absent when the card points to a folder elsewhere

Bringing a model in is the stage `fetch` (`core.recipes.fetch`). The weights themselves are never touched here.
"""

from __future__ import annotations

import difflib
import shutil
import time
import uuid
from pathlib import Path
from typing import Any, Literal

from core.configs.starts import named_starts
from core.disk import link_or_copy
from core.errors import ModelError
from core.models import families
from core.models.runs import brought_in, find_run, weights_folder
from core.models.weights import ADAPTER_CONFIG, check_folder, inspect
from core.records import Record, WeightFile
from core.references import RunRef
from core.rundir import RunDir, read_record, state_of, write_record
from core.workspace import Workspace, check_name

CARD = "galen.json"
LONGEST_NAME, LONGEST_PATH = 255, 4096  # bytes, of a file and of all of its path
SHOWN = 80  # characters of a text that names nothing
STARTER = "starter"
STARTER_NAME = "SmolLM2-135M-Instruct"
MERGED_BY = "merged by "  # how the source of a model begins that a merge has put into the workspace

Kind = Literal["starter", "hub", "gguf", "folder"]


class ModelCard(Record):
    """`galen.json`. `points_to` is the folder of a model that was registered where it lies; sizes are bytes.

    converted: the published layout that it had (`core.models.conversions`). added_to: the base, where the weights were
    published as a difference.
    """

    name: str
    kind: Kind
    source: str
    revision: str | None = None
    licence: str | None = None
    architecture: str
    model_type: str
    parameters: int
    context: int | None = None
    dtype: str
    size: int
    weights: list[WeightFile] = []
    origin: str | None = None
    source_sha256: str | None = None
    points_to: str | None = None
    converted: str | None = None
    added_to: str | None = None
    created: float

    def folder(self, workspace: Workspace) -> Path:
        """Where the model's files are."""
        return Path(self.points_to) if self.points_to else workspace.models_dir / self.name


def list_models(workspace: Workspace) -> list[ModelCard]:
    """Every model of the workspace, newest first."""
    cards = (
        read_card(workspace, path.name) for path in workspace.models_dir.iterdir() if not path.name.startswith(".")
    )
    return sorted((card for card in cards if card is not None), key=lambda card: -card.created)


def read_card(workspace: Workspace, name: str) -> ModelCard | None:
    card = read_record(workspace.models_dir / name / CARD, ModelCard)
    # The folder's name is the truth: a user may have renamed or copied it.
    return None if card is None else card.model_copy(update={"name": name})


def card_at(workspace: Workspace, folder: Path) -> ModelCard | None:
    """The card of the model whose files lie in `folder`."""
    return next((card for card in list_models(workspace) if card.folder(workspace) == folder), None)


def find_model(workspace: Workspace, name: str) -> ModelCard:
    """The card called `name`. Raises ModelError `model.not_in_workspace` with the nearest name."""
    card = read_card(workspace, name) if Path(name).name == name else None
    if card is None:
        raise ModelError("model.not_in_workspace", model=name, **_known(workspace, name))
    return card


def describe(
    folder: Path,
    name: str,
    kind: Kind,
    source: str,
    *,
    weights: list[WeightFile],
    licence: str | None = None,
    revision: str | None = None,
    origin: str | None = None,
    source_sha256: str | None = None,
    points_to: str | None = None,
    converted: str | None = None,
    added_to: str | None = None,
) -> ModelCard:
    """A card for the model in `folder`, read from its config and weight files. Raises as `check_folder`."""
    check_folder(folder)
    config, facts = families.read_config(folder), inspect(folder)
    return ModelCard(
        name=name,
        kind=kind,
        source=source,
        revision=revision,
        licence=licence,
        architecture=families.architecture(config),
        model_type=str(config.get("model_type", "")),
        parameters=facts.parameters,
        context=families.context_length(config),
        dtype=facts.dtype,
        size=facts.size,
        weights=weights,
        origin=origin,
        source_sha256=source_sha256,
        points_to=points_to,
        converted=converted,
        added_to=added_to,
        created=time.time(),
    )


def write_card(folder: Path, card: ModelCard) -> None:
    write_record(folder / CARD, card)


def name_taken(workspace: Workspace, name: str, *, source: str) -> bool:
    """Whether a model that was not made from `source` bears this name. Raises InputError `name.bad`."""
    card = read_card(workspace, check_name(name))
    return (workspace.models_dir / name).exists() and (card is None or card.source != source)


def register(workspace: Workspace, folder: Path, name: str, *, source: str, weights: list[WeightFile]) -> ModelCard:
    """Put the model in `folder`, which a run has made, among the workspace's, without a second copy of its files.

    It outlives the run. Raises InputError `name.bad`, ModelError `model.name_taken`, or as `describe`.
    """
    if name_taken(workspace, name, source=source):
        raise ModelError("model.name_taken", name=name, source="another model")
    building = workspace.models_dir / f".building-{uuid.uuid4().hex[:8]}"
    building.mkdir()
    try:
        for file in sorted(path for path in folder.iterdir() if path.is_file()):
            link_or_copy(file, building / file.name)
        card = describe(folder, name, "folder", source, weights=weights)
        write_card(building, card)
        shutil.rmtree(workspace.models_dir / name, ignore_errors=True)  # left by an earlier attempt of the same run
        building.rename(workspace.models_dir / name)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return card


# -- what a user typed ------------------------------------------------------------------------------------------------
def resolve_base(workspace: Workspace, text: str, *, scoring: bool = False) -> Path:
    """The model folder that `text` names: a model of the workspace, `starter`, a run with a whole model (`RUN`,
    `RUN:best`, …, by id or shown name), a hub id that was fetched, or a local folder.

    scoring: it may be a model that scores texts and writes none. Raises InputError `run.bad_reference`; ModelError:
    each thing that cannot be used says what it is and, where there is one, the command that helps.
    """
    text = text.strip()
    card = _card_of(workspace, text)
    if card is not None:
        return _checked(card.folder(workspace), scoring)
    if text == STARTER:
        raise ModelError("model.no_starter")
    run_model = _run_model(workspace, text)
    if run_model is not None:
        return _checked(run_model, scoring)
    path = Path(text).expanduser()
    if path.is_dir():
        return _checked(path.resolve(), scoring)
    if path.suffix.lower() == ".gguf" and path.is_file():
        raise ModelError("model.gguf_not_fetched", model=str(path))
    if looks_like_hub_id(text):
        raise ModelError("model.not_fetched", model=text)
    raise ModelError("model.unknown", model=text, **_known(workspace, text))


def find_base(workspace: Workspace, text: str) -> RunRef | None:
    """The run that `text` names as a start; None where it means a model, a folder, or nothing. Models' names win.

    Raises InputError `run.bad_reference`; ModelError `model.unknown` for a text that nothing can be called.
    """
    text = text.strip()
    if text == STARTER or _card_of(workspace, text) is not None:
        return None
    return find_run(workspace, text)


def bottom_of(workspace: Workspace, text: str) -> str:
    """What the config of the lowest run of a chain names as its base; `text` itself where it is no run."""
    seen: set[str] = set()
    while (ref := find_base(workspace, text)) is not None and ref.run not in seen:
        seen.add(ref.run)
        run = workspace.run(ref.run)
        manifest = brought_in(run)
        base = manifest.root_base.source if manifest is not None else (run.config().get("model") or {}).get("base")
        text = str(base or "")
    return text


def looks_like_hub_id(text: str) -> bool:
    """`owner/name`, or `owner/name/FILE.gguf`: what a hub would understand and no path of this machine."""
    parts = text.split("/")
    if text.startswith((".", "~", "/")) or not all(part and part[0].isalnum() for part in parts):
        return False
    return len(parts) == 2 or (len(parts) == 3 and parts[2].lower().endswith(".gguf"))


def _card_of(workspace: Workspace, text: str) -> ModelCard | None:
    """By name first, then by what it was made from (`starter`, a hub id, a path).

    Raises ModelError `model.unknown` for a text that nothing on a disk can be called.
    """
    if not _can_be_there(text):
        shown = text.encode(errors="replace").decode()[:SHOWN]
        raise ModelError("model.unknown", model=shown, **_known(workspace, shown))
    card = read_card(workspace, text) if text and Path(text).name == text else None
    if card is not None:
        return card
    return next((card for card in list_models(workspace) if text in (card.source, card.origin)), None)


def _can_be_there(text: str) -> bool:
    """Whether a path may read so; asking the system about another one is an error."""
    try:
        path = text.encode()
    except UnicodeEncodeError:
        return False
    return b"\0" not in path and len(path) < LONGEST_PATH and max(map(len, path.split(b"/"))) <= LONGEST_NAME


def _run_model(workspace: Workspace, text: str) -> Path | None:
    ref = find_run(workspace, text)
    if ref is None:
        return None
    run = workspace.run(ref.run)
    folder = weights_folder(run, ref.which)
    if (folder / ADAPTER_CONFIG).is_file():
        base = (run.config().get("model") or {}).get("base") or "the model it was trained on"
        raise ModelError("model.run_is_adapter", run=text, base=base)
    return folder


def _checked(folder: Path, scoring: bool = False) -> Path:
    check_folder(folder)
    config = families.read_config(folder)
    if not families.writes_text(config) and not scoring:
        raise ModelError("model.not_causal", path=str(folder), architecture=families.architecture(config))
    return folder


def _known(workspace: Workspace, text: str) -> dict[str, Any]:
    names = [card.name for card in list_models(workspace)]
    lowered = {name.lower(): name for name in [*names, STARTER]}
    close = difflib.get_close_matches(text.lower(), lowered, 1, 0.5)
    return {"known": ", ".join(names) or "none", "nearest": lowered[close[0]] if close else ""}


# -- removing ---------------------------------------------------------------------------------------------------------
def dependents(workspace: Workspace, name: str, *, live_only: bool = False) -> list[str]:
    """The ids of runs that would stop working without this model: those at work that name it, and those that have an
    adapter which is nothing without it, delivered or in a checkpoint. `live_only`: the first alone."""
    folder = str(workspace.models_dir / name)
    return [run.id for run in workspace.runs() if _needs(workspace, run, {name, folder}, live_only)]


def _needs(workspace: Workspace, run: RunDir, names: set[str], live_only: bool) -> bool:
    config, manifest = run.config(), run.manifest()
    if state_of(run).live:
        return bool(names & {bottom_of(workspace, text) for text in named_starts(config)})
    if live_only:
        return False
    if manifest is not None:  # a whole model needs nothing beneath it
        return manifest.adapter_root is not None and bool(names & {manifest.root_base.source, manifest.root_base.path})
    return (
        bool(run.complete_checkpoints()) and bottom_of(workspace, str((config.get("model") or {}).get("base"))) in names
    )


def based_on(workspace: Workspace, made: str) -> list[str]:
    """The ids of runs with an adapter that lies on the whole model which the run `made` has made."""
    return [
        run.id for run in workspace.runs()
        if (manifest := run.manifest()) is not None and manifest.adapter_root is not None
        and manifest.root_base.source.partition(":")[0] == made
    ]  # fmt: skip


def children(workspace: Workspace, run: str) -> list[str]:
    """The ids of queued and working runs that start from this run, and need its files until they have delivered."""
    found = []
    for each in workspace.runs():
        config = each.config()
        named = [*named_starts(config), *((config.get("run") or {}).get("after") or ())]
        if any(text.partition(":")[0] == run for text in named) and state_of(each).live:
            found.append(each.id)
    return found


def check_not_pointed_at(workspace: Workspace, folder: Path) -> None:
    """Raise ModelError `model.pointed_at` where models were registered whose files lie in `folder`."""
    inside = [card.name for card in list_models(workspace)
              if card.points_to and Path(card.points_to).is_relative_to(folder.resolve())]  # fmt: skip
    if inside:
        raise ModelError("model.pointed_at", models=", ".join(inside), path=str(folder))


def delete_model(workspace: Workspace, name: str) -> None:
    """Remove a model of the workspace; a folder that a card only points to stays untouched.

    Raises ModelError `model.not_in_workspace`, or `model.in_use` while a run that needs it is queued or working.
    """
    find_model(workspace, name)
    check_not_pointed_at(workspace, workspace.models_dir / name)
    live = dependents(workspace, name, live_only=True)
    if live:
        raise ModelError("model.in_use", name=name, runs=", ".join(live))
    # Renamed first: a model that is half deleted must not look like one.
    going = workspace.models_dir / f".deleted-{uuid.uuid4().hex[:8]}"
    (workspace.models_dir / check_name(name)).rename(going)
    shutil.rmtree(going, ignore_errors=True)
