"""Steps that turn rows into another kind, or dialogues into other dialogues. Texts are moved, never rewritten.

`CONVERTERS` says what can become what; everything else is refused before a recipe starts, naming what can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from core.configs import shape_steps
from core.data.dialogue import Message
from core.data.kinds import LETTERS, Kind, Row
from core.data.steps.base import Item, Job, Outcome, PerRow, wrong_kind
from core.data.steps.kinds import all_rows, kind_of_row, several, tongue
from core.data.steps.pairs import best_of, no_pairs, pairs_of
from core.errors import DataError

Converter = Callable[[Row, shape_steps.Convert], list[Row]]

SAID = {
    "zh": {"system": "系统：", "user": "用户：", "assistant": "助手："},
    "en": {"system": "System: ", "user": "User: ", "assistant": "Assistant: "},
}
ANSWER = {"zh": "答案：", "en": "Answer: "}
TURN_BREAK = "\n\n"


# -- convert ----------------------------------------------------------------------------------------------------------
def convert(step: shape_steps.Convert, job: Job) -> PerRow:
    """One row or several of each; the kind is that of the rows that come."""

    def work(item: Item) -> Outcome:
        came = CONVERTERS[kind_of_row(item.row), step.to](item.row, step)
        return several(item, came) if came else no_pairs(item.row)

    return work


def converts(step: shape_steps.Convert, kind: Kind) -> Kind:
    """The kind after the step. Raises DataError `step.cannot_convert`, naming what rows of this kind can become."""
    all_rows(step)
    if (kind, step.to) not in CONVERTERS:
        possible = ", ".join(to for came, to in CONVERTERS if came == kind)
        raise DataError("step.cannot_convert", kind=kind, to=step.to, possible=possible or "–")
    return step.to


# -- to text ----------------------------------------------------------------------------------------------------------
def _messages_to_text(row: Row, step: shape_steps.Convert) -> list[Row]:
    messages = row["messages"]
    if not step.role_names:
        return [{"text": TURN_BREAK.join(message["content"] for message in messages)}]
    names = SAID[tongue(*(message["content"] for message in messages))]
    return [{"text": TURN_BREAK.join(names[message["role"]] + message["content"] for message in messages)}]


def _choice_to_text(row: Row, step: shape_steps.Convert) -> list[Row]:
    language = tongue(row["question"], *row["choices"])
    return [{"text": f"{_asked(row)}\n{ANSWER[language]}{_answered(row)}"}]


def _choice_to_messages(row: Row, step: shape_steps.Convert) -> list[Row]:
    messages = [{"role": "user", "content": _asked(row)}, {"role": "assistant", "content": _answered(row)}]
    return [{"messages": messages}]


def _choice_to_prompt(row: Row, step: shape_steps.Convert) -> list[Row]:
    return [{"prompt": [{"role": "user", "content": _asked(row)}]}]


def _asked(row: Row) -> str:
    choices = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=False)]
    return "\n".join([row["question"], *choices])


def _answered(row: Row) -> str:
    return "\n".join(f"{letter}. {row['choices'][LETTERS.index(letter)]}" for letter in row["answer"])


# -- to prompts -------------------------------------------------------------------------------------------------------
def prompts_of(messages: list[Message], which: str) -> list[list[Message]]:
    """The questions of a dialogue, each with what was said before: "first" (the system at most), "last" or "every"."""
    ends = [place for place, message in enumerate(messages) if message["role"] == "user"]
    chosen = {"first": ends[:1], "last": ends[-1:], "every": ends}[which]
    return [messages[: end + 1] for end in chosen]


def _to_prompt(column: str) -> Converter:
    return lambda row, step: [{"prompt": prompt} for prompt in prompts_of(row[column], step.prompts)]


# -- to dialogues and pairs -------------------------------------------------------------------------------------------
def _preferred(row: Row, step: shape_steps.Convert) -> list[Row]:
    return [{"messages": [*row["prompt"], *row["chosen"]]}]


def _best(row: Row, step: shape_steps.Convert) -> list[Row]:
    answer = {"role": "assistant", "content": best_of(row["answers"])["content"]}
    return [{"messages": [*row["prompt"], answer]}]


def _pairs(row: Row, step: shape_steps.Convert) -> list[Row]:
    return pairs_of(row, "all", 0.0)


CONVERTERS: dict[tuple[Kind, Kind], Converter] = {
    ("messages", "text"): _messages_to_text,
    ("messages", "prompt"): _to_prompt("messages"),
    ("preference", "messages"): _preferred,
    ("preference", "prompt"): _to_prompt("prompt"),
    ("ranked", "preference"): _pairs,
    ("ranked", "messages"): _best,
    ("ranked", "prompt"): _to_prompt("prompt"),
    ("choice", "messages"): _choice_to_messages,
    ("choice", "text"): _choice_to_text,
    ("choice", "prompt"): _choice_to_prompt,
}


# -- dialogues to other dialogues -------------------------------------------------------------------------------------
def rounds(step: shape_steps.Rounds, job: Job) -> PerRow:
    """A row for every question and answer; a dialogue of one round stays as it is."""

    def work(item: Item) -> Outcome:
        messages = item.row["messages"]
        system = messages[:1] if messages[0]["role"] == "system" else []
        said = messages[len(system) :]
        if len(said) <= 2:
            return item
        starts = [0 if step.history else end - 2 for end in range(2, len(said) + 1, 2)]
        ends = range(2, len(said) + 1, 2)
        return several(
            item, [{"messages": [*system, *said[start:end]]} for start, end in zip(starts, ends, strict=True)]
        )

    return work


def takes_messages(step: shape_steps.Rounds, kind: Kind) -> Kind:
    if kind != "messages":
        raise wrong_kind(step.do, kind, "messages")
    return kind


def system(step: shape_steps.System, job: Job) -> PerRow:
    """Set, replace or remove the system message of a dialogue, or of the prompt of a pair or a list."""

    def work(item: Item) -> Outcome:
        column = "messages" if "messages" in item.row else "prompt"
        messages = item.row[column]
        has = messages[0]["role"] == "system"
        wanted = [] if step.action == "remove" else [{"role": "system", "content": step.text}]
        if (step.action == "set" and has) or messages[:1] == wanted or (not has and not wanted):
            return item
        return replace(item, row={**item.row, column: [*wanted, *messages[1 if has else 0 :]]})

    return work


def takes_turns(step: shape_steps.System, kind: Kind) -> Kind:
    if kind not in ("messages", "prompt", "preference", "ranked"):
        raise wrong_kind(step.do, kind, "messages, prompt, preference, ranked")
    return kind
