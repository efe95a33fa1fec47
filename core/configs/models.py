"""Sections of the stages that make no training: vocabulary, fetch, merge, push, evaluate, score."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from core.configs.sections import Section, lines_of, setting

STARTING = "A finished run, a model of the workspace, a local folder, or a hub id that was fetched."


class Base(Section):
    base: str = setting(..., STARTING, min_length=1)
    trust_remote_code: bool = setting(
        False, "Run Python code that came with the model. Only for models whose authors you trust.", advanced=True
    )


class Words(Section):
    """Where the new tokens come from."""

    corpus: str | None = setting(None, "Learn frequent units from this dataset or file.")
    list: str | None = setting(None, "A text file with one word a line; learnt words come after it.")
    unit: Literal["characters", "words", "pieces"] = setting(
        "words",
        "What is learnt. characters: single characters that the tokenizer cuts into bytes. words: these and words. "
        "pieces: whatever saves most tokens, as a tokenizer of its own would learn it.",
    )
    size: int = setting(2000, "New tokens at most.", ge=1, le=200_000)
    min_count: int = setting(5, "How often a unit must occur in the corpus.", ge=1)
    max_length: int = setting(8, "Characters a unit may have.", ge=1, le=64)
    max_rows: int | None = setting(None, "Learn from this many rows only, chosen by the seed.", ge=1, advanced=True)


class FetchSource(Section):
    source: str = setting(
        "starter", "starter, a hub id, a folder with a model or a LoRA adapter, or a GGUF file.", min_length=1
    )
    hub: Literal["huggingface", "modelscope"] = setting("huggingface", "Which hub a hub id belongs to.")
    revision: str = setting("main", "Branch, tag or commit on the hub.", advanced=True)
    folder: str = setting("", "Name of the model in the workspace. Empty: made from the source.", max_length=80)
    base: str | None = setting(
        None,
        "Of an adapter, or of weights published as a difference: the model that they belong to. Empty: the one that "
        "the adapter names.",
    )
    difference: Literal["auto", "yes", "no"] = setting(
        "auto",
        "Weights that have to be added to a base, as Ziya-LLaMA-13B-v1 was published. auto: told by the name.",
        advanced=True,
    )
    template: str | None = setting(
        None, "The named chat template that an adapter was trained with. Empty: the tokenizer's own.", advanced=True
    )


class Merged(Section):
    base: str = setting(..., "The run whose adapters are merged into their base.", min_length=1)
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = setting(
        "auto", "Number format of the merged weights. auto: that of the base's own files."
    )
    folder: str = setting(
        "", "Name of the merged model in the workspace. Empty: it stays in the run, and is listed by it.", max_length=80
    )
    verify: Literal["auto", "weights"] = setting(
        "auto",
        "What is compared before it is delivered. weights: every number that was written. auto: and, where the whole "
        "model has room in memory, what it answers.",
        advanced=True,
    )
    shard_size: str = setting(
        "4GB", "Size of one weight file at most.", pattern=r"^\d+(\.\d+)? ?[KMG]B$", advanced=True
    )
    trust_remote_code: bool = setting(
        False, "Run Python code that came with the model. Only for models whose authors you trust.", advanced=True
    )

    @property
    def shard_bytes(self) -> int:
        """shard_size as a number; its units are powers of ten, as Transformers has them."""
        number, unit = self.shard_size[:-2], self.shard_size[-2:]
        return int(float(number) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit])


class Sent(Section):
    base: str = setting(..., "The run whose adapter or model is sent. Only finished runs have one.", min_length=1)
    card: str = setting(
        "", "The model card, in Markdown. Empty: written from the files of the run, its base and its data."
    )


class Repository(Section):
    """Where on Hugging Face a run's result goes."""

    repo: str = setting(..., "The repository, owner/name. One that does not exist yet is made.", min_length=1)
    private: bool = setting(
        True, "Only you, and whom you let in, may see it. A repository that is public already is refused then."
    )
    revision: str = setting(
        "main", "The branch. One that does not exist yet begins where main is.", min_length=1, advanced=True
    )
    message: str = setting("", "What the commit says. Empty: the name of the run.", max_length=200, advanced=True)


