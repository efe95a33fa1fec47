"""Row shapes of oasst: trees of messages, nested or as a flat table, read as dialogues or as ranked answers.

A tree gives several rows. As dialogues (`threads`): at every question the best-ranked reply is followed, and every
question that was asked after it; what ends with a question loses that question. As ranked answers (`siblings`): every
question with at least two ranked replies. Rank 0 is the best. Deleted messages are left out with all below them.

A flat table is put together in memory: of each message its text, and who it answers (oasst1 has 84 000 of them).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from core.data.dialogue import ROLES, Message, RowError, Value, check_order, kind_of
from core.data.files.containers import Raw, excerpt
from core.data.kinds import Row
from core.errors import Problem

MAX_DEPTH = 200  # turns of one thread


@dataclass
class Node:
    """A message and its replies."""

    message: Message
    rank: float | None = None
    replies: list[Node] = field(default_factory=list)


def is_tree(row: Value) -> bool:
    root = row.get("prompt")
    return isinstance(root, dict) and "text" in root and "replies" in root


def threads(row: Value) -> list[Row]:
    """Dialogues of a tree. Raises RowError `data.no_thread` where nothing was answered."""
    rows = [{"messages": check_order(path)} for path in _threads(_root(row))]
    if not rows:
        raise RowError("data.no_thread")
    return rows


def siblings(row: Value) -> list[Row]:
    """Ranked answers of a tree. Raises RowError `data.no_ranks` where no question has two ranked replies."""
    rows = list(_siblings(_root(row)))
    if not rows:
        raise RowError("data.no_ranks")
    return rows


def _root(row: Value) -> Node:
    node = row["prompt"] if isinstance(row["prompt"], Node) else _node(row["prompt"], 1)
    if node is None:
        raise RowError("data.no_thread")
    return node


def _node(value: Any, depth: int) -> Node | None:
    """A nested message; None for a deleted one."""
    if not isinstance(value, dict):
        raise RowError("data.turn_not_object", turn=depth, found=kind_of(value))
    if depth > MAX_DEPTH:
        raise RowError("data.tree_depth", limit=MAX_DEPTH)
    if value.get("deleted"):
        return None
    replies = value.get("replies") or []
    below = [node for reply in replies if (node := _node(reply, depth + 1)) is not None]
    return Node(_message(value, depth), _rank(value), below)


def _message(value: Value, turn: int) -> Message:
    role = ROLES.get(str(value.get("role")).lower())
    content = value.get("text")
    if role is None:
        raise RowError("data.unknown_role", turn=turn, role=str(value.get("role")))
    if not isinstance(content, str):
        raise RowError("data.turn_not_text", turn=turn, role=role, found=kind_of(content))
    if not content.strip():
        raise RowError("data.empty_turn", turn=turn, role=role)
    return {"role": role, "content": content}


def _rank(value: Value) -> float | None:
    """The rank; None where there is none. A CSV file has it as text."""
    try:
        rank = float(value.get("rank") or 0) if value.get("rank") not in (None, "") else math.nan
    except (TypeError, ValueError):
        return None
    return rank if math.isfinite(rank) else None


def _threads(root: Node) -> Iterator[list[Message]]:
    stack: list[tuple[Node, list[Message]]] = [(root, [])]
    while stack:
        node, before = stack.pop()
        path = [*before, node.message]
        if node.message["role"] == "user":
            if node.replies:
                best = min(node.replies, key=lambda reply: float("inf") if reply.rank is None else reply.rank)
                stack.append((best, path))
        elif any(reply.replies for reply in node.replies):
            stack += [(reply, path) for reply in reversed(node.replies) if reply.replies]
        else:
            yield path


def _siblings(root: Node) -> Iterator[Row]:
    stack: list[tuple[Node, list[Message]]] = [(root, [])]
    while stack:
        node, before = stack.pop()
        path = [*before, node.message]
        ranked = [reply for reply in node.replies if reply.rank is not None]
        if node.message["role"] == "user" and len(ranked) > 1:
            answers = [{"content": reply.message["content"], "score": -(reply.rank or 0.0)} for reply in ranked]
            yield {"prompt": check_order(path, answered=False), "answers": answers}
        stack += [(reply, path) for reply in reversed(node.replies)]


# -- the flat table ---------------------------------------------------------------------------------------------------
def trees(raws: Iterable[Raw]) -> Iterator[Raw]:
    """Rows of the flat table, put together to trees, each with the line of its first message.

    Unreadable rows are passed on as they are met; a message that cannot be used, or that answers one which is not
    there, is passed on as a problem, and what answers it with it.
    """
    nodes: dict[str, Node] = {}
    below: list[tuple[int, str, str]] = []  # line, id, parent
    roots: list[tuple[int, str]] = []
    deleted: set[str] = set()
    for raw in raws:
        value = raw.value
        if raw.problem is not None or not isinstance(value, dict) or not isinstance(value.get("message_id"), str):
            yield raw
            continue
        if value.get("deleted") in (True, "True", "true"):
            deleted.add(value["message_id"])
            continue
        try:
            nodes[value["message_id"]] = Node(_message(value, 1), _rank(value))
        except RowError as error:
            yield Raw(raw.line, problem=Problem(error.code, error.params, line=raw.line, excerpt=excerpt(value)))
            continue
        if value.get("parent_id"):
            below.append((raw.line, value["message_id"], str(value["parent_id"])))
        else:
            roots.append((raw.line, value["message_id"]))
    for line, name, parent in below:
        if parent in nodes:
            nodes[parent].replies.append(nodes[name])
        elif parent not in deleted:
            content = nodes[name].message["content"]
            yield Raw(line, problem=Problem("data.no_parent", {"parent": parent}, line=line, excerpt=excerpt(content)))
    for line, name in roots:
        yield Raw(line, {"message_id": name, "text": "", "role": "", "prompt": nodes[name]})
