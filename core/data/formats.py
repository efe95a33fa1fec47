"""The row shapes that Galen knows, as one table, and the conversion of each to a canonical row.

Canonical rows: `{"text"}`; `{"messages"}`; `{"prompt", "chosen", "rejected"}` (three lists of messages);
`{"question", "choices", "answer"}` (the answer as letters: A is the first choice). A shape is found per file from its
first rows, by keys, and the evidence is kept. To add a shape, write its converter and add a line to `SHAPES`; where
two fit a row, the earlier line wins, so the more particular one stands first.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

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
from core.errors import Problem

Kind = Literal["text", "messages", "preference", "choice"]
Row = dict[str, Any]

STAGES_OF: dict[Kind, list[str]] = {
    "text": ["pretrain"],
    "messages": ["sft", "pretrain", "ppo"],
    "preference": ["reward", "ppo"],
    "choice": ["evaluate"],
}
PROMPTS = ("prompt", "question", "conversations", "instruction", "messages")
ANSWERS = ("output", "response", "completion", "answer")
TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \n]?")


@dataclass(frozen=True)
class Shape:
    """A row fits when it has one key of every group in `needs`. `describe` tells a user what such a row looks like."""

    name: str
    kind: Kind
    needs: tuple[tuple[str, ...], ...]
    describe: str
    convert: Callable[[Value], Row]

    def fits(self, row: Value) -> bool:
        return all(any(row.get(key) is not None for key in group) for group in self.needs)


@dataclass(frozen=True)
class Detection:
    """The shape that fits most of the rows looked at; `shape` is None where none fits any."""

    shape: Shape | None
    matched: int
    looked_at: int
    keys: tuple[str, ...]

    @property
    def evidence(self) -> Problem:
        """Why this shape, as a sentence that a page can translate."""
        if self.shape is None:
            return Problem("data.no_shape", {"keys": ", ".join(self.keys) or "–"})
        params = {"shape": self.shape.name, "keys": self.shape.describe, "matched": self.matched}
        return Problem("data.shape", {**params, "looked_at": self.looked_at})


def detect(rows: Iterable[Any]) -> Detection:
    """Find the shape of a file from its first rows (whatever is not an object counts as unfitting)."""
    sample = list(rows)
    counts = {shape.name: sum(isinstance(row, dict) and shape.fits(row) for row in sample) for shape in SHAPES}
    best = max(SHAPES, key=lambda shape: counts[shape.name])  # the first of equals
    keys = tuple(dict.fromkeys(str(key) for row in sample if isinstance(row, dict) for key in row))
    matched = counts[best.name]
    return Detection(best if matched else None, matched, len(sample), keys)


def convert(shape: Shape | None, row: Any) -> Row:
    """The canonical row. Raises RowError with what is wrong and, for wrong keys, what would be right."""
    if not isinstance(row, dict):
        raise RowError("data.not_object", found=kind_of(row))
    if shape is None or not shape.fits(row):
        raise _wrong_keys(shape, row)
    return shape.convert(row)


def _wrong_keys(shape: Shape | None, row: Mapping[str, Any]) -> RowError:
    found = ", ".join(map(str, row)) or "–"
    if shape is not None:
        missing = [group for group in shape.needs if not any(row.get(key) is not None for key in group)]
        return RowError("data.missing_key", found=found, missing=_either(missing), shape=shape.name)
    known = {key for each in SHAPES for group in each.needs for key in group}
    near = [match for key in row for match in difflib.get_close_matches(str(key).lower(), known, 1, 0.75)]
    fitting = [each for each in SHAPES if any(key in group for key in near for group in each.needs)] or list(SHAPES)
    would = "; ".join(f"{each.name} ({each.describe})" for each in fitting[:4])
    return RowError("data.unknown_shape", found=found, would=would)


def _either(groups: list[tuple[str, ...]]) -> str:
    return ", ".join(" | ".join(group) for group in groups)


# -- converters -------------------------------------------------------------------------------------------------------
def _text(row: Value) -> Row:
    return {"text": text_of(row, "text")}


def _turns(*keys: str) -> Callable[[Value], Row]:
    def convert(row: Value) -> Row:
        key = _present(row, keys)
        return {"messages": check_order(with_system(row, read_turns(row[key], key)))}

    return convert


def _pair(questions: tuple[str, ...], answers: tuple[str, ...]) -> Callable[[Value], Row]:
    """A question and an answer, each text or a list of messages, with optional `input`, `system` and `history`."""

    def convert(row: Value) -> Row:
        asked = _asked(row, _present(row, questions))
        return {"messages": check_order([*asked, *_answered(row, _present(row, answers))])}

    return convert


def _present(row: Value, keys: tuple[str, ...]) -> str:
    return next(key for key in keys if row.get(key) is not None)


def _asked(row: Value, key: str) -> list[Message]:
    """The messages up to the answer."""
    if isinstance(row[key], list):
        return with_system(row, read_turns(row[key], key))
    question = text_of(row, key)
    detail = optional_text(row, "input") if key == "instruction" else ""
    content = f"{question}\n{detail}" if detail else question
    return with_system(row, [*_history(row.get("history")), {"role": "user", "content": content}])


def _answered(row: Value, key: str) -> list[Message]:
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
    for pair in value:
        if not (
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) and text.strip() for text in pair)
        ):
            raise RowError("data.history_pair")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return messages


def _preference(row: Value) -> Row:
    chosen_key, rejected_key = (
        _present(row, ("chosen", "response_chosen")),
        _present(row, ("rejected", "response_rejected")),
    )
    answers = [_transcript(row, key) or _answered(row, key) for key in (chosen_key, rejected_key)]
    key = next((key for key in PROMPTS if row.get(key)), None)
    shared = _shared(*answers)
    if len(answers[0]) > 1 and shared:  # whole conversations: what they share is the prompt
        prompt, answers = answers[0][:shared], [answer[shared:] for answer in answers]
    elif key is not None:
        prompt = _asked(row, key)
    else:
        raise RowError("data.no_prompt", found=", ".join(map(str, row)))
    for answer, name in zip(answers, (chosen_key, rejected_key), strict=True):
        if [message["role"] for message in answer] != ["assistant"]:
            raise RowError("data.pair_differs", key=name)
    if answers[0] == answers[1]:
        raise RowError("data.same_pair", chosen=chosen_key, rejected=rejected_key)
    return {"prompt": check_order(prompt, answered=False), "chosen": answers[0], "rejected": answers[1]}


def _shared(first: list[Message], second: list[Message]) -> int:
    """How many messages two conversations begin with in common; their last ones are never shared."""
    count = 0
    limit = min(len(first), len(second)) - 1
    while count < limit and first[count] == second[count]:
        count += 1
    return count


def _transcript(row: Value, key: str) -> list[Message]:
    """The turns of an HH-RLHF text (`Human: … Assistant: …`); [] where it is none."""
    value = row[key]
    if not isinstance(value, str) or not value.lstrip().startswith("Human:") or "\n\nAssistant:" not in value:
        return []
    parts = TRANSCRIPT.split(value.strip())[1:]
    turns = [{"role": said, "content": text.strip()} for said, text in zip(parts[::2], parts[1::2], strict=True)]
    spelt = {"Human": "user", "Assistant": "assistant"}
    return read_turns([{**turn, "role": spelt[turn["role"]]} for turn in turns], key)


def _choice(row: Value) -> Row:
    """C-Eval and CMMLU (columns A to D), MedQA (`options`, `answer_idx`), CMB (`option`, several letters)."""
    options = (
        row.get("options") or row.get("option") or {key: row[key] for key in "ABCDEFGH" if row.get(key) is not None}
    )
    if not isinstance(options, dict) or len(options) < 2:
        raise RowError("data.choices", found=kind_of(options))
    names = sorted(key for key in options if options[key] not in (None, ""))
    choices = [text_of(options, name) for name in names]
    answer = str(row.get("answer_idx") or row.get("answer") or "").strip().upper()
    if not answer or names != list("ABCDEFGHIJ"[: len(names)]) or any(letter not in names for letter in answer):
        raise RowError("data.choice_answer", answer=answer, names=", ".join(names))
    return {"question": text_of(row, "question"), "choices": choices, "answer": "".join(sorted(set(answer)))}


SHAPES: tuple[Shape, ...] = (
    Shape("preference", "preference", (("chosen", "response_chosen"), ("rejected", "response_rejected")),
          "prompt, chosen, rejected", _preference),
    Shape("choice", "choice", (("question",), ("A",), ("B",), ("answer",)), "question, A … D, answer", _choice),
    Shape("choice-options", "choice", (("question",), ("options", "option"), ("answer_idx", "answer")),
          "question, options, answer_idx", _choice),
    Shape("sharegpt", "messages", (("conversations", "conversation"),), "conversations[from, value]",
          _turns("conversations", "conversation")),
    Shape("messages", "messages", (("messages",),), "messages[role, content]", _turns("messages")),
    Shape("alpaca", "messages", (("instruction",), ANSWERS), "instruction, input, output",
          _pair(("instruction",), ANSWERS)),
    Shape("prompt-response", "messages", (("prompt", "question", "query"), ANSWERS),
          "prompt, response | prompt, completion | question, answer",
          _pair(("prompt", "question", "query"), ANSWERS)),
    Shape("text", "text", (("text",),), "text", _text),
)  # fmt: skip
