"""What happens after every optimizer step: whether to evaluate, save or stop, and how far the run says it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState

if TYPE_CHECKING:
    from core.training.stage_loop import StageLoop

KEPT_SHARE = 0.9  # of the mean of step seconds, what the steps before the last one count for


class StepControl(TrainerCallback):
    """Decides after every step whether to evaluate, save or stop, and tells the progress."""

    def __init__(self, trainer: StageLoop) -> None:
        self.trainer = trainer
        self.began = time.monotonic()
        self.step_seconds = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.trainer.looks_first:
            self.trainer.looks_first = False
            self.trainer.evaluate()
        self.trainer.pace.restart()
        self._back_to_training(state)

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.trainer.report.current_phase != "training":
            self._back_to_training(state)
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        trainer, config = self.trainer, self.trainer.config
        step, last = state.global_step, state.global_step >= state.max_steps
        taken = time.monotonic() - self.began
        before = self.step_seconds or taken
        self.step_seconds = KEPT_SHARE * before + (1 - KEPT_SHARE) * taken
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
        if evaluate and config.evaluation.keep_best and trainer.evaluator is not None:
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
