"""The steps that clean a dataset, as settings: what is the same twice, what is no good, what must not be learnt.

What each does is in `core.data.steps`: `exact`, `near`, `rules`, `words`, `mask`, `contamination` and `quality`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import regex
from pydantic import ValidationInfo, field_validator

from core.configs.sections import setting
from core.configs.step_base import Step

Keep = Literal["first", "longest", "best"]
Found = Literal["url", "email", "phone", "id_card", "bank_card", "html"]
Topic = Literal["violence", "sexual", "gambling", "self-harm", "drugs", "quackery"]
Private = Literal["phone", "landline", "id_card", "email", "bank_card", "us_phone", "us_ssn"]
LONGEST_PATTERN = 500  # characters


# -- the same twice ---------------------------------------------------------------------------------------------------
class Exact(Step):
    """Drop rows that say the same as another row, but for case, width, spaces and punctuation."""

    do: Literal["exact"] = "exact"
    by: Literal["row", "question", "answer"] = setting("row", "What is compared: the whole row or a part of it.")
    keep: Keep = setting("first", "Which of the same rows stays: the first, the longest, or the one of the best score.")


class Near(Step):
    """Drop rows that are nearly the same as another row: copies with a few words changed."""

    do: Literal["near"] = "near"
    threshold: float = setting(
        0.8, "How similar is too similar: the share of 5-character pieces that two rows have in common.", ge=0.5, le=1
    )
    keep: Keep = setting("first", "Which of similar rows stays: the first, the longest, or the one of the best score.")


# -- rules ------------------------------------------------------------------------------------------------------------
class Length(Step):
    """Drop rows that are too short or too long."""

    do: Literal["length"] = "length"
    min_chars: int | None = setting(None, "Fewest characters of the whole row.", ge=0)
    max_chars: int | None = setting(None, "Most characters of the whole row.", ge=1)
    min_answer_chars: int | None = setting(None, "Fewest characters of what the model would learn to write.", ge=0)
    max_answer_chars: int | None = setting(None, "Most characters of what the model would learn to write.", ge=1)
    min_turns: int | None = setting(None, "Fewest turns; a question and its answer are two.", ge=1)
    max_turns: int | None = setting(None, "Most turns; a question and its answer are two.", ge=1)


class Repetition(Step):
    """Drop rows whose answers say the same again and again; code may."""

    do: Literal["repetition"] = "repetition"
    max_pieces: float = setting(
        0.5, "Largest share of an answer that repeats a piece of 10 characters from earlier in it.", ge=0, le=1
    )
    max_lines: float = setting(0.5, "Largest share of lines that are the same as an earlier line.", ge=0, le=1)


class Symbols(Step):
    """Drop rows that are mostly symbols and digits: broken tables, separators, noise."""

    do: Literal["symbols"] = "symbols"
    max_share: float = setting(
        0.3, "Largest share of characters that are no letters, spaces or usual punctuation.", ge=0, le=1
    )


class LanguageOf(Step):
    """Keep rows of chosen languages only, told by their scripts."""

    do: Literal["language"] = "language"
    keep: list[Literal["zh", "en", "mixed", "code", "other"]] = setting(
        ["zh", "en", "mixed"], "zh: Chinese. en: Latin script. mixed: both. code: mostly code. other: everything else."
    )


class Contains(Step):
    """Drop rows that hold links, addresses, numbers of persons, HTML remains, or a pattern of your own."""

    do: Literal["contains"] = "contains"
    what: list[Found] = setting([], "What is looked for.")
    pattern: str = setting("", "A regular expression that is looked for, too.", max_length=LONGEST_PATTERN)
    where: Literal["row", "question", "answer"] = setting("row", "Where it is looked for.")
    action: Literal["drop", "keep"] = setting("drop", "drop: rows that hold it go. keep: only they stay.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            regex.compile(value)
        except regex.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return value


class Words(Step):
    """Drop or mark rows on sensitive topics, found by lists of words."""

    files: ClassVar[tuple[str, ...]] = ("path",)

    do: Literal["words"] = "words"
    topics: list[Topic] = setting(
        ["violence", "sexual", "gambling", "self-harm", "drugs", "quackery"],
        "Which of the word lists that come with Galen are used (presets/words).",
    )
    path: str = setting("", "A word list of your own: a file with one word a line, # for remarks.")
    words: list[str] = setting([], "Further words.")
    min_hits: int = setting(1, "How many different words a row must hold.", ge=1)
    where: Literal["row", "question", "answer"] = setting("row", "Where the words are looked for.")
    action: Literal["drop", "mark"] = setting("drop", "drop: the row goes. mark: it stays, with score 0.")


class Mask(Step):
    """Replace personal data by a placeholder such as [phone]."""

    do: Literal["mask"] = "mask"
    what: list[Private] = setting(
        ["phone", "landline", "id_card", "email", "bank_card", "us_phone", "us_ssn"],
        "phone and landline are Chinese ones; id_card and bank_card only with a valid check digit.",
    )
    placeholders: Literal["auto", "en", "zh"] = setting(
        "auto", "Language of the placeholders. auto: that of the row.", advanced=True
    )


class Contamination(Step):
    """Drop rows that give away a test: they share a long passage, or a whole question, with an evaluation dataset."""

    datasets: ClassVar[tuple[str, ...]] = ("against",)

    do: Literal["contamination"] = "contamination"
    against: str = setting(..., "The evaluation dataset: name or name@version.", min_length=1)
    words: int = setting(13, "How many words on end count as a shared passage.", ge=5, le=100)
    chars: int = setting(20, "The same for Chinese: how many characters on end.", ge=8, le=200)
    shortest: int = setting(
        10,
        "A test question shorter than a passage counts where a row holds it whole, from this length on.",
        ge=4,
        le=50,
    )


# -- scores -----------------------------------------------------------------------------------------------------------
class Quality(Step):
    """Give every row a score from 0 to 1: length of the answer, repetition, symbols, a proper end, empty phrases."""

    runs: ClassVar[tuple[str, ...]] = ("run",)

    do: Literal["quality"] = "quality"
    by: Literal["signs", "column"] = setting(
        "signs",
        "signs: the score is computed here. column: rows keep the score that they bring, such as that of an "
        "annotation; a row without one is dropped.",
    )
    min_score: float | None = setting(None, "Drop rows with a lower score.", ge=0, le=1)
    run: str = setting(
        "",
        "The id of a finished run of the stage perplexity over these rows: what the model found surprising loses.",
        advanced=True,
    )


class Bucket(Step):
    """Sort rows into equally large buckets by score or difficulty, and keep some of them or note the bucket."""

    do: Literal["bucket"] = "bucket"
    by: Literal["score", "difficulty"] = setting(
        "score", "What is compared. A row without difficulty gets one from its length, turns and rare words."
    )
    buckets: int = setting(4, "How many buckets.", ge=2, le=100)
    keep: list[int] = setting([], "Buckets that stay; 1 is the lowest. Empty: all.")
    note: bool = setting(False, "Write the bucket's number into the row's difficulty.")

    @field_validator("keep")
    @classmethod
    def _exist(cls, value: list[int], info: ValidationInfo) -> list[int]:
        if any(not 1 <= number <= info.data.get("buckets", 100) for number in value):
            raise ValueError("there are no such buckets")
        return value


CLEANING: tuple[type[Step], ...] = (
    Exact, Near, Length, Repetition, Symbols, LanguageOf, Contains, Words, Mask, Contamination, Quality, Bucket,
)  # fmt: skip
