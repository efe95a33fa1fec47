"""The sections that stage configs are composed of. A setting is declared here and nowhere else.

The page's form fields, the command line, the YAML presets, the field help and docs/fields all read these
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


def lines_of(value: Any) -> Any:
    """A text as the list of its lines; blank ones are left out. Lists are left as they are."""
    return [line.strip() for line in value.splitlines() if line.strip()] if isinstance(value, str) else value


def weighted_lines(value: Any) -> Any:
    """Names with weights as lines: of a text, and of what YAML makes of `- general: 0.5` and of `general: 0.5`."""
    lines = [value] if isinstance(value, dict) else lines_of(value)
    if not isinstance(lines, list):
        return lines
    pairs = [line.items() if isinstance(line, dict) else [(line, None)] for line in lines]
    return [name if share is None else f"{name}: {share}" for each in pairs for name, share in each]


def weighted(line: str) -> tuple[str, float]:
    """`general: 0.5` as its name and its weight; without a weight that is 1. Raises ValueError."""
    name, colon, text = line.rpartition(":")
    try:
        weight = float(text) if colon else None
    except ValueError:
        weight = None
    if weight is None:
        return line.strip(), 1.0
    if not name.strip() or not 0 < weight <= 100:
        raise ValueError(f"'{line}' needs a weight above 0, at most 100")
    return name.strip(), weight


def split_by_commas(name: str) -> Any:
    """The validator of a list: `a, b` is short for `[a, b]`."""

    def split(value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    return field_validator(name, mode="before")(split)


class Run(Section):
    name: str = setting(
        "", "Shown wherever the run can be chosen. Empty: made from model, stage and dataset.", max_length=80
    )
    seed: int = setting(42, "Seed of the data order, the adapter's first weights and dropout.", ge=0, le=2**31 - 1)
    retries: int = setting(
        0, "How often a run that crashed starts again by itself, from its last checkpoint.", ge=0, le=100, advanced=True
    )
    webhook: str = setting(
        "", "Address that is told when the run ends, by a POST of JSON. What is secret in it belongs in an environment "
        "variable, which is written $NAME.", max_length=2000, advanced=True,
    )  # fmt: skip
    after: list[str] = setting(
        [],
        "Runs that must have succeeded before this one starts, by their ids. A failed or stopped one holds it until "
        "that run has been resumed to its end.",
        advanced=True,
    )
    rehearsal: str = setting(
        "", "The rehearsal that the run belongs to; empty: none. Its runs are listed, and deleted, together.",
        max_length=80, advanced=True,
    )  # fmt: skip

    _split = split_by_commas("after")

    @field_validator("webhook")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://", "$")):
            raise ValueError("write an address that begins with https:// or http://, or the $NAME of a variable")
        return value


MODEL_TYPE = "llama, bloom, chatglm, …: what the model is, if that is to be checked. Empty: what the folder says."


class Model(Section):
    base: str = setting(
        ...,
        "A finished run, a model of the workspace, a local folder, a GGUF file, or a hub id such as Qwen/Qwen3-0.6B.",
        min_length=1,
    )
    model_type: str = setting("", MODEL_TYPE, advanced=True)
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = setting(
        "auto", "Number format of the frozen weights. auto: bf16 where the device computes in it, else fp32."
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = setting(
        "auto", "Attention kernel. auto: sdpa where the model supports it.", advanced=True
    )
    template: str | None = setting(
        None,
        "A named chat template (chatml, medicalgpt, alpaca, …) for a model that has none or was taught another one. "
        "Empty: the tokenizer's own.",
        advanced=True,
    )
    trust_remote_code: bool = setting(
        False, "Run Python code that came with the model. Only for models whose authors you trust.", advanced=True
    )


def train() -> Any:
    return setting(..., "A dataset of the workspace (name or name@version) or a file.", min_length=1)


def validation() -> Any:
    return setting(None, "A second dataset or file, for evaluation only.")


def validation_split(default: float) -> Any:
    return setting(
        default, "Share of the training rows held out for evaluation, when no validation data is named.", ge=0, le=0.5
    )


def max_rows() -> Any:
    return setting(None, "Use only this many rows, of each dataset, chosen by the seed.", ge=1)


def bad_rows() -> Any:
    return setting("stop", "Rows that cannot be used: stop before the start and list them, or drop and record them.")


class Data(Section):
    """Conversations, for SFT."""

    train: str = train()
    mix: list[str] = setting(
        [],
        "Further datasets, one a line, each with how often an epoch takes its rows: general: 0.5 is half of them, 2 is "
        "each twice. Where rows are held out, every dataset gets an evaluation loss of its own.",
        advanced=True,
    )
    validation: str | None = validation()
    validation_split: float = validation_split(0.0)
    max_length: int = setting(
        512, "Tokens a row may have. Longer ones lose whole oldest turns, then their end.", ge=8, le=1_048_576
    )
    max_rows: int | None = max_rows()
    bad_rows: Literal["stop", "drop"] = bad_rows()
    train_on: Literal["assistant", "all"] = setting(
        "assistant", "Learn the assistant's turns only, or every token of the conversation.", advanced=True
    )
    order: Literal["shuffled", "easy_first", "phases"] = setting(
        "shuffled", "Curriculum. shuffled: none. easy_first: every epoch from easy to hard. phases: in stages of "
        "rising difficulty, shuffled within each.", advanced=True,
    )  # fmt: skip
    difficulty: Literal["column", "length", "loss"] = setting(
        "column",
        "What makes a row hard: the dataset's difficulty column, its length in tokens, or the base model's loss on it.",
        advanced=True,
    )
    phases: int = setting(3, "Stages of a curriculum in phases.", ge=2, le=100, advanced=True)

    @field_validator("mix", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return weighted_lines(value)

    @field_validator("mix")
    @classmethod
    def _weighted(cls, lines: list[str]) -> list[str]:
        names = [weighted(line)[0] for line in lines]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]} is listed twice")
        return lines


class Documents(Section):
    """Plain documents, for pretraining."""

    train: str = setting(
        ..., "A dataset of documents or of conversations (taken as plain text), or a file.", min_length=1
    )
    validation: str | None = validation()
    validation_split: float = validation_split(0.05)
    general: str | None = setting(
        None, "General text mixed in, so that the model does not forget what it knew: a dataset or a file."
    )
    general_share: float = setting(0.1, "Share of the training tokens that is general text.", gt=0, lt=1)
    block_size: int = setting(
        512, "Tokens of a block: what the model reads at once. At most its context.", ge=8, le=1_048_576
    )
    packing: Literal["isolated", "joined"] = setting(
        "isolated",
        "isolated: documents share a batch and never see each other. joined: documents run on with an end mark between "
        "them and are cut into blocks of equal size, as most base models were made.",
    )
    end_mark: bool = setting(True, "End every document with the tokenizer's end-of-text token.", advanced=True)
    max_rows: int | None = max_rows()
    bad_rows: Literal["stop", "drop"] = bad_rows()


def adapter_rank() -> Any:
    return setting(8, "Rank of the adapters.", ge=1, le=1024)


def adapter_alpha() -> Any:
    return setting(16, "Scale: the adapter's output is multiplied by alpha / rank.", gt=0, le=4096)


def adapter_targets() -> Any:
    return setting(
        ["all-linear"],
        "Names of the linear layers that get an adapter; all-linear: every one but the head, of a mixture of experts "
        "those of the attention.",
        advanced=True,
    )


class Tuning(Section):
    method: Literal["lora", "full", "freeze"] = setting(
        "lora", "lora: small adapters. full: every weight. freeze: only the last layers."
    )
    trainable_layers: int = setting(2, "How many of the last layers learn, with method freeze.", ge=1, le=1000)
    gradient_checkpointing: bool = setting(
        False, "Recompute activations in the backward pass: less memory, about a third slower.", advanced=True
    )


class Quantization(Section):
    """QLoRA: the frozen weights in 4 or 8 bits, adapters in full precision on top."""

    kind: Literal["none", "nf4", "fp4", "int8"] = setting(
        "none", "nf4: 4 bits, as QLoRA does it. int8: 8 bits. Needs method lora; slower, for much less memory."
    )
    double: bool = setting(True, "Quantise the scales of the 4-bit blocks, too: 0.4 bits a weight less.", advanced=True)


class Lora(Section):
    rank: int = adapter_rank()
    alpha: float = adapter_alpha()
    dropout: float = setting(0.0, "Dropout before the adapters.", ge=0, le=0.9)
    targets: list[str] = adapter_targets()
    start: Literal["new", "continue"] = setting(
        "new",
        "When the base is a run with an adapter. new: merge it into its base and train another on top. continue: go on "
        "training that very adapter.",
        advanced=True,
    )
    embeddings: Literal["auto", "yes", "no"] = setting(
        "auto", "Train embeddings and head whole beside the adapters. auto: when the vocabulary has grown.",
        advanced=True,
    )  # fmt: skip

    _split = split_by_commas("targets")


class Optim(Section):
    learning_rate: float = setting(2e-4, "Peak learning rate. 2e-4 suits LoRA, 2e-5 full fine-tuning.", gt=0, le=1)
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor", "lion_8bit", "sgd"] = (
        setting(
            "adamw",
            "The optimizer. 8bit: its state in 8 bits. paged: its state moves to main memory when the GPU is full.",
            advanced=True,
        )
    )
    weight_decay: float = setting(0.0, "Decay of the weight matrices.", ge=0, le=1, advanced=True)
    adam_beta1: float = setting(0.9, "Adam's first-moment decay.", ge=0, lt=1, advanced=True)
    adam_beta2: float = setting(0.999, "Adam's second-moment decay.", ge=0, lt=1, advanced=True)
    adam_epsilon: float = setting(1e-8, "Adam's epsilon.", gt=0, le=1, advanced=True)
    max_grad_norm: float = setting(
        1.0, "Gradients are scaled down to this norm; 0 leaves them.", ge=0, le=1000, advanced=True
    )
    label_smoothing: float = setting(
        0.0, "Share of the target given to all other tokens; above 0 the fused loss is off.", ge=0, lt=1, advanced=True
    )
    neftune_alpha: float = setting(
        0.0, "NEFTune: uniform noise on the embeddings while training; 5 is usual, 0 is off.", ge=0, le=100,
        advanced=True,
    )  # fmt: skip


class Schedule(Section):
    epochs: float = setting(3, "Passes over the training rows.", gt=0, le=1000)
    max_steps: int | None = setting(None, "Stop after this many optimizer steps, whatever the epochs.", ge=1)
    max_tokens: int | None = setting(
        None, "Stop after about so many training tokens, whatever the epochs: a token budget.", ge=1, advanced=True
    )
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
        return lines_of(value)


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

    _split = split_by_commas("use")

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
