"""What every training recipe settles before it trains: the process group, and which rows are used."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from accelerate import PartialState

from core.report import RunContext
from core.training.sharding import offloads

RANK_PATIENCE = timedelta(hours=12)


def join_ranks(context: RunContext) -> PartialState:
    """The process group, where there are several ranks. It waits long: rank 0 may tokenise millions of rows alone.

    What FSDP moves to main memory is added and gathered there, which NCCL cannot do: gloo stands beside it.
    """
    if context.world_size > 1 and context.device != "cpu" and offloads(context.config):
        torch.cuda.set_device(context.device)
        dist.init_process_group("cuda:nccl,cpu:gloo", timeout=RANK_PATIENCE)
    patience = {"timeout": RANK_PATIENCE} if context.world_size > 1 else {}
    return PartialState(cpu=context.device == "cpu", **patience)


def choose_rows(count: int, limit: int | None, seed: int) -> np.ndarray:
    """All row numbers, or `limit` of them drawn by the seed, ascending."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng((seed, 1_000_033)).permutation(count)[:limit])


def split_rows(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(training, validation) row numbers, both ascending; at least one row is held out when `share` > 0."""
    held_out = min(count - 1, max(1, round(count * share))) if share > 0 and count > 1 else 0
    order = np.random.default_rng((seed, 1_000_003)).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
