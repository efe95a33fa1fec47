"""Bytes that one process of a training takes, part by part. Numbers only.

    parts = training_parts(body, demand)
    sum(parts.values())

What autograd keeps of a decoder layer was counted on the fast path (`torch.autograd.graph.saved_tensors_hooks`, all
terms to the byte): each norm its input in fp32 and its output, attention queries, keys, values, output and, for short
rows on a CPU, the probabilities, the MLP four tensors. The rest is arithmetic on sizes. What an allocator adds on top
is a factor, measured on whole runs (docs/lab.md). One part is never in memory together with another only where this
says so: `loading` is what the start takes beyond all the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from core.models.anatomy import Anatomy, Matrix
from core.models.flops import Method

Kind = Literal["none", "nf4", "fp4", "int8"]
Reference = Literal["none", "backbone", "resting", "model"]

ITEMSIZE = {"fp32": 4, "bf16": 2, "fp16": 2}
FP32 = 4
SHORT = 512  # rows up to this length keep their attention probabilities on a CPU (core.training.attention)
CHUNK = 256  # positions whose logits exist at once (core.training.losses)
TILE = (4096, 32768)  # positions and words whose logits TRL has at once (trl.kernels.chunked_logprob)
REPACK_SHARE = 0.25  # of the free memory that copies of frozen matrices may take (core.training.fastpath)
BLOCK, OUTER_BLOCK = 64, 256  # weights to a scale of 4-bit blocks, and scales to a scale of theirs

# Bytes of optimizer state a weight that learns.
STATE = {
    "adamw": 8.0, "adamw_8bit": 2.1, "paged_adamw": 8.0, "paged_adamw_8bit": 2.1, "adafactor": 0.1, "lion_8bit": 1.1,
    "sgd": 0.0,
}  # fmt: skip
# Beside what autograd keeps: gradients on their way, and what the allocator cannot use again. On a CPU, runs give
# memory back only at their end (`core.jobs.supervisor.CPU_ENVIRONMENT`), so what fits badly is never used again.
SLACK = {"cpu": 1.4, "cuda": 1.12}
# With checkpointing one layer at a time is computed anew and goes back: its worst moment, in layers of what is kept.
AT_WORK = {"cpu": 3.5, "cuda": 2.0}
RUNTIME = {"cpu": 600_000_000, "cuda": 750_000_000}  # Python with torch and its libraries; a CUDA context and cuBLAS


@dataclass(frozen=True)
class Pack:
    """The largest pack of a step: lengths of its rows in tokens; `padded`, where the plain path pads them."""

    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def padded(self) -> int:
        return len(self.lengths) * max(self.lengths, default=0)

    @property
    def short_squares(self) -> int:
        """Σ length² of the rows whose attention probabilities are kept on a CPU."""
        return sum(length * length for length in self.lengths if length <= SHORT)


@dataclass(frozen=True)
class Demand:
    """What a config asks of one process.

    `dtype` is that of the products. fast: the fast path is taken; smoothed: without the fused loss, as label smoothing
    needs it. fused: LoRA layers keep one copy of their input.
    repacks: frozen matrices have two more copies, for oneDNN. labels: share of the tokens that are predicted; None:
    there is no vocabulary head. whole: weights that learn beside the adapters (embeddings, head). merged: a chain is
    merged at the start. reference: what DPO compares with: the backbone alone, with an adapter
    that rests, or a second model. ranks: over all hosts; strategy, offload: how they share (`core.fit.sharding`).
    """

    method: Method
    dtype: str
    device: Literal["cpu", "cuda"]
    pack: Pack
    optimizer: str = "adamw"
    rank: int = 8
    targets: tuple[str, ...] = ("all-linear",)
    trainable_layers: int = 0
    quantisation: Kind = "none"
    double: bool = True
    checkpointing: bool = False
    dropout: bool = False
    whole: bool = False
    fast: bool = True
    smoothed: bool = False
    repacks: bool = False
    labels: float | None = 1.0
    ranks: int = 1
    merged: bool = False
    reference: Reference = "none"
    strategy: str = "ddp"
    offload: str = "none"

    @property
    def itemsize(self) -> int:
        return ITEMSIZE[self.dtype]

    @property
    def autocast(self) -> bool:
        """Whether products are computed in another format than the weights are in."""
        return self.dtype != "fp32" and (self.method != "lora" or self.whole or self.quantisation != "none")

    @property
    def fused(self) -> bool:
        return self.method != "lora" or (self.fast and self.quantisation == "none" and not self.dropout)


def training_parts(body: Anatomy, demand: Demand) -> dict[str, int]:
    """Bytes by part: weights, copies, adapters, reference, gradients, optimizer, activations, logits, runtime, and
    loading."""
    learning = trainable(body, demand)
    parts = {
        "weights": weights(body, demand),
        "copies": copies(body, demand),
        "adapters": FP32 * adapters(body, demand),
        "reference": reference(body, demand),
        "gradients": FP32 * learning * (2 if demand.ranks > 1 else 1),  # DDP sends them from buckets of its own
        "optimizer": state(demand, learning),
        "activations": round(activations(body, demand)),
        "logits": round(logits(body, demand)),
        "runtime": RUNTIME[demand.device],
    }
    return {**parts, "loading": max(0, loading(body, demand) - sum(parts.values()))}


def forward_parts(body: Anatomy, demand: Demand) -> dict[str, int]:
    """Of a stage that only looks: nothing learns, and no layer's activations outlive the next one's."""
    still = replace(demand, method="none")
    parts = {
        "weights": weights(body, still),
        "copies": copies(body, still),
        "activations": round(2 * SLACK[still.device] * layer(body, still)),
        "logits": round(logits(body, still)),
        "runtime": RUNTIME[still.device],
    }
    return {**parts, "loading": max(0, loading(body, still) - sum(parts.values()))}


# -- what stays -------------------------------------------------------------------------------------------------------
def adapters(body: Anatomy, demand: Demand) -> int:
    return body.adapter_size(demand.rank, demand.targets) if demand.method == "lora" else 0


def trainable(body: Anatomy, demand: Demand) -> int:
    """Weights that learn."""
    if demand.method == "full":
        return body.parameters
    if demand.method == "freeze":
        return round(body.body * min(1.0, demand.trainable_layers / max(1, body.layers)))
    if demand.method == "none":
        return 0
    return adapters(body, demand) + (body.embedding + body.head if demand.whole else 0)


def weights(body: Anatomy, demand: Demand) -> int:
    """Of the model itself, in what it is held: fp32 where it learns, quantised where it is, else the run's format."""
    if demand.method == "full":
        return FP32 * body.parameters
    held = demand.itemsize * body.parameters
    if demand.method == "freeze":
        held += (FP32 - demand.itemsize) * trainable(body, demand)
    if demand.whole:
        held += (FP32 - demand.itemsize) * (body.embedding + body.head)
    if demand.quantisation != "none":
        held -= round((demand.itemsize - quantised_bytes(demand.quantisation, double=demand.double)) * _plain(body))
    return held


