"""Merging file by file beside PEFT's own merge in memory: families, kinds of adapters, chains, and what stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from core.errors import ModelError
from core.models.backbone import save_settings
from core.models.changes import merge_into
from core.models.checking import whole_skeleton
from core.models.loading import load_model
from core.models.streaming import NotStreamableError, Plan, compare, plan_merge, write
from core.models.weights import INDEX, weight_files
from tests.chain_tools import logits
from tests.conftest import build_tokenizer
from tests.families_tools import build_hrm, build_model

SMALL_SHARD = 40_000  # bytes


def build_gpt2(folder: Path) -> Path:
    """GPT-2 keeps its matrices as [in, out], and its head is tied."""
    tokenizer = build_tokenizer(folder)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=128, n_embd=32, n_layer=2, n_head=4)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture
def untied(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny Llama with a head of its own, in bf16."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "untied"))
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(1)
    head = torch.randn_like(tensors["model.embed_tokens.weight"]) * 0.02
    save_file({**tensors, "lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder, tie_word_embeddings=False, dtype="bfloat16")
    return folder


def change(folder: Path, name: str = "config.json", **settings: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def adapter(base: Path, folder: Path, *, seed: int = 0, below: Sequence[Path] = (), **settings: Any) -> Path:
    """A random adapter of PEFT's own on `base`, or on that with the adapters of `below` merged in."""
    torch.manual_seed(seed)
    model: Any = load_model(base, dtype=torch.float32, device="cpu")
    merge_into(model, below, whole=True)
    config = LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "init_lora_weights": False,
                           "task_type": "CAUSAL_LM", **settings})  # fmt: skip
    laid = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in laid.named_parameters():
            if parameter.requires_grad and "lora_" not in name:  # what is trained whole: biases, copies of modules
                parameter.add_(0.05 * torch.randn_like(parameter))
    laid.save_pretrained(str(folder))
    return folder


def peft_laid(base: Path, folders: Sequence[Path]) -> Any:
    """The last adapter laid on the base, the ones before merged into it by PEFT, all in fp32."""
    model: Any = load_model(base, dtype=torch.float32, device="cpu")
    for folder in folders[:-1]:
        model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    return PeftModel.from_pretrained(model, str(folders[-1])).eval()


def streamed(
    base: Path, folders: Sequence[Path], target: Path, dtype: torch.dtype | None = None, size: int = SMALL_SHARD
) -> Plan:
    """Merge file by file, prove it, and make the folder a model."""
    skeleton, _ = whole_skeleton(base)
    plan = plan_merge(base, skeleton, folders, dtype)
    target.mkdir()
    write(plan, target, shard_size=size)
    found = compare(plan, target)
    assert found.passed
    assert found.places is not None
    save_settings(skeleton, target, dtype or torch.float32)
    return plan


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return {name: tensor for file in weight_files(folder) for name, tensor in load_file(file).items()}


def check_against_peft(base: Path, folders: Sequence[Path], target: Path) -> PreTrainedModel:
    """The streamed merge says what PEFT says with the adapters laid on, and its weights are PEFT's merged ones."""
    streamed(base, folders, target, torch.float32)
    written = load_model(target, dtype=torch.float32, device="cpu")
    said, wanted = logits(written), logits(peft_laid(base, folders))
    assert (said - wanted).abs().max() < 1e-5 * max(1, wanted.abs().max())
    assert (said - logits(load_model(base, dtype=torch.float32, device="cpu"))).abs().max() > 1e-2
    return written


# -- families ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["llama", "bloom", "baichuan_alibi", "chatglm_6b", "glm", "qwen3", "phi3",
                                  "gemma3_text", "gpt_neox", "gpt2"])  # fmt: skip
