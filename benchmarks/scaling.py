"""What bounds 7B, 13B and 70B on 1, 8 and 64 devices, by the fit estimate: `python -m benchmarks.scaling`.

Nothing is loaded or downloaded: the models' shapes are those of Llama 2, at the largest pack that a step may have
(4 096 tokens, gradients checkpointed, bf16). The tables stand in docs/scaling.md, and a test compares them. With
`--gib` and `--name` for another device than an A100 of 80 GB.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

from core.fit import memory
from core.fit.memory import FP32, Demand, Pack
from core.fit.sharding import main_memory, shared_out, traffic
from core.fit.weighing import verdict_of
from core.models.anatomy import Anatomy, of_shapes
from core.models.flops import gpu_peak, training_costs

GIB, GB = 1 << 30, 1e9
TOKENS = 4096
SHARE = 0.35  # of a data sheet's peak, as `core.fit.duration` takes it where nothing is measured
RANK = 16
# layers, width, inner, heads, kv heads, vocabulary
MODELS = {
    "7B": (32, 4096, 11008, 32, 32, 32000),
    "13B": (40, 5120, 13824, 40, 40, 32000),
    "70B": (80, 8192, 28672, 64, 8, 32000),
}
DEVICES = (1, 8, 64)


@dataclass(frozen=True)
class Way:
    """A way to train, as the settings have it."""

    name: str
    demand: Demand
    least: int = 1  # devices that it makes sense on

    def on(self, ranks: int) -> Demand:
        return replace(self.demand, ranks=ranks)


def ways() -> list[Way]:
    lora = Demand(
        method="lora", dtype="bf16", device="cuda", pack=Pack((TOKENS,)), rank=RANK, checkpointing=True
    )  # fmt: skip
    full = replace(lora, method="full")
    return [
        Way("LoRA, nf4, ddp", replace(lora, quantisation="nf4")),
        Way("LoRA, ddp", lora),
        Way("LoRA, fsdp", replace(lora, strategy="fsdp"), 2),
        Way("full, 8-bit Adam, ddp", replace(full, optimizer="adamw_8bit")),
        Way("full, zero2 + optimizer offload", replace(full, strategy="zero2", offload="optimizer"), 2),
        Way("full, fsdp", replace(full, strategy="fsdp"), 2),
        Way("full, fsdp + offload", replace(full, strategy="fsdp", offload="all"), 2),
    ]


def anatomy(size: str) -> Anatomy:
    layers, width, inner, heads, kv_heads, vocabulary = MODELS[size]
    head = width // heads
    shapes = [("model.embed_tokens.weight", [vocabulary, width]), ("lm_head.weight", [vocabulary, width])]
    for layer in range(layers):
        of = f"model.layers.{layer}."
        shapes += [
            (f"{of}self_attn.q_proj.weight", [width, width]),
            (f"{of}self_attn.k_proj.weight", [kv_heads * head, width]),
            (f"{of}self_attn.v_proj.weight", [kv_heads * head, width]),
            (f"{of}self_attn.o_proj.weight", [width, width]),
            (f"{of}mlp.gate_proj.weight", [inner, width]),
            (f"{of}mlp.up_proj.weight", [inner, width]),
            (f"{of}mlp.down_proj.weight", [width, inner]),
        ]
    config = {
        "num_hidden_layers": layers, "hidden_size": width, "intermediate_size": inner, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocabulary,
    }  # fmt: skip
    return of_shapes(config, shapes, "bf16")


# -- tables -----------------------------------------------------------------------------------------------------------
def memory_table(gib: float) -> Iterator[str]:
    """Memory of a device, in GB, and whether it fits."""
    yield f"| | way | {' | '.join(f'{count} devices' if count > 1 else '1 device' for count in DEVICES)} |"
    yield f"|---|---|{'---|' * len(DEVICES)}"
    for size in MODELS:
        body = anatomy(size)
        for way in ways():
            cells = [_cell(body, way, ranks, gib) if ranks >= way.least else "" for ranks in DEVICES]
            yield f"| {size} | {way.name} | {' | '.join(cells)} |"


def _cell(body: Anatomy, way: Way, ranks: int, gib: float) -> str:
    total = _total(body, way.on(ranks))
    words = {"fits": f"**{total / GB:.0f}**", "tight": f"{total / GB:.0f}, tight", "no": f"{total / GB:.0f}, no"}
    return words[verdict_of(total, int(gib * GIB))]


def _total(body: Anatomy, demand: Demand) -> int:
    return sum(shared_out(memory.training_parts(body, demand), body, demand).values())


def network_table(peak: float) -> Iterator[str]:
    """What each device sends for a pack of 4 096 tokens and once a step, the seconds that it computes on the pack, and
    the network that keeps up with that."""
    yield "| | way, on 64 devices | sent for a pack | sent for a step | computing a pack | network to keep up |"
    yield "|---|---|---|---|---|---|"
    for size in MODELS:
        body = anatomy(size)
        for way in ways():
            demand = way.on(64)
            pack, step = traffic(body, demand)
            seconds = compute_seconds(body, demand, peak)
            needed = f"{pack / seconds / GB:.0f} GB/s" if pack else ""
            yield (
                f"| {size} | {way.name} | {pack / GB:.3g} GB | {step / GB:.3g} GB | {seconds:.1f} s | {needed} |"
            )  # fmt: skip


def compute_seconds(body: Anatomy, demand: Demand, peak: float) -> float:
    """Of a pack: forward, backward, and the forward once more for checkpointing."""
    adapter = body.adapter_size(demand.rank, demand.targets) if demand.method == "lora" else 0
    costs = training_costs(body, demand.method, adapter)
    flops = costs.total(TOKENS, TOKENS, TOKENS**2) + 2.0 * body.per_token * TOKENS
    return flops / (SHARE * peak)


def files_table() -> Iterator[str]:
    """Bytes of a checkpoint, of the result, and of main memory where all of it is on one host of 8 devices."""
    yield "| | way, on 8 devices | checkpoint | result | main memory |"
    yield "|---|---|---|---|---|"
    for size in MODELS:
        body = anatomy(size)
        for way in ways():
            demand = way.on(8)
            learning = memory.trainable(body, demand)
            state = round(memory.STATE[demand.optimizer] * learning)
            adapter = demand.method == "lora"
            kept = FP32 * learning + state
            result = FP32 * learning if adapter else demand.itemsize * body.parameters
            host = main_memory(memory.training_parts(body, demand), body, demand, 8)
            said = f"{host / GB:,.0f} GB" if demand.strategy != "ddp" else ""
            yield f"| {size} | {way.name} | {kept / GB:,.1f} GB | {result / GB:,.1f} GB | {said} |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=80.0, help="memory of a device")
    parser.add_argument("--name", default="NVIDIA A100-SXM4-80GB", help="its name, by which its speed is known")
    args = parser.parse_args(arguments)
    peak = gpu_peak(args.name, "bf16")
    if peak is None:
        parser.error(f"nothing is known of the speed of {args.name}")
    print("\n".join(memory_table(args.gib)))
    print()
    print("\n".join(network_table(peak)))
    print()
    print("\n".join(files_table()))


if __name__ == "__main__":
    main()
