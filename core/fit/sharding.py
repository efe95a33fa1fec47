"""What of a training's memory FSDP2 and ZeRO split over the ranks, or move to main memory. Numbers only.

                weights and adapters    gradients    optimizer    beside them
    fsdp        1/N                     1/N          1/N          two layers and the rest gathered, a layer's gradients
    zero2       all                     1/N          1/N          weights once more in fp32 (1/N), buckets
    zero3       1/N                     1/N          1/N          both

`zero` keeps weights of its own that the optimizer steps on, also where the model's are in fp32 already.
"""

from __future__ import annotations

from core.fit.memory import FP32, RUNTIME, Demand, trainable, weights
from core.models.anatomy import Anatomy

BUCKET = 50_000_000  # numbers that DeepSpeed gathers or adds at once (core.training.sharding), and twice of them
AT_ONCE = 2  # layers that are whole at a time: the one that computes, and the next, which is on its way
MOVED = {"none": (), "optimizer": ("optimizer", "masters"),
         "all": ("weights", "adapters", "gradients", "optimizer", "masters")}  # fmt: skip


def splits_weights(demand: Demand) -> bool:
    return demand.strategy in ("fsdp", "zero3")


def shared_out(parts: dict[str, int], body: Anatomy, demand: Demand) -> dict[str, int]:
    """`parts` of a process that holds everything, as they are with its strategy."""
    if demand.strategy == "ddp":
        return parts
    ranks, learning = demand.ranks, trainable(body, demand)
    zero = demand.strategy.startswith("zero")
    split = {
        **parts,
        "gradients": FP32 * learning // ranks,
        "optimizer": parts["optimizer"] // ranks,
        "masters": FP32 * learning // ranks if zero else 0,
        "gathered": 2 * FP32 * BUCKET if zero else 0,
    }
    if splits_weights(demand):
        whole = parts["weights"] + parts["adapters"]
        split |= {name: parts[name] // ranks for name in ("weights", "adapters")}
        split["gathered"] += round(_gathered(body, whole) + FP32 * learning / max(1, body.layers))
    if demand.device == "cuda":
        split |= dict.fromkeys(MOVED[demand.offload], 0)
    elif splits_weights(demand):  # a rank reads the model whole before it keeps its share
        split["loading"] = max(0, RUNTIME["cpu"] + weights(body, demand) - sum(split.values()) + split["loading"])
    return split


def _gathered(body: Anatomy, whole: int) -> float:
    """Of `whole` bytes of weights, those that are there in full while a layer computes."""
    in_layers = min(1.0, body.body / max(1, body.parameters))
    return whole * (1 - in_layers) + AT_ONCE * whole * in_layers / max(1, body.layers)


def main_memory(parts: dict[str, int], body: Anatomy, demand: Demand, processes: int) -> int:
    """Bytes of main memory that a host with so many processes on its GPUs needs: to read the model, and for what was
    moved there. `parts`: of one that holds everything. With FSDP the processes read one after the other."""
    read = weights(body, demand) if splits_weights(demand) else 0
    readers = 1 if demand.strategy == "fsdp" else processes
    moved = sum(parts.get(name, 0) for name in MOVED[demand.offload]) // demand.ranks
    if demand.offload != "none" and demand.strategy.startswith("zero"):
        moved += FP32 * trainable(body, demand) // demand.ranks
    return processes * (RUNTIME["cpu"] + moved) + readers * read


def traffic(body: Anatomy, demand: Demand) -> tuple[float, float]:
    """(bytes that a rank sends for each pack, bytes for each step), by rings: (N − 1) / N of what goes round.

    ddp adds its gradients once a step (2 ×). fsdp and zero3 gather the weights for the forward and for the backward of
    every pack, and cut the gradients (1 ×); zero2 adds gradients in every pack, and sends the weights round each step.
    """
    ring = (demand.ranks - 1) / max(1, demand.ranks)
    gradients = FP32 * trainable(body, demand)
    if demand.strategy == "ddp":
        return 0.0, 2 * ring * gradients
    if demand.strategy == "zero2":
        return ring * gradients, ring * gradients
    held = weights(body, demand)
    return ring * (2 * held + gradients), 0.0
