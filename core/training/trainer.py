"""Galen's Trainer: Transformers' loop, optimizers and distribution around our own batches.

A data loader item is one whole optimizer step of this rank (`batching`); `training_step` runs its packs. What every
training has round its steps is `StageLoop`'s. What the Trainer offers and this leaves out: its samplers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import TrainingArguments

from core.configs.schedule import total_steps
from core.configs.stages import TrainingConfig
from core.errors import RunError
from core.report import RunContext
from core.training.batching import Order, Rows, Step, StepSampler, squares_of
from core.training.evaluating import Evaluator, Walk
from core.training.failing import diverged, nan_error
from core.training.naming import Names, numbers
from core.training.optimizing import set_own_rates
from core.training.pace import Pace
from core.training.sharding import Tensors, most, whole
from core.training.stage_loop import StageLoop, arguments


@dataclass(frozen=True)
class StepBatch:
    """One optimizer step of one rank: its packs, and the labels and tokens of the step over all ranks."""

    packs: list[Any]
    labels_in_step: int
    tokens: int
    rows: list[int]
    weight: float = 1.0


class _Steps(Dataset[StepBatch]):
    """Maps a Step to its StepBatch. A rank without rows computes one with weight 0, so that gradients still meet."""

    def __init__(self, rows: Rows, packing: Any) -> None:
        self.rows, self.packing = rows, packing

    def __getitem__(self, step: Step) -> StepBatch:
        chosen = [self.rows[i] for i in step.rows or [step.any_row]]
        return StepBatch(self.packing.packs(chosen), step.labels, step.tokens, step.rows, 1.0 if step.rows else 0.0)


class StageTrainer(StageLoop):
    """Trains an objective (`evaluating.Objective`) on encoded rows of at most `max_length` tokens.

    evaluator: what is measured at evaluation points; None: nothing is held out. answer: maps a prompt to the model's
    reply, for the fixed prompts; None: it writes no text. order: the rows of each epoch, where not a permutation.
    names: where training rows come from, for a message that speaks of them.
    """

    def __init__(
        self,
        model: Any,
        context: RunContext,
        config: TrainingConfig,
        train_rows: Rows,
        evaluator: Evaluator | None,
        tokenizer: Any,
        answer: Callable[[str], str] | None = None,
        *,
        max_length: int,
        order: Order | None = None,
        names: Names = numbers,
    ) -> None:
        self.train_rows, self.max_length, self.names = train_rows, max_length, names
        schedule = config.schedule
        self.sampler = StepSampler(
            train_rows.lengths,
            train_rows.label_counts,
            rows_per_step=schedule.batch_size * schedule.gradient_accumulation * context.world_size,
            seed=config.run.seed,
            rank=context.rank,
            world_size=context.world_size,
            order=order,
        )
        steps = total_steps(schedule, len(self.sampler), self.sampler.tokens_in_epoch)
        pace = Pace(
            model,
            config.tuning.method,
            np.asarray(train_rows.lengths),
            squares_of(train_rows),
            trainable_layers=config.tuning.trainable_layers,
            world_size=context.world_size,
            writes_text=context.run.stage != "reward",
        )
        super().__init__(
            context, config, evaluator, tokenizer, answer,
            total_steps=steps, steps_in_epoch=len(self.sampler), pace=pace, model=model,
            args=TrainingArguments(**arguments(config, context, steps), per_device_train_batch_size=1),
        )  # fmt: skip

    # -- steps --------------------------------------------------------------------------------------------------------
    def get_train_dataloader(self) -> DataLoader[StepBatch]:
        granted = self.config.schedule.batch_size * self.max_length
        steps = _Steps(self.train_rows, self.model.packing(granted))
        return DataLoader(steps, batch_sampler=self.sampler, collate_fn=lambda batches: batches[0])

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """As the Trainer makes it, and parameters at rates of their own where the objective has such."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if fresh and hasattr(self.model, "own_rates"):
            set_own_rates(optimizer, self.model.own_rates())
        return optimizer

    def _get_num_items_in_batch(self, batch_samples: list[StepBatch], device: torch.device) -> None:
        """Not asked: a StepBatch knows the labels of its step."""

    def floating_point_ops(self, inputs: StepBatch) -> int:
        """Not estimated: the Trainer's formula is for padded batches."""
        return 0

    def training_step(self, model: torch.nn.Module, inputs: StepBatch, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward over a step's packs. Returns this rank's loss, whose mean over ranks is the step's."""
        model.train(inputs.weight > 0)  # a spare row is computed for its part in the all-reduce, and nowhere counted
        # DDP averages gradients over ranks; the step's loss is a sum over them.
        scale = inputs.weight * self.args.world_size
        total = torch.zeros((), device=self.args.device)
        packs, own = self._levelled(inputs.packs), len(inputs.packs)
        for index, pack in enumerate(packs):
            if index == own:
                model.eval()  # what comes now counts nowhere
            with self._gathering(model, last=index == len(packs) - 1):
                with self.compute_loss_context_manager():
                    loss = model(pack.to(self.args.device), inputs.labels_in_step) * (scale if index < own else 0.0)
                self.accelerator.backward(loss)
            total += loss.detach()
        self._rows = inputs.rows
        self._stop_at_nan(bool(torch.isfinite(total)))
        self.state.num_input_tokens_seen += inputs.tokens
        self.pace.step(inputs.tokens, inputs.labels_in_step)
        return total

    def _levelled(self, packs: list[Any]) -> list[Any]:
        """As many packs as the rank with most of them has, where ranks gather weights together: some once more."""
        if not self.together and self.config.distributed.strategy == "ddp":
            return packs
        spare = most(len(packs), self.args.device, self.args.world_size) - len(packs)
        return packs + packs[:1] * spare

    @contextmanager
    def _gathering(self, model: torch.nn.Module, *, last: bool) -> Iterator[None]:
        """Round a forward and backward: ranks add their gradients once a step, or at once into everybody's share."""
        self.accelerator.gradient_state._set_sync_gradients(last)  # DeepSpeed takes its step in the last backward
        if last or self.config.distributed.strategy != "ddp":
            yield
        else:
            with self.accelerator.no_sync(model):
                yield

    # -- what `StageLoop` asks for ------------------------------------------------------------------------------------
    def save_weights(self, folder: Path, tensors: Tensors | None = None) -> None:
        self.model.save(self.tokenizer, folder, tensors)

    def load_weights(self, folder: Path) -> None:
        self.model.load(folder)

    def figures(self) -> dict[str, float]:
        return self.model.figures(self._total) if hasattr(self.model, "figures") else {}

    def measure(self, evaluator: Evaluator) -> dict[str, float]:
        """The evaluator's figures, over all ranks. Raises WalkStopped."""
        rank, world_size = self.context.rank, self.context.world_size
        self.model.eval()
        self.report.phase(
            "evaluating", total=math.ceil(evaluator.rows / world_size), unit="row", epoch=self.state.epoch
        )
        granted = self.config.evaluation.batch_size * self.max_length
        step = self.state.global_step
        walk = Walk(
            self.report, self.args.device, granted, step=step, rank=rank, world_size=world_size,
            together=self.together,
        )  # fmt: skip
        with whole(self.model):
            return evaluator(self.model, walk)

    def nan_error(self, step: int, rows: Sequence[int]) -> RunError:
        if self.together:  # rows cannot be tried one by one where every rank has to gather the weights for each
            return diverged(self.context.run, step)
        packing = self.model.packing(self.config.schedule.batch_size * self.max_length)
        return nan_error(
            self.model, packing, self.train_rows, rows, self.names,
            device=self.args.device, run=self.context.run, step=step,
        )  # fmt: skip
