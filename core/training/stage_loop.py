"""What every training has round its steps: Transformers' loop, and our stops, evaluations, checkpoints and reports.

    1  After each step, the ranks agree on whether to stop, and what is no number ends the run.
    2  At evaluation points: what is measured on held-out rows, and the fixed prompts answered.
    3  Checkpoints are written to a temporary folder and renamed once whole; the newest `limit` and the best are kept.

    class StageTrainer(StageLoop)                   our packs: Pretrain, SFT, Reward
    class PairTrainer(StageLoop, DPOTrainer)        TRL's batches and loss: DPO

What the Trainer offers and this leaves out: its own evaluation schedule, rotation and best-model tracking.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import broadcast_object_list
from peft import PeftModel
from torch import Tensor
from transformers import Trainer
from transformers.trainer import SCHEDULER_NAME

from core.configs.changes import SETTINGS, refused
from core.configs.stages import TrainingConfig
from core.errors import ConfigError, RunError
from core.report import RunContext
from core.rundir import MARK, Checkpoint, read_json, read_jsonl, write_json
from core.training.checkpoints import writing
from core.training.control import StepControl
from core.training.evaluating import WalkStopped, merit
from core.training.failing import anywhere
from core.training.optimizing import OPTIMIZERS
from core.training.pace import Pace
from core.training.sharding import (
    Tensors,
    deepspeed_config,
    gathered,
    is_fsdp,
    load_optimizer,
    local,
    save_optimizer,
    splits_weights,
    whole,
)

SHARDS = "optimizer"  # in a checkpoint: the optimizer's state, split


class StageLoop(Trainer):
    """A Trainer whose run can be watched, stopped and resumed.

    evaluator: what is measured at evaluation points; None: nothing is held out. answer: maps a prompt to the model's
    reply, for the fixed prompts; None: it writes no text. Everything else is the Trainer's own.
    """

    def __init__(
        self,
        context: RunContext,
        config: TrainingConfig,
        evaluator: Any,
        tokenizer: Any,
        answer: Callable[[str], str] | None,
        *,
        total_steps: int,
        steps_in_epoch: int,
        pace: Pace,
        **trainer: Any,
    ) -> None:
        self.context, self.config, self.report = context, config, context.report
        self.evaluator, self.tokenizer, self.answer = evaluator, tokenizer, answer
        self.total_steps, self.steps_in_epoch, self.pace = total_steps, steps_in_epoch, pace
        super().__init__(**trainer)
        self.add_callback(StepControl(self))
        past, _ = read_jsonl(context.run.metrics_file)
        self.merits = [found for row in past if (found := merit(row, config.evaluation)) is not None]
        self._evaluated: dict[int, dict[str, float]] = {}
        self._save_seconds = 0.0
        self._rows: list[int] = []  # of the step that is computed
        self.stopped = self.looks_first = False
        self.together = splits_weights(config)  # every rank computes whenever one does
        self.board = tensorboard(context) if config.logging.tensorboard and context.rank == 0 else None

    # -- what a kind of training has of its own -----------------------------------------------------------------------
    def save_weights(self, folder: Path, tensors: Tensors | None = None) -> None:
        """Everything that learns, into a checkpoint. tensors: whole ones, where a rank holds a share of each."""
        raise NotImplementedError

    def load_weights(self, folder: Path) -> None:
        """The reverse of `save_weights`."""
        raise NotImplementedError

    def measure(self, evaluator: Any) -> dict[str, float]:
        """The evaluator's figures, `eval_loss` among them, over all ranks. Raises WalkStopped."""
        raise NotImplementedError

    def nan_error(self, step: int, rows: Sequence[int]) -> RunError:
        """The error of a step of this rank's `rows` that gave no number. All ranks call it together."""
        raise NotImplementedError

    # -- settings and reports -----------------------------------------------------------------------------------------
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Into metrics.jsonl, and TensorBoard."""
        if "loss" not in logs:
            return
        logs = {**logs, **self.figures()}
        self._write({**logs, "tokens": self.state.num_input_tokens_seen, **self.pace.figures()})

    def figures(self) -> dict[str, float]:
        """What else the line of a logged step says."""
        return {}

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

    # -- 1: stopping --------------------------------------------------------------------------------------------------
    def agreed_to_stop(self) -> bool:
        """Whether any rank has seen the stop request: all of them must leave at the same step."""
        asked = self.report.stop_requested()
        if self.args.world_size > 1:
            flag = torch.tensor(int(asked), device=self.args.device)
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
            asked = bool(flag.item())
        return asked

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> float:
        """As the Trainer's. One that is no number ends the run before the weights take the step; fp16's scaler does not
        take it either, and goes on with a smaller scale."""
        found = super()._get_grad_norm(model, grad_norm=grad_norm)
        if found is None:  # DeepSpeed has not measured one yet
            return math.nan
        norm = float(found.full_tensor() if hasattr(found, "full_tensor") else found)
        if self.accelerator.scaler is None:
            self._stop_at_nan(math.isfinite(norm))
        return norm

    def _stop_at_nan(self, good: bool) -> None:
        """Raise on all ranks, naming the rows of the step, where it is not good on any."""
        if anywhere(not good, self.args.device, self.args.world_size):
            raise self.nan_error(self.state.global_step + 1, self._rows)

    # -- 2: evaluation ------------------------------------------------------------------------------------------------
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
                figures = self.measure(self.evaluator)
            except WalkStopped:
                return {}
            self.merits += [found for found in [merit(figures, self.config.evaluation)] if found is not None]
            self._write(figures)
            if self.out_of_patience():
                self.control.should_save = self.control.should_training_stop = True
                self.report.end_early("run.no_better", step=step, patience=self.config.evaluation.patience)
        self._evaluated[step] = figures
        if (self.context.rank == 0 or self.together) and self.answer is not None:
            self._answer_prompts(step, self.answer)
        self.pace.restart()
        return figures

    def _answer_prompts(self, step: int, answer: Callable[[str], str]) -> None:
        prompts = self._unanswered(step)
        if self.together:
            prompts = broadcast_object_list([prompts])[0]
        self.report.phase("answering", total=len(prompts), unit="row", epoch=self.state.epoch)
        for done, prompt in enumerate(prompts, 1):
            with whole(self.model):
                said = answer(prompt)
            if self.agreed_to_stop() if self.together else self.report.stop_requested():  # it may have been cut short
                return
            self.report.sample(step, prompt, said)
            self.report.progress(done)

    def out_of_patience(self) -> bool:
        """Whether the last `patience` evaluations all failed to beat the best one before them."""
        patience, found = self.config.evaluation.patience, self.merits
        return patience is not None and len(found) > patience and min(found[-patience:]) >= min(found[:-patience])

    def _mark(self, step: int, saved_at: float) -> dict[str, Any]:
        """What COMPLETE says of the checkpoint at `step`."""
        figures = self._evaluated.get(step, {})
        best_by = merit(figures, self.config.evaluation)
        return {"step": step, "saved_at": saved_at, "eval_loss": figures.get("eval_loss"), "best_by": best_by}

    # -- 3: checkpoints -----------------------------------------------------------------------------------------------
    def _save_checkpoint(self, model: torch.nn.Module, trial: Any = None) -> None:
        started = time.monotonic()
        step, run = self.state.global_step, self.context.run
        finite = all(torch.isfinite(local(p)).all() for p in self.model.parameters() if p.requires_grad)
        if anywhere(not finite, self.args.device, self.args.world_size):
            raise self.nan_error(step, [])
        tensors = (
            gathered(self.model, everything=not isinstance(self.model.model, PeftModel)) if self.together else None
        )
        self.report.phase("saving", epoch=self.state.epoch)
        mark = partial(self._mark, step, time.time())
        rank, wait = self.context.rank, self.accelerator.wait_for_everyone
        with writing(run, step, mark, limit=self.config.saving.limit, rank=rank, barrier=wait) as folder:
            if rank == 0:
                self.save_weights(folder, tensors)
                self.state.save_to_json(str(folder / "trainer_state.json"))
                write_json(folder / SETTINGS, self.config.model_dump(mode="json"))
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
        self._save_seconds = time.monotonic() - started
        self.pace.restart()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """As the Trainer's; of a model that FSDP has split, every rank its share."""
        if not is_fsdp(self.model):
            super()._save_optimizer_and_scheduler(output_dir)
            return
        save_optimizer(self.model, self.optimizer, str(Path(output_dir) / SHARDS))
        if self.context.rank == 0:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The reverse."""
        if checkpoint is None or not is_fsdp(self.model):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        load_optimizer(self.model, self.optimizer, str(Path(checkpoint) / SHARDS))
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        self.load_weights(Path(resume_from_checkpoint))

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
            elif last is not None and self._is_evaluation(last.step):
                self._answer_late(last)
            if self.stopped:
                return
            if last is None or (last.step < self.total_steps and not self.out_of_patience()):
                self.train(resume_from_checkpoint=None if last is None else str(last.path))
        finally:
            if self.board is not None:
                self.board.close()

    def look_first(self) -> None:
        """Evaluate what nothing has been learnt by yet."""
        if self.config.distributed.strategy == "zero3":  # it is on its devices only once it trains
            self.looks_first = True
            return
        self.evaluate()
        self.stopped = self.agreed_to_stop()

    def _is_evaluation(self, step: int) -> bool:
        """Whether this step is one after which the model is evaluated."""
        every = self.config.evaluation.steps or self.steps_in_epoch
        return step >= self.total_steps or step % every == 0

    def _lacks_evaluation(self, checkpoint: Checkpoint) -> bool:
        if self.config.distributed.strategy == "zero3":  # DeepSpeed puts the model on its devices when it trains
            return False
        return self.evaluator is not None and checkpoint.eval_loss is None and self._is_evaluation(checkpoint.step)

    def _answer_late(self, checkpoint: Checkpoint) -> None:
        """A stop came while the fixed prompts were answered: the others' answers, by the weights of then."""
        if (self.context.rank == 0 or self.together) and self.answer is not None and self._lacks_answer(checkpoint):
            self.load_weights(checkpoint.path)
            self.state.epoch = checkpoint.step / self.steps_in_epoch
            self._answer_prompts(checkpoint.step, self.answer)
        self.accelerator.wait_for_everyone()

    def _lacks_answer(self, checkpoint: Checkpoint) -> bool:
        """Whether rank 0 finds a fixed prompt without its answer of this step."""
        lacks = bool(self._unanswered(checkpoint.step)) and self.context.rank == 0
        return anywhere(lacks, self.args.device, self.args.world_size) if self.together else lacks

    def _unanswered(self, step: int) -> list[str]:
        """The fixed prompts that have no answer of this step yet."""
        rows, _ = read_jsonl(self.context.run.samples_file)
        answered = {row.get("prompt") for row in rows if row.get("step") == step}
        return [prompt for prompt in getattr(self.config.evaluation, "prompts", []) if prompt not in answered]

    def _evaluate_late(self, checkpoint: Checkpoint) -> None:
        """A stop came between this checkpoint and its evaluation: make up for it, on the weights it holds."""
        self.load_weights(checkpoint.path)
        self.state.global_step, self.state.epoch = checkpoint.step, checkpoint.step / self.steps_in_epoch
        self.evaluate()
        if self._evaluated.get(checkpoint.step) and self.context.rank == 0:
            write_json(checkpoint.path / MARK, self._mark(checkpoint.step, checkpoint.saved_at))
        self.accelerator.wait_for_everyone()
        self.stopped = self.agreed_to_stop()


