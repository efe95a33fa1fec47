"""The answers of a comparison, read for the page: what a session wants to see of them, in which order. No HTML.

asked.clicked({"sort": "reward"})      what is wanted after a click
read(run, found, asked)                the questions of one page, with replies, items and verdicts of all models
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.records_evaluation import (
    Evaluation,
    Item,
    Question,
    Reply,
    Verdict,
    answers_file,
    prompts_file,
    verdicts_file,
)
from core.rundir import RunDir, read_jsonl
from core.tails import tail
from webui.items import index_of

PAGE = 10
BEST, WORST = "best", "worst"
ORDERS = (WORST, BEST)
IN_ORDER = ""
# By which figures answers can be sorted, and whether more of it is better.
SORTS = {
    "safe": 1, "win": 1, "reward": 1, "bleu": 1, "char_bleu4": 1, "rougeL": 1, "exact": 1, "tokens": -1,
    "repetition": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What one session wants to see of one run: `source` and `model` are places in the comparison's lists; `sort` "" is
    the order in which they were asked. Pages count from 0."""

    run: str = ""
    source: int = 0
    model: int = 0
    sort: str = IN_ORDER
    order: str = WORST
    page: int = 0

    def of(self, run: str) -> Asked:
        """The same for another run: it begins at its first questions."""
        return self if self.run == run else Asked(run=run)

    def clicked(self, data: Mapping[str, Any]) -> Asked:
        """What is wanted after a click; a page is turned only where nothing else is asked for."""
        now = replace(self, page=_whole(data.get("page", 0)))
        if "source" in data:
            now = replace(now, source=_whole(data["source"]))
        if "model" in data:
            now = replace(now, model=_whole(data["model"]))
        if "sort" in data:
            now = replace(now, sort=data["sort"] if data["sort"] in SORTS else IN_ORDER)
        if "order" in data:
            now = replace(now, order=data["order"] if data["order"] in ORDERS else WORST)
        return now


def _whole(value: Any) -> int:
    try:
        return max(0, int(str(value)))
    except ValueError:
        return 0


@dataclass(frozen=True)
class Shown:
    """One page of questions; replies, items and verdicts by (model, question). sorts: figures that the chosen model's
    answers have."""

    questions: list[Question] = field(default_factory=list)
    replies: dict[tuple[int, int], Reply] = field(default_factory=dict)
    items: dict[tuple[int, int], Item] = field(default_factory=dict)
    verdicts: dict[tuple[int, int], Verdict] = field(default_factory=dict)
    sorts: list[str] = field(default_factory=list)
    first: int = 0
    total: int = 0


def read(run: RunDir, found: Evaluation, asked: Asked) -> Shown:
    rows, _ = read_jsonl(prompts_file(run.output))
    questions = [each for row in rows if (each := Question.model_validate(row)).source == asked.source]
    own = {question.number for question in questions}
    items = {at: item for at, item in dict(index_of(run).answers).items() if at[1] in own}
    mine = [item for (model, _), item in items.items() if model == asked.model]
    sorts = [name for name in SORTS if any(name in item.figures for item in mine)]
    questions = _ordered(questions, items, asked if asked.sort in sorts else replace(asked, sort=IN_ORDER))
    last = max(0, len(questions) - 1) // PAGE
    first = min(asked.page, last) * PAGE
    shown = questions[first : first + PAGE]
    replies = {
        (row.get("model", 0), row.get("number", 0)): Reply.model_validate(row)
        for row in tail(answers_file(run.output), keep_rows=True).rows
    }
    verdicts = {
        (row["model"], row["number"]): Verdict.model_validate(row) for row in read_jsonl(verdicts_file(run.output))[0]
    }
    return Shown(shown, replies, items, verdicts, sorts, first, len(questions))


def _ordered(questions: list[Question], items: Mapping[tuple[int, int], Item], asked: Asked) -> list[Question]:
    """By the chosen model's figure; questions that have none stand last."""
    if asked.sort == IN_ORDER:
        return questions
    sign = SORTS[asked.sort] * (1 if asked.order == WORST else -1)

    def place(question: Question) -> tuple[bool, float, int]:
        item = items.get((asked.model, question.number))
        value = item.figures.get(asked.sort) if item is not None else None
        return value is None, sign * (value or 0.0), question.number

    return sorted(questions, key=place)
