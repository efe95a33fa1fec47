"""Learning from preferred answers without a reward model: TRL's DPO in this project's runs.

    trainer = PairTrainer(model, context, config, train, held_out, tokenizer, reply, reference=None, autocast=None)
    trainer.continue_or_start()

loss = −log σ(β · (Δ_chosen − Δ_rejected)),  Δ = log π(answer) − log π_ref(answer)

after Rafailov et al. (arXiv 2305.18290, equation 7). The loss, its variants, batches and the reference are TRL's
(`DPOTrainer`); the pairs come encoded as those of a reward run, and stops, evaluations, checkpoints and the names of
the figures are `StageLoop`'s. Left out: TRL's own tokenising and cutting, its model card, and its report of each use to
its makers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel
from trl import DPOConfig as Arguments
from trl import DPOTrainer

from core.configs.schedule import total_steps
from core.configs.stages import DPOConfig
from core.data.encode.pairs import EncodedPairs
from core.errors import RunError
from core.report import RunContext
from core.training.evaluating import WalkStopped
from core.training.pace import Pace
from core.training.stage_loop import StageLoop, arguments
from core.training.weights import load_trained, save_trained

# TRL's names of what it sums up, and the names that a reward run has for the same. An answer's score is β · Δ.
FIGURES = {
    "rewards/accuracies": "accuracy", "rewards/margins": "margin", "rewards/chosen": "chosen",
    "rewards/rejected": "rejected",
}  # fmt: skip


class PairTrainer(StageLoop, DPOTrainer):
    """Trains `model` on pairs. reference: π_ref as a model of its own; None: what `model` is without its new adapter.

    held_out: pairs that are evaluated on; None: none are. answer: maps a prompt to the model's reply. autocast: the
    dtype of the products, where weights that learn are in another.
    """

    def __init__(
        self,
        model: Any,
        context: RunContext,
        config: DPOConfig,
        train: EncodedPairs,
        held_out: EncodedPairs | None,
        tokenizer: Any,
        answer: Callable[[str], str] | None,
        *,
        reference: PreTrainedModel | None,
        autocast: torch.dtype | None,
    ) -> None:
        schedule, dpo = config.schedule, config.dpo
        self._pairs_seen: list[int] = []  # of each batch of an evaluation
        lengths = train.parts.sum(axis=1) + train.parts[:, 0]  # both answers read the prompt for themselves
        squares = (train.parts[:, :1] + train.parts[:, 1:]) ** 2
        in_epoch = math.ceil(len(train) / (schedule.batch_size * schedule.gradient_accumulation * context.world_size))
        steps = total_steps(schedule, in_epoch, int(lengths.sum()))
        pace = Pace(
            SimpleNamespace(model=model, autocast=autocast),
            config.tuning.method,
            lengths,
            squares.sum(axis=1),
            trainable_layers=config.tuning.trainable_layers,
            world_size=context.world_size,
            reference=True,
        )
        settings = Arguments(
            **arguments(config, context, steps),
            per_device_train_batch_size=schedule.batch_size,
            gradient_accumulation_steps=schedule.gradient_accumulation,
            per_device_eval_batch_size=config.evaluation.batch_size,
            include_num_input_tokens_seen="non_padding",
            bf16=autocast == torch.bfloat16,
            gradient_checkpointing=False,  # `make_trainable` has seen to that
            max_length=None,  # the pairs are encoded to theirs
            beta=dpo.beta,
            loss_type=[dpo.loss, *(["sft"] if dpo.sft_weight else [])],
            loss_weights=[1.0, *([dpo.sft_weight] if dpo.sft_weight else [])],
            label_smoothing=config.optim.label_smoothing,
        )
        super().__init__(
            context, config, held_out, tokenizer, answer,
            total_steps=steps, steps_in_epoch=in_epoch, pace=pace, model=model, ref_model=reference, args=settings,
            train_dataset=as_dataset(train), processing_class=tokenizer,
            eval_dataset=None if held_out is None else as_dataset(held_out),
        )  # fmt: skip
        for parameter in self.model.parameters():  # TRL makes adapters of quantised models bf16; they learn in fp32
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        """As it is: the pairs are encoded."""
        return dataset

    def _send_telemetry(self) -> None:
        """Nothing is sent: what runs here is nobody's business."""

    # -- steps --------------------------------------------------------------------------------------------------------
    def training_step(self, model: torch.nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Tensor:
        read, learnt = (int(inputs[name].sum()) for name in ("attention_mask", "completion_mask"))
        loss: Tensor = super().training_step(model, inputs, *args, **kwargs)
        self._stop_at_nan(bool(torch.isfinite(loss)))
        self.pace.step(read * self.args.world_size, learnt * self.args.world_size)
        return loss

    def figures(self) -> dict[str, float]:
        """Accuracy (ties lose), mean margin and mean scores of the pairs trained on since the last call."""
        found = self._metrics["train"]
        figures = {name: float(np.mean(found[theirs])) for theirs, name in FIGURES.items() if found[theirs]}
        found.clear()
        return figures

    # -- what `StageLoop` asks for ------------------------------------------------------------------------------------
    def measure(self, evaluator: EncodedPairs) -> dict[str, float]:
        """Loss, accuracy, margin and scores of the held-out pairs, by TRL's own loop."""
        self.report.phase(
            "evaluating", total=math.ceil(len(evaluator) / self.args.world_size), unit="row", epoch=self.state.epoch
        )
        self._pairs_seen = []
        self._metrics["eval"].clear()
        loop = self.evaluation_loop(self.get_eval_dataloader(), "", prediction_loss_only=True, metric_key_prefix="eval")
        found = self._metrics["eval"]
        figures = {
            f"eval_{name}": float(np.average(found[theirs], weights=self._pairs_seen))
            for theirs, name in FIGURES.items()
        }
        return {"eval_loss": float(loop.metrics["eval_loss"]), **figures}

    def prediction_step(self, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        """One batch of the evaluation. Raises WalkStopped on all ranks at once."""
        if self.agreed_to_stop():
            raise WalkStopped
        self._pairs_seen.append(len(inputs["input_ids"]) // 2)
        found = super().prediction_step(model, inputs, *args, **kwargs)
        self.report.progress(sum(self._pairs_seen))
        return found

    def save_weights(self, folder: Path) -> None:
        save_trained(self.model, self.tokenizer, folder)

    def load_weights(self, folder: Path) -> None:
        load_trained(self.model, folder)

    def nan_error(self, step: int, rows: Sequence[int]) -> RunError:
        """Rows are not tried one by one: tokens are whole numbers, so it is the training that has diverged."""
        checkpoints = self.context.run.complete_checkpoints()
        return RunError("run.diverged", step=step, checkpoint=checkpoints[-1].path.name if checkpoints else "–")


def as_dataset(pairs: EncodedPairs) -> Dataset:
    """Encoded pairs as TRL's collator wants them, read from their file when they are asked for: lists of ids by the
    names prompt_ids, chosen_ids, rejected_ids."""

    def read(batch: dict[str, list[int]]) -> dict[str, list[list[int]]]:
        rows = [_parted(pairs, index) for index in batch["pair"]]
        return {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}

    return Dataset.from_dict({"pair": range(len(pairs))}).with_transform(read)


COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")


def _parted(pairs: EncodedPairs, index: int) -> tuple[list[int], list[int], list[int]]:
    """The three lists of a pair. What both answers begin with counts as theirs again, not as the prompt's."""
    shared, *answers = (ids.tolist() for ids in pairs[index])
    chosen, rejected = (shared + own for own in answers)
    begins = len(chosen) - int(pairs.answers[index][0])
    return chosen[:begins], chosen[begins:], rejected[begins:]
