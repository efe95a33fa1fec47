"""Rules: what an answer is worth, told by a plain function of its text. Torch-free; nothing else of Galen is needed.

A rule is a function of an answer and of settings that each have a type (int, float, str or bool) and a default; an
empty text as default means that it must be given. A team adds its own in five lines, in a module that is named in
GALEN_PLUGINS:

    from core.rules import Answer, rule

    @rule
    def polite(answer: Answer, word: str = "您") -> float:
        "1 where the word occurs, 0 otherwise."
        return float(word in answer.text)

A config names it as a line, `polite word=请 weight=0.5`, which `read_rule` reads. A rule checks its settings itself, by
raising ValueError: it is tried on an empty answer when its line is read. On no text whatever may it raise.
`python -m core.rules > docs/rules.md` writes the list for people.
"""

from __future__ import annotations

import difflib
import inspect
import math
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import regex

MAX_WEIGHT = 100.0
PATTERN_SECONDS = 1.0  # an answer; an expression that takes longer tries every way to split the text
LONGEST_WORD = 20  # letters; a longer one is cut, so that "hahaha…" without blanks repeats itself, too

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
SPACED = rf"[\w--[{UNSPACED}]]"  # letters and digits of scripts that set words apart by blanks
UNITS = regex.compile(rf"(?V1){SPACED}{{1,{LONGEST_WORD}}}|\S")
LETTERS = regex.compile(r"\p{L}")
SCRIPTS = {"zh": regex.compile(r"(?V1)[\p{L}&&\p{Han}]"), "en": regex.compile(r"(?V1)[\p{L}&&\p{Latin}]")}
# Digits behind a letter are part of a name (B12, HbA1c, COVID-19); a hyphen between numbers is no sign (2.5-3).
NUMBERS = regex.compile(
    r"(?a)(?<![a-z\d.]|[a-z]-)(?:(?<![\w)])[-+])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:e[-+]?\d+)?", regex.I
)
HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x2212: ord("-")}  # ！ … ～, and the minus sign


@dataclass(frozen=True)
class Answer:
    """What is judged. reference: the answer that stands in the data, if one does; ended: with an end mark, in time."""

    text: str
    question: str
    reference: str | None
    tokens: int
    ended: bool


EMPTY = Answer("", "", None, 0, True)


@dataclass(frozen=True)
class Rule:
    """A rule as it is declared: `parameters` are its settings (all with defaults), `help` its docstring."""

    name: str
    function: Callable[..., float]
    parameters: dict[str, inspect.Parameter]
    help: str


@dataclass(frozen=True)
class BoundRule:
    """A rule with its settings, as one line of a config names it."""

    rule: Rule
    weight: float = 1.0
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What figures call it."""
        return self.rule.name

    def score(self, answer: Answer) -> float:
        """What the answer is worth, before the weight."""
        return float(self.rule.function(answer, **self.settings))


RULES: dict[str, Rule] = {}


def rule(function: Callable[..., float]) -> Callable[..., float]:
    """Register a rule under its name. Raises TypeError where its settings are not declared as they should be."""
    name = function.__name__
    _, *settings = inspect.signature(function, eval_str=True).parameters.values()
    for setting in settings:
        kind = (int, float) if setting.annotation is float else setting.annotation
        if setting.annotation not in READERS or not isinstance(setting.default, kind):
            raise TypeError(f"{name}: {setting.name} needs a type (int, float, str or bool) and a default of it")
        if setting.name == "weight":
            raise TypeError(f"{name}: every rule has a weight by itself")
    about = inspect.cleandoc(function.__doc__ or "")
    RULES[name] = Rule(name, function, {setting.name: setting for setting in settings}, about)
    return function


# -- reading ----------------------------------------------------------------------------------------------------------
def read_rule(line: str) -> BoundRule:
    """`length low=20 high=120 weight=0.5` as a rule. Values with blanks stand in quotes; a backslash is itself.

    Raises ValueError with what is wrong, in one sentence.
    """
    name, *words = _words(line)
    if name not in RULES:
        raise ValueError(f"there is no rule '{name}'; {_meant(name, RULES)}")
    found = RULES[name]
    given: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"'{word}' is not of the form name=value; a value with blanks stands in quotes")
        if key in given:
            raise ValueError(f"{key} is given twice")
        given[key] = _value(found, key, text)
    weight = given.pop("weight", 1.0)
    for key, parameter in found.parameters.items():
        if given.get(key, parameter.default) == "":
            raise ValueError(f"{name} needs {key}=…")
    bound = BoundRule(found, weight, given)
    try:
        bound.score(EMPTY)
    except ValueError:
        raise
    except Exception as error:  # of a team's own rule: better now than after the first answers
        raise ValueError(f"{name} fails on an empty answer: {error!r}") from error
    return bound


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        words = list(lexer)
    except ValueError:
        raise ValueError("a quotation mark is not closed") from None
    if not words:
        raise ValueError("the line names no rule")
    return words


def _value(found: Rule, key: str, text: str) -> Any:
    if key == "weight":
        weight = _number(text)
        if not 0 < weight <= MAX_WEIGHT:
            raise ValueError(f"weight is above 0 and at most {MAX_WEIGHT:g}, not {text}")
        return weight
    if key not in found.parameters:
        raise ValueError(f"{found.name} has no setting '{key}'; {_meant(key, [*found.parameters, 'weight'])}")
    kind = found.parameters[key].annotation
    try:
        return READERS[kind](text)
    except (KeyError, ValueError):
        raise ValueError(f"{key} is {KINDS[kind]}, not '{text}'") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is no number")
    return value


READERS: dict[type, Callable[[str], Any]] = {
    bool: lambda text: {"true": True, "false": False}[text.lower()],
    int: int,
    float: _number,
    str: str,
}
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _meant(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"


# -- texts ------------------------------------------------------------------------------------------------------------
def plain(text: str) -> str:
    """`text` in lower case and half width, with single blanks."""
    return " ".join(text.translate(HALF_WIDTH).casefold().split())


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> regex.Pattern[str]:
    try:
        return regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"pattern is no regular expression: {error}") from None


@lru_cache(maxsize=256)
def _listed(words: str) -> list[regex.Pattern[str]]:
    """One expression for each word; letters of a spaced script must not go on at its edges."""
    listed = [regex.escape(word) for each in words.split("|") if (word := plain(each))]
    if not listed:
        raise ValueError("words names no word")
    begins, ends = rf"(?<!{SPACED}(?={SPACED}))", rf"(?!(?<={SPACED}){SPACED})"
    return [regex.compile(f"(?V1){begins}{word}{ends}") for word in listed]


def _occurring(answer: Answer, words: str) -> float:
    """The share of the listed words that occur."""
    listed, text = _listed(words), plain(answer.text)
    return sum(word.search(text) is not None for word in listed) / len(listed)


def _last_number(text: str) -> float | None:
    found = NUMBERS.findall(text.translate(HALF_WIDTH))
    return float(found[-1].replace(",", "")) if found else None


def repeated(text: str, size: int) -> float:
    """The share of pieces of `size` units in a row that stood in the text before; a unit is a word, or a character."""
    units = UNITS.findall(text.casefold())
    pieces = list(zip(*(units[start:] for start in range(size)), strict=False))
    return (len(pieces) - len(set(pieces))) / len(pieces) if pieces else 0.0


# -- the rules --------------------------------------------------------------------------------------------------------
@rule
def length(answer: Answer, low: int = 20, high: int = 200) -> float:
    """1 for an answer of `low` to `high` tokens; outside it falls linearly to 0, at no tokens and at twice `high`."""
    if not 0 <= low <= high or high == 0:
        raise ValueError("low is at least 0, and high neither 0 nor below it")
    if answer.tokens < low:
        return answer.tokens / low
    return min(1.0, max(0.0, 2 - answer.tokens / high))


@rule
def repetition(answer: Answer, size: int = 4) -> float:
    """0 where nothing is repeated, down to -1: minus the share of pieces that stood in the answer before.

    A piece is `size` words in a row, or characters in scripts without blanks, such as Chinese.
    """
    if size < 1:
        raise ValueError("size is at least 1")
    return -repeated(answer.text, size)


@rule
def language(answer: Answer, wanted: str = "zh") -> float:
    """The share, 0 to 1, of the answer's letters that are in the script of `wanted`: zh (Chinese) or en (Latin)."""
    if wanted not in SCRIPTS:
        raise ValueError(f"wanted is {' or '.join(SCRIPTS)}, not '{wanted}'")
    letters = len(LETTERS.findall(answer.text))
    return len(SCRIPTS[wanted].findall(answer.text)) / letters if letters else 0.0


