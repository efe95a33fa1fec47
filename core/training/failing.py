"""A loss or gradient that is no number: which rows give it, and the error that says so.

The trainer stops at once, before the weights take the step, so that every checkpoint is from before. Rows are then
tried one by one, on all ranks, and a few that are not of the step: where these give no number either, or no single row
of the step does it, it is not the rows. The training has diverged then, and the error says that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from core.errors import RunError
from core.rundir import RunDir
from core.training.batching import Rows
from core.training.naming import Names, RowName, problems_of

MOST_NAMED = 50
OTHERS = 3  # rows of other steps that are tried, too


def anywhere(flag: bool, device: torch.device, world_size: int) -> bool:
    """Whether `flag` is true on any rank."""
    if world_size == 1:
        return flag
    flags = torch.tensor(float(flag), device=device)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return bool(flags.item())


def nan_error(
    objective: Any,
    packing: Any,
    rows: Rows,
    indices: Sequence[int],
    names: Names,
    *,
    device: torch.device,
    run: RunDir,
    step: int,
) -> RunError:
    """The error for a step of this rank's rows `indices` that gave no number. All ranks must call it together."""
    others = np.linspace(0, len(rows) - 1, OTHERS + len(indices)).astype(int).tolist()
    others = [index for index in dict.fromkeys(others) if index not in indices][:OTHERS]
    bad = [index for index in indices if _is_bad(objective, packing, rows, index, device)]
    healthy = any(not _is_bad(objective, packing, rows, index, device) for index in others) or not others
    found: list[tuple[int, int, list[RowName]]] = [(len(indices), len(bad), names(bad[:MOST_NAMED]) if bad else [])]
    if dist.is_available() and dist.is_initialized():
        everywhere: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everywhere, found[0])
        found = everywhere
    tried, count = sum(each[0] for each in found), sum(each[1] for each in found)
    if not count or not healthy:
        return diverged(run, step)
    problems = problems_of("training.nan_row", [name for _, _, few in found for name in few])
    return RunError("run.nan_loss", problems=problems, step=step, count=count, rows=tried, checkpoint=_last(run))


def diverged(run: RunDir, step: int) -> RunError:
    """The error of a training, not of its rows."""
    return RunError("run.diverged", step=step, checkpoint=_last(run))


def _last(run: RunDir) -> str:
    checkpoints = run.complete_checkpoints()
    return checkpoints[-1].path.name if checkpoints else "–"


def _is_bad(objective: Any, packing: Any, rows: Rows, index: int, device: torch.device) -> bool:
    """Whether this row alone has a loss or a gradient that is no number."""
    objective.eval()
    learning = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    for pack in packing.packs([rows[index]]):
        loss: Tensor = objective(pack.to(device), 1.0)
        if not torch.isfinite(loss):
            return True
        # Not `backward`: that would meet the hooks by which ranks add their gradients.
        gradients = torch.autograd.grad(loss, learning, allow_unused=True)
        if not all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None):
            return True
    return False
