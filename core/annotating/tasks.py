"""The tasks: which rows each takes, what it puts before the annotator, and what the rows become.

    task = RowTask(config.task, dataset.card.kind, seed=42)
    work = task.work(number, item)            what there is to be judged of one row
    prompts = task.prompts(work)              for a model, one or several; a person sees the same texts
    verdict = task.read(work, replies)        what its replies say
    task.outcome(work, verdict)               the new row, or why there is none

difficulty and score fill a column of the row; rank makes a ranked row, improve a pair or a conversation. Answers are
shown in an order drawn by (seed, row), so that neither a model's nor a person's liking for a place favours one of them.
New rows (`instruct`) are not made of rows one by one: `core.annotating.writing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.annotating.prompts import fill, form_of, numbered, spoken_in, transcript
from core.annotating.replies import Reply
from core.annotating.verdicts import Verdict, read
from core.configs.annotate import MARKS, Task, TaskKind
from core.configs.annotate_prompts import Of
from core.data.dialogue import Message
from core.data.kinds import LETTERS, Kind, Row
from core.data.normal import normal_text
from core.data.steps.base import Drop, Item

TAKES: dict[TaskKind, tuple[Kind, ...]] = {
    "difficulty": ("messages", "prompt", "preference", "ranked", "choice"),
    "score": ("messages", "text"),
    "rank": ("messages", "prompt", "preference", "ranked"),
    "improve": ("messages",),
    "instruct": ("messages", "text"),
}
HAVE_ANSWERS: tuple[Kind, ...] = ("preference", "ranked")  # several to each question
SHUFFLED = 1_000_121  # keeps the order of answers apart from other draws of a seed
FEWEST = 2  # answers that can be put in order


@dataclass(frozen=True)
class Work:
    """What is judged of row `number` (from 0) of its dataset. answers: as they are shown; origin[place]: which of the
    answers in the row's own order stands there."""

    number: int
    item: Item
    question: str = ""
    answer: str = ""
    answers: tuple[str, ...] = ()
    origin: tuple[int, ...] = ()
    document: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.question, self.answer, self.document)


