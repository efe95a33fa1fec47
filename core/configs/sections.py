"""The sections that stage configs are composed of. A setting is declared here and nowhere else.

The page's form fields, the command line, the YAML presets, the field help and the README's tables all read these
declarations: the order is the order on the page, the description is the help, `ge`/`le` are the bounds, and
`advanced` folds a field away.
"""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A group of settings. Unknown keys are errors; strings are stripped."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _bounded(cls, value: Any) -> Any:
        """A whole number that JSON would not bring back unchanged everywhere is none that anybody means."""
        if isinstance(value, int) and abs(value) > 2**53:
            raise ValueError("the number is too large")
        return value


def setting(default: Any, description: str, *, advanced: bool = False, **bounds: Any) -> Any:
    """A field with its help; `advanced` ones are folded away on the page. `...` as default makes it required."""
    return Field(default, description=description, json_schema_extra={"advanced": advanced}, **bounds)


def is_advanced(info: FieldInfo) -> bool:
    """Whether a setting is folded away on the page."""
    extra = info.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("advanced"))


def inner(annotation: Any) -> tuple[Any, bool]:
    """The type of a setting without its None, and whether None is allowed."""
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return parts[0], len(parts) < len(get_args(annotation))
    return annotation, False


class Run(Section):
    name: str = setting(
        "", "Shown wherever the run can be chosen. Empty: made from model, stage and dataset.", max_length=80
    )
    seed: int = setting(42, "Seed of the data order, the adapter's first weights and dropout.", ge=0, le=2**31 - 1)


