"""The texts of a canonical row, as cleaning steps look at them: the whole, what is asked, what would be learnt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from core.data.figures import texts_of
from core.data.kinds import Kind, Row

Where = Literal["row", "question", "answer"]


def text_at(kind: Kind, row: Row, where: Where = "row") -> str:
    """The texts of a row, or of its questions or answers, with line breaks between them."""
    asked, answered, _ = texts_of(kind, row)
    return "\n".join((*asked, *answered) if where == "row" else asked if where == "question" else answered)


def learnt_texts(kind: Kind, row: Row) -> list[str]:
    """What a model would learn to write: the answers, of a pair the chosen one; of rows without any, what is asked."""
    if kind == "preference":
        return [message["content"] for message in row["chosen"]]
    asked, answered, _ = texts_of(kind, row)
    return answered or asked


def shown(text: str, limit: int = 60) -> str:
    """A piece of a row for the reason of a drop: one line, at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def with_texts(row: Row, change: Callable[[str], str]) -> Row:
    """`row` with every text changed; the very same object where `change` changes nothing."""
    changed = {key: _value(value, change) for key, value in row.items() if key != "answer"}
    if all(changed[key] is row[key] for key in changed):
        return row
    return {key: changed.get(key, value) for key, value in row.items()}


def _value(value: Any, change: Callable[[str], str]) -> Any:
    """A text, a list of texts, or a list of messages; the same object where nothing changes."""
    if isinstance(value, str):
        new = change(value)
        return value if new == value else new
    if isinstance(value, list):
        items = [_value(item, change) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        content = _value(value["content"], change)
        return value if content is value["content"] else {**value, "content": content}
    return value