class Compared(Section):
    runs: list[str] = setting(
        [], "Runs and models, one a line: each is a row of the table. A base and what was made of it.", max_length=16
    )
    chain: str | None = setting(
        None, "A run whose chain is filled in: its base, every stage that writes text, and the run itself."
    )
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = setting(
        "auto", "Number format of the weights. auto: bf16 where the device computes in it, else fp32."
    )
    template: str | None = setting(None, "A named chat template for models that have none.", advanced=True)
    trust_remote_code: bool = setting(
        False, "Run Python code that came with the model. Only for models whose authors you trust.", advanced=True
    )

    @field_validator("runs", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return lines_of(value)


class Tests(Section):
    """What the models are asked. At least one of them."""

    rows: list[str] = setting(
        [],
        "Datasets or files, one a line. Documents and conversations give loss and perplexity, preference pairs give "
        "pair accuracy, multiple choice gives accuracy.",
    )
    prompts: str | None = setting(
        None, "A file or dataset of prompts that every model answers; plain text: one a line."
    )
    dev: str | None = setting(
        None, "A dataset or file of multiple-choice questions whose first rows stand before each question as examples."
    )
    shots: int = setting(
        0, "Examples before each multiple-choice question: of its own category first, where there is one.", ge=0, le=64
    )
    choice_by: Literal["letters", "texts"] = setting(
        "letters",
        "What answers a multiple-choice question. letters: the choices are listed and a letter follows, as C-Eval, "
        "CMMLU and MMLU are asked. texts: nothing is listed and a choice follows, as ARC is asked.",
    )
    choice_chat: bool = setting(
        False, "Ask multiple-choice questions through the chat template instead of as plain text.", advanced=True
    )
    choice_preamble: str = setting(
        "", "A text before the examples; {category} stands for the question's category.", advanced=True
    )
    max_rows: int | None = setting(500, "Rows of each dataset at most, chosen by the seed. Empty: all.", ge=1)
    max_length: int = setting(
        1024,
        "Tokens of a conversation or a pair that are looked at, and of a window over a longer document. Multiple "
        "choice takes what the model reads at once.",
        ge=8,
        le=1_048_576,
    )
    stride: int | None = setting(
        None,
        "Tokens by which the window over a longer document moves on. They alone are predicted in it, from those before "
        "them. Fewer give each more to go by, and take longer. Empty: half a window; as many as a window has: windows "
        "side by side.",
        ge=1,
        le=1_048_576,
        advanced=True,
    )
    bad_rows: Literal["stop", "drop"] = setting(
        "stop", "Rows that cannot be used: stop before the start and list them, or drop and record them."
    )
    tokens: int = setting(4096, "Tokens computed at a time; fewer need less memory.", ge=64, advanced=True)

    @field_validator("rows", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return lines_of(value)


class Answers(Section):
    """How the prompts are answered: greedily unless a temperature is given."""

    max_new_tokens: int = setting(256, "Length limit of an answer, in tokens.", ge=1, le=32768)
    temperature: float = setting(0.0, "0 always takes the likeliest token.", ge=0, le=5)
    top_p: float = setting(1.0, "Sample from the likeliest tokens that together have this share.", gt=0, le=1)
    max_prompts: int | None = setting(50, "Prompts answered at most. Empty: all.", ge=1)


class Judge(Section):
    base: str = setting(..., "A finished reward run, or a folder of a sequence-classification model.", min_length=1)
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = setting(
        "auto", "Number format of the weights. auto: bf16 where the device computes in it, else fp32."
    )
    template: str | None = setting(None, "A named chat template for a model that has none.", advanced=True)
    trust_remote_code: bool = setting(
        False, "Run Python code that came with the model. Only for models whose authors you trust.", advanced=True
    )


class Scored(Section):
    rows: str = setting(
        ...,
        "A dataset or file of conversations, ranked answers or preference pairs.",
        min_length=1,
    )
    max_rows: int | None = setting(None, "Score only this many rows, chosen by the seed.", ge=1)
    max_length: int = setting(1024, "Tokens of a question with its answer that are looked at.", ge=8, le=1_048_576)
    tokens: int = setting(4096, "Tokens computed at a time; fewer need less memory.", ge=64, advanced=True)
