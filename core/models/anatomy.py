"""A causal model's shape, as far as memory and time depend on it: read from config.json and the weights' headers.

    body = anatomy(folder)
    body.parameters, body.linear, body.per_token

Torch-free, and cached by the files' times of change; `of_shapes` makes one of the shapes of a loaded model. Left out:
towers for images and sound, whose weights are counted and whose work is not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from core.models import families
from core.models.weights import DTYPES, read_header, weight_files

LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
WIDTH = ("hidden_size", "n_embd", "d_model")
INNER = ("intermediate_size", "ffn_hidden_size", "n_inner", "inner_hidden_size", "moe_intermediate_size")
HEADS = ("num_attention_heads", "n_head", "n_heads")
KV_HEADS = ("num_key_value_heads", "multi_query_group_num", "num_kv_heads")
CHOSEN_EXPERTS = ("num_experts_per_tok", "num_experts_per_token", "moe_topk")
EMBEDDING = re.compile(r"(embed_tokens|word_embeddings|wte|embed_in|embedding)\b.*weight$")
POSITIONS = re.compile(r"(wpe|position_embeddings|embed_positions)\b")
HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output_layer)\.weight$")
EXPERT = re.compile(r"\.experts\.")
TOWER = re.compile(r"(vision|visual|audio|multi_modal|image)", re.IGNORECASE)


@dataclass(frozen=True)
class Matrix:
    """A product of the body: a weight [rows, columns] named by the last part of its module's name."""

    leaf: str
    rows: int
    columns: int
    expert: bool = False

    @property
    def size(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True)
class Anatomy:
    """`linear` are the matrices inside the layers; `head` is 0 where it is the embedding's own weight (tied).

    Sizes count weights. `dtype`: the usual number format of the files. `chosen_share`: of the experts, those that work
    on a token; 1 where there are none.
    """

    parameters: int
    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    embedding: int
    head: int
    linear: tuple[Matrix, ...]
    chosen_share: float = 1.0
    context: int | None = None
    dtype: str = ""

    @cached_property
    def per_token(self) -> float:
        """Weights of the body that a token is multiplied with."""
        return sum(matrix.size * (self.chosen_share if matrix.expert else 1.0) for matrix in self.linear)

    @property
    def body(self) -> int:
        """Weights of all matrices inside the layers."""
        return sum(matrix.size for matrix in self.linear)

    @property
    def head_size(self) -> int:
        """Weights that the head multiplies with, tied or not."""
        return self.vocabulary * self.width

    def targets(self, names: Sequence[str]) -> list[Matrix]:
        """The matrices that get an adapter: `all-linear`, or those whose leaf is named. Experts are not single layers
        in memory and get none."""
        leaves = {name.rsplit(".", 1)[-1] for name in names}
        every = "all-linear" in leaves
        return [matrix for matrix in self.linear if not matrix.expert and (every or matrix.leaf in leaves)]

    def adapter_size(self, rank: int, names: Sequence[str]) -> int:
        """Weights of a LoRA adapter of this rank."""
        return sum(rank * (matrix.rows + matrix.columns) for matrix in self.targets(names))


def anatomy(folder: Path) -> Anatomy:
    """Of the model in `folder`. Raises ModelError `model.not_a_model`, `model.bad_config`, `model.torn_weights`."""
    files = [folder / "config.json", *weight_files(folder)]
    stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files if path.exists())
    return _read(folder, stamps)


@lru_cache(maxsize=32)
def _read(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> Anatomy:
    shapes: list[tuple[str, Sequence[int]]] = []
    formats: dict[str, int] = {}
    for path in weight_files(folder):
        for name, entry in read_header(path).items():
            shapes.append((name, entry["shape"]))
            kind = DTYPES.get(entry["dtype"], entry["dtype"].lower())
            formats[kind] = formats.get(kind, 0) + math.prod(entry["shape"])
    return of_shapes(families.read_config(folder), shapes, max(formats, key=lambda kind: formats[kind], default=""))


def of_shapes(config: dict[str, Any], shapes: Iterable[tuple[str, Sequence[int]]], dtype: str = "") -> Anatomy:
    """From config.json's settings and the (name, shape) of every weight."""
    inner = families.text_config(config)
    parameters = embedding = head = 0
    linear: list[Matrix] = []
    for name, shape in shapes:
        size = math.prod(shape)
        parameters += size
        if HEAD.search(name):
            head += size
        elif POSITIONS.search(name) or TOWER.search(name):
            continue
        elif EMBEDDING.search(name):
            embedding += size
        elif len(shape) >= 2 and min(shape[-2:]) > 1:
            linear += _matrices(name, shape)
    width, heads = _first(inner, WIDTH), _first(inner, HEADS)
    experts, chosen = _first(inner, families.EXPERTS, 1), _first(inner, CHOSEN_EXPERTS, 1)
    return Anatomy(
        parameters=parameters,
        layers=_first(inner, LAYERS, 1),
        width=width,
        inner=_inner(inner, width),
        heads=heads,
        kv_heads=_first(inner, KV_HEADS, heads),
        head_width=_first(inner, ("head_dim", "kv_channels"), width // max(1, heads)),
        vocabulary=_first(inner, ("vocab_size", "padded_vocab_size")),
        embedding=embedding,
        head=head,
        linear=tuple(linear),
        chosen_share=min(1.0, chosen / max(1, experts)),
        context=families.context_length(config),
        dtype=dtype,
    )


def _matrices(name: str, shape: Sequence[int]) -> list[Matrix]:
    """One matrix, or for experts that lie in one tensor [experts, rows, columns] so many."""
    parts = name.removesuffix(".weight").split(".")
    count = math.prod(shape[:-2])
    expert = bool(EXPERT.search(name)) or count > 1
    return [Matrix(parts[-1], int(shape[-2]), int(shape[-1]), expert)] * count


def _inner(config: dict[str, Any], width: int) -> int:
    """Values between the two halves of a layer's MLP, of all experts that work on a token."""
    dense = _first(config, INNER, 4 * width)
    experts = config.get("moe_intermediate_size")
    if not isinstance(experts, int):
        chosen = _first(config, CHOSEN_EXPERTS, 1) if _first(config, families.EXPERTS, 0) else 1
        return dense * max(1, chosen)
    shared = config.get("shared_expert_intermediate_size") or experts * int(config.get("n_shared_experts") or 0)
    return experts * _first(config, CHOSEN_EXPERTS, 1) + int(shared or 0)


def _first(config: dict[str, Any], keys: Sequence[str], default: int = 0) -> int:
    return next((int(config[key]) for key in keys if isinstance(config.get(key), int)), default)
