"""New rows from examples and documents: rounds, what is too near to what is there, and how replies are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from core.annotating.verdicts import order_in, pairs_in, read
from core.recipes import annotate as recipe
from core.workspace import Workspace
from tests.annotate_tools import again, annotated, chats, dataset, made_by, rows_of, submitted
from tests.endpoint_tools import Endpoint

WORDS = ["fever", "cough", "burn", "rash", "sprain", "stroke", "asthma", "anaemia", "goitre", "gout", "sepsis", "croup"]


def asked_in(made: Any) -> list[str]:
    return [row["messages"][0]["content"] for row in rows_of(made)]


def writes(endpoint: Endpoint, each: int = 2) -> None:
    """New questions in every reply, numbered through."""
    made = iter(range(10_000))

    def behaves(prompt: str, times: int) -> str:
        said = []
        for _ in range(each):
            number = next(made)
            word = WORDS[number % len(WORDS)] * 2
            said.append(f"Question: How is {word} number {number * 7919} treated at home?\nAnswer: With {word}.")
        return "\n\n".join(said)

    endpoint.behaves = behaves


@pytest.fixture
def seeds(workspace: Workspace, tmp_path: Path) -> str:
    return dataset(workspace, tmp_path, "chat", chats(8)).ref


def test_rounds_go_on_until_there_are_enough(workspace: Workspace, endpoint: Endpoint, seeds: str) -> None:
    writes(endpoint)
    made = annotated(workspace, endpoint.url, f"data.rows={seeds}", "task.kind=instruct", "new.rows=9", "new.each=2")
    assert (made.name, made.card.kind, len(made)) == ("chat-new", "messages", 9)
    assert len(endpoint.asked) == 5  # all in one round
    shown = re.findall(r"Question: (question \d)", endpoint.prompts[0])
    assert len(shown) == 3
    assert len({tuple(re.findall(r"question \d", prompt)) for prompt in endpoint.prompts}) > 3
    assert "Write 2 new ones" in endpoint.prompts[0]


def test_new_rows_are_examples_of_the_next_round(workspace: Workspace, endpoint: Endpoint, seeds: str) -> None:
    replies = iter(range(1000))

    def behaves(prompt: str, times: int) -> str:
        number = next(replies)
        word = WORDS[number % len(WORDS)]
        return f"Question: Tell me of {word} {word}?\nAnswer: {word}"

    endpoint.behaves = behaves
    annotated(
        workspace, endpoint.url, f"data.rows={seeds}", "task.kind=instruct", "new.rows=6", "new.each=3",
        "annotator.at_once=1",
    )  # fmt: skip
    first, *later = endpoint.prompts
    assert "Tell me of" not in first
    assert all("Tell me of" in prompt for prompt in later[1:])


def test_what_is_near_to_what_is_there_is_dropped(workspace: Workspace, endpoint: Endpoint, tmp_path: Path) -> None:
    text = "What should one do about a nosebleed that does not stop by itself"
    there = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "press"}]}, *chats(3)]
    seeds = dataset(workspace, tmp_path, "seeds", there).ref
    other = "Which vegetables hold so much vitamin K that they disturb warfarin"
    against = dataset(workspace, tmp_path, "other", [{"prompt": other}]).ref
    said = [
        f"{text}?",
        f"{other} a lot?",
        "How is a sprained ankle cooled?",
        "How is a sprained ankle cooled!",
        "Why sleep?",
    ]
    endpoint.behaves = lambda prompt, times: "\n".join(f"Question: {each}\nAnswer: so" for each in said)
    made = annotated(
        workspace, endpoint.url, f"data.rows={seeds}", f"new.against={against}", "task.kind=instruct", "new.rows=5",
        "new.each=5",
    )  # fmt: skip
    assert asked_in(made) == ["How is a sprained ankle cooled?", "Why sleep?"]
    assert made.card.parents == [seeds, against]
    near = [row["message"] for row in made.dropped() if row["code"] == "step.near"]
    assert len(near) == 3 + 5  # the second round brought nothing new, and was the last
    assert re.fullmatch(r"It is to \d+ % the same as line 1 of seeds\.", near[0])


def test_documents_are_asked_about_one_by_one(workspace: Workspace, endpoint: Endpoint, tmp_path: Path) -> None:
    docs = dataset(workspace, tmp_path, "docs", [{"text": f"all about {word}"} for word in WORDS[:6]]).ref

    def behaves(prompt: str, times: int) -> str:
        word = re.findall(r"all about (\w+)", prompt)[0]
        return (
            "Nothing comes to mind." if word == "burn" else f"Q: What is {word}, and what else is {word}?\nA: {word}."
        )

    endpoint.behaves = behaves
    made = annotated(workspace, endpoint.url, f"data.rows={docs}", "task.kind=instruct", "new.rows=50")
    assert len(made) == 5
    assert len(endpoint.asked) == 7  # every document once, nonsense twice
    assert [(row["line"], row["code"]) for row in made.dropped()] == [(3, "annotate.nonsense")]
    assert rows_of(made)[0]["messages"][1]["content"] == "fever."


def test_a_resumed_run_comes_by_the_same_rounds(workspace: Workspace, endpoint: Endpoint, seeds: str) -> None:
    writes(endpoint, each=1)
    words = [f"data.rows={seeds}", "task.kind=instruct", "new.rows=12", "new.each=2", "annotator.at_once=1"]
    context = submitted(workspace, f"annotator.url={endpoint.url}", "annotator.model=m", *words)
    recipe.main(context)
    first, asked = made_by(context), len(endpoint.asked)
    again(context)
    assert len(endpoint.asked) == asked
    assert made_by(context).ref == first.ref


# -- how replies are read ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "count", "order"),
    [
        ("2 > 1 > 3", 3, (1, 0, 2)),
        ("Order: [2] > [1] > [3]", 3, (1, 0, 2)),
        ("Answer 2 is best, then Answer 1", 3, (1, 0, 2)),
        ("1. Answer 2\n2. Answer 1\n3. Answer 3", 3, (1, 0, 2)),
        ("排序：2 > 3 > 1", 3, (1, 2, 0)),
        ("<think>1 > 2 > 3</think> 3, 2, 1", 3, (2, 1, 0)),
        ("2", 2, (1, 0)),
        ("[1]", 2, (0, 1)),
        ("2>3", 3, (1, 2, 0)),
        ("3", 3, None),
        ("1, 2, 4", 3, None),
        ("1 > 1 > 2", 3, None),
        ("2.5 > 1", 3, None),
        ("There are 2 good ones", 2, None),
        ("", 2, None),
    ],
)
def test_an_order_is_read_or_not_at_all(text: str, count: int, order: tuple[int, ...] | None) -> None:
    assert order_in(text, count) == order


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("Question: a?\nAnswer: b", [("a?", "b")]),
        ("1. **Question:** a?\n**Answer:** b\n\n2. Question 2: c?\nAnswer: d\ne", [("a?", "b"), ("c?", "d\ne")]),
        ("问题：甲？\n回答：乙。\n问题：丙？\n回答：丁", [("甲？", "乙。"), ("丙？", "丁")]),
        ('```json\n[{"question": "a", "answer": "b"}, {"question": "c"}]\n```', [("a", "b")]),
        ('{"instruction": "a", "output": "b"}', [("a", "b")]),
        ("Question: a?\nQuestion: b?\nAnswer: c", [("b?", "c")]),
        ("Answer: b", []),
        ("Here you are.", []),
        ("[]", []),
    ],
)
def test_new_rows_are_read_or_not_at_all(text: str, pairs: list[tuple[str, str]]) -> None:
    assert pairs_in(text) == pairs


@pytest.mark.parametrize(("text", "number"), [("1. Rest is best", None), ("1", 1), ("4. It is clear", 4), ("9", None)])
def test_how_a_list_begins_is_no_grade(text: str, number: float | None) -> None:
    found = read("difficulty", text)
    assert (found.number if found is not None else None) == number
