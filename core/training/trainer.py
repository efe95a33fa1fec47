"""Galen's Trainer: Transformers' loop, optimizers and distribution around our batches, checkpoints and reports.

    1  A data loader item is one whole optimizer step of this rank (`batching`); `training_step` runs its packs.
    2  After each step, the ranks agree on whether to stop.
    3  At evaluation points: what the evaluator measures on held-out rows, and the fixed prompts answered.
    4  Checkpoints are written to a temporary folder and renamed once whole; the newest `limit` and the best are kept.

What the Trainer offers and this leaves out: its own evaluation loop, rotation, best-model tracking and samplers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainingArguments

from core.configs.changes import SETTINGS, refused
from core.configs.schedule import total_steps
from core.configs.stages import TrainingConfig
from core.errors import ConfigError, RunError
from core.report import RunContext
from core.rundir import MARK, Checkpoint, read_json, read_jsonl, write_json
from core.training.batching import Order, Rows, Step, StepSampler, squares_of
from core.training.checkpoints import writing
from core.training.control import StepControl
from core.training.evaluating import Evaluator, Walk, WalkStopped, merit
from core.training.failing import anywhere, nan_error
from core.training.naming import Names, numbers
from core.training.optimizing import OPTIMIZERS, set_own_rates
from core.training.pace import Pace


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


class StageTrainer(Trainer):
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
        self.tokenizer, self.names = tokenizer, names
        self.context, self.config, self.report = context, config, context.report
        self.train_rows, self.evaluator, self.answer, self.max_length = train_rows, evaluator, answer, max_length
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
        self.total_steps = total_steps(schedule, len(self.sampler), self.sampler.tokens_in_epoch)
        super().__init__(model=model, args=self._arguments())
        self.add_callback(StepControl(self))
        past, _ = read_jsonl(context.run.metrics_file)
        self.merits = [found for row in past if (found := merit(row, config.evaluation)) is not None]
        self._evaluated: dict[int, dict[str, float]] = {}
        self.pace = Pace(
            model,
            config.tuning.method,
            np.asarray(train_rows.lengths),
            squares_of(train_rows),
            trainable_layers=config.tuning.trainable_layers,
            world_size=context.world_size,
            writes_text=context.run.stage != "reward",
        )
        self._save_seconds = 0.0
        self._rows: list[int] = []  # of the step that is computed
        self.stopped = False
        self.board = tensorboard(context) if config.logging.tensorboard and context.rank == 0 else None

    def _arguments(self) -> TrainingArguments:
        config, optim, schedule = self.config, self.config.optim, self.config.schedule
        on_cpu = self.context.device == "cpu"
        return TrainingArguments(
            output_dir=str(self.context.run.checkpoints),
            max_steps=self.total_steps,
            per_device_train_batch_size=1,
            learning_rate=optim.learning_rate,
            optim=OPTIMIZERS[optim.optimizer],
            weight_decay=optim.weight_decay,
            adam_beta1=optim.adam_beta1,
            adam_beta2=optim.adam_beta2,
            adam_epsilon=optim.adam_epsilon,
            max_grad_norm=optim.max_grad_norm,
            lr_scheduler_type=schedule.scheduler,
            warmup_steps=schedule.warmup_steps or int(schedule.warmup_ratio * self.total_steps),
            logging_steps=config.logging.steps,
            logging_first_step=True,
            logging_nan_inf_filter=False,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=on_cpu,
            fp16=config.model.dtype == "fp16",
            seed=config.run.seed,
            ddp_backend=None if self.context.world_size == 1 else "gloo" if on_cpu else "nccl",
            ddp_find_unused_parameters=False,
            ddp_broadcast_buffers=False,
        )

    # -- 1: steps -----------------------------------------------------------------------------------------------------
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
        for index, pack in enumerate(inputs.packs):
            last = index == len(inputs.packs) - 1
            with nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = model(pack.to(self.args.device), inputs.labels_in_step) * scale
                self.accelerator.backward(loss)
            total += loss.detach()
        self._rows = inputs.rows
        self._stop_at_nan(bool(torch.isfinite(total)))
        self.state.num_input_tokens_seen += inputs.tokens
        self.pace.step(inputs.tokens, inputs.labels_in_step)
        return total

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> float:
        """As the Trainer's. One that is no number ends the run before the weights take the step; fp16's scaler does not
        take it either, and goes on with a smaller scale."""
        norm = float(super()._get_grad_norm(model, grad_norm=grad_norm))
        if self.accelerator.scaler is None:
            self._stop_at_nan(math.isfinite(norm))
        return norm

    def _stop_at_nan(self, good: bool) -> None:
        """Raise on all ranks, naming the rows of the step, where it is not good on any."""
        if anywhere(not good, self.args.device, self.args.world_size):
            raise self._nan_error(self.state.global_step + 1, self._rows)

    def _nan_error(self, step: int, rows: list[int]) -> RunError:
        packing = self.model.packing(self.config.schedule.batch_size * self.max_length)
        return nan_error(
            self.model, packing, self.train_rows, rows, self.names,
            device=self.args.device, run=self.context.run, step=step,
        )  # fmt: skip

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Into metrics.jsonl, and TensorBoard."""
        if "loss" not in logs:
            return
        if hasattr(self.model, "figures"):
            logs = {**logs, **self.model.figures(self._total)}
        self._write({**logs, "tokens": self.state.num_input_tokens_seen, **self.pace.figures()})

    def _total(self, sums: Tensor) -> Tensor:
        """`sums` [n] added over ranks."""
        if self.args.world_size == 1:
            return sums
        everywhere = sums.to(self.args.device)
        dist.all_reduce(everywhere)
        return everywhere.cpu()

    def _write(self, figures: dict[str, float]) -> None:
        step, epoch = self.state.global_step, self.state.epoch or 0.0
        self.report.metrics(step, round(epoch, 4), **figures)
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(name, value, step)

    # -- 2: stopping --------------------------------------------------------------------------------------------------
    def agreed_to_stop(self) -> bool:
        """Whether any rank has seen the stop request: all of them must leave at the same step."""
        asked = self.report.stop_requested()
        if self.args.world_size > 1:
            flag = torch.tensor(int(asked), device=self.args.device)
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
            asked = bool(flag.item())
        return asked

    # -- 3: evaluation ------------------------------------------------------------------------------------------------
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The evaluator's figures, over all ranks, and the fixed prompts answered by rank 0.

        Asks the loop to save and end when what the best is chosen by no longer improves.
        """
        step = self.state.global_step
        if step in self._evaluated:
            return {}
        figures: dict[str, float] = {}
        if self.evaluator is not None:
            try:
                figures = self._measure(self.evaluator)
            except WalkStopped:
                return {}
            self.merits += [found for found in [merit(figures, self.config.evaluation)] if found is not None]
            self._write(figures)
            if self.out_of_patience():
                self.control.should_save = self.control.should_training_stop = True
        self._evaluated[step] = figures
        if self.context.rank == 0 and self.answer is not None:
            self._answer_prompts(step, self.answer)
        self.pace.restart()
        return figures

    def _answer_prompts(self, step: int, answer: Callable[[str], str]) -> None:
        prompts = getattr(self.config.evaluation, "prompts", [])
        self.report.phase("answering", total=len(prompts), unit="row", epoch=self.state.epoch)
        for done, prompt in enumerate(prompts, 1):
            said = answer(prompt)
            if self.report.stop_requested():  # it may have been cut short
                return
            self.report.sample(step, prompt, said)
            self.report.progress(done)

    def _measure(self, evaluator: Evaluator) -> dict[str, float]:
        """The evaluator's figures, over all ranks. Raises WalkStopped."""
        rank, world_size = self.context.rank, self.context.world_size
        self.model.eval()
        self.report.phase(
            "evaluating", total=math.ceil(evaluator.rows / world_size), unit="row", epoch=self.state.epoch
        )
        granted = self.config.evaluation.batch_size * self.max_length
        step = self.state.global_step
        walk = Walk(self.report, self.args.device, granted, step=step, rank=rank, world_size=world_size)
        return evaluator(self.model, walk)

    def out_of_patience(self) -> bool:
        """Whether the last `patience` evaluations all failed to beat the best one before them."""
        patience, found = self.config.evaluation.patience, self.merits
        return patience is not None and len(found) > patience and min(found[-patience:]) >= min(found[:-patience])

    def _mark(self, step: int, saved_at: float) -> dict[str, Any]:
        """What COMPLETE says of the checkpoint at `step`."""
        figures = self._evaluated.get(step, {})
        best_by = merit(figures, self.config.evaluation)
        return {"step": step, "saved_at": saved_at, "eval_loss": figures.get("eval_loss"), "best_by": best_by}

    # -- 4: checkpoints -----------------------------------------------------------------------------------------------
    def _save_checkpoint(self, model: torch.nn.Module, trial: Any = None) -> None:
        started = time.monotonic()
        step, run = self.state.global_step, self.context.run
        if not all(torch.isfinite(p).all() for p in self.model.parameters() if p.requires_grad):
            raise self._nan_error(step, [])
        self.report.phase("saving", epoch=self.state.epoch)
        mark = partial(self._mark, step, time.time())
        rank, wait = self.context.rank, self.accelerator.wait_for_everyone
        with writing(run, step, mark, limit=self.config.saving.limit, rank=rank, barrier=wait) as folder:
            if rank == 0:
                self.model.save(self.tokenizer, folder)
                self.state.save_to_json(str(folder / "trainer_state.json"))
                write_json(folder / SETTINGS, self.config.model_dump(mode="json"))
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
        self._save_seconds = time.monotonic() - started
        self.pace.restart()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        self.model.load(Path(resume_from_checkpoint))

    def continue_or_start(self) -> None:
        """Train from the last whole checkpoint, or from the start; nothing where the last step is done already.

        Raises ConfigError where the checkpoint was made with settings that must stay (`core.configs.changes`).
        """
        checkpoints = self.context.run.complete_checkpoints()
        last = checkpoints[-1] if checkpoints else None
        if last is not None:
            made_with = read_json(last.path / SETTINGS) or {}
            problems = refused(made_with, self.config.model_dump(mode="json"), self.context.run.id)
            if problems:
                raise ConfigError(problems)
        try:
            if last is not None and self._lacks_evaluation(last):
                self._evaluate_late(last)
            if self.stopped:
                return
            if last is None or (last.step < self.total_steps and not self.out_of_patience()):
                self.train(resume_from_checkpoint=None if last is None else str(last.path))
        finally:
            if self.board is not None:
                self.board.close()

    def _is_evaluation(self, step: int) -> bool:
        """Whether this step is one after which the model is evaluated."""
        every = self.config.evaluation.steps or len(self.sampler)
        return step >= self.total_steps or step % every == 0

    def _lacks_evaluation(self, checkpoint: Checkpoint) -> bool:
        return self.evaluator is not None and checkpoint.eval_loss is None and self._is_evaluation(checkpoint.step)

    def _evaluate_late(self, checkpoint: Checkpoint) -> None:
        """A stop came between this checkpoint and its evaluation: make up for it, on the weights it holds."""
        self.model.load(checkpoint.path)
        self.state.global_step, self.state.epoch = checkpoint.step, checkpoint.step / len(self.sampler)
        self.evaluate()
        if self._evaluated.get(checkpoint.step) and self.context.rank == 0:
            write_json(checkpoint.path / MARK, self._mark(checkpoint.step, checkpoint.saved_at))
        self.accelerator.wait_for_everyone()
        self.stopped = self.agreed_to_stop()


def tensorboard(context: RunContext) -> Any:
    """A writer of TensorBoard's event files in the run's folder."""
    from torch.utils.tensorboard import SummaryWriter  # imported here: it takes a second that most runs need not spend

    return SummaryWriter(str(context.run.path / "tensorboard"))