class Model(Section):
    base: str = setting(
        ..., "A model of the workspace, a local folder, a GGUF file, or a hub id such as Qwen/Qwen3-0.6B.", min_length=1
    )
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = setting(
        "auto", "Number format of the frozen weights. auto: bf16 where the device computes in it, else fp32."
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = setting(
        "auto", "Attention kernel. auto: sdpa where the model supports it.", advanced=True
    )
    template: str | None = setting(
        None, "A named chat template (chatml) for a model that has none. Empty: the tokenizer's own.", advanced=True
    )
    trust_remote_code: bool = setting(
        False, "Run Python code that came with the model. Only for models whose authors you trust.", advanced=True
    )


class Data(Section):
    train: str = setting(..., "A dataset of the workspace (name or name@version) or a file.", min_length=1)
    validation: str | None = setting(None, "A second dataset or file, for evaluation only.")
    validation_split: float = setting(
        0.0, "Share of the training rows held out for evaluation, when no validation data is named.", ge=0, le=0.5
    )
    max_length: int = setting(
        512, "Tokens a row may have. Longer ones lose whole oldest turns, then their end.", ge=8, le=1_048_576
    )
    max_rows: int | None = setting(None, "Use only this many rows, chosen by the seed.", ge=1)
    bad_rows: Literal["stop", "drop"] = setting(
        "stop", "Rows that cannot be used: stop before the start and list them, or drop and record them."
    )
    train_on: Literal["assistant", "all"] = setting(
        "assistant", "Learn the assistant's turns only, or every token of the conversation.", advanced=True
    )


class Tuning(Section):
    method: Literal["lora", "full", "freeze"] = setting(
        "lora", "lora: small adapters. full: every weight. freeze: only the last layers."
    )
    trainable_layers: int = setting(2, "How many of the last layers learn, with method freeze.", ge=1, le=1000)
    gradient_checkpointing: bool = setting(
        False, "Recompute activations in the backward pass: less memory, about a third slower.", advanced=True
    )


class Lora(Section):
    rank: int = setting(8, "Rank of the adapters.", ge=1, le=1024)
    alpha: float = setting(16, "Scale: the adapter's output is multiplied by alpha / rank.", gt=0, le=4096)
    dropout: float = setting(0.0, "Dropout before the adapters.", ge=0, le=0.9)
    targets: list[str] = setting(
        ["all-linear"],
        "Names of the linear layers that get an adapter; all-linear: every one but the head.",
        advanced=True,
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Optim(Section):
    learning_rate: float = setting(2e-4, "Peak learning rate. 2e-4 suits LoRA, 2e-5 full fine-tuning.", gt=0, le=1)
    optimizer: Literal["adamw", "adafactor", "sgd"] = setting("adamw", "The optimizer.", advanced=True)
    weight_decay: float = setting(0.0, "Decay of the weight matrices.", ge=0, le=1, advanced=True)
    adam_beta1: float = setting(0.9, "Adam's first-moment decay.", ge=0, lt=1, advanced=True)
    adam_beta2: float = setting(0.999, "Adam's second-moment decay.", ge=0, lt=1, advanced=True)
    adam_epsilon: float = setting(1e-8, "Adam's epsilon.", gt=0, le=1, advanced=True)
    max_grad_norm: float = setting(
        1.0, "Gradients are scaled down to this norm; 0 leaves them.", ge=0, le=1000, advanced=True
    )
    neftune_alpha: float = setting(
        0.0,
        "NEFTune: uniform noise on the embeddings while training; 5 is usual, 0 is off.",
        ge=0,
        le=100,
        advanced=True,
    )


class Schedule(Section):
    epochs: float = setting(3, "Passes over the training rows.", gt=0, le=1000)
    max_steps: int | None = setting(None, "Stop after this many optimizer steps, whatever the epochs.", ge=1)
    batch_size: int = setting(2, "Rows that a device works on at once.", ge=1, le=4096)
    gradient_accumulation: int = setting(4, "Batches a device gathers before one optimizer step.", ge=1, le=4096)
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"] = setting(
        "cosine", "How the learning rate goes on after warm-up."
    )
    warmup_steps: int = setting(0, "Steps in which the learning rate rises from 0.", ge=0)
    warmup_ratio: float = setting(
        0.03, "The same as a share of all steps, used when warm-up steps is 0.", ge=0, le=1, advanced=True
    )


class Evaluation(Section):
    steps: int | None = setting(None, "Evaluate every so many steps. Empty: at the end of every epoch.", ge=1)
    batch_size: int = setting(4, "Rows evaluated at once.", ge=1, le=4096, advanced=True)
    patience: int | None = setting(
        None, "Stop early after this many evaluations without a better loss. Empty: never.", ge=1
    )
    keep_best: bool = setting(True, "Deliver the checkpoint with the lowest evaluation loss, not the last one.")
    prompts: list[str] = setting(
        ["一岁宝宝发烧能吃啥药？", "What are the early signs of diabetes?"],
        "Fixed prompts answered at every evaluation, so that you can read the progress. At most five.",
        max_length=5,
    )
    max_new_tokens: int = setting(96, "Length limit of those answers, in tokens.", ge=1, le=4096, advanced=True)

    @field_validator("prompts", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return [line.strip() for line in value.splitlines() if line.strip()] if isinstance(value, str) else value


class Saving(Section):
    steps: int | None = setting(None, "Save a checkpoint every so many steps. Empty: at every evaluation.", ge=1)
    limit: int = setting(3, "Checkpoints kept: the newest ones, and always the best.", ge=1, le=1000)


class Logging(Section):
    steps: int = setting(1, "Write the figures every so many steps.", ge=1)
    tensorboard: bool = setting(
        False, "Write TensorBoard event files, too (under tensorboard/ in the run).", advanced=True
    )


class Devices(Section):
    use: list[str] = setting(
        ["auto"], "Where the run computes; several devices start one process each. auto: the first GPU, else the CPU."
    )

    @field_validator("use", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("use")
    @classmethod
    def _number_cpus(cls, value: list[str]) -> list[str]:
        """`[cpu, cpu]` means two processes on the CPU: `[cpu:0, cpu:1]`."""
        if not value:
            raise ValueError("name at least one device")
        if all(name == "cpu" for name in value):
            return [f"cpu:{rank}" for rank in range(len(value))]
        if len(set(value)) != len(value):
            raise ValueError("a device is listed twice")
        return value
