"""What a finished run hands over: weights under output/, and the manifest that says what they are, written last."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from core.configs.stages import PPOConfig, TrainingConfig
from core.data.store.library import Dataset
from core.hardware import devices
from core.models.backbone import save_merged
from core.models.chain import concatenate
from core.models.hashes import backbone_id, weight_hashes
from core.models.loading import load_model
from core.models.parents import Parent
from core.models.weights import ADAPTER, ADAPTER_CONFIG
from core.records import DataUsed, Manifest
from core.report import RunContext
from core.rundir import Checkpoint, RunDir, best_checkpoint, read_jsonl, write_record
from core.training.sharding import is_split, read_alone
from core.training.tuning import trains_embeddings
from core.training.weights import load_trained, save_model

PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "bitsandbytes", "trl")
# Of the last step; and everything that an evaluation found.
FIGURES = ("loss", "accuracy", "margin", "tokens", "reward", "kl")
STAGE, ROOT, WHOLE = "adapter", "adapter-root", "model"  # folders under output/


class Encodes(Protocol):
    """What a manifest says of tokenizer and template; an `Encoder` is one."""

    stop_ids: list[int]

    @property
    def tokenizer_sha256(self) -> str: ...
    @property
    def template_name(self) -> str: ...
    @property
    def template_sha256(self) -> str: ...


def chosen_checkpoint(config: TrainingConfig | PPOConfig, checkpoints: list[Checkpoint]) -> Checkpoint:
    """The one to deliver: the best by `evaluating.merit` if the config asks for it and there is one, else the last."""
    best = best_checkpoint(checkpoints) if config.evaluation.keep_best else None
    return best or checkpoints[-1]


def deliver(
    context: RunContext,
    config: TrainingConfig | PPOConfig,
    model: PreTrainedModel | PeftModel,
    dtype: torch.dtype,
    parent: Parent,
    encoder: Encodes,
    tokenizer: Any,
    data: list[DataUsed],
    *,
    kind: Literal["adapter", "model", "reward"] | None = None,
    head: dict[str, Any] | None = None,
    save: Callable[[Path], None] | None = None,
) -> Manifest:
    """Write output/ from the chosen checkpoint and return its manifest.

        adapter/        what this stage has trained, on the backbone that `parent` describes
        adapter-root/   the whole chain as one adapter of the root, where there is a chain beneath
        model/          a whole model, where all or some weights of the backbone itself have been trained

    kind: what the run made; None: an adapter or a model. head: of a reward model, for the manifest. save: is called
    with every folder of weights once they lie there, to add what is not the backbone's, such as a score head.
    """
    read_alone()
    run, chosen = context.run, chosen_checkpoint(config, context.run.complete_checkpoints())
    shutil.rmtree(run.output, ignore_errors=True)
    run.output.mkdir(parents=True)
    places = _write_weights(run, chosen, config, model, dtype, parent)
    for folder in {run.output / name for name in places.values() if name is not None}:
        tokenizer.save_pretrained(str(folder))
        if save is not None:
            save(folder)
    whole = places["model_folder"]
    manifest = Manifest(
        run=run.id,
        name=config.run.name,
        stage=run.stage,
        kind=kind or ("adapter" if whole is None else "model"),
        root_base=parent.root,
        chain=list(parent.chain),
        parent=parent.run,
        parent_adapter=_became_of(parent),
        backbone_id=parent.backbone_id if whole is None else backbone_id(weight_hashes(run.output / whole)),
        **places,
        method=config.tuning.method,
        dtype=str(dtype).removeprefix("torch."),
        quantisation=_quantisation(config),
        head=head,
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


def _write_weights(
    run: RunDir,
    chosen: Checkpoint,
    config: TrainingConfig | PPOConfig,
    model: PreTrainedModel | PeftModel,
    dtype: torch.dtype,
    parent: Parent,
) -> dict[str, str | None]:
    """The folders under output/, by the manifest's names for them."""
    places: dict[str, str | None] = {"adapter_stage": None, "adapter_root": None, "model_folder": None}
    if not isinstance(model, PeftModel):
        if is_split(model):  # the checkpoint is whole, and a model like any other
            trusted = config.model.trust_remote_code
            model = load_model(chosen.path, dtype=torch.float32, device="cpu", trust_remote_code=trusted)
        else:
            load_trained(model, chosen.path)
        save_model(model, run.output / WHOLE, dtype)
        return {**places, "model_folder": WHOLE}
    stage = run.output / STAGE
    stage.mkdir()
    for name in (ADAPTER_CONFIG, ADAPTER):
        shutil.copyfile(chosen.path / name, stage / name)
    places["adapter_stage"] = STAGE
    if trains_embeddings(model):
        # No sum of factors holds new rows of the embeddings: the run writes a whole model, and is its own root.
        save_merged(parent, stage, run.output / WHOLE, dtype, trust_remote_code=config.model.trust_remote_code)
        return {**places, "model_folder": WHOLE}
    if not parent.adapters:
        return {**places, "adapter_root": STAGE}
    concatenate([*parent.adapters, stage], run.output / ROOT, base=parent.root.path)
    return {**places, "adapter_root": ROOT}


def _became_of(parent: Parent) -> Literal["merged", "continued"] | None:
    """What became of the adapter of the run that this one started from."""
    if parent.start is not None:
        return "continued"
    return "merged" if parent.adapters else None


def _quantisation(config: TrainingConfig | PPOConfig) -> str | None:
    """`nf4`, `nf4 double`, …: the format of the frozen weights while they were trained on."""
    section = config.quantization
    if section.kind == "none":
        return None
    return f"{section.kind} double" if section.double and section.kind != "int8" else section.kind


def _figures_at(context: RunContext, step: int) -> dict[str, float]:
    """The figures logged for `step`, or the last ones before it."""
    rows, _ = read_jsonl(context.run.metrics_file)
    figures: dict[str, float] = {}
    for row in rows:
        if row["step"] <= step:
            figures.update({name: row[name] for name in row if name in FIGURES or name.startswith("eval_")})
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
