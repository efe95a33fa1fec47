"""An adapter that some other program trained becomes the output of a run here: offered, merged and compared like one.

    adopt(context, folder, source)      `output/adapter`, or `output/model` where it holds embeddings of its own

The weights are read and written by a child (`core.models.convert`); this only says where they belong. Torch-free.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

from core.configs.stages import FetchConfig
from core.data.encode.tokenizer import load_tokenizer
from core.models.hashes import backbone_id, weight_hashes
from core.models.looking import licence_of
from core.models.making import convert
from core.models.parents import resolve_parent
from core.models.sources import Source, base_of
from core.models.weights import ADAPTER as ADAPTER_FILE
from core.models.weights import SCORE_HEAD, inspect
from core.records import Manifest
from core.report import RunContext
from core.rundir import write_record

ADAPTER, WHOLE = "adapter", "model"  # folders under output/
PACKAGES = ("transformers", "peft", "safetensors")


def adopt(context: RunContext, folder: Path, source: Source, plan: dict[str, Any] | None = None) -> None:
    """Deliver the adapter in `folder`. `plan`: what a hub said of it. Raises ModelError with what stood in the way."""
    config, run, report = context.config, context.run, context.report
    assert isinstance(config, FetchConfig)
    text = base_of(context.workspace, folder, config.model.base)
    report.phase("checking")
    parent = resolve_parent(context.workspace, text)
    shutil.rmtree(run.output, ignore_errors=True)
    run.output.mkdir(parents=True)
    try:
        facts = convert("adapter", folder, run.output, parent.folder, report=report)
        report.phase("saving")
        place = run.output / facts["place"]
        tokenizer = load_tokenizer(place)
    except BaseException:
        shutil.rmtree(run.output, ignore_errors=True)
        raise
    whole = WHOLE if facts["whole"] else None
    manifest = Manifest(
        run=run.id,
        name=config.run.name or source.name,
        stage=run.stage,
        kind="reward" if facts["reward"] else "model" if whole else "adapter",
        root_base=parent.root,
        backbone_id=backbone_id(weight_hashes(place)) if whole else parent.backbone_id,
        adapter_root=None if whole else ADAPTER,
        adapter_stage=ADAPTER,
        model_folder=whole,
        method="lora",
        dtype=inspect(place).dtype,
        head={**SCORE_HEAD, "file": ADAPTER_FILE} if facts["reward"] else None,
        tokenizer={"pad": tokenizer.pad_token, "eos": tokenizer.eos_token},
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        origin=_origin(folder, source, plan or {}),
    )
    write_record(run.manifest_file, manifest)
    print(f"{manifest.name} is an adapter of {text}: {run.id}")


def _origin(folder: Path, source: Source, plan: dict[str, Any]) -> dict[str, str]:
    """Where it came from, with the licence that the hub or its own README names: its base's is not its own."""
    known = {"commit": plan.get("commit"), "licence": plan.get("licence") or licence_of(folder)}
    return {"source": source.text, **{key: str(value) for key, value in known.items() if value}}
