"""Shapes of the field that canonical rows can be written in; each is read back by a shape of `shapes.formats`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from core.data.dialogue import Message, RowError
from core.data.kinds import LETTERS, Kind, Row
from core.data.shapes.dialogues import is_transcript
from core.data.store.dataset import ANSWERS, TURNS

Columns = tuple[tuple[str, pa.DataType], ...]

SAID = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
HISTORY = pa.list_(pa.list_(pa.string()))
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


@dataclass(frozen=True)
class Form:
    """`columns` are those of a Parquet file; `write` raises RowError for a row that would be read back as another."""

    name: str
    kind: Kind
    describe: str
    columns: Columns
    write: Callable[[Row], Row]


def _as_it_is(row: Row) -> Row:
    return row


def _sharegpt(row: Row) -> Row:
    return {"conversations": [{"from": SHAREGPT[m["role"]], "value": m["content"]} for m in row["messages"]]}


def _alpaca(row: Row) -> Row:
    """Of several rounds, the earlier ones as `history`."""
    *asked, answer = row["messages"]
    return {**_question(asked, "instruction"), "input": "", "output": answer["content"]}


def _prompt_response(row: Row) -> Row:
    *asked, answer = row["messages"]
    return {**_question(asked, "prompt"), "response": answer["content"]}


def _preference(row: Row) -> Row:
    answers = {key: row[key][0]["content"] for key in ("chosen", "rejected")}
    for text in answers.values():
        if is_transcript(text):
            raise RowError("data.export_row", text=text[:80])
    return {**_question(row["prompt"], "prompt"), **answers}


def _prompt(row: Row) -> Row:
    return _question(row["prompt"], "prompt")


def _question(asked: list[Message], key: str) -> Row:
    """A question as text, with `system` and `history` where there are any."""
    row: Row = {key: asked[-1]["content"]}
    if asked[0]["role"] == "system":
        row["system"] = asked[0]["content"]
        asked = asked[1:]
    if len(asked) > 1:
        texts = [message["content"] for message in asked[:-1]]
        row["history"] = [[question, answer] for question, answer in zip(texts[::2], texts[1::2], strict=True)]
    return row


def _choice(row: Row) -> Row:
    named = dict(zip(LETTERS, row["choices"], strict=False))
    return {"question": row["question"], **named, "answer": row["answer"]}


def _texts(*names: str) -> Columns:
    return tuple((name, pa.string()) for name in names)


_ASKED: Columns = (*_texts("system"), ("history", HISTORY))

FORMS: tuple[Form, ...] = (
    Form("text", "text", "text", _texts("text"), _as_it_is),
    Form("messages", "messages", "messages[role, content]", (("messages", TURNS),), _as_it_is),
    Form("sharegpt", "messages", "conversations[from, value]", (("conversations", SAID),), _sharegpt),
    Form("alpaca", "messages", "instruction, input, output (system, history)",
         (*_texts("instruction", "input", "output"), *_ASKED), _alpaca),
    Form("prompt-response", "messages", "prompt, response (system, history)",
         (*_texts("prompt", "response"), *_ASKED), _prompt_response),
    Form("prompt", "prompt", "prompt[role, content]", (("prompt", TURNS),), _as_it_is),
    Form("prompt-text", "prompt", "prompt (system, history)", (*_texts("prompt"), *_ASKED), _prompt),
    Form("preference", "preference", "prompt, chosen, rejected, each [role, content]",
         (("prompt", TURNS), ("chosen", TURNS), ("rejected", TURNS)), _as_it_is),
    Form("preference-text", "preference", "prompt, chosen, rejected (system, history)",
         (*_texts("prompt", "chosen", "rejected"), *_ASKED), _preference),
    Form("ranked", "ranked", "prompt, answers[content, score]", (("prompt", TURNS), ("answers", ANSWERS)), _as_it_is),
    Form("choice", "choice", "question, A, B, C …, answer", _texts("question", "answer"), _choice),
)  # fmt: skip
