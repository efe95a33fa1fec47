"""How hard each training row is, for a curriculum: what its dataset says, its length, or the loss of the model on it.

The loss is that of the model as the training finds it, measured once, before the first step, by all ranks together; the
run keeps it, so that a resumed run has the very same order. Left out: what the order makes of it
(`core.data.encode.curriculum`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.configs.stages import SFTConfig
from core.errors import StopRequested
from core.report import RunContext
from core.rundir import DIFFICULTY
from core.training.batching import Rows
from core.training.conversations import Conversations
from core.training.evaluating import Walk, WalkStopped


def difficulties(
    context: RunContext, config: SFTConfig, data: Conversations, objective: Any
) -> NDArray[np.float64] | None:
    """[rows of `data.train`], None where the order asks for none. Raises StopRequested."""
    if config.data.order == "shuffled":
        return None
    if config.data.difficulty == "length":
        return np.asarray(data.train.lengths, dtype=np.float64)
    if config.data.difficulty == "column":
        return data.train.difficulties()
    kept = context.run.path / DIFFICULTY
    if kept.is_file():
        found: NDArray[np.float64] = np.load(kept)
        if len(found) == len(data.train):
            return found
    report, ranks = context.report, context.world_size
    report.phase("measuring", total=math.ceil(len(data.train) / ranks), unit="row")
    granted = config.schedule.batch_size * config.data.max_length
    walk = Walk(report, torch.device(context.device), granted, rank=context.rank, world_size=ranks)
    try:
        found = row_losses(objective, data.train, walk)
    except WalkStopped:
        raise StopRequested from None
    if context.rank == 0:
        np.save(kept, found)
    return found


@torch.no_grad()
def row_losses(objective: Any, rows: Rows, walk: Walk) -> NDArray[np.float64]:
    """The mean −log p of each row's labels [rows], in nats. Raises WalkStopped."""
    objective.eval()
    sums = torch.zeros(len(rows), dtype=torch.float64)
    for members, pack, losses in walk.packs(rows, objective.packing(walk.granted), objective.losses):
        row = torch.tensor(members).repeat_interleave(torch.tensor(pack.row_lengths))
        sums.index_add_(0, row[pack.label_positions.cpu()], losses.double().cpu())
    found: NDArray[np.float64] = walk.total(sums).numpy() / np.maximum(rows.label_counts, 1)
    return found
