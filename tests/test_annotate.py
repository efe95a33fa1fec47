"""The stage annotate with an endpoint: what each task asks, what comes of it, and what a resume asks again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.configs.data import Recipe
from core.configs.files import resolve
from core.data.encode.curriculum import Curriculum
from core.data.recipe.prepare import prepare
from core.errors import ConfigError, RunError
from core.recipes import annotate as recipe
from core.workspace import Workspace
from tests.annotate_tools import again, annotated, chats, column, dataset, figures, made_by, rows_of, submitted
from tests.endpoint_tools import Endpoint, unused_url

NUMBER = re.compile(r"question (\d+)")


def number(prompt: str) -> int:
    found = NUMBER.search(prompt)
    assert found is not None, prompt
    return int(found[1])


@pytest.fixture
def rows(workspace: Workspace, tmp_path: Path) -> str:
    return dataset(workspace, tmp_path, "chat", chats(20)).ref


# -- columns ----------------------------------------------------------------------------------------------------------
def test_a_score_becomes_a_column_that_steps_read(workspace: Workspace, endpoint: Endpoint, rows: str) -> None:
    endpoint.behaves = lambda prompt, times: f"{number(prompt) % 10}/10"
    made = annotated(workspace, endpoint.url, f"data.rows={rows}")
    assert made.name == "chat-score"
    assert column(made, "score") == [pytest.approx(n % 10 / 10) for n in range(20)]
    assert rows_of(made) == [{"messages": row["messages"]} for row in chats(20)]
    assert all(f"answer {number(prompt)}" in prompt for prompt in endpoint.prompts)

    steps = [{"do": "quality", "by": "column", "min_score": 0.8}, {"do": "sort", "by": "score", "descending": True}]
    recipe_ = Recipe.model_validate({"inputs": [made.ref], "steps": steps, "output": "best"})
    [best] = prepare(workspace, recipe_)
    assert column(best, "score") == [0.9, 0.9, 0.8, 0.8]
    assert best.card.dropped_counts == {"step.low_own_score": 16}


def test_a_difficulty_orders_a_curriculum(workspace: Workspace, endpoint: Endpoint, rows: str) -> None:
    endpoint.behaves = lambda prompt, times: str(1 + number(prompt) % 5)
    made = annotated(workspace, endpoint.url, f"data.rows={rows}", "task.kind=difficulty", "data.output=graded")
    graded = np.array(column(made, "difficulty"))
    assert graded.tolist() == [1 + n % 5 for n in range(20)]
    order = Curriculum([20], [1], difficulty=graded)(seed=1, epoch=0)
    assert (np.diff(graded[order]) >= 0).all()


def test_the_row_limit_draws_by_the_seed(workspace: Workspace, endpoint: Endpoint, rows: str) -> None:
    made = annotated(workspace, endpoint.url, f"data.rows={rows}", "data.max_rows=6", "run.seed=3")
    asked = sorted(map(number, endpoint.prompts))
    assert len(asked) == 6 == len(made)
    assert sorted(column(made, "line")) == [n + 1 for n in asked]


def test_documents_are_scored_as_documents(workspace: Workspace, endpoint: Endpoint, tmp_path: Path) -> None:
    ref = dataset(workspace, tmp_path, "docs", [{"text": "text of question 1"}, {"text": "关于血糖的文本"}]).ref
    made = annotated(workspace, endpoint.url, f"data.rows={ref}", "annotator.at_once=1")
    assert column(made, "score") == [0.7, 0.7]
    assert endpoint.prompts[0].startswith("Mark a text")
    assert endpoint.prompts[1].startswith("请把下面的文本")


# -- rows that come to nothing ----------------------------------------------------------------------------------------
def test_nonsense_is_asked_once_more_and_then_listed(workspace: Workspace, endpoint: Endpoint, rows: str) -> None:
    def behaves(prompt: str, times: int) -> Any:
        if number(prompt) == 4:
            return "<b>no idea</b>"
        if number(prompt) == 5:
            return "1. First, a list" if times == 0 else "3"
        return (400, {}, b"context too long") if number(prompt) == 6 else "8"

    endpoint.behaves = behaves
    context = submitted(
        workspace, f"annotator.url={endpoint.url}", "annotator.model=m", f"data.rows={rows}",
        "annotator.price_in=2", "annotator.price_out=10",
    )  # fmt: skip
    recipe.main(context)
    made = made_by(context)
    assert len(made) == 18
    dropped = {row["line"]: row["message"] for row in made.dropped()}
    assert dropped == {
        5: "The reply says nothing that can be used: <b>no idea</b>",
        7: "It got no reply: HTTP 400: context too long",
    }
    again = [body["temperature"] for body in endpoint.asked if number(body["messages"][0]["content"]) == 4]
    assert again == [0, 0.7]  # at 0 most would say the same again
    asked = [number(prompt) for prompt in endpoint.prompts]
    assert [asked.count(n) for n in (4, 5, 6, 7)] == [2, 2, 1, 1]
    told = figures(context)
    assert (told["rows"], told["failed"]) == (20, 2)
    said = [prompt for prompt in endpoint.prompts if number(prompt) != 6]
    assert told["tokens_in"] == sum(map(len, said))
    assert told["cost"] == pytest.approx((told["tokens_in"] * 2 + told["tokens_out"] * 10) / 1e6)
    assert made.card.annotation is not None
    assert made.card.annotation["cost"] == told["cost"]
    assert made.card.annotation["annotator"] == {"kind": "endpoint", "name": f"m @ {endpoint.url}"}


def test_where_nothing_can_be_used_the_run_says_what_was_said(
    workspace: Workspace, endpoint: Endpoint, rows: str
) -> None:
    endpoint.behaves = lambda prompt, times: "I cannot do that"
    with pytest.raises(RunError, match=r"None of the 20 rows .* I cannot do that") as caught:
        annotated(workspace, endpoint.url, f"data.rows={rows}")
    assert caught.value.code == "annotate.nothing"
    assert [path.name for path in workspace.datasets_dir.iterdir()] == ["chat"]


def test_an_endpoint_that_is_down_is_named_and_what_it_said_is_kept(
    workspace: Workspace, endpoint: Endpoint, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "PATIENCE", 1)
    endpoint.behaves = lambda prompt, times: "8" if len(endpoint.asked) <= 6 else (401, {}, b"no more credit")
    context = submitted(
        workspace, f"annotator.url={endpoint.url}", "annotator.model=m", f"data.rows={rows}", "annotator.at_once=2"
    )
    with pytest.raises(RunError, match=f"{endpoint.url} .*HTTP 401: no more credit.*is kept"):
        recipe.main(context)
    had = set(endpoint.prompts[:6])
    assert len(endpoint.prompts) < 12
    endpoint.behaves = lambda prompt, times: "8"
    again(context)
    assert len(made_by(context)) == 20
    assert all(endpoint.prompts.count(prompt) == 1 for prompt in had)


def test_one_that_is_not_there_is_told_at_once(workspace: Workspace, rows: str) -> None:
    url = unused_url()
    with pytest.raises(RunError, match="does not answer") as caught:
        annotated(workspace, url, f"data.rows={rows}")
    assert caught.value.params["url"] == url


# -- answers in order -------------------------------------------------------------------------------------------------
def ranked(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"question {n}",
            "answers": [{"content": f"good {n}", "score": 0}, {"content": f"fair {n}", "score": 0},
                        {"content": f"poor {n}", "score": 0}],
        }
        for n in range(count)
    ]  # fmt: skip


def in_order(prompt: str, times: int) -> str:
    """Good before fair before poor, whatever their numbers are."""
    places = {word: index for index, word in re.findall(r"Answer (\d): (good|fair|poor)", prompt)}
    return f"{places['good']} > {places['fair']} > {places['poor']}"


def test_ranked_answers_make_preference_pairs(workspace: Workspace, endpoint: Endpoint, tmp_path: Path) -> None:
    ref = dataset(workspace, tmp_path, "list", ranked(12)).ref
    endpoint.behaves = in_order
    made = annotated(workspace, endpoint.url, f"data.rows={ref}", "task.kind=rank")
    assert made.card.kind == "ranked"
    assert all([answer["score"] for answer in row["answers"]] == [2, 1, 0] for row in rows_of(made))
    shown = {tuple(re.findall(r"good|fair|poor", prompt)) for prompt in endpoint.prompts}
    assert len(shown) > 3  # the order in which they are shown is drawn
    step = {"do": "pairs", "which": "best-worst"}
    [pairs] = prepare(workspace, Recipe.model_validate({"inputs": [made.ref], "steps": [step]}))
    assert {row["chosen"][0]["content"][:4] for row in rows_of(pairs)} == {"good"}
    assert {row["rejected"][0]["content"][:4] for row in rows_of(pairs)} == {"poor"}


def test_answers_marked_one_by_one_are_ordered_by_their_marks(
    workspace: Workspace, endpoint: Endpoint, tmp_path: Path
) -> None:
    ref = dataset(workspace, tmp_path, "list", ranked(3)).ref
    marks = {"good": "9", "fair": "9", "poor": "2"}
    endpoint.behaves = lambda prompt, times: marks[re.findall(r"Answer: (\w+)", prompt)[0]]
    made = annotated(workspace, endpoint.url, f"data.rows={ref}", "task.kind=rank", "task.ranks=marks")
    assert [[answer["score"] for answer in row["answers"]] for row in rows_of(made)] == [[0.9, 0.9, 0.2]] * 3
    assert len(endpoint.asked) == 9
    [pairs] = prepare(workspace, Recipe.model_validate({"inputs": [made.ref], "steps": [{"do": "pairs"}]}))
    assert len(pairs) == 6  # equal marks make no pair


def test_rows_without_two_answers_are_listed(workspace: Workspace, endpoint: Endpoint, tmp_path: Path) -> None:
    rows = ranked(3)
    rows[1]["answers"] = [{"content": "Same.", "score": 1}, {"content": "same", "score": 2}]
    endpoint.behaves = in_order
    made = annotated(
        workspace, endpoint.url, f"data.rows={dataset(workspace, tmp_path, 'list', rows).ref}", "task.kind=rank"
    )
    assert [row["code"] for row in made.dropped()] == ["annotate.one_answer"]
    assert len(made) == 2


# -- better answers ---------------------------------------------------------------------------------------------------
def test_a_better_answer_makes_a_pair_or_a_conversation(workspace: Workspace, endpoint: Endpoint, rows: str) -> None:
    endpoint.behaves = lambda prompt, times: (
        f"answer {number(prompt)}" if number(prompt) < 2 else f"<think>hm</think>“better {number(prompt)}”"
    )
    pairs = annotated(workspace, endpoint.url, f"data.rows={rows}", "task.kind=improve")
    assert pairs.card.kind == "preference"
    assert rows_of(pairs)[0] == {
        "prompt": [{"role": "user", "content": "question 2"}],
        "chosen": [{"role": "assistant", "content": "better 2"}],
        "rejected": [{"role": "assistant", "content": "answer 2"}],
    }
    assert pairs.card.dropped_counts == {"annotate.same": 2}
    asked = len(endpoint.asked)
    whole = annotated(
        workspace, endpoint.url, f"data.rows={rows}", "task.kind=improve", "task.makes=conversations",
            )  # fmt: skip
    assert (pairs.name, whole.name) == ("chat-pairs", "chat-improved")
    assert len(endpoint.asked) == 2 * asked  # another run
    assert whole.card.stages == ["sft", "pretrain", "ppo"]
    assert [row["messages"][1]["content"] for row in rows_of(whole)][:3] == ["answer 0", "answer 1", "better 2"]


# -- bad settings -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "key", "code"),
    [
        ((), "annotator.url", "annotate.no_url"),
        (("annotator.url=localhost:8000",), "annotator.url", "annotate.bad_url"),
        (("annotator.url=http://me:secret@host/v1",), "annotator.url", "annotate.key_in_url"),
        (("annotator.url=http://host/v1",), "annotator.model", "annotate.no_model"),
        (("annotator.kind=model",), "annotator.base", "annotate.no_base"),
        (("annotator.kind=person", "task.kind=instruct"), "annotator.kind", "annotate.person_writes_none"),
        (("annotator.kind=person", "task.prompt_en=How good?"), "task.prompt_en", "annotate.prompt_lacks"),
        (("annotator.kind=person", "annotator.key=HOME"), "annotator.key", "config.wrong_type"),
    ],
)
def test_settings_that_do_not_go_together(words: tuple[str, ...], key: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("annotate", overrides=["data.rows=x", *words])
    assert [(problem.key, problem.code) for problem in caught.value.problems] == [(key, code)]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "key", "code"),
    [
        (("task.kind=rank",), "answers.base", "annotate.no_answers"),
        (("task.prompt_zh={document}",), "task.prompt_zh", "annotate.prompt_lacks"),
        (("data.output=a/b",), "data.output", "name.bad"),
        (("annotator.kind=model", "annotator.base=nowhere"), "annotator.base", "model.unknown"),
        (("task.kind=rank", "answers.base=nowhere"), "answers.base", "model.unknown"),
        (("task.kind=instruct", "new.against=[nowhere]"), "new.against", "data.no_dataset"),
    ],
)
def test_what_is_wrong_is_said_before_the_start(
    workspace: Workspace, rows: str, words: tuple[str, ...], key: str, code: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        submitted(workspace, f"data.rows={rows}", "annotator.url=http://host/v1", "annotator.model=m", *words)
    assert [(problem.key, problem.code) for problem in caught.value.problems] == [(key, code)]


def test_rows_that_a_task_cannot_take_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    ref = dataset(workspace, tmp_path, "docs", [{"text": "a text"}]).ref
    with pytest.raises(ConfigError, match="preference") as caught:
        submitted(workspace, f"data.rows={ref}", "task.kind=rank", "annotator.url=http://host/v1", "annotator.model=m")
    assert caught.value.problems[0].code == "data.wrong_kind"


def test_the_prompts_stand_in_the_config(workspace: Workspace, rows: str) -> None:
    own = "{question} {answer}?"
    config = submitted(
        workspace, f"data.rows={rows}", "annotator.url=http://host/v1", "annotator.model=m", f"task.prompt_en={own}"
    ).config.model_dump()
    assert config["task"]["prompt_en"] == own
    assert "0（错误或有害）" in config["task"]["prompt_zh"]
    assert config["data"]["output"] == "chat-score"
