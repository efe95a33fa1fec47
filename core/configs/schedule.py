"""How many optimizer steps a schedule means, for the trainer and for whoever estimates a training. Torch-free."""

from __future__ import annotations

import math

from core.configs.sections import Schedule


def total_steps(schedule: Schedule, steps_in_epoch: int, tokens_in_epoch: int) -> int:
    """Optimizer steps of the whole training: by epochs, by steps, or by the token budget, whichever ends first."""
    steps = schedule.max_steps or math.ceil(steps_in_epoch * schedule.epochs)
    if schedule.max_tokens is not None:
        budget = math.ceil(schedule.max_tokens * steps_in_epoch / tokens_in_epoch)
        # A budget is what the user asked for: the default number of epochs does not cut it short, a step limit does.
        steps = budget if schedule.max_steps is None else min(steps, budget)
    return max(1, steps)