@rule
def format(answer: Answer, pattern: str = "") -> float:
    """1 where the regular expression `pattern` is found in the answer, 0 otherwise. ^…$ is the whole of it."""
    expression = _compiled(pattern)
    try:
        return float(expression.search(answer.text, timeout=PATTERN_SECONDS) is not None)
    except (TimeoutError, MemoryError):
        return 0.0


@rule
def mention(answer: Answer, words: str = "") -> float:
    """The share, 0 to 1, of the words and phrases (separated by |) that occur: words="see a doctor|just in case".

    Case, width and blanks do not matter; a word in Latin letters counts only as a whole word.
    """
    return _occurring(answer, words)


@rule
def avoid(answer: Answer, words: str = "") -> float:
    """-1 where one of the words and phrases (separated by |) occurs, 0 otherwise. They are found as `mention` does."""
    return -1.0 if _occurring(answer, words) else 0.0


@rule
def match(answer: Answer) -> float:
    """1 where the answer is the reference answer, but for case, width and blanks; 0 otherwise, and without one."""
    return float(answer.reference is not None and plain(answer.text) == plain(answer.reference))


@rule
def number(answer: Answer, tolerance: float = 0.001) -> float:
    """1 where the last number of the answer is that of the reference answer; 0 otherwise, and where one has none.

    They may differ by the share `tolerance` of the reference's.
    """
    if tolerance < 0:
        raise ValueError("tolerance is at least 0")
    said, wanted = _last_number(answer.text), _last_number(answer.reference or "")
    return float(said is not None and wanted is not None and abs(said - wanted) <= tolerance * abs(wanted))


# -- the list for people ----------------------------------------------------------------------------------------------
HEAD = """# Rules

Written by `python -m core.rules > docs/rules.md`. Each is a line of `rewards.rules`: its name, its settings as
`name=value` (in quotes where there are blanks), and its weight, which is 1 unless it is given:

    length low=20 high=120 weight=0.5
    mention words="see a doctor|call 120"
    format pattern="^\\d+ mg"

What a rule gives is multiplied by its weight and added to the other rewards. `core/rules.py` says how to add a rule.
"""


def rules_page() -> str:
    """`docs/rules.md`, whole: Galen's own rules; a test compares it with the file."""
    return HEAD + "".join(_entry(each) for each in RULES.values() if each.function.__module__ == __name__)


def _entry(each: Rule) -> str:
    lines = [f"\n## {each.name}\n", each.help]
    if each.parameters:
        lines += ["", "| setting | default | allowed |", "|---|---|---|"]
    for name, parameter in each.parameters.items():
        default = "**needed**" if parameter.default == "" else f"`{parameter.default}`"
        lines.append(f"| `{name}` | {default} | {KINDS[parameter.annotation]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(rules_page(), end="")
