"""Galen's Trainer: Transformers' loop, optimizers and distribution around our batches, checkpoints and reports.

    1  A data loader item is one whole optimizer step of this rank (`batching`); `training_step` runs its packs.
    2  After each step, the ranks agree on whether to stop.
    3  At evaluation points: loss over the held-out rows, and the fixed prompts answered.
    4  Checkpoints are written to a temporary folder and renamed once whole; the newest `limit` and the best are kept.

What the Trainer offers and this leaves out: its own evaluation loop, rotation, best-model tracking and samplers.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from core.configs.stages import SFTConfig
from core.errors import RunError
from core.report import RunContext
from core.rundir import Checkpoint, best_checkpoint, flush_folder, read_jsonl, write_json
from core.training.batching import Pack, Packing, Rows, Step, StepSampler
from core.training.fastpath import FusedCausalLM
from core.training.weights import load_trained, save_trained

EVAL_ROWS = 256  # held-out rows that are put into packs at once
OPTIMIZERS = {"adamw": "adamw_torch_fused", "adafactor": "adafactor", "sgd": "sgd"}


@dataclass(frozen=True)
class StepBatch:
    """One optimizer step of one rank: its packs, and the labels and tokens of the step over all ranks."""

    packs: list[Pack]
    labels_in_step: int
    tokens: int
    weight: float = 1.0


class _Steps(Dataset[StepBatch]):
    """Maps a Step to its StepBatch. A rank without rows computes one with weight 0, so that gradients still meet."""

    def __init__(self, rows: Rows, packing: Packing) -> None:
        self.rows, self.packing = rows, packing

    def __getitem__(self, step: Step) -> StepBatch:
        chosen = [self.rows[i] for i in step.rows or [step.any_row]]
        return StepBatch(self.packing.packs(chosen), step.labels, step.tokens, 1.0 if step.rows else 0.0)


class StageTrainer(Trainer):
    """Trains a FusedCausalLM on encoded rows. `answer` maps a prompt to the model's reply, for the fixed prompts."""

    def __init__(
        self,
        model: FusedCausalLM,
        context: RunContext,
        config: SFTConfig,
        train_rows: Rows,
        eval_rows: Rows | None,
        tokenizer: Any,
        answer: Callable[[str], str],
    ) -> None:
        self.tokenizer = tokenizer
        self.context, self.config, self.report = context, config, context.report
        self.train_rows, self.eval_rows, self.answer = train_rows, eval_rows, answer
        schedule = config.schedule
        self.sampler = StepSampler(
            train_rows.lengths,
            train_rows.label_counts,
            rows_per_step=schedule.batch_size * schedule.gradient_accumulation * context.world_size,
            seed=config.run.seed,
            rank=context.rank,
            world_size=context.world_size,
        )
        self.total_steps = schedule.max_steps or math.ceil(len(self.sampler) * schedule.epochs)
        super().__init__(model=model, args=self._arguments())
        self.add_callback(_Pace(self))
        past, _ = read_jsonl(context.run.metrics_file)
        self.eval_losses: list[float] = [row["eval_loss"] for row in past if row.get("eval_loss") is not None]
        self._evaluated: dict[int, float | None] = {}
        self._last_log = (time.monotonic(), 0)
        self._save_seconds = 0.0
        self.stopped = False
        self.board = _tensorboard(context) if config.logging.tensorboard and context.rank == 0 else None

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
        granted = self.config.schedule.batch_size * self.config.data.max_length
        steps = _Steps(self.train_rows, self.model.packing(granted))
        return DataLoader(steps, batch_sampler=self.sampler, collate_fn=lambda batches: batches[0])

    def _get_num_items_in_batch(self, batch_samples: list[StepBatch], device: torch.device) -> None:
        """Not asked: a StepBatch knows the labels of its step."""

    def floating_point_ops(self, inputs: StepBatch) -> int:
        """Not estimated: the Trainer's formula is for padded batches."""
        return 0

    def training_step(self, model: torch.nn.Module, inputs: StepBatch, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward over a step's packs. Returns this rank's loss, whose mean over ranks is the step's."""
        model.train()
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
        if not torch.isfinite(total):
            raise RunError("run.nan_loss", step=self.state.global_step + 1)
        self.state.num_input_tokens_seen += inputs.tokens
        return total

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Into metrics.jsonl, and TensorBoard."""
        if "loss" not in logs:
            return
        now, tokens = time.monotonic(), self.state.num_input_tokens_seen
        since, before = self._last_log
        self._last_log = (now, tokens)
        self._write({**logs, "tokens": tokens, "tokens_per_second": (tokens - before) / max(now - since, 1e-9)})

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
        """Held-out loss per labelled token, over all ranks, and the fixed prompts answered by rank 0.

        Asks the loop to save and end when the losses no longer improve.
        """
        step = self.state.global_step
        if step in self._evaluated:
            return {}
        figures = {}
        if self.eval_rows is not None:
            loss = self._eval_loss(self.eval_rows)
            if loss is None:  # asked to stop: what is not whole is not recorded
                return {}
            figures["eval_loss"] = loss
            self.eval_losses.append(loss)
            self._write(figures)
            if self.out_of_patience():
                self.control.should_save = self.control.should_training_stop = True
        self._evaluated[step] = figures.get("eval_loss")
        if self.context.rank == 0:
            self._answer_prompts(step)
        self._last_log = (time.monotonic(), self.state.num_input_tokens_seen)
        return figures

    def _answer_prompts(self, step: int) -> None:
        prompts = self.config.evaluation.prompts
        self.report.phase("answering", total=len(prompts), epoch=self.state.epoch)
        for done, prompt in enumerate(prompts, 1):
            if self.report.stop_requested():
                return
            self.report.sample(step, prompt, self.answer(prompt))
            self.report.progress(done)

    @torch.no_grad()
    def _eval_loss(self, rows: Rows) -> float | None:
        """Mean −log p(label) over all held-out rows and ranks; None when a rank saw a stop request on the way."""
        self.model.eval()
        packing = self.model.packing(self.config.evaluation.batch_size * self.config.data.max_length)
        mine = range(self.context.rank, len(rows), self.context.world_size)
        self.report.phase("evaluating", total=len(mine), unit="row", epoch=self.state.epoch)
        loss, labels, done, left = 0.0, 0, 0, 0
        for pack in (pack for few in batched(mine, EVAL_ROWS) for pack in packing.packs([rows[i] for i in few])):
            if self.report.stop_requested():
                left = 1
                break
            loss += self.model(pack.to(self.args.device), 1.0).item()
            labels += len(pack.labels)
            done += len(pack.row_lengths)
            self.report.progress(done)
        sums = torch.tensor([loss, labels, left], dtype=torch.float64, device=self.args.device)
        if self.args.world_size > 1:
            dist.all_reduce(sums)
        return None if sums[2] else float(sums[0] / sums[1])

    def out_of_patience(self) -> bool:
        """Whether the last `patience` evaluations all failed to beat the best one before them."""
        patience, losses = self.config.evaluation.patience, self.eval_losses
        return patience is not None and len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])

    # -- 4: checkpoints -----------------------------------------------------------------------------------------------
    def _save_checkpoint(self, model: torch.nn.Module, trial: Any = None) -> None:
        started = time.monotonic()
        step, folder = self.state.global_step, self.context.run.checkpoints
        final, temporary = folder / f"step-{step}", folder / f"tmp-step-{step}"
        if not all(torch.isfinite(p).all() for p in self.model.parameters() if p.requires_grad):
            raise RunError("run.nan_loss", step=step)
        self.report.phase("saving", epoch=self.state.epoch)
        if self.context.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
        self.accelerator.wait_for_everyone()
        if self.context.rank == 0:
            save_trained(self.model.model, self.tokenizer, temporary)
            self.state.save_to_json(str(temporary / "trainer_state.json"))
        self._save_optimizer_and_scheduler(str(temporary))
        self._save_scaler(str(temporary))
        self._save_rng_state(str(temporary))
        self.accelerator.wait_for_everyone()
        if self.context.rank == 0:
            flush_folder(temporary)
            mark = {"step": step, "saved_at": time.time(), "eval_loss": self._evaluated.get(step)}
            write_json(temporary / "COMPLETE", mark)
            temporary.rename(final)
            flush_folder(folder)
            self._prune()
        self._save_seconds = time.monotonic() - started

    def _prune(self) -> None:
        checkpoints = self.context.run.complete_checkpoints()
        best = best_checkpoint(checkpoints)
        for checkpoint in checkpoints[: -self.config.saving.limit]:
            if best is None or checkpoint.step != best.step:
                (checkpoint.path / "COMPLETE").unlink()  # first, so that it never looks whole while it is being removed
                shutil.rmtree(checkpoint.path)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        load_trained(self.model.model, Path(resume_from_checkpoint))

    def continue_or_start(self) -> None:
        """Train from the last whole checkpoint, or from the start; nothing where the last step is done already."""
        checkpoints = self.context.run.complete_checkpoints()
        last = checkpoints[-1] if checkpoints else None
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
        return self.eval_rows is not None and checkpoint.eval_loss is None and self._is_evaluation(checkpoint.step)

    def _evaluate_late(self, checkpoint: Checkpoint) -> None:
        """A stop came between this checkpoint and its evaluation: make up for it, on the weights it holds."""
        load_trained(self.model.model, checkpoint.path)
        self.state.global_step, self.state.epoch = checkpoint.step, checkpoint.step / len(self.sampler)
        self.evaluate()
        loss = self._evaluated.get(checkpoint.step)
        if loss is not None and self.context.rank == 0:
            mark = {"step": checkpoint.step, "saved_at": checkpoint.saved_at, "eval_loss": loss}
            write_json(checkpoint.path / "COMPLETE", mark)
        self.accelerator.wait_for_everyone()
        self.stopped = self.agreed_to_stop()


class _Pace(TrainerCallback):
    """Decides after every step whether to evaluate, save or stop, and tells the progress."""

    def __init__(self, trainer: StageTrainer) -> None:
        self.trainer = trainer
        self.began = time.monotonic()
        self.step_seconds = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.trainer._last_log = (time.monotonic(), state.num_input_tokens_seen)
        self._back_to_training(state)

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.trainer.report.current_phase != "training":
            self._back_to_training(state)
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        trainer, config = self.trainer, self.trainer.config
        step, last = state.global_step, state.global_step >= state.max_steps
        taken = time.monotonic() - self.began
        self.step_seconds = taken if not self.step_seconds else 0.9 * self.step_seconds + 0.1 * taken
        trainer.report.progress(
            step,
            epoch=state.epoch,
            tokens=state.num_input_tokens_seen,
            step_seconds=taken,
            save_seconds=trainer._save_seconds,
            eta_seconds=self.step_seconds * (state.max_steps - step),
        )
        if trainer.agreed_to_stop():
            trainer.stopped = True
            control.should_save = control.should_training_stop = True
            return control
        evaluate = trainer._is_evaluation(step)
        save = last or (evaluate if config.saving.steps is None else step % config.saving.steps == 0)
        if evaluate and config.evaluation.keep_best and trainer.eval_rows is not None:
            save = True  # the best one cannot be delivered unless it was kept
        control.should_evaluate, control.should_save = evaluate, save
        control.should_log = control.should_log or last
        return control

    def _back_to_training(self, state: TrainerState) -> None:
        self.trainer.report.phase(
            "training",
            total=state.max_steps,
            step=state.global_step,
            epoch=state.epoch,
            tokens=state.num_input_tokens_seen,
            step_seconds=self.step_seconds or None,
            save_seconds=self.trainer._save_seconds,
        )


def _tensorboard(context: RunContext) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # imported here: it takes a second that most runs need not spend

    return SummaryWriter(str(context.run.path / "tensorboard"))


def batched(numbers: range, size: int) -> Iterator[range]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def split_rows(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(training, validation) row numbers, both ascending; at least one row is held out when `share` > 0."""
    held_out = min(count - 1, max(1, round(count * share))) if share > 0 and count > 1 else 0
    order = np.random.default_rng((seed, 1_000_003)).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
