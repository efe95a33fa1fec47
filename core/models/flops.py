"""How much arithmetic a training token is, and how much the devices can do: for MFU and for the time to finish.

Model FLOPs, as in PaLM (arXiv 2204.02311, appendix B): what the method needs, whatever is recomputed. A multiplication
and its addition are two. Forward, a weight costs 2 a token; backward 2 for the gradient of its input and, where it
learns, 2 for its own: 6 for full tuning, 4 for a frozen weight under LoRA. Attention counts the causal half only (PaLM
counts all of it), and the head the labelled positions only, so these figures are never flattered. Torch-free.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from core.models.anatomy import Anatomy

Method = Literal["lora", "full", "freeze", "none"]

# Dense peaks in TFLOP/s by the vendors' data sheets: (name, 16 bits, fp32 without TF32, as PyTorch computes it).
PEAKS: tuple[tuple[str, float, float], ...] = (
    (r"GB?200|B200", 2250, 80),
    (r"H200|H100(?!.*PCIe)|GH200", 989, 67),
    (r"H100.*PCIe", 756, 51),
    (r"H800", 989, 67),
    (r"H20\b", 148, 44),
    (r"A100|A800", 312, 19.5),
    (r"L40S", 362, 91.6),
    (r"L40|RTX 6000 Ada", 181, 90.5),
    (r"\bL4\b", 121, 30.3),
    (r"\bA40\b|A6000", 150, 37.4),
    (r"\bA10G\b", 70, 31.2),
    (r"\bA10\b", 125, 31.2),
    (r"RTX 5090", 210, 105),
    (r"RTX 4090", 165, 82.6),
    (r"RTX 3090", 71, 35.6),
    (r"V100", 125, 15.7),
    (r"\bT4\b", 65, 8.1),
)


@dataclass(frozen=True)
class Costs:
    """FLOPs: for each token, for each labelled position, and for each token × token of a row (Σ length²)."""

    token: float
    label: float
    square: float

    def __add__(self, other: Costs) -> Costs:
        return Costs(self.token + other.token, self.label + other.label, self.square + other.square)

    def total(self, tokens: float, labels: float, squares: float) -> float:
        return self.token * tokens + self.label * labels + self.square * squares


def training_costs(body: Anatomy, method: Method, adapter: int = 0, trainable_layers: int = 0) -> Costs:
    """Of one training token. `adapter`: weights of the adapters; `trainable_layers` of the method freeze; none: forward
    only, as in an evaluation."""
    attention = 2.0 * body.layers * body.heads * body.head_width  # forward, causal: half of 4
    if method == "none":
        return Costs(2.0 * body.per_token, 2.0 * body.head_size, attention)
    if method == "full":
        return Costs(6.0 * body.per_token, 6.0 * body.head_size, 3 * attention)
    if method == "lora":
        return Costs(4.0 * body.per_token + 6.0 * adapter, 4.0 * body.head_size, 3 * attention)
    share = min(1.0, trainable_layers / max(1, body.layers))  # nothing goes back through the layers below
    return Costs((2.0 + 4.0 * share) * body.per_token, 4.0 * body.head_size, (1 + 2 * share) * attention)


def gpu_peak(name: str, dtype: str) -> float | None:
    """FLOP/s that a GPU of this name can do in `dtype` (bf16, fp16, fp32) at most; None for one we do not know."""
    for pattern, half, single in PEAKS:
        if re.search(pattern, name):
            return 1e12 * (single if dtype == "fp32" else half)
    return None