def test_weights_are_those_of_peft_to_a_rounding(kind: str, gpt2: Path, tmp_path: Path) -> None:
    base = gpt2 if kind == "gpt2" else build_model(kind, tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter")
    streamed(base, [folder], tmp_path / "merged")
    merged = peft_laid(base, [folder]).merge_and_unload()
    merged.save_pretrained(tmp_path / "peft")
    ours, theirs = tensors_of(tmp_path / "merged"), tensors_of(tmp_path / "peft")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-6, atol=1e-7)
    changed = {name for name, tensor in tensors_of(base).items() if not torch.equal(tensor, ours[name])}
    assert changed
    for dtype in (torch.bfloat16, torch.float16):
        streamed(base, [folder], tmp_path / str(dtype), dtype)
        for name, tensor in tensors_of(tmp_path / str(dtype)).items():
            assert torch.equal(tensor, ours[name].to(dtype) if ours[name].is_floating_point() else ours[name])


@pytest.mark.parametrize(
    ("kind", "targets"),
    [("qwen3_moe", ["q_proj", "o_proj"]), ("mixtral", ["k_proj", "v_proj"]), ("deepseek_v2", ["kv_b_proj", "o_proj"])],
)
def test_experts_stay_as_they_lie_in_the_files(kind: str, targets: list[str], tmp_path: Path) -> None:
    """Transformers joins them when it loads a model: only the attention has adapters, and that is not joined."""
    base = build_model(kind, tmp_path / "base")
    check_against_peft(base, [adapter(base, tmp_path / "adapter", target_modules=targets)], tmp_path / "merged")
    before, after = tensors_of(base), tensors_of(tmp_path / "merged")
    assert before.keys() == after.keys()
    assert any(".experts.0." in name for name in after)


def test_names_without_the_prefix_of_the_class_stay_so(gpt2: Path, tmp_path: Path) -> None:
    """As GPT-2 was published; with a buffer that the class has no more."""
    base = Path(shutil.copytree(gpt2, tmp_path / "base"))
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors_of(gpt2).items()}
    save_file({**tensors, "h.0.attn.bias": torch.ones(1, 1, 4, 4)}, base / "model.safetensors", {"format": "pt"})
    folder = adapter(base, tmp_path / "adapter", target_modules=["c_attn", "lm_head"])
    check_against_peft(base, [folder], tmp_path / "merged")
    assert tensors_of(tmp_path / "merged").keys() == {*tensors, "lm_head.weight"}


def test_a_weight_that_is_joined_when_loaded_is_not_streamed(tmp_path: Path) -> None:
    """Here the files hold one matrix for gate, query, key and value, and the model four."""
    base = build_hrm(tmp_path / "base")
    skeleton, _ = whole_skeleton(base)
    with pytest.raises(NotStreamableError, match="self_attn"):
        plan_merge(base, skeleton, [adapter(base, tmp_path / "joined", target_modules=["q_proj"])], None)
    check_against_peft(base, [adapter(base, tmp_path / "alone", target_modules=["o_proj"])], tmp_path / "merged")