class RowTask:
    """A task over rows of one kind. seed: of the order in which answers are shown. most: answers that the annotator
    can put in order; None: any number."""

    def __init__(self, task: Task, kind: Kind, *, seed: int, most: int | None = None) -> None:
        self.task, self.kind, self.seed, self.most = task, kind, seed, most
        self.of: Of = "documents" if kind == "text" else "rows"

    @property
    def makes(self) -> Kind:
        """The kind of the rows that come of it."""
        if self.task.kind == "rank":
            return "ranked"
        if self.task.kind == "improve":
            return "preference" if self.task.makes == "pairs" else "messages"
        return self.kind

    def work(self, number: int, item: Item, sampled: Sequence[str] = (), *, own: bool = True) -> Work | Drop:
        """What there is to be judged. sampled: answers written to the question; own: the row's are compared, too.

        Equal answers are compared once; a row with fewer than two different ones, or more than `most`, is a Drop.
        """
        if self.kind == "text":
            return Work(number, item, document=item.row["text"])
        asked, answers = parts(self.kind, item.row)
        question = transcript(asked)
        if self.task.kind != "rank":
            return Work(number, item, question, answer=answers[0] if answers else "")
        compared = [*(answers if own else ()), *sampled]
        different: dict[str, str] = {}
        for text in compared:
            if text.strip():
                different.setdefault(normal_text(text), text)
        if len(different) < FEWEST:
            return Drop("annotate.one_answer", {"answers": len(compared)})
        if self.most is not None and len(different) > self.most:
            return Drop("annotate.many_answers", {"answers": len(different), "most": self.most})
        texts = list(different.values())
        order = np.random.default_rng((self.seed, number, SHUFFLED)).permutation(len(texts)).tolist()
        return Work(number, item, question, answers=tuple(texts[place] for place in order), origin=tuple(order))

    def prompts(self, work: Work) -> list[str]:
        """What a model is asked: one prompt, or one for each answer that is marked by itself."""
        language = spoken_in(work.question, work.document)
        form = form_of(self.task, self.of, language)
        texts = {"question": work.question, "answer": work.answer, "document": work.document}
        if self.task.kind != "rank" or self.task.asks == "rank":
            return [fill(form, {**texts, "answers": numbered(work.answers, language)})]
        return [fill(form, {**texts, "answer": answer}) for answer in work.answers]

    def understood(self, answers: int, text: str | None) -> bool:
        """Whether one reply about so many answers can be used."""
        return read(self.task.asks, text, answers) is not None

    def read(self, work: Work, replies: Sequence[Reply]) -> Verdict | Reply:
        """What the replies to `prompts(work)` say; the first that says nothing, where there is one."""
        found = [read(self.task.asks, reply.text, len(work.answers)) for reply in replies]
        for reply, verdict in zip(replies, found, strict=True):
            if verdict is None:
                return reply
        if self.task.kind != "rank" or self.task.asks == "rank":
            assert found[0] is not None
            return found[0]
        return Verdict(marks=tuple(one.number for one in found if one is not None and one.number is not None))

    def outcome(self, work: Work, verdict: Verdict) -> Item | Drop:
        """The row with what was said of it, or why there is none."""
        if verdict.mark == "skip":
            return Drop("annotate.skipped")
        if self.task.kind == "difficulty":
            return replace(work.item, difficulty=verdict.number)
        if self.task.kind == "score":
            assert verdict.number is not None
            return replace(work.item, score=round(verdict.number / MARKS[1], 3))
        return self._ranked(work, verdict) if self.task.kind == "rank" else self._improved(work, verdict)

    def _ranked(self, work: Work, verdict: Verdict) -> Item | Drop:
        """Every answer with its mark, or the number of answers that it was put before; equal ones with 0. A better
        answer that a person wrote comes before them all."""
        if verdict.mark == "bad":
            return Drop("annotate.all_bad", {"answers": len(work.answers)})
        scores = dict.fromkeys(range(len(work.answers)), 0.0)
        scores |= {shown: mark / MARKS[1] for shown, mark in enumerate(verdict.marks or ())}
        for place, shown in enumerate(verdict.order or ()):
            scores[shown] = float(len(work.answers) - 1 - place)
        own = sorted(scores, key=lambda shown: work.origin[shown])
        answers = [{"content": work.answers[shown], "score": scores[shown]} for shown in own]
        if verdict.text is not None:
            answers.append({"content": verdict.text, "score": max(scores.values()) + 1})
        prompt, _ = parts(self.kind, work.item.row)
        return replace(work.item, row={"prompt": prompt, "answers": answers})

    def _improved(self, work: Work, verdict: Verdict) -> Item | Drop:
        pairs = self.task.makes == "pairs"
        if verdict.mark == "fine":
            return Drop("annotate.fine") if pairs else work.item
        better = verdict.text or ""
        if normal_text(better) == normal_text(work.answer):
            return Drop("annotate.same") if pairs else work.item
        messages = work.item.row["messages"]
        new: Message = {"role": "assistant", "content": better}
        row: Row = {"prompt": messages[:-1], "chosen": [new], "rejected": messages[-1:]}
        return replace(work.item, row=row if pairs else {"messages": [*messages[:-1], new]})


def parts(kind: Kind, row: Row) -> tuple[list[Message], list[str]]:
    """(the conversation that ends with the user, the answers that the row has to it)."""
    if kind == "messages":
        return row["messages"][:-1], [row["messages"][-1]["content"]]
    if kind == "preference":
        return row["prompt"], [row["chosen"][-1]["content"], row["rejected"][-1]["content"]]
    if kind == "ranked":
        return row["prompt"], [answer["content"] for answer in row["answers"]]
    if kind == "prompt":
        return row["prompt"], []
    choices = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=False)]
    return [{"role": "user", "content": "\n".join([row["question"], *choices])}], []
