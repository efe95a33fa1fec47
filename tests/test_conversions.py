"""Published layouts: what they become computes what their authors' code computes, tensor by tensor and as a model.

The checkpoints are tiny and random, in the published names and layout; the forward passes beside them are written from
the published architectures, a row at a time, without a cache or a mask.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from core.errors import ModelError
from core.models.conversions import (
    LAYOUTS,
    Layout,
    find_layout,
    native_factors,
    native_tensors,
    published_factors,
)
from core.models.conversions.baichuan import ROTARY
from core.models.conversions.chatglm2 import LAYOUT as CHATGLM2
from core.models.convert import make_native
from core.models.foreign import convert_adapter
from core.models.rewriting import rewrite
from core.models.weights import ADAPTER, ADAPTER_CONFIG, PUBLISHED, weight_files
from tests.conftest import build_tokenizer

WIDTH, HEADS, HEAD, INNER, LAYERS, VOCABULARY = 32, 4, 8, 48, 2, 400
Weights = dict[str, Tensor]


# -- what was published -----------------------------------------------------------------------------------------------
def baichuan(second: bool) -> tuple[dict[str, Any], Weights]:
    """config.json and weights of a tiny Baichuan-7B, or Baichuan2-7B."""
    config = {
        "model_type": "baichuan", "architectures": ["BaichuanForCausalLM" if second else "BaiChuanForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_baichuan.BaiChuanForCausalLM"}, "hidden_size": WIDTH,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 64, "vocab_size": VOCABULARY, "hidden_act": "silu", "torch_dtype": "float32",
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False,
        **({"z_loss_weight": 0, "model_max_length": 64} if second else {}),
    }  # fmt: skip
    weights = {"model.embed_tokens": (VOCABULARY, WIDTH), "lm_head": (VOCABULARY, WIDTH), "model.norm": (WIDTH,)}
    for number in range(LAYERS):
        layer = f"model.layers.{number}."
        weights |= {
            f"{layer}self_attn.W_pack": (3 * WIDTH, WIDTH), f"{layer}self_attn.o_proj": (WIDTH, WIDTH),
            f"{layer}mlp.gate_proj": (INNER, WIDTH), f"{layer}mlp.up_proj": (INNER, WIDTH),
            f"{layer}mlp.down_proj": (WIDTH, INNER), f"{layer}input_layernorm": (WIDTH,),
            f"{layer}post_attention_layernorm": (WIDTH,),
        }  # fmt: skip
    tensors = random_weights({f"{name}.weight": shape for name, shape in weights.items()})
    return config, tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.rand(HEAD // 2)}


def chatglm2() -> tuple[dict[str, Any], Weights]:
    """config.json and weights of a tiny ChatGLM2-6B."""
    config = {
        "model_type": "chatglm", "architectures": ["ChatGLMModel"], "hidden_size": WIDTH, "ffn_hidden_size": INNER,
        "auto_map": {"AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration"}, "kv_channels": HEAD,
        "multi_query_attention": True, "multi_query_group_num": 2, "num_attention_heads": HEADS, "num_layers": LAYERS,
        "padded_vocab_size": VOCABULARY, "seq_length": 64, "layernorm_epsilon": 1e-5, "rmsnorm": True,
        "add_bias_linear": False, "add_qkv_bias": True, "post_layer_norm": True, "torch_dtype": "float32",
        "apply_residual_connection_post_layernorm": False, "quantization_bit": 0, "pre_seq_len": None,
        "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    joined = (HEADS + 2 * 2) * HEAD
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.embedding.word_embeddings.weight": (VOCABULARY, WIDTH),
        "transformer.encoder.final_layernorm.weight": (WIDTH,),
        "transformer.output_layer.weight": (VOCABULARY, WIDTH),
    }
    for number in range(LAYERS):
        layer = f"transformer.encoder.layers.{number}."
        shapes |= {
            f"{layer}self_attention.query_key_value.weight": (joined, WIDTH),
            f"{layer}self_attention.query_key_value.bias": (joined,),
            f"{layer}self_attention.dense.weight": (WIDTH, HEADS * HEAD),
            f"{layer}mlp.dense_h_to_4h.weight": (2 * INNER, WIDTH), f"{layer}mlp.dense_4h_to_h.weight": (WIDTH, INNER),
            f"{layer}input_layernorm.weight": (WIDTH,), f"{layer}post_attention_layernorm.weight": (WIDTH,),
        }  # fmt: skip
    return config, random_weights(shapes) | {"transformer.rotary_pos_emb.inv_freq": torch.rand(2)}


def random_weights(shapes: dict[str, tuple[int, ...]]) -> Weights:
    torch.manual_seed(0)
    return {name: torch.rand(shape) + 0.5 if "norm" in name else 0.3 * torch.randn(shape)
            for name, shape in shapes.items()}  # fmt: skip


def publish(folder: Path, config: dict[str, Any], weights: Weights, *, shards: int = 2, as_bin: bool = True) -> Path:
    """A folder as it was published: `.bin` in shards, config.json with code, and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer(folder)
    names = sorted(weights)
    if as_bin:
        where = {}
        for number in range(shards):
            file = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
            torch.save({name: weights[name] for name in names[number::shards]}, folder / file)
            where.update(dict.fromkeys(names[number::shards], file))
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_own.py").write_text("raise SystemExit('code of the folder was run')")
    return folder


