"""Learning from preferred answers without a reward model: TRL's DPO in this project's runs.

    trainer = PairTrainer(model, context, config, train, held_out, tokenizer, reply, reference=…, autocast=None)
    trainer.continue_or_start()

loss = −log σ(β · (Δ_chosen − Δ_rejected)),  Δ = log π(answer) − log π_ref(answer)

after Rafailov et al. (arXiv 2305.18290, equation 7). The loss, its variants, the batches and the training step are
TRL's (`DPOTrainer`); the pairs come encoded as those of a reward run, and stops, evaluations, checkpoints and the names
of the figures are this project's. Left out: TRL's own tokenising and cutting, its evaluation loop (with several ranks
it counts some pairs twice), its model card, and its report of each use to its makers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

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
from core.errors import ModelError, RunError
from core.report import RunContext
from core.training.evaluating import WalkStopped
from core.training.pace import Pace
from core.training.sharding import Tensors
from core.training.stage_loop import StageLoop, arguments
from core.training.weights import load_trained, save_trained

# TRL's names of what it sums up, and the names that a reward run has for the same. An answer's score is β · Δ.
FIGURES = {
    "rewards/accuracies": "accuracy", "rewards/margins": "margin", "rewards/chosen": "chosen",
    "rewards/rejected": "rejected",
}  # fmt: skip
COMPARED = 64  # tokens on which TRL's head is compared with the model's own: its logits are all there at once
RESTING = "ref"  # TRL's name of the adapter that it copies before it trains another


Reference = Literal["backbone", "resting"] | PreTrainedModel


class PairTrainer(StageLoop, DPOTrainer):
    """Trains `model` on pairs. reference, π_ref: "backbone": `model` without its adapter, which is new. "resting": with
    a second adapter that stays what the first is at the start. Or a model of its own.

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
        reference: Reference,
        autocast: torch.dtype | None,
    ) -> None:
        schedule, dpo = config.schedule, config.dpo
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
        with warnings.catch_warnings():  # of a name that TRL itself gives to a setting
            warnings.simplefilter("ignore", FutureWarning)
            settings = Arguments(
                **arguments(config, context, steps),
                per_device_train_batch_size=schedule.batch_size,
                gradient_accumulation_steps=schedule.gradient_accumulation,
                include_num_input_tokens_seen="non_padding",
                bf16=autocast == torch.bfloat16,
                gradient_checkpointing=False,  # `make_trainable` has seen to it
                max_length=None,  # the pairs are encoded to theirs
                beta=dpo.beta,
                loss_type=[dpo.loss, *(["sft"] if dpo.sft_weight else [])],
                loss_weights=[1.0, *([dpo.sft_weight] if dpo.sft_weight else [])],
                label_smoothing=config.optim.label_smoothing,
            )
        learning = {parameter: parameter.data for parameter in model.parameters() if parameter.requires_grad}
        apart = None if isinstance(reference, str) else reference
        super().__init__(
            context, config, held_out, tokenizer, answer,
            total_steps=steps, steps_in_epoch=in_epoch, pace=pace, model=model, ref_model=apart, args=settings,
            train_dataset=as_dataset(train), processing_class=tokenizer,
        )  # fmt: skip
        for parameter, values in learning.items():  # TRL has made those on quantised weights bf16; they learn in fp32
            parameter.data = values
        if reference == "backbone":
            model.delete_adapter(RESTING)  # then TRL takes the other one out instead
        for module in model.modules():  # TRL puts dropout layers to rest; some families keep theirs as a number
            if isinstance(getattr(module, "attention_dropout", None), float):
                module.attention_dropout = 0.0
        # TRL turns checkpointing off for the reference and on again, and each time on leaves one more hook behind.
        model.gradient_checkpointing_disable = model.gradient_checkpointing_enable = lambda *_: None
        self._check_head(train)

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        """As it is: the pairs are encoded."""
        return dataset

    def _send_telemetry(self) -> None:
        """Nothing is sent: what runs here is nobody's business."""

    @torch.no_grad()
    def _check_head(self, pairs: EncodedPairs) -> None:
        """Raise ModelError where TRL's log-probabilities, from hidden states and head, are not the model's own."""
        prompt, chosen, _ = _parted(pairs, 0)
        ids = torch.tensor([(prompt + chosen)[:COMPARED]], device=self.args.device)
        with self.accelerator.autocast():
            own = self.model(input_ids=ids).logits.float().log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])
            found = self.model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs[:, -own.shape[1] :]
        apart = (found - own.squeeze(2)).abs().mean()
        if not apart <= (1e-3 if self.model.dtype == torch.float32 and not self.args.bf16 else 0.1):
            raise ModelError("dpo.own_logits", architecture=type(self.model).__name__, apart=f"{apart:.2g}")

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
    @torch.no_grad()
    def measure(self, evaluator: EncodedPairs) -> dict[str, float]:
        """Mean loss, accuracy, margin and scores of the held-out pairs, each counted once. Raises WalkStopped.

        Ranks share the pairs out; the last ones, too few to go round, all of them look at together.
        """
        size, ranks = self.config.evaluation.batch_size, self.args.world_size
        shared = len(evaluator) // (size * ranks) * size * ranks
        starts = [*range(0, shared, size * ranks), *range(shared, len(evaluator), size)]
        self.report.phase("evaluating", total=len(evaluator), unit="row", epoch=self.state.epoch)
        self.model.eval()
        self._metrics["eval"].clear()
        losses, counts = [], []
        for start in starts:
            if self.agreed_to_stop():
                raise WalkStopped
            first = start + size * self.args.process_index if start < shared else start
            rows = range(first, min(first + size, len(evaluator)))
            batch = self.data_collator([as_row(evaluator, index) for index in rows])
            with self.accelerator.autocast():
                loss = self.compute_loss(self.model, self._prepare_inputs(batch))
            losses.append(float(self._total(loss[None])) / ranks)
            counts.append(size * ranks if start < shared else len(rows))
            self.report.progress(sum(counts))
        found = self._metrics["eval"]
        figures = {"loss": losses, **{name: found[theirs] for theirs, name in FIGURES.items()}}
        return {f"eval_{name}": float(np.average(each, weights=counts)) for name, each in figures.items()}

    def save_weights(self, folder: Path, tensors: Tensors | None = None) -> None:
        save_trained(self.model, self.tokenizer, folder, tensors)

    def load_weights(self, folder: Path) -> None:
        load_trained(self.model, folder)

    def nan_error(self, step: int, rows: Sequence[int]) -> RunError:
        """Rows are not tried one by one: tokens are whole numbers, so it is the training that has diverged."""
        checkpoints = self.context.run.complete_checkpoints()
        return RunError("run.diverged", step=step, checkpoint=checkpoints[-1].path.name if checkpoints else "–")


def as_dataset(pairs: EncodedPairs) -> Dataset:
    """Encoded pairs as TRL's trainer takes them, read from their file when they are asked for."""

    def read(batch: dict[str, list[int]]) -> dict[str, list[list[int]]]:
        rows = [as_row(pairs, index) for index in batch["pair"]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    return Dataset.from_dict({"pair": range(len(pairs))}).with_transform(read)


def as_row(pairs: EncodedPairs, index: int) -> dict[str, list[int]]:
    """A pair as TRL's collator takes it."""
    return dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), _parted(pairs, index), strict=True))


def _parted(pairs: EncodedPairs, index: int) -> tuple[list[int], list[int], list[int]]:
    """(prompt, chosen, rejected). What both answers begin with counts as theirs again, not as the prompt's."""
    shared, *answers = (ids.tolist() for ids in pairs[index])
    chosen, rejected = (shared + own for own in answers)
    asked = len(chosen) - int(pairs.answers[index][0])
    assert asked == len(rejected) - int(pairs.answers[index][1])  # both answer one question
    return chosen[:asked], chosen[asked:], rejected[asked:]
