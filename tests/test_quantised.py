"""QLoRA on the CPU: frozen weights in 4 and 8 bits, what is learnt on them, and small optimizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import LoraConfig, get_peft_model

from core.configs.sections import Quantization
from core.errors import ModelError
from core.models.backbone import load_backbone
from core.models.changes import merge_into
from core.models.loading import load_model
from core.models.parents import resolve_parent
from core.models.quantizing import is_quantised
from core.training.fastpath import FusedCausalLM
from core.training.tuning import trainable_count
from core.workspace import Workspace
from tests.chain_tools import IDS, OTHER, check_chain, logits, losses, train
from tests.conftest import conversations, write_jsonl

KINDS = ["nf4", "fp4", "int8"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "chat.jsonl", conversations(24))


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_runs_merge_into_full_precision_only(
    workspace: Workspace, tiny_model: Path, data: Path, kind: str
) -> None:
    words = (f"quantization.kind={kind}", "schedule.max_steps=6")
    first = train(workspace, tiny_model, data, *words)
    assert losses(first)[-1] < losses(first)[0] - 0.05
    second = train(workspace, first.id, data, *words, *OTHER)
    manifest = second.manifest()
    assert manifest is not None
    assert manifest.quantisation == (kind if kind == "int8" else f"{kind} double")
    assert manifest.backbone_id == resolve_parent(workspace, first.id).backbone_id
    check_chain(workspace, second)
    # the backbone that the second run trained on: root and first adapter summed in fp32, quantised afterwards
    parent = resolve_parent(workspace, first.id)
    summed = load_model(tiny_model, dtype=torch.float32, device="cpu")
    merge_into(summed, [first.output / "adapter"])
    full = load_backbone(parent, dtype=torch.float32, device="cpu")
    for name, tensor in summed.state_dict().items():
        assert torch.equal(tensor, full.state_dict()[name]), name
    coarse = load_backbone(parent, dtype=torch.float32, device="cpu", quantization=Quantization(kind=kind))
    assert is_quantised(coarse)
    assert trainable_count(coarse)[1] == trainable_count(full)[1]
    assert 1e-6 < (logits(coarse) - logits(full)).abs().max() < 0.5
    if kind != "int8":  # eight bits keep the shape of a matrix
        with pytest.raises(ModelError, match="another shape"):
            merge_into(coarse, [second.output / "adapter"])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_adapter_through_frozen_weights(
    workspace: Workspace, tiny_model: Path, kind: str
) -> None:
    """Also after an evaluation, where bitsandbytes would put in kernels without a gradient, were it let to."""
    parent = resolve_parent(workspace, str(tiny_model))
    coarse = load_backbone(parent, dtype=torch.float32, device="cpu", quantization=Quantization(kind=kind))
    plain = load_backbone(parent, dtype=torch.float32, device="cpu")
    for name, layer in coarse.named_modules():
        if is_quantised_layer(layer):
            plain.get_submodule(name).weight.data = back(layer)
    found = []
    for model in (coarse, plain):
        torch.manual_seed(0)
        laid = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
        logits(laid)
        laid.train()
        laid(input_ids=IDS, labels=IDS).loss.backward()
        found.append({name: p.grad.flatten() for name, p in laid.named_parameters() if p.requires_grad})
    assert found[0].keys() == found[1].keys()
    # 8 bits compute with rounded activations, too
    close = 0.97 if kind == "int8" else 0.99999
    for name, grad in found[1].items():
        assert torch.cosine_similarity(grad, found[0][name], 0) > close, name


def is_quantised_layer(layer: torch.nn.Module) -> bool:
    return type(layer).__name__ in ("Linear4bit", "Linear8bitLt")


def back(layer: Any) -> torch.Tensor:
    """The weights that a quantised layer stands for, in fp32."""
    if hasattr(layer.weight, "quant_state"):
        return dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    return layer.weight.data.float() * layer.weight.SCB[:, None] / 127


def test_double_quantisation_is_a_choice(tiny_model: Path, workspace: Workspace) -> None:
    parent = resolve_parent(workspace, str(tiny_model))
    found = {}
    for double in (True, False):
        model = load_backbone(
            parent, dtype=torch.float32, device="cpu", quantization=Quantization(kind="nf4", double=double)
        )
        found[double] = model.get_submodule("model.layers.0.mlp.up_proj").weight.quant_state.nested
        assert model.get_output_embeddings().weight.dtype == torch.float32  # the head keeps its precision
    assert found == {True: True, False: False}


@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw", "paged_adamw_8bit", "lion_8bit"])
def test_small_optimizers_train_on_a_cpu(workspace: Workspace, tiny_model: Path, data: Path, name: str) -> None:
    """Full tuning has matrices large enough (4096 numbers) for the 8-bit state to be used."""
    rate = "1e-3" if name == "lion_8bit" else "1e-2"
    words = ("tuning.method=full", f"optim.optimizer={name}", f"optim.learning_rate={rate}", "schedule.max_steps=6")
    run = train(workspace, tiny_model, data, *words)
    assert losses(run)[-1] < losses(run)[0] - 0.3
    state = torch.load(run.complete_checkpoints()[-1].path / "optimizer.pt", weights_only=False)["state"]
    assert ("torch.uint8" in str(state)) is ("8bit" in name)


def test_the_fast_path_agrees_on_quantised_weights(workspace: Workspace, tiny_model: Path) -> None:
    from tests.test_training import sample

    model = load_backbone(
        resolve_parent(workspace, str(tiny_model)),
        dtype=torch.float32,
        device="cpu",
        quantization=Quantization(kind="nf4"),
    )
    fused = FusedCausalLM(get_peft_model(model, LoraConfig(target_modules="all-linear")))
    assert fused.speed_up(sample()) is None
