"""What may be wrong with a row beyond its shape: a key that stands twice, an answer that only repeats its question.

Texts are looked at in `core.data.check.faults`, turns and keys while a row is converted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from core.data.kinds import Kind, Row
from core.data.shapes.compared import LISTS, PROMPTS, SCORE_LISTS
from core.data.shapes.formats import Shape

ECHO = 30  # characters: in a longer dialogue, "你好" is answered with "你好", and an editor shows the command it got
CATEGORIES = ("category", "subject", "subject_name", "exam_subject", "dimension")  # MMLU's, MedMCQA's, CMB's; ours
META_KEYS = {"source", "dataset", "difficulty", "score", *CATEGORIES}
ALSO_USED = {
    "messages": {"system", "input", "history"},
    "prompt": {"system", "input", "history"},
    "preference": {"system", "input", "history", *PROMPTS},
    "ranked": {"system", "input", "history", *PROMPTS, *LISTS, *SCORE_LISTS},
    "choice": {*"ABCDEFGHIJ", "opa", "opb", "opc", "opd", "ope", "answer", "answer_idx"},
    "text": set[str](),
}


# -- answers ----------------------------------------------------------------------------------------------------------
def answer_fault(kind: Kind, row: Row) -> dict[str, Any] | None:
    """Where an answer is nothing but its question again: what fills `data.answer_is_prompt`; None where none is."""
    if kind == "messages":
        messages = row["messages"]
        before = ""
        for turn, message in enumerate(messages, 1):
            content = message["content"].strip()
            if content == before and message["role"] == "assistant" and (len(messages) < 4 or len(content) > ECHO):
                return {"turn": turn}
            before = content
    elif kind == "preference":
        prompt = row["prompt"]
        if row["chosen"][-1]["content"].strip() == prompt[-1]["content"].strip():
            return {"turn": len(prompt) + 1}
    return None


# -- keys -------------------------------------------------------------------------------------------------------------
def keys_twice(texts: Sequence[bytes], values: Sequence[Any]) -> Iterator[tuple[int, str]]:
    """(index, key) of every row that names a key twice in one object; the parser keeps the last, and says nothing.

    A colon after a quotation mark (and a space, as some programs write) is a key's, or stands behind an escaped mark in
    a text: counting both tells nearly all rows apart, and only where the count is not that of the keys is the row
    parsed once more.
    """
    for index, (text, value) in enumerate(zip(texts, values, strict=True)):
        colons = text.count(b'":') + text.count(b'" :')
        if b"\\" in text:
            colons -= text.count(b'\\":') + text.count(b'\\" :')
        if colons != _flat_count(value) and colons != _count(value):
            twice = _first_twice(text)
            if twice is not None:
                yield index, twice


def _flat_count(value: Any) -> int:
    """How many keys a row has, and its turns: all there are, in most files."""
    if type(value) is not dict:
        return -1
    count = len(value)
    for part in value.values():
        if type(part) is list:
            for turn in part:
                if type(turn) is dict:
                    count += len(turn)
    return count


def _count(value: Any) -> int:
    """How many keys there are in a JSON value, at any depth; -1 where that is too deep to count."""
    try:
        return _keys_in(value)
    except RecursionError:
        return -1


def _keys_in(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_keys_in(part) for part in value.values() if type(part) in (dict, list))
    if isinstance(value, list):
        return sum(_keys_in(part) for part in value if type(part) in (dict, list))
    return 0


def _first_twice(text: bytes) -> str | None:
    found: list[str] = []

    def pairs(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        found.extend(name for name in set(names) if names.count(name) > 1)

    try:
        json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return None  # it was parsed before: this parser is the stricter one, which is not the point here
    return min(found) if found else None


def used_keys(shape: Shape) -> set[str] | None:
    """The keys of a row that mean something in this shape; None where its rows are read by other rules."""
    if shape.gather is not None or shape.name.startswith(("oasst", "ultrafeedback")):
        return None
    return {key for group in shape.needs for key in group} | ALSO_USED[shape.kind] | META_KEYS


def unused_in_turns(value: Any) -> set[str]:
    """Keys of a row's turns that are not read: `conversations[].weight`."""
    if not isinstance(value, dict):
        return set()
    return {
        f"{key}[].{name}"
        for key, part in value.items()
        if isinstance(part, list)
        for turn in part
        if isinstance(turn, dict) and ("from" in turn or "role" in turn)
        for name in turn.keys() - ({"from", "value"} if "from" in turn else {"role", "content"})
    }