def reference(body: Anatomy, demand: Demand) -> int:
    """Of what a policy is compared with."""
    if demand.reference == "model":
        return weights(body, demand)
    return FP32 * adapters(body, demand) if demand.reference == "resting" else 0


def quantised_bytes(kind: Kind, *, double: bool) -> float:
    """Bytes a weight: QLoRA (arXiv 2305.14314, section 3) has a scale for 64 weights, in fp32 or itself in 8 bits."""
    if kind == "int8":
        return 1.002
    return 0.5 + (1 / BLOCK + FP32 / (BLOCK * OUTER_BLOCK) if double else FP32 / BLOCK)


def copies(body: Anatomy, demand: Demand) -> int:
    """Two more of each frozen matrix for oneDNN; for quantised ones, the largest in full while it is multiplied."""
    if demand.quantisation != "none":
        return 2 * demand.itemsize * max((matrix.size for matrix in body.linear), default=0)
    if not demand.repacks:
        return 0
    frozen_head = 0 if demand.method == "full" or demand.whole else body.head_size
    return 2 * demand.itemsize * (sum(matrix.size for matrix in _fused_matrices(body, demand)) + frozen_head)


def _fused_matrices(body: Anatomy, demand: Demand) -> list[Matrix]:
    return body.targets(demand.targets) if demand.method == "lora" and demand.fused else []


def worth_repacking(body: Anatomy, demand: Demand, free: int) -> bool:
    """Whether the fast path keeps such copies, by the rule of `core.training.fastpath.worth_repacking`."""
    if demand.device != "cpu" or demand.dtype != "bf16" or not demand.fast or demand.quantisation != "none":
        return False
    frozen = body.parameters - (trainable(body, demand) - adapters(body, demand))
    return demand.method != "full" and 2 * demand.itemsize * frozen < REPACK_SHARE * free


