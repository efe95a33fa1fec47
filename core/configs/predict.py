"""Sections of the stage `predict`: a file of prompts, answered line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from core.configs.sections import MODEL_TYPE, Section, setting


class Answering(Section):
    """Who answers. One of `base` and `lora` is needed."""

    base: str = setting(
        "", "A finished run, a model of the workspace, or a local folder. Empty: the base that lora belongs to."
    )
    lora: str = setting(
        "", "An adapter to lay on it: a run, or a folder that another program wrote. A run as base brings its own."
    )
    tokenizer: str = setting("", "A folder with another tokenizer. Empty: the one that came with them.", advanced=True)
    model_type: str = setting("", MODEL_TYPE, advanced=True)
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = setting(
        "auto", "Number format of the weights. auto: bf16 where the device computes in it, else fp32."
    )
    template: str | None = setting(
        None, "A named chat template for a model that has none or was taught another one. Empty: the model's own."
    )
    trust_remote_code: bool = setting(
        False, "Run Python code that came with the model. Only for models whose authors you trust.", advanced=True
    )


class Asked(Section):
    """What is asked, and where a copy of the answers goes."""

    file: str = setting(
        ...,
        "What is asked: plain lines, or JSONL (JSON, CSV, Parquet) with a question a row, or a dataset of the "
        "workspace. An answer that a row has already is not looked at.",
        min_length=1,
    )
    predictions: str = setting(
        "", "A file that the answers are written to, too, as JSON Lines. Empty: in the run alone."
    )
    with_prompt: bool = setting(
        True, "Ask in the chat template. Off: every line is a text that the model goes on writing."
    )
    system: str = setting("", "System message before every question that brings none of its own.")
    max_rows: int | None = setting(None, "Ask only the first so many.", ge=1)
    window: int = setting(
        512, "Lines sorted by length together; the answers stay in the order of the file.", ge=1, le=65536,
        advanced=True,
    )  # fmt: skip
    tokens: int | None = setting(
        None, "Tokens computed at a time, prompts and answers. Empty: what fits.", ge=64, advanced=True
    )


class Sampled(Section):
    """How an answer is drawn: by default the likeliest one. A draw depends on the seed and the line's place alone."""

    max_new_tokens: int = setting(512, "Length limit of an answer, in tokens.", ge=1, le=32768)
    temperature: float = setting(0.0, "0 takes the likeliest token every time; higher is more varied.", ge=0, le=2)
    top_p: float = setting(1.0, "Sample from the likeliest tokens that together have this share.", gt=0, le=1)
    top_k: int = setting(0, "Draw from so many of the likeliest tokens at most; 0 from all.", ge=0, le=100_000)
    repetition_penalty: float = setting(1.0, "Above 1: tokens that were already said become less likely.", ge=0.5, le=2)


def lacking(model: Answering, data: Asked) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(code, setting, parameters) of what does not go together: somebody has to answer, and without a template there is
    no conversation."""
    if not (model.base or model.lora):
        yield "predict.no_model", "model.base", {}
    if not data.with_prompt and data.system:
        yield "predict.raw_system", "data.system", {}
    if not data.with_prompt and model.template:
        yield "predict.raw_template", "model.template", {"template": model.template}
