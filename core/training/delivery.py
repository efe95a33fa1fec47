"""What a finished run hands over: weights under output/, and the manifest that says what they are, written last."""

from __future__ import annotations

import importlib.metadata
import shutil
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from core.configs.stages import SFTConfig
from core.data.encode.encoding import Encoder
from core.data.store.library import Dataset
from core.hardware import devices
from core.models.lineage import backbone_id, weight_hashes
from core.records import DataUsed, Manifest, RootBase
from core.report import RunContext
from core.rundir import Checkpoint, best_checkpoint, read_jsonl, write_record
from core.training.weights import load_trained, save_model

PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "bitsandbytes")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def chosen_checkpoint(config: SFTConfig, checkpoints: list[Checkpoint]) -> Checkpoint:
    """The one to deliver: the best by evaluation loss if the config asks for it and there is one, else the last."""
    best = best_checkpoint(checkpoints) if config.evaluation.keep_best else None
    return best or checkpoints[-1]


def deliver(
    context: RunContext,
    config: SFTConfig,
    model: PreTrainedModel | PeftModel,
    dtype: torch.dtype,
    root: RootBase,
    encoder: Encoder,
    tokenizer: Any,
    data: list[DataUsed],
) -> Manifest:
    """Write output/ from the chosen checkpoint and return its manifest.

    The adapter was trained on the root base itself, so it is the stage's adapter and the whole chain's at once.
    """
    run, chosen = context.run, chosen_checkpoint(config, context.run.complete_checkpoints())
    is_adapter = isinstance(model, PeftModel)
    folder = run.output / ("adapter" if is_adapter else "model")
    shutil.rmtree(run.output, ignore_errors=True)
    folder.mkdir(parents=True)
    if is_adapter:
        for name in ADAPTER_FILES:
            shutil.copyfile(chosen.path / name, folder / name)
    else:
        load_trained(model, chosen.path)
        save_model(model, folder, dtype)
    tokenizer.save_pretrained(str(folder))
    manifest = Manifest(
        run=run.id,
        name=config.run.name,
        stage=run.stage,
        kind="adapter" if is_adapter else "model",
        root_base=root,
        backbone_id=backbone_id(root.weights if is_adapter else weight_hashes(folder)),
        adapter_root=folder.name if is_adapter else None,
        adapter_stage=folder.name if is_adapter else None,
        model_folder=None if is_adapter else folder.name,
        method=config.tuning.method,
        dtype=str(dtype).removeprefix("torch."),
        tokenizer={
            "sha256": encoder.tokenizer_sha256,
            "pad": tokenizer.pad_token,
            "eos": tokenizer.eos_token,
            "stop_ids": encoder.stop_ids,
        },
        template={"name": encoder.template_name, "sha256": encoder.template_sha256},
        data=data,
        seed=config.run.seed,
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        device=device_name(context),
        trust_remote_code=config.model.trust_remote_code,
        final_metrics={"step": chosen.step, **_figures_at(context, chosen.step)},
    )
    write_record(run.manifest_file, manifest)
    return manifest


def _figures_at(context: RunContext, step: int) -> dict[str, float]:
    """The figures logged for `step`, or the last ones before it."""
    rows, _ = read_jsonl(context.run.metrics_file)
    figures: dict[str, float] = {}
    for row in rows:
        if row["step"] <= step:
            figures.update({name: value for name, value in row.items() if name in ("loss", "eval_loss", "tokens")})
    return figures


def device_name(context: RunContext) -> str:
    """The devices' own name: `2 × NVIDIA H200`, `AMD EPYC`."""
    if context.device.startswith("cuda"):
        name = torch.cuda.get_device_name(context.device)
    else:
        name = next((device.name for device in devices() if device.id == "cpu:0"), "CPU")
    return f"{context.world_size} × {name}" if context.world_size > 1 else name


def data_used(dataset: Dataset, rows_used: int, left_out: list[int]) -> DataUsed:
    """The manifest's record of one dataset; `left_out` are row indices the encoder could not use."""
    lines = dataset.lines(left_out)
    return DataUsed(
        dataset=dataset.ref,
        sha256=dataset.card.sha256,
        rows_used=rows_used,
        rows_dropped=dataset.card.dropped + len(lines),
        dropped_lines=sorted([*(row["line"] for row in dataset.dropped()), *lines]),
    )