def arguments(config: TrainingConfig, context: RunContext, total_steps: int) -> dict[str, Any]:
    """What Transformers' TrainingArguments, and those that build on them, are made with."""
    optim, schedule = config.optim, config.schedule
    on_cpu = context.device == "cpu"
    return {
        "output_dir": str(context.run.checkpoints),
        "max_steps": total_steps,
        "learning_rate": optim.learning_rate,
        "optim": OPTIMIZERS[optim.optimizer],
        "weight_decay": optim.weight_decay,
        "adam_beta1": optim.adam_beta1,
        "adam_beta2": optim.adam_beta2,
        "adam_epsilon": optim.adam_epsilon,
        "max_grad_norm": optim.max_grad_norm,
        "lr_scheduler_type": schedule.scheduler,
        "warmup_steps": schedule.warmup_steps or int(schedule.warmup_ratio * total_steps),
        "logging_steps": config.logging.steps,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "use_cpu": on_cpu,
        "fp16": config.model.dtype == "fp16",
        "seed": config.run.seed,
        "ddp_backend": None if context.world_size == 1 else "gloo" if on_cpu else "nccl",
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,
        "deepspeed": deepspeed_config(config, context),
    }


def tensorboard(context: RunContext) -> Any:
    """A writer of TensorBoard's event files in the run's folder."""
    from torch.utils.tensorboard import SummaryWriter  # imported here: it takes a second that most runs need not spend

    return SummaryWriter(str(context.run.path / "tensorboard"))
