"""Row shapes of plain text, dialogues and prompts: how each becomes a canonical row. The table is in `formats`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from core.data.dialogue import (
    Message,
    RowError,
    Value,
    check_order,
    kind_of,
    optional_text,
    read_turns,
    text_of,
    with_system,
)
from core.data.kinds import Row

ANSWERS = ("output", "response", "completion", "answer")
TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \n]?")
BELLE = re.compile(r"(?:^|\n)[ \t]*(Human|Assistant)[:：]")
SPELT = {"Human": "user", "Assistant": "assistant"}
ASKED, ANSWERED = re.compile(r"^问[:：]\s*"), re.compile(r"^答[:：]\s*")


def text(row: Value) -> Row:
    return {"text": text_of(row, "text")}


def turns(*keys: str) -> Callable[[Value], Row]:
    """A converter of rows that hold a list of turns under one of `keys`."""

    def convert(row: Value) -> Row:
        key = present(row, keys)
        return {"messages": check_order(with_system(row, read_turns(row[key], key)))}

    return convert


def pair(questions: tuple[str, ...], answers: tuple[str, ...]) -> Callable[[Value], Row]:
    """A question and an answer, each text or a list of messages, with optional `input`, `system` and `history`."""

    def convert(row: Value) -> Row:
        asked = asked_in(row, present(row, questions))
        return {"messages": check_order([*asked, *answered_in(row, present(row, answers))])}

    return convert


def prompt(*keys: str) -> Callable[[Value], Row]:
    """A question without an answer: text, or messages that end with the user."""

    def convert(row: Value) -> Row:
        return {"prompt": check_order(asked_in(row, present(row, keys)), answered=False)}

    return convert


def present(row: Value, keys: tuple[str, ...]) -> str:
    """The first of `keys` that the row has a value for; the shape's `needs` have made sure that there is one."""
    return next(key for key in keys if row.get(key) is not None)


def asked_in(row: Value, key: str) -> list[Message]:
    """The messages up to the answer."""
    if isinstance(row[key], list):
        return with_system(row, read_turns(row[key], key))
    question = text_of(row, key)
    detail = optional_text(row, "input") if key == "instruction" else ""
    content = f"{question}\n{detail}" if detail else question
    return with_system(row, [*_history(row.get("history")), {"role": "user", "content": content}])


def answered_in(row: Value, key: str) -> list[Message]:
    """The answer under `key`, as text, as a message or as a list of messages."""
    value = row[key]
    if isinstance(value, dict):
        return read_turns([value], key)
    if isinstance(value, list):
        return read_turns(value, key)
    return [{"role": "assistant", "content": text_of(row, key)}]


def _history(value: Any) -> list[Message]:
    """Alpaca's earlier turns: pairs of question and answer."""
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise RowError("data.not_turns", key="history", found=kind_of(value))
    messages: list[Message] = []
    for both in value:
        if not (
            isinstance(both, list) and len(both) == 2 and all(isinstance(said, str) and said.strip() for said in both)
        ):
            raise RowError("data.history_pair")
        messages += [{"role": "user", "content": both[0]}, {"role": "assistant", "content": both[1]}]
    return messages


# -- transcripts ------------------------------------------------------------------------------------------------------
def transcript(row: Value, key: str) -> list[Message]:
    """The turns of an HH-RLHF text (`Human: … Assistant: …`); [] where it is none."""
    value = row[key]
    return _said(TRANSCRIPT, value.strip(), key) if isinstance(value, str) and is_transcript(value) else []


def is_transcript(value: str) -> bool:
    return value.lstrip().startswith("Human:") and "\n\nAssistant:" in value


def is_belle(row: Value) -> bool:
    """Whether the instruction is itself a dialogue, as in Belle's sets of several turns."""
    said = row.get("instruction")
    return isinstance(said, str) and said.lstrip().startswith(("Human:", "Human：")) and "Assistant" in said


def belle(row: Value) -> Row:
    """Belle's turns, written into the instruction up to a last `Assistant:`, which the output goes on."""
    said = _said(BELLE, text_of(row, "instruction").strip(), "instruction", open_end=True)
    answer: Message = {"role": "assistant", "content": text_of(row, "output")}
    return {"messages": check_order(with_system(row, [*said, answer]))}


def _said(pattern: re.Pattern[str], value: str, key: str, *, open_end: bool = False) -> list[Message]:
    """`open_end`: a last turn of the assistant that has no text yet is left out."""
    parts = pattern.split(value)[1:]
    said = [
        {"role": SPELT[name], "content": content.strip()} for name, content in zip(parts[::2], parts[1::2], strict=True)
    ]
    if open_end and said and said[-1] == {"role": "assistant", "content": ""}:
        said.pop()
    return read_turns(said, key)


# -- lists of questions and answers -----------------------------------------------------------------------------------
def has_lists(row: Value) -> bool:
    """Whether questions or answers are lists of texts, or lists of such lists, and not turns of a dialogue."""
    values = [row[key] for key in ("questions", "question", "answers", "answer") if row.get(key) is not None]
    return any(isinstance(value, list) for value in values) and all(
        isinstance(one, str | list) for value in values if isinstance(value, list) for one in value
    )


def question_lists(row: Value) -> list[Row]:
    """Huatuo's lists: a question may have several wordings, and a question several answers; each pair is a row."""
    asked = _wordings(row, present(row, ("questions", "question")))
    answers = _wordings(row, present(row, ("answers", "answer")))
    if len(asked) != len(answers) and 1 not in (len(asked), len(answers)):
        raise RowError("data.unequal_lists", questions=len(asked), answers=len(answers))
    count = max(len(asked), len(answers))
    pairs = zip(asked * (count if len(asked) == 1 else 1), answers * (count if len(answers) == 1 else 1), strict=True)
    return [
        {"messages": with_system(row, [{"role": "user", "content": q}, {"role": "assistant", "content": a}])}
        for questions, wordings in pairs
        for q in questions
        for a in wordings
    ]


def _wordings(row: Value, key: str) -> list[list[str]]:
    """For every entry the texts in it: `["q"]` is one question, `[["q", "Q"]]` is one question in two wordings."""
    value = row[key]
    entries = value if isinstance(value, list) else [value]
    found = [entry if isinstance(entry, list) else [entry] for entry in entries]
    if not found or not all(found):
        raise RowError("data.empty_value", key=key)
    for entry in found:
        for one in entry:
            text_of({key: one}, key)
    return found


def is_asked_and_answered(row: Value) -> bool:
    """HuatuoGPT's `data`: a list of texts that begin with 问： and 答： by turns."""
    value = row.get("data")
    return isinstance(value, list) and bool(value) and isinstance(value[0], str) and bool(ASKED.match(value[0]))


def asked_and_answered(row: Value) -> Row:
    value = row["data"]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise RowError("data.not_turns", key="data", found=kind_of(value))
    said = [
        {"role": "user", "content": ASKED.sub("", one)}
        if ASKED.match(one)
        else {"role": "assistant", "content": ANSWERED.sub("", one)}
        for one in value
    ]
    return {"messages": check_order(read_turns(said, "data"))}
