"""merge: a run's adapters become part of their base; the result is a model folder that needs nothing else.

    1  find the run's chain and its root base, and what the merged model will be called
    2  load the root, lay the chain on it as adapters, and note what it answers to a few probes
    3  merge the chain into the weights, in fp32, and compare
    4  cast once, write the model (a reward model with its head), read it back, and compare again
    5  put it into the workspace's models, if it is to have a name there; write the manifest

Run it with `python -m core merge model.base=RUN`. What differs by more than rounding is not delivered. Left out:
quantised results (weights are merged from the root's own files, whatever they were quantised to in training), and
adapters that are not plain LoRA, which no run here makes.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from core.configs.stages import MergeConfig
from core.data.encode.tokenizer import load_tokenizer
from core.errors import ModelError, RunError
from core.models.backbone import copy_code, file_dtype
from core.models.chain import concatenate, merge_into
from core.models.hashes import backbone_id, weight_hashes
from core.models.library import find_base, name_taken, register
from core.models.loading import TORCH_DTYPES, load_model
from core.models.parents import Parent, resolve_parent
from core.models.weights import SCORE_HEAD, inspect
from core.records import Manifest
from core.records_merge import Verification, verification_file
from core.report import RunContext
from core.rundir import write_record
from core.training.delivery import PACKAGES, WHOLE, device_name
from core.training.heads import read_head, save_classifier
from core.training.judges import load_classifier
from core.training.verifying import Probes, computing_dtype, verify


def main(context: RunContext) -> None:
    """Merge `model.base`. Raises ModelError where there is nothing to merge, RunError `merge.disagrees`."""
    config = MergeConfig.model_validate(context.config.model_dump())
    report, output, workspace = context.report, context.run.output, context.workspace
    settings = config.model

    # 1
    parent = resolve_parent(workspace, settings.base)
    if not parent.adapters:
        raise ModelError("parent.nothing_to_merge", run=settings.base)
    source = f"merged by {context.run.id}"
    if settings.folder and name_taken(workspace, settings.folder, source=source):
        raise ModelError("model.name_taken", name=settings.folder, source="another model")
    tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=settings.trust_remote_code)
    dtype = TORCH_DTYPES.get(inspect(parent.folder).dtype if settings.dtype == "auto" else settings.dtype)
    dtype = dtype or torch.float32
    head = None if parent.head is None else read_head(parent.head)
    probes = Probes.of(tokenizer, head, context.device)

    # 2
    report.phase("loading")
    computed_in = computing_dtype(parent.folder, context.device, file_dtype(parent.folder, dtype))
    model = load_model(
        parent.folder, dtype=computed_in, device=context.device, trust_remote_code=settings.trust_remote_code
    )
    report.check_stop()
    report.phase("measuring")
    model, before = _as_adapters(model, parent, probes)

    # 3
    report.phase("merging")
    report.check_stop()
    merge_into(model, parent.adapters)
    merged = probes.outputs(model)

    # 4
    report.phase("saving")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    folder = output / WHOLE
    model = model.to(device="cpu", dtype=dtype)
    _write(model, head, tokenizer, parent, folder, settings.shard_size.replace(" ", ""))
    del model
    report.phase("verifying")
    written = probes.outputs(
        load_classifier(folder, dtype=computed_in, device=context.device)
        if head is not None
        else load_model(folder, dtype=computed_in, device=context.device, trust_remote_code=settings.trust_remote_code)
    )
    found = verify(probes, before, merged, written, tokenizer, computed_in=computed_in, dtype=dtype)
    write_record(verification_file(output), found)
    if not found.passed:
        shutil.rmtree(folder)
        raise RunError("merge.disagrees", run=settings.base, difference=f"{found.difference:.3g}")
    print(f"merging moved no output by more than {found.merging:.2g}; written in {found.dtype}, {found.difference:.2g}")

    # 5
    report.check_stop()
    report.phase("delivering")
    if settings.folder:
        register(workspace, folder, settings.folder, source=source, weights=weight_hashes(folder))
    write_record(context.run.manifest_file, _manifest(context, config, parent, folder, dtype, found))


def _as_adapters(model: PreTrainedModel, parent: Parent, probes: Probes) -> tuple[PreTrainedModel, list[torch.Tensor]]:
    """(the untouched model, what it answers with the chain laid on it as plain PEFT does it)."""
    with tempfile.TemporaryDirectory() as place:
        concatenate(parent.adapters, Path(place), base=parent.root.path)
        laid = PeftModel.from_pretrained(model, place, torch_device=str(model.device))
    outputs = probes.outputs(laid)
    untouched: Any = laid.unload()
    return untouched, outputs


def _write(
    model: PreTrainedModel, head: torch.Tensor | None, tokenizer: Any, parent: Parent, folder: Path, shard: str
) -> None:
    """The model folder: weights, tokenizer, and the code that the base came with."""
    model.name_or_path = ""  # a path of this machine, which means nothing to whoever gets the folder
    if head is None:
        model.save_pretrained(str(folder), max_shard_size=shard)
        tokenizer.save_pretrained(str(folder))
    else:
        layer = nn.Linear(head.shape[1], 1, bias=False)
        layer.weight = nn.Parameter(head)
        save_classifier(model, layer, tokenizer, folder, model.dtype, shard_size=shard)
    copy_code(parent.folder, folder)


def _manifest(
    context: RunContext, config: MergeConfig, parent: Parent, folder: Path, dtype: torch.dtype, found: Verification
) -> Manifest:
    """The merged model is its own root; `chain` says what went into it."""
    ref = find_base(context.workspace, config.model.base)
    merged = context.workspace.run(ref.run).manifest() if ref is not None else None
    figures = found.model_dump(include={"merging", "difference", "kl", "same"}, exclude_none=True)
    return Manifest(
        run=context.run.id,
        name=config.run.name,
        stage=context.run.stage,
        kind="merged" if parent.head is None else "reward",
        root_base=parent.root,
        chain=list(parent.chain),
        parent=parent.run,
        parent_adapter="merged",
        backbone_id=backbone_id(weight_hashes(folder)),
        model_folder=WHOLE,
        method="merge",
        dtype=str(dtype).removeprefix("torch."),
        head=None if parent.head is None else dict(SCORE_HEAD),
        tokenizer={} if merged is None else merged.tokenizer,
        template={} if merged is None else merged.template,
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        device=device_name(context),
        trust_remote_code=config.model.trust_remote_code,
        final_metrics=figures,
    )
