"""Steps between answers that were compared: ranked lists → pairs, and pairs → dialogues in hindsight.

Chain of hindsight (Liu, Sferrazza, Abbeel, arXiv 2302.02676) trains on both answers, each behind words that say what it
is: question, "An unhelpful answer:", the worse one, "A helpful answer:", the better one. The words are masked there;
here they stand in the user's turns, which are not learnt either. To use such a model, end the question with the words
for good.
"""

from __future__ import annotations

import itertools
from typing import Any

from core.configs import shape_steps
from core.data.dialogue import Message
from core.data.kinds import Kind, Row
from core.data.steps.base import Drop, Item, Job, Outcome, PerRow, wrong_kind
from core.data.steps.kinds import all_rows, several, tongue

Answer = dict[str, Any]  # {"content", "score"}

GOOD = {"zh": "下面是一个有帮助的回答：", "en": "A helpful answer:"}
BAD = {"zh": "下面是一个没有帮助的回答：", "en": "An unhelpful answer:"}
ORDERS: dict[str, list[tuple[str, ...]]] = {
    "bad-good": [("rejected", "chosen")],
    "good-bad": [("chosen", "rejected")],
    "both": [("rejected", "chosen"), ("chosen", "rejected")],
    "all": [("chosen",), ("rejected",), ("rejected", "chosen"), ("chosen", "rejected")],
}


# -- ranked lists to pairs --------------------------------------------------------------------------------------------
def pairs(step: shape_steps.Pairs, job: Job) -> PerRow:
    """A pair for every comparison that the scores allow; a list that allows none is dropped."""

    def work(item: Item) -> Outcome:
        rows = pairs_of(item.row, step.which, step.min_gap)
        return several(item, rows) if rows else no_pairs(item.row)

    return work


def pairs_of(row: Row, which: str, min_gap: float) -> list[Row]:
    """Preference rows from a ranked one. Equal scores, and answers of the same text, make none."""
    ordered = _ordered(row["answers"])
    if which == "best-worst":
        compared = [(ordered[0], ordered[-1])]
    elif which == "adjacent":
        compared = list(itertools.pairwise(ordered))
    else:
        compared = [(better, worse) for place, better in enumerate(ordered) for worse in ordered[place + 1 :]]
    return [
        {"prompt": row["prompt"], "chosen": [_said(better)], "rejected": [_said(worse)]}
        for better, worse in compared
        if better["score"] > worse["score"]
        and better["score"] - worse["score"] >= min_gap
        and better["content"] != worse["content"]
    ]


def best_of(answers: list[Answer]) -> Answer:
    """The answer with the highest score, the first of equals."""
    return _ordered(answers)[0]


def no_pairs(row: Row) -> Drop:
    return Drop("step.no_pairs", {"answers": len(row["answers"])})


def makes_pairs(step: shape_steps.Pairs, kind: Kind) -> Kind:
    all_rows(step)
    if kind != "ranked":
        raise wrong_kind(step.do, kind, "ranked")
    return "preference"


def _ordered(answers: list[Answer]) -> list[Answer]:
    return sorted(answers, key=lambda answer: -answer["score"])


def _said(answer: Answer) -> Message:
    return {"role": "assistant", "content": answer["content"]}


# -- pairs to dialogues in hindsight ----------------------------------------------------------------------------------
def hindsight(step: shape_steps.Hindsight, job: Job) -> PerRow:
    """One, two or four dialogues of every pair."""

    def work(item: Item) -> Outcome:
        row = item.row
        language = tongue(row["prompt"][-1]["content"], row["chosen"][0]["content"])
        words = {"chosen": step.good or GOOD[language], "rejected": step.bad or BAD[language]}
        return several(item, [{"messages": _told(row, order, words)} for order in ORDERS[step.order]])

    return work


def makes_dialogues(step: shape_steps.Hindsight, kind: Kind) -> Kind:
    all_rows(step)
    if kind != "preference":
        raise wrong_kind(step.do, kind, "preference")
    return "messages"


def _told(row: Row, order: tuple[str, ...], words: dict[str, str]) -> list[Message]:
    """The first words go into the question's turn, so that user and assistant still speak by turns."""
    asked = row["prompt"][-1]
    messages: list[Message] = [
        *row["prompt"][:-1],
        {"role": "user", "content": f"{asked['content']}\n\n{words[order[0]]}"},
        *row[order[0]],
    ]
    for which in order[1:]:
        messages += [{"role": "user", "content": words[which]}, *row[which]]
    return messages