# -- kinds of adapters ------------------------------------------------------------------------------------------------
PATTERNS = {"rank_pattern": {"up_proj": 2, r".*layers\.1\.self_attn\.q_proj": 3}, "alpha_pattern": {"v_proj": 3}}


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True, **PATTERNS},
        {"target_modules": r".*layers\.1\.(self_attn\.[qv]_proj|mlp\.up_proj)"},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["embed_tokens", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
        {"target_modules": ["q_proj", "embed_tokens", "lm_head"], "ensure_weight_tying": True},
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["lm_head", "norm"]},
        {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        {"modules_to_save": ["embed_tokens", "lm_head"], "target_modules": ["q_proj"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("tied", [True, False])
def test_every_kind_of_adapter(
    settings: dict[str, Any], tied: bool, tiny_model: Path, untied: Path, tmp_path: Path
) -> None:
    base = tiny_model if tied else untied
    folder = adapter(base, tmp_path / "adapter", **settings)
    written = check_against_peft(base, [folder], tmp_path / "merged")
    in_memory = load_model(base, dtype=torch.float32, device="cpu")
    merge_into(in_memory, [folder], whole=True)
    parted = not in_memory.config.tie_word_embeddings
    assert parted == (not written.config.tie_word_embeddings)
    for name, tensor in in_memory.state_dict().items():
        torch.testing.assert_close(written.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)
    assert ("lm_head.weight" in tensors_of(tmp_path / "merged")) == parted


@pytest.mark.parametrize("bias", ["all", "lora_only"])
@pytest.mark.parametrize("lora_bias", [False, True])
def test_biases(bias: str, lora_bias: bool, gpt2: Path, tmp_path: Path) -> None:
    folder = adapter(gpt2, tmp_path / "adapter", target_modules=["c_attn", "c_proj"], bias=bias, lora_bias=lora_bias)
    check_against_peft(gpt2, [folder], tmp_path / "merged")
    before, after = tensors_of(gpt2), tensors_of(tmp_path / "merged")
    touched = {name for name in before if name.endswith(".bias") and not torch.equal(before[name], after[name])}
    assert "transformer.h.0.attn.c_attn.bias" in touched
    assert ("transformer.h.0.ln_1.bias" in touched) == (bias == "all")


def test_what_is_no_sum_is_refused(tiny_model: Path, gpt2: Path, tmp_path: Path) -> None:
    skeleton, _ = whole_skeleton(tiny_model)
    with pytest.raises(ModelError, match="use_dora"):
        plan_merge(tiny_model, skeleton, [adapter(tiny_model, tmp_path / "dora", use_dora=True)], None)
    with pytest.raises(ModelError, match="another shape"):
        plan_merge(tiny_model, skeleton, [adapter(gpt2, tmp_path / "other", target_modules=["c_attn"])], None)


# -- chains -----------------------------------------------------------------------------------------------------------
def test_a_chain_with_a_link_that_was_trained_whole(untied: Path, tmp_path: Path) -> None:
    """What is trained whole holds all that lay beneath; what comes later is added to it."""
    first = adapter(untied, tmp_path / "1", seed=1, target_modules=["q_proj", "embed_tokens"])
    second = adapter(untied, tmp_path / "2", seed=2, below=[first], modules_to_save=["embed_tokens", "norm"])
    third = adapter(untied, tmp_path / "3", seed=3, below=[first, second], target_modules=["embed_tokens", "v_proj"])
    check_against_peft(untied, [first, second, third], tmp_path / "merged")


def test_embeddings_trained_in_place_keep_a_tied_head(tiny_model: Path, tmp_path: Path) -> None:
    """As this project's own runs train them: the weights themselves, not a copy."""
    torch.manual_seed(4)
    model: Any = load_model(tiny_model, dtype=torch.float32, device="cpu")
    laid = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(0.05)
    laid.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=True)
    check_against_peft(tiny_model, [tmp_path / "adapter"], tmp_path / "merged")
    assert tensors_of(tmp_path / "merged").keys() == tensors_of(tiny_model).keys()


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("targets", [["q_proj"], ["q_proj", "lm_head"], ["embed_tokens"]])
def test_files_that_hold_a_tied_head_too(same: bool, targets: list[str], tiny_model: Path, tmp_path: Path) -> None:
    """Where the two differ, they are not tied, whatever the config says."""
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    tensors = tensors_of(tiny_model)
    head = tensors["model.embed_tokens.weight"] + (0.0 if same else 0.01)
    save_file({**tensors, "lm_head.weight": head}, base / "model.safetensors", {"format": "pt"})
    check_against_peft(base, [adapter(base, tmp_path / "adapter", target_modules=targets)], tmp_path / "merged")
    assert ("lm_head.weight" in tensors_of(tmp_path / "merged")) == (not same or targets != ["q_proj"])


def test_files_that_hold_the_embeddings_as_the_head(tiny_model: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    tensors = tensors_of(tiny_model)
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    plain = adapter(base, tmp_path / "plain")
    check_against_peft(base, [plain], tmp_path / "merged")
    skeleton, _ = whole_skeleton(base)
    with pytest.raises(NotStreamableError, match="lm_head"):
        plan_merge(base, skeleton, [adapter(base, tmp_path / "head", target_modules=["lm_head"])], None)


# -- files ------------------------------------------------------------------------------------------------------------
def test_shards_are_as_large_as_asked(untied: Path, tmp_path: Path) -> None:
    folder = adapter(untied, tmp_path / "adapter")
    plan = streamed(untied, [folder], tmp_path / "merged")
    files = weight_files(tmp_path / "merged")
    largest = max(piece.out.nbytes for piece in plan.pieces)
    assert len(files) > 3
    assert all(file.stat().st_size < max(SMALL_SHARD, largest) + 4_000 for file in files)
    index = json.loads((tmp_path / "merged" / INDEX).read_text())
    assert index["metadata"]["total_size"] == plan.size
    assert index["weight_map"].keys() == tensors_of(untied).keys()
    streamed(untied, [folder], tmp_path / "one", size=plan.size)
    assert [file.name for file in weight_files(tmp_path / "one")] == ["model.safetensors"]
    one, many = tensors_of(tmp_path / "one"), tensors_of(tmp_path / "merged")
    assert all(torch.equal(one[name], many[name]) for name in many)


def test_many_blocks_are_as_good_as_one(untied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = adapter(untied, tmp_path / "adapter", target_modules=["q_proj", "down_proj", "embed_tokens"])
    streamed(untied, [folder], tmp_path / "whole", torch.float32)
    monkeypatch.setattr("core.models.streaming.BLOCK", 300)  # four rows or so
    streamed(untied, [folder], tmp_path / "pieces", torch.float32)
    one, other = tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "pieces")
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-6, atol=1e-7)


def test_each_tensor_keeps_the_format_of_its_own(tiny_model: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    tensors = {name: t if "norm" in name else t.bfloat16() for name, t in tensors_of(tiny_model).items()}
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    folder = adapter(base, tmp_path / "adapter")
    streamed(base, [folder], tmp_path / "merged")
    written = tensors_of(tmp_path / "merged")
    assert {name: tensor.dtype for name, tensor in written.items()} == {n: t.dtype for n, t in tensors.items()}
    streamed(base, [folder], tmp_path / "cast", torch.float16)
    assert {tensor.dtype for tensor in tensors_of(tmp_path / "cast").values()} == {torch.float16}


# -- the proof --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_proof_sees_a_single_number(dtype: torch.dtype, tiny_model: Path, tmp_path: Path) -> None:
    folder = adapter(tiny_model, tmp_path / "adapter", target_modules=["q_proj"])
    plan = streamed(tiny_model, [folder], tmp_path / "merged", dtype, size=10**9)
    path = tmp_path / "merged" / "model.safetensors"
    good = load_file(path)

    def found(name: str, change_by: float) -> bool:
        bad = {key: tensor.clone() for key, tensor in good.items()}
        bad[name].view(-1)[7] *= change_by
        save_file(bad, path, {"format": "pt"})
        return compare(plan, tmp_path / "merged").passed

    last_place = 1 + 2 * torch.finfo(dtype).eps
    for name in ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight"):
        assert found(name, 1.0)
        if dtype != torch.float32:  # there two ways to add up differ by as much
            assert not found(name, last_place)
        assert not found(name, 1.01)
        assert not found(name, float("inf"))


def test_the_proof_sees_a_forgotten_adapter_however_small(tiny_model: Path, tmp_path: Path) -> None:
    """Just large enough to move some number to the next one in bf16."""
    folder = adapter(tiny_model, tmp_path / "adapter", target_modules=["q_proj"], lora_alpha=0.02)
    plan = streamed(tiny_model, [folder], tmp_path / "merged", torch.bfloat16, size=10**9)
    before = tensors_of(tiny_model)
    path = tmp_path / "merged" / "model.safetensors"
    merged = load_file(path)
    moved = [name for name in merged if not torch.equal(merged[name], before[name].bfloat16())]
    assert moved
    save_file({name: tensor.bfloat16() for name, tensor in before.items()}, path, {"format": "pt"})
    assert not compare(plan, tmp_path / "merged").passed


def test_the_proof_sees_what_is_missing(tiny_model: Path, tmp_path: Path) -> None:
    plan = streamed(tiny_model, [adapter(tiny_model, tmp_path / "adapter")], tmp_path / "merged", size=10**9)
    path = tmp_path / "merged" / "model.safetensors"
    good = load_file(path)
    norm = good.pop("model.norm.weight")
    for rest in ({}, {"model.norm.weight": norm[:8].clone()}, {"model.norm.weight": norm.bfloat16()}):
        save_file({**good, **rest}, path, {"format": "pt"})
        found = compare(plan, tmp_path / "merged")
        assert (found.passed, found.places) == (False, None)