def state(demand: Demand, learning: int) -> int:
    """Of the optimizer. A paged one moves to main memory when a GPU is full, so there it decides nothing."""
    if demand.device == "cuda" and demand.optimizer.startswith("paged"):
        return 0
    return round(STATE[demand.optimizer] * learning)


def loading(body: Anatomy, demand: Demand) -> int:
    """The start's own peak on a CPU: a chain is merged in fp32, and what is quantised is whole before."""
    if demand.device != "cpu" or not (demand.merged or demand.quantisation != "none"):
        return 0
    held = FP32 if demand.merged else demand.itemsize
    return RUNTIME["cpu"] + held * body.parameters + (weights(body, demand) if demand.quantisation != "none" else 0)


# -- what comes and goes with a pack ----------------------------------------------------------------------------------
def activations(body: Anatomy, demand: Demand) -> float:
    """What a step takes between the forward of the largest pack and the end of its backward."""
    layers = body.layers if demand.method != "freeze" else min(body.layers, demand.trainable_layers)
    one, slack = layer(body, demand), SLACK[demand.device]
    casts = _cast_weights(body, demand) * layers
    if not demand.checkpointing:
        return slack * (layers * one + casts)
    stream = layers * _tokens(demand) * body.width * (FP32 if demand.autocast else demand.itemsize)
    return slack * stream + AT_WORK[demand.device] * one + casts / max(1, layers)


def _cast_weights(body: Anatomy, demand: Demand) -> float:
    """Of one layer: autocast keeps each weight that it has cast, where the weights themselves are in fp32."""
    cast = demand.autocast and demand.method in ("full", "freeze")
    return demand.itemsize * body.body / max(1, body.layers) if cast else 0.0


def layer(body: Anatomy, demand: Demand) -> float:
    """Of one decoder layer, for the largest pack."""
    size, width = demand.itemsize, body.width
    queries, keys = body.heads * body.head_width, body.kv_heads * body.head_width
    inner = 4 * size * body.inner  # gate, its activation, up, and their product
    if demand.autocast and demand.quantisation == "none":
        norms = 2 * (2 * FP32 * width) + size * 5 * width  # input and output in fp32; five casts
    elif size == FP32:
        norms = 2 * (2 * FP32 * width)
    else:
        norms = 2 * (FP32 + size) * width
    attention = size * (2 * queries + 2 * keys)
    lora = _lora_extra(body, demand)
    each = norms + attention + inner + lora
    if demand.device == "cpu":
        kept = size * body.heads * demand.pack.short_squares
        long = sum(length for length in demand.pack.lengths if length > SHORT) * size * queries
        return each * _tokens(demand) + kept + long
    return (each + size * queries) * _tokens(demand)  # the kernel's own output, beside that of all rows


def _lora_extra(body: Anatomy, demand: Demand) -> float:
    """What adapters add, a token: their low-rank products, and without the fused layers each one's own input."""
    if demand.method != "lora" or not body.layers:
        return 0.0
    targets = body.targets(demand.targets)
    low = demand.itemsize * demand.rank * len(targets) / body.layers
    if demand.fused:
        return low
    inputs = sum(matrix.columns for matrix in targets) / body.layers
    return low + inputs * (demand.itemsize if demand.autocast else FP32 + demand.dropout)


def logits(body: Anatomy, demand: Demand) -> float:
    """On the fast path a chunk of them at a time; else all, with their copies in fp32 and their gradients."""
    if demand.labels is None:
        return 0.0
    if demand.reference != "none":
        tile = min(demand.pack.padded, TILE[0]) * min(body.vocabulary, TILE[1])
        return tile * (demand.itemsize + 3 * FP32)  # and what torch makes of a tile on its way to probabilities
    if demand.fast:
        learns = demand.method == "full" or demand.whole or demand.smoothed  # autograd goes through a chunk's logits
        held = 2 * FP32 + 2 * demand.itemsize if learns or demand.device == "cuda" else demand.itemsize + 1
        return CHUNK * body.vocabulary * held + 2 * demand.itemsize * body.width * demand.pack.tokens
    every, labelled = demand.pack.padded, demand.labels * demand.pack.tokens
    return body.vocabulary * (3.0 * demand.itemsize * every + (2 * demand.itemsize + 3 * FP32) * labelled)


def _tokens(demand: Demand) -> int:
    return demand.pack.tokens if demand.fast else demand.pack.padded


def _plain(body: Anatomy) -> int:
    """Weights of the linear layers that are quantised: experts are no layers of their own in memory."""
    return sum(matrix.size for matrix in body.linear if not matrix.expert)
