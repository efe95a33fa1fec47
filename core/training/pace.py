"""How quick a training is: tokens a second over all ranks, TFLOP/s of a device, MFU as the share of its peak.

A GPU's peak is its data sheet's; that of a CPU, and of a GPU that the table lacks, is the fastest of a few products
measured here, so an MFU there says how near the training comes to what the machine's own matrix products reach.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from core.models.anatomy import Anatomy, of_shapes
from core.models.flops import Costs, Method, gpu_peak, training_costs
from core.models.loading import TORCH_DTYPES

MEASURED_WIDTH = {"cpu": 1536, "cuda": 8192}  # of the square matrices whose product is timed
MEASUREMENTS = 4
NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


class Pace:
    """Counts what the steps do; `figures` gives the speed since it was last asked, `restart` forgets what lies between.

    objective: what is trained; its `model` is the PreTrainedModel or PeftModel. lengths: tokens of the training rows.
    squares: what their attention comes to (`batching.squares_of`). writes_text: labels go through the vocabulary's
    head. reference: a model that does not learn reads every row, too.
    """

    def __init__(
        self,
        objective: Any,
        method: Method,
        lengths: np.ndarray,
        squares: np.ndarray,
        *,
        trainable_layers: int = 0,
        world_size: int = 1,
        writes_text: bool = True,
        reference: bool = False,
    ) -> None:
        model: nn.Module = objective.model
        body, adapter = shape_of(model)
        costs = training_costs(body, method, adapter, trainable_layers)
        if reference:
            costs += training_costs(body, "none")
        self.costs = Costs(costs.token, costs.label if writes_text else 0.0, costs.square)
        device = next(model.parameters()).device
        dtype = getattr(objective, "autocast", None) or model.dtype
        self.peak = peak_of(str(device), dtype)
        total = float(lengths.sum())
        self.squares_a_token = float(squares.sum() / total) if total else 0.0
        self.world_size = world_size
        self.restart()

    def restart(self) -> None:
        """From now on; what was not computed in steps (an evaluation) does not count."""
        self.began, self.tokens, self.labels = time.monotonic(), 0, 0

    def step(self, tokens: int, labels: int) -> None:
        """A step of so many tokens and labelled positions, over all ranks, was computed."""
        self.tokens += tokens
        self.labels += labels

    def figures(self) -> dict[str, float]:
        """`tokens_per_second` over all ranks, `tflops` and `mfu` of one device; then begins anew."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        work = self.costs.total(self.tokens, self.labels, self.tokens * self.squares_a_token)
        speed = work / seconds / self.world_size
        found = {"tokens_per_second": self.tokens / seconds, "tflops": speed / 1e12, "mfu": speed / self.peak}
        self.restart()
        return found


def shape_of(model: nn.Module) -> tuple[Anatomy, int]:
    """A loaded model's anatomy without its adapters, and the number of the adapters' weights."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    adapter = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    return of_shapes(base.config.to_dict(), _shapes(base)), adapter


def _shapes(base: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, parameter in base.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            continue
        state = getattr(parameter, "quant_state", None)  # 4 bits lie packed, and their shape beside them
        shape = tuple(parameter.shape if state is None else state.shape)
        yield name.replace(".base_layer", "").replace(".original_module", ""), shape


@lru_cache(maxsize=8)
def peak_of(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of the device at most: by its data sheet, else measured (20 to 100 ms, once a process)."""
    if device.startswith("cuda"):
        known = gpu_peak(torch.cuda.get_device_name(device), NAMES.get(dtype, ""))
        if known is not None:
            return known
    kind = device.split(":")[0]
    width = MEASURED_WIDTH.get(kind, MEASURED_WIDTH["cpu"])
    a, b = (torch.randn(width, width, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(MEASUREMENTS):
        started = time.perf_counter()
        a @ b
        if kind == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2.0 * width**3 / best
