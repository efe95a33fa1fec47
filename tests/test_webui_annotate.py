"""The Data tab's part "Annotate" without a browser: posts of the rating pane, the form's config, what is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from core.annotating.people import Ratings
from core.data.store.library import live_users, open_dataset
from core.recipes import annotate as recipe
from core.report import RunContext
from core.rundir import State, append_jsonl, lock_held
from core.workspace import Workspace
from tests.annotate_tools import annotated, chats, dataset, made_by, submitted
from tests.endpoint_tools import Endpoint
from tests.jobs_tools import reaches
from tests.test_annotate_people import pairs, waiting
from webui.catalog import Reader
from webui.data_annotate import AnnotatePart
from webui.labels import Labels
from webui.page import Page
from webui.rating import AHEAD, RatingPane
from webui.views_annotate import annotated_by, rating, so_far


@pytest.fixture
def page(workspace: Workspace) -> Page:
    return Page(workspace, Labels("en"), Reader(workspace), gr.Radio())


@pytest.fixture
def context(workspace: Workspace, tmp_path: Path) -> RunContext:
    return waiting(workspace, f"data.rows={dataset(workspace, tmp_path, 'pairs', pairs(60)).ref}", "task.kind=rank")


def posted(page: Page, context: RunContext, said: list[Any], have: list[Any] | None = None) -> dict[str, Any]:
    return RatingPane(page).reply({"run": context.run.id, "said": said, "have": have or []}, "en")


# -- posts ------------------------------------------------------------------------------------------------------------
def test_a_post_brings_the_next_rows(page: Page, context: RunContext) -> None:
    first = posted(page, context, [])
    assert [card["number"] for card in first["cards"]] == list(range(AHEAD))
    assert (first["task"], first["total"], first["judged"], first["left"]) == ("rank", 60, 0, 60)
    have = [card["number"] for card in first["cards"]][5:]
    said = [{"id": str(number), "number": number, "order": [1, 0]} for number in range(5)]
    second = posted(page, context, said, have)
    assert [card["number"] for card in second["cards"]] == list(range(AHEAD, AHEAD + 5))
    assert (second["judged"], second["acknowledged"]) == (5, ["0", "1", "2", "3", "4"])
    assert posted(page, context, said, have)["judged"] == 5  # sent once more
    assert len(Ratings(context.run).file.read_text().splitlines()) == 5


def test_what_is_no_judgement_is_told_and_keeps_nobody_waiting(page: Page, context: RunContext) -> None:
    said = [{"id": "a", "number": 0, "mark": "tie"}, {"id": "b", "number": 999, "mark": "tie"}, "x", {"id": "c"},
            {"id": "d", "number": 1, "mark": "bad"}]  # fmt: skip
    reply = posted(page, context, said, ["x", None])
    assert reply["acknowledged"] == ["a", "b", "c", "d"]
    assert "no judgement" in reply["error"]
    assert list(Ratings(context.run).judgements()) == [0, 1]


@pytest.mark.parametrize("run", ["annotate-20260101-120000-abcd", "../outside", "", None])
def test_a_run_that_is_gone_is_told(page: Page, run: str | None) -> None:
    assert RatingPane(page).reply({"run": run}, "en") == {"run": str(run), "gone": True}


# -- the form ---------------------------------------------------------------------------------------------------------
def test_the_form_submits_what_it_shows(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    ref = dataset(workspace, tmp_path, "chat", chats(3)).ref
    with gr.Blocks():
        part = AnnotatePart(page)
        part.build()
    values = [part.form.show_one(key, part.form.default(key)) for key in part.form.keys]
    at = {key: place for place, key in enumerate(part.form.keys)}

    note, marked, *rest = part.launch(ref, "en", *values)
    assert marked == ["annotator.url"]
    assert "1" in note
    values[at["annotator.url"]] = "/etc/passwd"
    assert part.launch(ref, "en", *values)[1] == ["annotator.url"]
    values[at["annotator.kind"]], values[at["annotator.base"]] = "model", "/etc"
    assert part.launch(ref, "en", *values)[1] == ["annotator.base"]  # outside of the workspace
    values[at["annotator.kind"]], values[at["annotator.base"]], values[at["annotator.url"]] = "person", None, ""
    values[at["task.kind"]] = "rank"
    assert part.launch(ref, "en", *values)[1] == ["answers.base"]
    assert "Choose a dataset" in part.launch(None, "en", *values)[0]
    assert workspace.runs() == []
    command, *_ = part.check(ref, "en", [], *values)
    assert f"task.kind=rank annotator.kind=person data.rows={ref}" in re.sub(r"<[^>]+>", "", command)
    assert len(rest) == 4 + len(values)


def test_making_the_dataset_keeps_the_rows_that_are_chosen(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    with gr.Blocks():
        part = AnnotatePart(page)
        part.build()
    ref = dataset(workspace, tmp_path, "chat", chats(3)).ref
    run = waiting(workspace, f"data.rows={ref}", "task.kind=difficulty").run
    Ratings(run).judge([{"number": number, "grade": 3} for number in range(3)])
    note, *_, awaited, chosen = part.make(gr.EventData(None, {"run": run.id}), "en")
    assert (note, awaited) == ("", "")
    assert chosen == gr.skip()
    assert reaches(run) is State.SUCCEEDED
    assert part.news(page.catalog.read(fresh=True), "en", awaited)[3] == gr.skip()


def test_the_prompt_that_ships_is_shown_in_the_empty_field(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    docs = dataset(workspace, tmp_path, "docs", [{"text": "a text"}]).ref
    with gr.Blocks():
        part = AnnotatePart(page)
        part.build()
    head, english, chinese = part.look(docs, "en", "score", "order")
    assert docs in head
    assert "Mark a text" in english["placeholder"]
    assert "请把下面的文本" in chinese["placeholder"]
    assert "{answer}" in part.look(None, "en", "rank", "marks")[1]["placeholder"]


# -- what is shown ----------------------------------------------------------------------------------------------------
def test_tokens_failures_and_cost_are_shown(workspace: Workspace, tmp_path: Path, endpoint: Endpoint) -> None:
    ref = dataset(workspace, tmp_path, "chat", chats(4)).ref
    words = [f"annotator.url={endpoint.url}", "annotator.model=<b>m</b>", "annotator.price_in=5", f"data.rows={ref}"]
    context = submitted(workspace, *words)
    assert so_far(context.run, "en") == ""
    recipe.main(context)
    said = so_far(context.run, "en")
    assert "4 of replies" in said
    assert "cost 0.0" in said
    append_jsonl(context.run.metrics_file, {"step": 4, "tokens_in": 0, "tokens_out": 0, "failed": 2})
    assert "2 行" in so_far(context.run, "zh")
    shown = annotated_by(made_by(context), "en")
    assert "&lt;b&gt;m&lt;/b&gt; @ http" in shown
    assert annotated_by(open_dataset(workspace, ref), "en") == ""


def test_the_pane_is_empty_where_nothing_waits_and_escapes_names() -> None:
    assert rating([], "en") == ""
    assert "&lt;script&gt;" in rating([{"id": "annotate-1", "name": "<script>"}], "en")
    assert "<script>" not in rating([{"id": "annotate-1", "name": "<script>"}], "zh")


def test_datasets_that_a_live_run_compares_with_are_in_use(
    workspace: Workspace, tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, other = (dataset(workspace, tmp_path, name, chats(3)) for name in ("seeds", "other"))
    endpoint.behaves = lambda prompt, times: "Question: Why do we sleep at night?\nAnswer: To rest."
    annotated(workspace, endpoint.url, f"data.rows={seeds.ref}", "task.kind=instruct", f"new.against={other.ref}")
    [run] = workspace.runs()
    assert live_users(workspace, [other]) == []
    with open(run.lock_file, "wb") as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock_held(run.lock_file)
        assert live_users(workspace, [other]) == [run.id]
