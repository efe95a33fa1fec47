"""Models of any size without their weights: real config and headers, and a file that takes no disk (it is sparse)."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

from core.hardware import Device

GB = 1_000_000_000


def llama(
    *, layers: int, width: int, inner: int, heads: int, kv_heads: int, vocabulary: int, tied: bool = False
) -> tuple[dict, dict[str, list[int]]]:
    """(config.json, name → shape) of a Llama."""
    head = width // heads
    shapes = {"model.embed_tokens.weight": [vocabulary, width], "model.norm.weight": [width]}
    if not tied:
        shapes["lm_head.weight"] = [vocabulary, width]
    for layer in range(layers):
        of = f"model.layers.{layer}."
        shapes |= {
            f"{of}self_attn.q_proj.weight": [heads * head, width],
            f"{of}self_attn.k_proj.weight": [kv_heads * head, width],
            f"{of}self_attn.v_proj.weight": [kv_heads * head, width],
            f"{of}self_attn.o_proj.weight": [width, heads * head],
            f"{of}mlp.gate_proj.weight": [inner, width],
            f"{of}mlp.up_proj.weight": [inner, width],
            f"{of}mlp.down_proj.weight": [width, inner],
            f"{of}input_layernorm.weight": [width],
            f"{of}post_attention_layernorm.weight": [width],
        }
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": layers,
        "hidden_size": width, "intermediate_size": inner, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocabulary, "max_position_embeddings": 4096,
    }  # fmt: skip
    return config, shapes


SIZES = {
    "7b": llama(layers=32, width=4096, inner=11008, heads=32, kv_heads=32, vocabulary=32000),
    "8b": llama(layers=32, width=4096, inner=14336, heads=32, kv_heads=8, vocabulary=128256),
    "13b": llama(layers=40, width=5120, inner=13824, heads=40, kv_heads=40, vocabulary=39424),
    "70b": llama(layers=80, width=8192, inner=28672, heads=64, kv_heads=8, vocabulary=32000),
    "3b": llama(layers=28, width=3072, inner=8192, heads=24, kv_heads=8, vocabulary=128256, tied=True),
}


def hollow_model(folder: Path, size: str, tokenizer: Path) -> Path:
    """A model folder of this size that can be looked at and not loaded, with the tokenizer of another."""
    config, shapes = SIZES[size]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    header, at = {}, 0
    for name, shape in shapes.items():
        count = 2
        for side in shape:
            count *= side
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + count]}
        at += count
    packed = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(packed)) + packed)
        file.truncate(8 + len(packed) + at)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, folder / name)
    return folder


def gpu(index: int, gibibytes: float, name: str = "NVIDIA A100-SXM4-80GB", free: float | None = None) -> Device:
    """A GPU by what is printed on its box, which are GiB."""
    total = int(gibibytes * (1 << 30))
    return Device(f"cuda:{index}", name, f"GPU-{index}", total, total if free is None else int(free * GB), True)


def cpu(gigabytes: float, index: int = 0) -> Device:
    return Device(f"cpu:{index}", "CPU", "cpu", int(2 * gigabytes * GB), int(gigabytes * GB), True)
