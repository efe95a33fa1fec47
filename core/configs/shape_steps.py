"""The steps that shape a dataset, as settings: which rows, in which order, of which kind. None of them judges a row.

What each does is in `core.data.steps`: `order`, `split`, `convert` and `pairs`.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import ValidationInfo, field_validator

from core.configs.sections import setting
from core.configs.step_base import Step

ROW_NUMBERS = re.compile(r"\d+(\s*-\s*\d+)?(\s*,\s*\d+(\s*-\s*\d+)?)*")


# -- which rows, in which order ---------------------------------------------------------------------------------------
class Shuffle(Step):
    """Bring the rows into a random order, the same one for the same seed."""

    do: Literal["shuffle"] = "shuffle"


class Sort(Step):
    """Order the rows by a figure, for a curriculum from easy to hard. Rows that have none come last."""

    do: Literal["sort"] = "sort"
    by: Literal["difficulty", "score", "chars", "answer_chars", "turns"] = setting(
        "difficulty", "The figure: the row's own difficulty or score, its characters, its answers', or its turns."
    )
    descending: bool = setting(False, "The largest first.")


class Sample(Step):
    """Keep a random choice of the rows, in their order."""

    do: Literal["sample"] = "sample"
    share: float = setting(0.1, "Which share of the rows is kept, when no number is given.", gt=0, le=1)
    rows: int | None = setting(None, "How many rows are kept. Empty: the share.", ge=1)
    by_source: bool = setting(
        False, "Take the share, or the number, from every source on its own, so that small ones are kept."
    )


class Take(Step):
    """Keep a range of the rows: the first thousand, or rows 5001 to 6000."""

    do: Literal["take"] = "take"
    rows: int = setting(1000, "How many rows are kept.", ge=1)
    start: int = setting(1, "The first row that is kept, counted from 1.", ge=1)


class Select(Step):
    """Keep or drop rows by their numbers."""

    do: Literal["select"] = "select"
    rows: str = setting(..., "Row numbers, counted from 1: 3, 7, 10-20.", min_length=1)
    keep: bool = setting(False, "Keep these rows and no others. Off: drop them.")

    @field_validator("rows", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """YAML reads `rows: 3` as a number and `[3, 7]` as a list."""
        if isinstance(value, list):
            return ", ".join(map(str, value))
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("rows")
    @classmethod
    def _numbers(cls, value: str) -> str:
        if not ROW_NUMBERS.fullmatch(value):
            raise ValueError("write numbers and ranges with commas, such as 3, 7, 10-20")
        for part in value.split(","):
            first, _, last = part.partition("-")
            if int(first) < 1 or (last and int(last) < int(first)):
                raise ValueError("rows count from 1, and a range goes from the smaller number to the larger one")
        return value


class Split(Step):
    """Part the rows into a training, a validation and a test set: NAME-train, NAME-validation and NAME-test."""

    do: Literal["split"] = "split"
    validation: float = setting(0.05, "Validation rows: a share below 1, or a number of rows from 1 on.", ge=0)
    test: float = setting(
        0.0, "Test rows: a share below 1, or a number of rows from 1 on. 0: none.", ge=0, validate_default=True
    )
    train: float = setting(
        0.0, "Training rows, likewise. 0: all the others; otherwise those left over go into no set.", ge=0
    )
    by_source: bool = setting(True, "Take the same share from every source.")
    together: bool = setting(True, "Rows that are nearly the same, or answer the same question, go into the same set.")
    threshold: float = setting(
        0.7,
        "How alike (Jaccard similarity of character 5-grams) rows have to be for that.",
        ge=0.3,
        le=1,
        advanced=True,
    )

    @field_validator("train", "validation", "test")
    @classmethod
    def _whole(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("a share is below 1, a number of rows is a whole number")
        return value

    @field_validator("test")
    @classmethod
    def _some(cls, value: float, info: ValidationInfo) -> float:
        validation = info.data.get("validation", 1.0)
        if not value and not validation:
            raise ValueError("give validation rows, test rows, or both")
        if sum(share for share in (validation, value) if share < 1) >= 1:
            raise ValueError("the shares of validation and test leave nothing to train on")
        return value


class Source(Step):
    """Give rows another source: the name by which other steps pick them."""

    do: Literal["source"] = "source"
    new: str = setting(..., "The source's new name.", min_length=1, max_length=80)
    old: str = setting("", "Only rows of this source. Empty: all rows.")


# -- of which kind ----------------------------------------------------------------------------------------------------
class Convert(Step):
    """Turn rows into another kind: dialogues into plain text or PPO prompts, pairs into dialogues, and so on."""

    do: Literal["convert"] = "convert"
    to: Literal["text", "messages", "prompt", "preference"] = setting(
        "text",
        "text: documents for pretraining. messages: dialogues (of pairs the preferred answer, of ranked answers the "
        "best, of choices question and answer). prompt: questions for PPO. preference: pairs of ranked answers.",
    )
    role_names: bool = setting(True, "In text: write before every turn who speaks.")
    prompts: Literal["first", "last", "every"] = setting(
        "last",
        "Of a dialogue's questions: the first, the last with all turns before it, or every one with those before it.",
    )


class Pairs(Step):
    """Make preference pairs of ranked answers. Answers with the same score make none."""

    do: Literal["pairs"] = "pairs"
    which: Literal["all", "best-worst", "adjacent"] = setting(
        "all", "Every answer with every worse one, the best with the worst, or each with the next worse one."
    )
    min_gap: float = setting(0.0, "By how much the scores must differ at least.", ge=0)


class Hindsight(Step):
    """Turn preference pairs into dialogues that name which answer is good (chain of hindsight)."""

    do: Literal["hindsight"] = "hindsight"
    order: Literal["bad-good", "good-bad", "both", "all"] = setting(
        "bad-good",
        "The worse answer and then the better one, the other way round, both (two rows a pair), or, as in the paper, "
        "both and each answer alone (four rows).",
    )
    good: str = setting("", "What stands before the preferred answer. Empty: a phrase in the row's language.")
    bad: str = setting("", "What stands before the rejected answer. Empty: a phrase in the row's language.")


class Rounds(Step):
    """Split dialogues of several turns into rows of one question and one answer."""

    do: Literal["rounds"] = "rounds"
    history: bool = setting(False, "Each row keeps the turns before its question. Off: it stands alone.")


class System(Step):
    """Set, replace or remove the system message."""

    do: Literal["system"] = "system"
    action: Literal["set", "replace", "remove"] = setting(
        "set", "set: only where there is none. replace: everywhere. remove: rows have none then."
    )
    text: str = setting("", "The system message; not needed for remove.", validate_default=True)

    @field_validator("text")
    @classmethod
    def _needed(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("action") != "remove":
            raise ValueError("write the system message, or choose remove")
        return value


SHAPING: tuple[type[Step], ...] = (
    Sample, Take, Select, Shuffle, Sort, Source, Convert, Pairs, Hindsight, Rounds, System, Split,
)  # fmt: skip
