"""What an annotator is asked and says, in plain values. Whoever answers prompts is an `Annotator`.

for key, reply in annotator.ask({"a": "Mark this: …", "b": [{"role": "user", "content": "…"}]}, understood):
    if reply.failed: …        else: reply.text, reply.tokens_in, reply.tokens_out
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from core.configs.annotate_prompts import PROMPTS
from core.data.dialogue import Message
from core.errors import RunError

Prompt = str | Sequence[Message]  # a text is one turn of the user
Understood = Callable[[str], bool]  # whether what was said is of any use; nonsense is asked for once more

NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)")
ALONE = re.compile(  # a line with a number, and at most what it is called
    r"^[\s*_#>]*(?:[^\W\d_]{2,12}[\s*_]*[:：=][\s*_]*)?"
    rf"({NUMBER.pattern})[\s*_]*(?:分|points?)?[\s*_.。!！]*$",
    re.I | re.M,
)
THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)  # of a reasoning model; what stands in it is no answer
EXPLAINED = re.compile(r"\d[ ]?[(（]([^()（）]+)[)）]")  # what an end of a scale means: 0 (wrong or harmful)
MARKING = ("difficulty", "score")  # the tasks that are answered by a number
ECHO_CHARS = {"zh": 8, "en": 20}  # letters that a reply has in a row of what it was asked, by chance not so many
MILLION = 1_000_000
RETRY_TEMPERATURE = 0.7  # at which nonsense is asked for once more: at 0 most would say the same again


@dataclass(frozen=True)
class Reply:
    """What came of one prompt, over all its tries.

    text: what was said, None where that was no chat completion. tokens_in, tokens_out: as the annotator counts them,
    0 where it does not. failed: why there was no reply. reached: a request got as far as the annotator, so it counts.
    refused: `failed`, and because of this prompt (too long, say): others may do better.
    """

    text: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    failed: str = ""
    reached: bool = True
    refused: bool = False


class Annotator(Protocol):
    """Answers prompts, `at_once` of them side by side. `identity` names who it is and how it is asked."""

    @property
    def identity(self) -> str: ...

    @property
    def at_once(self) -> int: ...

    def ask(self, prompts: Mapping[str, Prompt], understood: Understood) -> Iterator[tuple[str, Reply]]:
        """One Reply for each prompt, with its key, as they come; a failure is a Reply, too."""

    def down(self, detail: str) -> RunError:
        """The error of an annotator that does not answer at all, for the caller to raise."""


@dataclass
class Usage:
    """What has been asked so far: prompts, those of them that failed, tokens."""

    asked: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, reply: Reply) -> None:
        self.asked += 1
        self.failed += bool(reply.failed)
        self.tokens_in += reply.tokens_in
        self.tokens_out += reply.tokens_out

    def cost(self, price_in: float, price_out: float) -> float:
        """What the tokens cost, at prices a million."""
        return (self.tokens_in * price_in + self.tokens_out * price_out) / MILLION


def something(text: str) -> bool:
    """Whether anything was said but thoughts."""
    return bool(spoken(text))


def spoken(text: str) -> str:
    """What was said, without a reasoning model's thoughts and the spaces round it."""
    return THOUGHTS.sub("", text).strip()


def number_in(text: str | None, low: float, high: float) -> float | None:
    """The one number of what was said, if it lies from `low` to `high`; else None. The scale itself does not count: `8
    out of 10`, `from 1 to 10`. Of several numbers it is the one in `8/10`, or in the lines that hold nothing else.

    A reply that repeats what an annotator is asked where a config does not say it (`0 (wrong or harmful)`, or many
    letters in a row) is no mark: small models do, and the number is the scale's.
    """
    said = spoken(text or "")
    if _echoes(said):
        return None
    without = _scale(high).sub(" ", said)
    readings = [NUMBER.findall(without), _of(high).findall(said), ALONE.findall(without)]
    each = [numbers for reading in readings if len(numbers := {float(number) for number in reading}) == 1]
    number = each[0].pop() if each else math.nan
    return number if low <= number <= high else None


def _echoes(said: str) -> bool:
    explained, runs = _asked()
    letters = _letters(said)
    if any(_letters(meaning) in explained for meaning in EXPLAINED.findall(said)):
        return True
    return any(letters[at : at + size] in runs for size in ECHO_CHARS.values() for at in range(len(letters) - size + 1))


@lru_cache
def _asked() -> tuple[set[str], set[str]]:
    """Of the prompts that ask for a number: what the ends of their scales mean, and all runs of `ECHO_CHARS`."""
    prompts = [(lang, text) for (task, _), texts in PROMPTS.items() if task in MARKING for lang, text in texts.items()]
    explained = {_letters(meaning) for _, text in prompts for meaning in EXPLAINED.findall(text)}
    runs = set()
    for lang, text in prompts:
        letters, size = _letters(text[text.rindex("}") + 1 :]), ECHO_CHARS[lang]  # what follows on the row itself
        runs |= {letters[at : at + size] for at in range(len(letters) - size + 1)}
    return explained, runs


def _letters(text: str) -> str:
    """Its letters and digits alone, in lower case."""
    return re.sub(r"[\W_]+", "", text).lower()


@lru_cache
def _of(high: float) -> re.Pattern[str]:
    return re.compile(rf"({NUMBER.pattern})\s*/\s*{high:g}(?!\d|\.\d)")


@lru_cache
def _scale(high: float) -> re.Pattern[str]:
    """How a scale that ends at `high` is named: by both of its ends, or by this one."""
    end = rf"{high:g}(?:\.0)?(?!\d|\.\d)"
    both = rf"(?<![\d.])[01]\s*分?\s*(?:[-–—~～]|to|and|through|[到至和])\s*{end}"
    return re.compile(rf"{both}|(?:/|\bof\b|满分[为是]?)\s*{end}|(?<![\d.]){end}\s*分制", re.I)
