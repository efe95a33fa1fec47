"""Sections of the stage annotate: what is asked of rows, who answers, which answers are compared, what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from core.configs import sections
from core.configs.annotate_prompts import lacking
from core.configs.sections import Section, lines_of, setting

KEY = "GALEN_ANNOTATE_KEY"
TaskKind = Literal["difficulty", "score", "rank", "improve", "instruct"]
DIFFICULTIES = (1, 5)  # the lowest and the highest that an annotator may say
MARKS = (0, 10)


class Task(Section):
    """What is asked."""

    kind: TaskKind = setting(
        "score",
        "difficulty: 1 to 5, into the column by which a curriculum is ordered. score: 0 to 10, into the column that "
        "steps filter by, from 0 to 1. rank: several answers in order, for preference pairs. improve: a better answer. "
        "instruct: new questions with answers, from examples or documents.",
    )
    ranks: Literal["order", "marks"] = setting(
        "order",
        "How a model compares answers. order: all in one prompt, which takes an able model. marks: each by itself, as "
        "in the task score; equal marks make no pair.",
    )
    makes: Literal["pairs", "conversations"] = setting(
        "pairs",
        "What better answers become: pairs with the old answer rejected, or conversations with the new one in its "
        "place.",
    )
    prompt_en: str = setting(
        "",
        "What is asked about rows in English. {question}, {answer}, {answers}, {document}, {examples} and {count} are "
        "filled in, as far as the task has them. Empty: the text that ships for the task.",
    )
    prompt_zh: str = setting("", "The same for rows in Chinese.")

    @property
    def asks(self) -> TaskKind:
        """The task whose prompt a model gets: answers that are marked one by one are asked about as in `score`."""
        return "score" if self.kind == "rank" and self.ranks == "marks" else self.kind


class Annotated(Section):
    """The rows that are annotated, and the name of what comes of them."""

    rows: str = setting(
        ..., "A dataset or file: conversations, prompts, pairs, ranked answers, or documents.", min_length=1
    )
    max_rows: int | None = setting(200, "Rows that are annotated at most, chosen by the seed. Empty: all.", ge=1)
    output: str = setting("", "Name of the new dataset. Empty: made from the rows' and the task.", max_length=80)
    bad_rows: Literal["stop", "drop"] = sections.bad_rows()


class Annotator(Section):
    """Who answers."""

    kind: Literal["endpoint", "model", "person"] = setting(
        "endpoint",
        "endpoint: a model behind an OpenAI-compatible address. model: a finished run or a model of the workspace, "
        "loaded for it. person: somebody at the keyboard, on the page or in a terminal.",
    )
    url: str = setting("", "Address of the endpoint, such as http://127.0.0.1:8000/v1.")
    model: str = setting("", "Name of the endpoint's model, as the endpoint knows it.")
    base: str | None = setting(None, "The finished run or model that answers.")
    max_new_tokens: int = setting(256, "Length limit of a reply, in tokens.", ge=1, le=32768)
    temperature: float = setting(0.0, "0 always takes the likeliest token.", ge=0, le=2)
    price_in: float = setting(
        0.0, "What a million tokens of prompts cost, in your currency. 0: not counted.", ge=0, le=1_000_000
    )
    price_out: float = setting(0.0, "What a million tokens of replies cost.", ge=0, le=1_000_000)
    at_once: int = setting(4, "Prompts that an endpoint is asked side by side.", ge=1, le=64, advanced=True)
    timeout: float = setting(
        60.0, "Seconds that one reply of an endpoint may take, before it is asked for again.", gt=0, le=3600,
        advanced=True,
    )  # fmt: skip
    key: str = setting(
        KEY,
        f"The environment variable with the endpoint's key: {KEY}, or a name that begins with {KEY}_. The key itself "
        "is written nowhere.",
        pattern=rf"^{KEY}(_[A-Z0-9_]+)?$",
        advanced=True,
    )
    tokens: int = setting(4096, "Tokens that a model computes at a time; fewer need less memory.", ge=64, advanced=True)
    template: str | None = setting(None, "A named chat template for a model that has none.", advanced=True)
    trust_remote_code: bool = setting(
        False, "Run Python code that came with the model. Only for models whose authors you trust.", advanced=True
    )


class Sampled(Section):
    """Of the task rank: which answers are put in order."""

    base: str | None = setting(
        None, "A finished run or model that writes the answers. Empty: the answers that the rows have are compared."
    )
    count: int = setting(3, "Answers written to each question.", ge=1, le=9)
    own: bool = setting(False, "The answers that the row has are compared, too.")
    temperature: float = setting(0.8, "0 would write the same answer every time.", gt=0, le=2)
    max_new_tokens: int = setting(256, "Length limit of an answer, in tokens.", ge=1, le=32768)


class NewRows(Section):
    """Of the task instruct: how many rows are written, and what counts as there already."""

    rows: int = setting(200, "New rows at most.", ge=1, le=1_000_000)
    each: int = setting(3, "Rows asked for in one reply.", ge=1, le=20)
    examples: int = setting(3, "Rows shown as examples in each prompt, drawn by the seed.", ge=1, le=20)
    threshold: float = setting(
        0.6,
        "A new question this similar (Jaccard similarity of character 5-grams) to one that is there is dropped.",
        ge=0.3,
        le=1,
    )
    against: list[str] = setting([], "Further datasets, one a line, whose questions are not to come again.")

    @field_validator("against", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return lines_of(value)


@dataclass(frozen=True)
class Fault:
    """Settings that do not go together: a code of `core.messages_annotate`, the setting that is to be changed."""

    code: str
    key: str
    params: dict[str, Any] = field(default_factory=dict)


def fault(task: Task, who: Annotator) -> Fault | None:
    """The first thing that keeps this annotator from this task; None where there is none."""
    for key, prompt in (("task.prompt_en", task.prompt_en), ("task.prompt_zh", task.prompt_zh)):
        if prompt and (names := lacking(task.asks, prompt)):
            return Fault("annotate.prompt_lacks", key, {"names": names, "task": task.kind})
    if who.kind == "person" and task.kind == "instruct":
        return Fault("annotate.person_writes_none", "annotator.kind")
    if who.kind == "model" and not who.base:
        return Fault("annotate.no_base", "annotator.base")
    if who.kind == "endpoint":
        if code := _address_fault(who.url):
            return Fault(code, "annotator.url", {"variable": who.key})
        if not who.model:
            return Fault("annotate.no_model", "annotator.model")
    return None


def _address_fault(text: str) -> str:
    """Why `text` is no address of an endpoint, as a code; "" where it is one."""
    if not text:
        return "annotate.no_url"
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return "annotate.bad_url"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "annotate.bad_url"
    return "annotate.key_in_url" if parts.username is not None or parts.password is not None else ""


def computes(config: Mapping[str, Any]) -> bool:
    """Whether a run with this config, as JSON, loads a model: endpoints and people need no device of this machine."""
    samples = config["task"]["kind"] == "rank" and bool(config["answers"]["base"])
    return samples or config["annotator"]["kind"] == "model"
