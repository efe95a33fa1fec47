"""The settings of the two stages that make datasets: `import` (a file or a hub's set) and `prepare` (a recipe)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from core.configs.sections import Section, setting
from core.configs.steps import AnyStep


class ImportSource(Section):
    path: str = setting("", "A file on this machine, or a folder of files of one row shape.")
    repo: str = setting("", "A dataset id on a hub, such as shibing624/medical.")
    hub: Literal["huggingface", "modelscope"] = setting("huggingface", "Which hub a dataset id belongs to.")
    revision: str = setting("main", "Branch, tag or commit on the hub.", advanced=True)
    files: list[str] = setting([], "Files of the set or folder, as patterns (finetune/*.json). Empty: all data files.")


class ImportRows(Section):
    name: str = setting("", "Name of the dataset in the workspace. Empty: made from the source.", max_length=80)
    format: str = setting("", "Row shape (alpaca, sharegpt, …) where the detected one is wrong. Empty: detect.")
    columns: dict[str, str] = setting({}, "Your columns under the names of the row shape: {instruction: question}.")
    bad_rows: Literal["stop", "drop"] = setting(
        "stop", "Rows that cannot be used: stop and list them, or drop and record them."
    )
    repair: bool = setting(False, "Mend what can be mended safely, and record what was changed.")


class Input(Section):
    """One of the datasets that a recipe starts from."""

    dataset: str = setting(..., "A dataset of the workspace: name or name@version.", min_length=1)
    weight: float = setting(1.0, "How often its rows are taken: 0.5 is half of them, 2 is each twice.", gt=0, le=100)


class Recipe(Section):
    inputs: list[Input] = setting(..., "Datasets of one kind, mixed in this order.", min_length=1)
    steps: list[AnyStep] = setting([], "What is done, in order.")
    output: str = setting(
        "",
        "Name of the new dataset. Empty: the first input's, with the kind of rows added where it changes.",
        max_length=80,
    )
    seed: int = setting(42, "Seed of every choice: samples, splits, shuffling.", ge=0, le=2**31 - 1)

    @field_validator("inputs", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """`medical` and `[medical, general]` are short for inputs with weight 1."""
        value = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(value, list | tuple):
            return value
        return [{"dataset": item} if isinstance(item, str) else item for item in value]

    @field_validator("steps", mode="before")
    @classmethod
    def _step_names(cls, value: Any) -> Any:
        """`[exact, near]` is short for these steps with their defaults."""
        value = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(value, list | tuple):
            return value
        return [{"do": item} if isinstance(item, str) else item for item in value]


class Scored(Section):
    """The rows whose perplexity is measured."""

    rows: str = setting(..., "A dataset of conversations or documents, or a file.", min_length=1)
    as_text: bool = setting(
        False, "Measure conversations whole, as pretraining reads them, not their answers only.", advanced=True
    )
    max_rows: int | None = setting(None, "Measure only this many rows, chosen by the seed.", ge=1)
    max_length: int = setting(1024, "Tokens of a row that are looked at.", ge=8, le=1_048_576)
    tokens: int = setting(4096, "Tokens computed at a time; fewer need less memory.", ge=64, advanced=True)
