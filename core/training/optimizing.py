"""Which optimizer a name of the config means to Transformers, and parameters that learn at a rate of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw": "paged_adamw_32bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "adafactor": "adafactor",
    "lion_8bit": "lion_8bit",
    "sgd": "sgd",
}


def set_own_rates(optimizer: torch.optim.Optimizer, own: Sequence[tuple[nn.Parameter, float]]) -> None:
    """Move each parameter of `own` into a group of its own with the given learning rate. Before any scheduler: that
    takes each group's rate for its peak."""
    for parameter, rate in own:
        for group in optimizer.param_groups:
            if any(each is parameter for each in group["params"]):
                group["params"] = [each for each in group["params"] if each is not parameter]
                settings = {key: value for key, value in group.items() if key not in ("params", "lr", "initial_lr")}
                optimizer.add_param_group({**settings, "params": [parameter], "lr": rate})
                break