# -- what it computes -------------------------------------------------------------------------------------------------
def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weight


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal softmax attention, [n, heads, d] each → [n, heads · d]."""
    scores = torch.einsum("ihd,jhd->hij", q, k) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
    return torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).flatten(1)


def rotated_halves(x: Tensor) -> Tensor:
    """Rotary positions as GPT-NeoX has them: the first half of a head is turned with the second. x [n, heads, d]."""
    half = x.shape[-1] // 2
    angles = torch.arange(len(x))[:, None] / 10000.0 ** (torch.arange(half) / half)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    one, two = x[..., :half], x[..., half:]
    return torch.cat([one * cos - two * sin, two * cos + one * sin], -1)


def rotated_pairs(x: Tensor) -> Tensor:
    """As ChatGLM2 has them: in the first half of a head, neighbours are turned together; the rest stays."""
    turned, still = x.chunk(2, -1)
    count = turned.shape[-1] // 2
    angles = torch.arange(len(x))[:, None] / 10000.0 ** (torch.arange(count) / count)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    even, odd = turned[..., 0::2], turned[..., 1::2]
    return torch.cat([torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2), still], -1)


def baichuan_logits(config: dict[str, Any], w: Weights, ids: Tensor) -> Tensor:
    x = w["model.embed_tokens.weight"][ids]
    for number in range(LAYERS):
        layer = f"model.layers.{number}."
        y = rms(x, w[f"{layer}input_layernorm.weight"], 1e-6) @ w[f"{layer}self_attn.W_pack.weight"].T
        q, k, v = (part.unflatten(-1, (HEADS, HEAD)) for part in y.chunk(3, -1))
        x = x + attend(rotated_halves(q), rotated_halves(k), v) @ w[f"{layer}self_attn.o_proj.weight"].T
        y = rms(x, w[f"{layer}post_attention_layernorm.weight"], 1e-6)
        gate, up, down = (w[f"{layer}mlp.{name}_proj.weight"].T for name in ("gate", "up", "down"))
        x = x + (F.silu(y @ gate) * (y @ up)) @ down
    head = w["lm_head.weight"]
    head = F.normalize(head) if "z_loss_weight" in config else head
    return rms(x, w["model.norm.weight"], 1e-6) @ head.T


def chatglm2_logits(config: dict[str, Any], w: Weights, ids: Tensor) -> Tensor:
    x = w["transformer.embedding.word_embeddings.weight"][ids]
    for number in range(LAYERS):
        layer = f"transformer.encoder.layers.{number}."
        y = rms(x, w[f"{layer}input_layernorm.weight"], 1e-5)
        joined = f"{layer}self_attention.query_key_value."
        q, k, v = (y @ w[f"{joined}weight"].T + w[f"{joined}bias"]).split([HEADS * HEAD, 2 * HEAD, 2 * HEAD], -1)
        q, k, v = (part.unflatten(-1, (-1, HEAD)) for part in (q, k, v))
        k, v = (part.repeat_interleave(HEADS // 2, dim=1) for part in (k, v))
        x = x + attend(rotated_pairs(q), rotated_pairs(k), v) @ w[f"{layer}self_attention.dense.weight"].T
        y = rms(x, w[f"{layer}post_attention_layernorm.weight"], 1e-5) @ w[f"{layer}mlp.dense_h_to_4h.weight"].T
        gate, up = y.chunk(2, -1)
        x = x + (F.silu(gate) * up) @ w[f"{layer}mlp.dense_4h_to_h.weight"].T
    return rms(x, w["transformer.encoder.final_layernorm.weight"], 1e-5) @ w["transformer.output_layer.weight"].T


CASES = {
    "Baichuan-7B": (partial(baichuan, False), baichuan_logits, ROTARY),
    "Baichuan2-7B": (partial(baichuan, True), baichuan_logits, ROTARY),
    "ChatGLM2-6B": (chatglm2, chatglm2_logits, CHATGLM2),
}
IDS = torch.tensor([3, 14, 15, 9, 26, 53, 58, 9, 79, 32])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("as_bin", [True, False])
def test_the_native_class_computes_the_same(name: str, as_bin: bool, tmp_path: Path) -> None:
    make, reference, layout = CASES[name]
    config, weights = make()
    source = publish(tmp_path / "published", config, weights, as_bin=as_bin)
    target = tmp_path / "native"
    target.mkdir()
    build_tokenizer(target)
    make_native(source, target)
    assert find_layout(config) is layout
    assert len(weight_files(target)) == (2 if as_bin else 1)
    assert "auto_map" not in json.loads((target / "config.json").read_text())
    assert json.loads((target / PUBLISHED).read_text()) == config
    model, info = AutoModelForCausalLM.from_pretrained(target, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        logits = model(IDS[None]).logits[0]
        torch.testing.assert_close(logits, reference(config, weights, IDS), rtol=0, atol=1e-5)
        greedy = model.generate(IDS[None], max_new_tokens=6, do_sample=False, eos_token_id=None)[0]
        for at in range(len(IDS), len(greedy)):
            assert greedy[at] == reference(config, weights, greedy[:at])[-1].argmax()


def test_no_layout_is_taken_for_another() -> None:
    for make, _, layout in CASES.values():
        config, _ = make()
        assert [each for each in LAYOUTS if each.accepts(config)] == [layout]
        assert find_layout(layout.config(config)) is None
    assert find_layout({"model_type": "llama"}) is None


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    config, weights = chatglm2()
    for key, value in (("quantization_bit", 4), ("rope_ratio", 50), ("pre_seq_len", 128)):
        source = publish(tmp_path / key, {**config, key: value}, weights)
        with pytest.raises(ModelError) as error:
            make_native(source, tmp_path)
        assert error.value.code == "convert.setting"
        assert str(value) in str(error.value)
    assert not list(tmp_path.glob("*.safetensors*"))
    odd = {**weights, "transformer.prefix_encoder.embedding.weight": torch.zeros(2)}
    with pytest.raises(ModelError) as error:
        make_native(publish(tmp_path / "odd", config, odd), tmp_path)
    assert error.value.code == "convert.unknown_tensor"
    torn = {**weights, "transformer.encoder.layers.1.self_attention.query_key_value.bias": torch.zeros(10)}
    with pytest.raises(ModelError) as error:
        make_native(publish(tmp_path / "torn", config, torn), tmp_path)
    assert error.value.code == "convert.wrong_shape"


# -- adapters ---------------------------------------------------------------------------------------------------------
def factors_of(layout: Layout, config: dict[str, Any], weights: Weights, rank: int = 3) -> dict[str, Any]:
    """LoRA factors for every matrix of the layers, by published module."""
    torch.manual_seed(1)
    found = {}
    for name, weight in weights.items():
        if "layers." in name and weight.ndim == 2:
            out, into = weight.shape
            found[name.removesuffix(".weight")] = (0.2 * torch.randn(rank, into), 0.2 * torch.randn(out, rank))
    assert len(found) == LAYERS * (5 if layout is ROTARY else 4)
    return found


@pytest.mark.parametrize("name", ["Baichuan2-7B", "ChatGLM2-6B"])
def test_adapters_go_there_and_back(name: str, tmp_path: Path) -> None:
    make, reference, layout = CASES[name]
    config, weights = make()
    factors = factors_of(layout, config, weights)
    changed = {key: tensor + (factors[module][1] @ factors[module][0]
                              if (module := key.removesuffix(".weight")) in factors else 0)
               for key, tensor in weights.items()}  # fmt: skip
    native = tmp_path / "native"
    native.mkdir()
    build_tokenizer(native)
    make_native(publish(tmp_path / "published", config, weights), native)

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_file({f"base_model.model.{module}.lora_{letter}.weight": part for module, pair in factors.items()
               for letter, part in zip("AB", pair, strict=True)}, adapter / ADAPTER)  # fmt: skip
    leaves = sorted({module.rsplit(".", 1)[-1] for module in factors})
    (adapter / ADAPTER_CONFIG).write_text(json.dumps({
        "peft_type": "LORA", "r": 3, "lora_alpha": 3, "target_modules": leaves, "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "published/name",
    }))  # fmt: skip
    facts = convert_adapter(adapter, tmp_path / "made", native)
    assert facts == {"reward": False, "whole": False}
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(native), str(tmp_path / "made"))
    with torch.no_grad():
        found = model(IDS[None]).logits[0]
    torch.testing.assert_close(found, reference(config, changed, IDS), rtol=1e-5, atol=3e-5)

    back = published_factors(layout, config, native_factors(layout, config, factors))
    assert back.keys() == factors.keys()
    for module, (a, b) in back.items():
        torch.testing.assert_close(b @ a, factors[module][1] @ factors[module][0])


def test_a_part_that_is_not_adapted_stays_as_it_is() -> None:
    config, _ = baichuan(False)
    joined = "model.layers.1.self_attn.W_pack"
    both = native_factors(ROTARY, config, {joined: (torch.randn(2, WIDTH), torch.randn(3 * WIDTH, 2))})
    only = {name: pair for name, pair in both.items() if not name.endswith("k_proj")}
    a, b = published_factors(ROTARY, config, only)[joined]
    assert a.shape == (4, WIDTH)
    q, k, v = (b @ a).split(WIDTH)
    for part, name in ((q, "q_proj"), (v, "v_proj")):
        one, two = both[joined.replace("W_pack", name)]
        torch.testing.assert_close(part, two @ one)
    assert not k.any()
    with pytest.raises(ModelError) as error:
        published_factors(ROTARY, config, {"model.layers.0.mlp.router": (a, b)})
    assert error.value.code == "convert.unknown_tensor"


def test_an_adapter_of_a_normalised_head_is_refused() -> None:
    config, _ = baichuan(True)
    with pytest.raises(ModelError) as error:
        native_factors(ROTARY, config, {"lm_head": (torch.zeros(2, WIDTH), torch.zeros(VOCABULARY, 2))})
    assert error.value.code == "convert.head_adapted"


def test_one_file_at_a_time(tmp_path: Path) -> None:
    """A file that fails leaves those before it, never half of itself, and no index."""
    config, weights = baichuan(False)
    source = publish(tmp_path / "published", config, weights)

    def fail(name: str, tensor: Tensor) -> Weights:
        if name == sorted(weights)[3]:
            raise ModelError("convert.unknown_tensor", tensor=name, family="x")
        return native_tensors(ROTARY, config, name, tensor)

    (tmp_path / "target").mkdir()
    with pytest.raises(ModelError):
        rewrite(source, tmp_path / "target", fail)
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["model-00001-of-00002.safetensors"]
