"""Turns of a conversation: reading them from the spellings that files use, and checking that they make a dialogue.

A dialogue is an optional system message, then user and assistant by turns, the assistant last. Texts are kept as they
are; nothing is repaired here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, str]  # {"role", "content"}
Value = Mapping[str, Any]

ROLES = {
    "system": "system", "developer": "system",
    "human": "user", "user": "user", "prompter": "user",
    "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip
TOOLS = {
    "tool", "tools", "tool_call", "tool_calls", "tool_response", "tool_result", "function", "function_call",
    "function_response", "function-call", "function-response", "observation", "ipython", "environment", "execution",
}  # fmt: skip
REASONING = {"reasoning", "reasoning_content", "thinking", "think", "thought", "thoughts", "analysis", "cot"}


class RowError(Exception):
    """Why one row cannot be used: a code of `core.messages` and its parameters."""

    def __init__(self, code: str, **params: Any) -> None:
        self.code = code
        self.params = params
        super().__init__(code, params)


def kind_of(value: Any) -> str:
    """What a value is, in JSON's own words, which need no translation."""
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


def text_of(row: Value, key: str) -> str:
    """A value that must be text and not blank. Raises RowError."""
    value = row.get(key)
    if not isinstance(value, str):
        raise RowError("data.not_text", key=key, found=kind_of(value))
    if not value.strip():
        raise RowError("data.empty_value", key=key)
    return value


def optional_text(row: Value, key: str) -> str:
    """A value that may be missing, null or blank: then ''. Raises RowError where it is something else than text."""
    value = row.get(key)
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise RowError("data.not_text", key=key, found=kind_of(value))
    return value if value.strip() else ""


def read_turns(value: Any, key: str) -> list[Message]:
    """Messages from a list of `{from, value}` or `{role, content}`. Raises RowError naming the turn, counted from 1."""
    if not isinstance(value, list):
        raise RowError("data.not_turns", key=key, found=kind_of(value))
    if not value:
        raise RowError("data.empty_value", key=key)
    return [_read_turn(turn, number) for number, turn in enumerate(value, 1)]


def _read_turn(turn: Any, number: int) -> Message:
    if type(turn) is dict:  # nearly all turns are so, and there are millions
        said, content = turn.get("from"), turn.get("value")
        if type(said) is str and said in ROLES and type(content) is str and content and not content.isspace():
            return {"role": ROLES[said], "content": content}
    if not isinstance(turn, dict):
        raise RowError("data.turn_not_object", turn=number, found=kind_of(turn))
    if "from" in turn:
        said, content = turn["from"], turn.get("value")
    elif "role" in turn:
        said, content = turn["role"], turn.get("content")
    else:
        raise RowError("data.turn_keys", turn=number, found=", ".join(map(str, turn)) or "–")
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise _no_role(said, number)
    if isinstance(content, list):
        content = _joined(content, number)
    if not isinstance(content, str):
        raise RowError("data.turn_not_text", turn=number, role=role, found=kind_of(content))
    if not content.strip():
        raise RowError("data.empty_turn", turn=number, role=role)
    return {"role": role, "content": content}


def _no_role(said: Any, number: int) -> RowError:
    name = said.lower() if isinstance(said, str) else ""
    code = "data.tool_role" if name in TOOLS else "data.reasoning_role" if name in REASONING else "data.unknown_role"
    return RowError(code, turn=number, role=str(said))


def _joined(parts: Sequence[Any], number: int) -> str:
    """The text of OpenAI content parts; pictures and sound cannot be learnt from here."""
    for part in parts:
        if not (isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)):
            found = part.get("type") if isinstance(part, dict) else None
            raise RowError("data.turn_parts", turn=number, found=str(found or kind_of(part)))
    return "\n".join(part["text"] for part in parts)


def with_system(row: Value, messages: list[Message]) -> list[Message]:
    """`messages` with the row's own `system` text before them, unless they begin with one."""
    system = optional_text(row, "system")
    if system and messages[0]["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    return messages


def check_order(messages: list[Message], *, answered: bool = True) -> list[Message]:
    """`messages` where they are a dialogue that ends with the assistant (`answered`) or the user. Raises RowError."""
    start = 1 if messages[0]["role"] == "system" else 0
    for index in range(start, len(messages)):
        expected = "assistant" if (index - start) % 2 else "user"
        found = messages[index]["role"]
        if found != expected:
            raise _out_of_order(messages, index, expected)
    last = "assistant" if answered else "user"
    if len(messages) == start or messages[-1]["role"] != last:
        raise RowError("data.no_answer" if answered else "data.no_question")
    return messages


def _out_of_order(messages: list[Message], index: int, expected: str) -> RowError:
    turn, found = index + 1, messages[index]["role"]
    if found == "system":
        return RowError("data.system_in_middle", turn=turn)
    if index and found == messages[index - 1]["role"]:
        return RowError("data.same_role_twice", turn=turn, before=turn - 1, role=found)
    return RowError("data.role_order", turn=turn, found=found, expected=expected)
