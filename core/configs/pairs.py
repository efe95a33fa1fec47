"""Sections of the stages that learn from preference pairs: reward model and DPO."""

from __future__ import annotations

from typing import Literal

from core.configs.sections import Optim, Section, bad_rows, max_rows, setting, train, validation, validation_split


class Pairs(Section):
    """Preference pairs, for reward models and DPO."""

    train: str = train()
    validation: str | None = validation()
    validation_split: float = validation_split(0.1)
    max_length: int = setting(
        512, "Tokens of a question with its answer. Longer ones lose whole oldest turns.", ge=8, le=1_048_576
    )
    max_rows: int | None = max_rows()
    bad_rows: Literal["stop", "drop"] = bad_rows()


class Preference(Section):
    """The loss of a reward model: −log σ(r_chosen − r_rejected − margin) + centring · (r_chosen + r_rejected)²."""

    margin: float = setting(
        0.0, "How far the chosen answer's score should be above the rejected one's, at least.", ge=0, le=100
    )
    centring: float = setting(
        0.01, "Pulls the two scores of a pair towards a sum of 0, so that scores have a fixed origin; 0 is off.",
        ge=0, le=10,
    )  # fmt: skip
    head_learning_rate: float | None = setting(
        None, "Learning rate of the score head. Empty: that of everything else.", gt=0, le=1, advanced=True
    )


class Direct(Section):
    """The loss of DPO: −log σ(β · (Δ_chosen − Δ_rejected)), Δ = log π − log π_ref of a whole answer."""

    beta: float = setting(
        0.1,
        "How strongly the model is held to what it was. Smaller: the pairs move it further.",
        gt=0,
        le=10,
    )
    loss: Literal["sigmoid", "robust", "ipo", "hinge"] = setting(
        "sigmoid",
        "sigmoid: DPO as published. robust: some preferences are mistaken, as many as optim.label_smoothing says. "
        "ipo: does not push pairs apart for ever. hinge: stops at a margin.",
        advanced=True,
    )
    sft_weight: float = setting(
        0.0, "How much of the SFT loss on the chosen answers is added; it keeps them likely. 0 is off.", ge=0, le=100,
        advanced=True,
    )  # fmt: skip


class PairOptim(Optim):
    """Of what learns from pairs."""

    label_smoothing: float = setting(
        0.0, "Share of the preferences that are taken for mistaken.", ge=0, lt=0.5, advanced=True
    )


class DirectOptim(PairOptim):
    """Of DPO."""

    learning_rate: float = setting(
        5e-5, "Peak learning rate. 5e-6 to 1e-4 suit LoRA, 5e-7 full fine-tuning: DPO wants less than SFT.", gt=0, le=1
    )


class Judging(Section):
    """Evaluation of a reward model."""

    steps: int | None = setting(None, "Evaluate every so many steps. Empty: at the end of every epoch.", ge=1)
    batch_size: int = setting(4, "Pairs evaluated at once.", ge=1, le=4096, advanced=True)
    patience: int | None = setting(
        None, "Stop early after this many evaluations without a better result. Empty: never.", ge=1
    )
    keep_best: bool = setting(True, "Deliver the checkpoint with the best evaluation, not the last one.")
    best_by: Literal["loss", "accuracy"] = setting(
        "loss", "What is best: the lowest evaluation loss, or the highest pair accuracy.", advanced=True
    )
