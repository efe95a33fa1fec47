"""The Runs tab without a browser: what a click asks for, what the board shows, and how fast on a full workspace."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from core.errors import InputError
from core.jobs.locks import take_run
from core.jobs.summaries import RunSummary, summary
from core.notes import change, notes_file, read_notes
from core.records import Progress
from core.rundir import State, write_record
from core.runs import archive
from core.runs.lineage import Node
from core.runs.scales import ticks
from core.workspace import Workspace
from tests.runs_tools import START, falling, made
from webui import views
from webui.app import App
from webui.catalog import Reader
from webui.figures import clock
from webui.labels import Labels
from webui.page import Page
from webui.pages.runs import RunsPage, matching
from webui.runs_board import Asked, Board
from webui.text import t
from webui.views_lineage import address
from webui.views_lists import in_turn, row_text, run_table, side_runs

NASTY = "<img src=x onerror=alert(1)>\"'&"


def tab(workspace: Workspace) -> RunsPage:
    """The tab's handlers; none of its components is needed for them."""
    page: Any = Page(workspace, Labels("en"), Reader(workspace), None)  # type: ignore[arg-type]
    return RunsPage(page, ("sft",))


def event(**data: object) -> gr.EventData:
    return gr.EventData(None, data)


def test_the_runs_of_a_chain_stand_as_they_run(workspace: Workspace) -> None:
    one = summary(made(workspace, "sft", "one"))
    parents = {  # as they were queued, some within one second: such stand in any order
        "old": (), "sft": ("gone",), "other": (), "ppo": ("sft", "reward"), "reward": ("sft",), "evaluate": ("ppo",),
        "merge": ("ppo",),
    }  # fmt: skip
    runs = [replace(one, id=name, parents=above) for name, above in parents.items()]
    order = [run.id for run in in_turn(runs[::-1])]
    assert order == ["sft", "reward", "ppo", "evaluate", "merge", "other", "old"]


def test_the_end_of_a_run_is_told_however_many_came_after_it(workspace: Workspace) -> None:
    one = summary(made(workspace, "sft", "one"))
    others = [replace(one, id=f"later-{number}", created=one.created + number) for number in range(60)]
    long = replace(one, id="long", created=one.created - 1, ended=None, state=State.RUNNING)
    ended = replace(long, state=State.FAILED, ended=one.created + 10**6)

    def told(run: RunSummary) -> str:
        (said,) = re.findall(r'data-ends="([^"]*)"', side_runs([*others[::-1], run], "en"))
        return json.loads(said.replace("&quot;", '"'))["long"][1]

    assert (told(long), told(ended)) == ("", "Failed")


def test_a_folder_that_takes_nothing_is_told(workspace: Workspace) -> None:
    run = made(workspace, "sft", "one")
    notes_file(run).mkdir()  # nothing can be written there
    _, said = tab(workspace).jot(event(run=run.id, star=True), None, "en")
    assert "notice bad" in said


def test_what_is_asked_for_survives_a_browser_and_nonsense_does_not() -> None:
    asked = Asked().tick("a").tick("b").clicked({"view": "curves", "axis": "time", "smoothing": "0.5", "log": True})
    assert Asked.of(asked.text()) == asked
    assert asked.tick("a").ticked == ("b",)
    assert asked.clicked({"clear": True}).ticked == ()
    assert asked.clicked({"untick": "b"}).ticked == ("a",)
    for nonsense in ("", None, "x", "[1]", '{"view": "../x", "ticked": 3, "curve": [], "changes": "y"}'):
        assert Asked.of(nonsense) == Asked()
    assert asked.clicked({"view": "nowhere", "smoothing": "abc"}).view == "curves"
    assert Asked.of(asked.tick("\ud800").clicked({"metric": "\udfff"}).text()).curve.metric == "?"
    full = Asked(ticked=tuple(map(str, range(16))))
    with pytest.raises(InputError):
        full.tick("one more")
    assert Asked.of('{"ticked": ["a", "a", 3]}').ticked == ("a",)


def test_whatever_is_written_in_runs_is_shown_as_text(workspace: Workspace) -> None:
    first = made(workspace, "sft", NASTY[:80], rows=[{"step": 1, "time": 1, f"x{NASTY}": 1.0, "loss": 1.0}] * 3)
    second = made(workspace, "sft", "b", number=1, settings={"model.base": first.id, "data.train": NASTY})
    (first.checkpoints / f"step-{NASTY.replace('/', '')}").mkdir()
    change(first, tags=["<i>tag</i>"], note=NASTY)
    board, catalog = Board(workspace, ("sft",)), Reader(workspace).read()
    for view in ("curves", "settings", "lineage", "disk"):
        asked = Asked(view=view, ticked=(first.id, second.id), only=False)
        html = "".join(board.draw(catalog, asked, first.id, "zh"))
        assert "<img" not in html, view
        assert "&lt;img" in html, view
    page = tab(workspace)
    shown = page.show("en", "", "all", first.id, "")
    said = "".join(each for each in shown if isinstance(each, str)) + side_runs(catalog.runs, "en")
    assert "<img" not in said
    assert "<i>tag" not in said
    assert "&lt;i&gt;tag&lt;/i&gt;" in said


def test_clicks_in_the_list_and_on_the_board(workspace: Workspace) -> None:
    first = made(workspace, "sft", "first", rows=falling(30), checkpoints=[10, 20])
    second = made(workspace, "sft", "second", number=1, rows=falling(30, 2), settings={"lora.rank": 32})
    page = tab(workspace)
    asked = Asked().text()
    for run in (first, second):
        asked = page.pick(event(tick=run.id), "", asked, "en")[1]
    assert Asked.of(asked).view == "curves"  # with the second there is something to compare
    table, *_ = page.show("en", "", "all", first.id, asked)
    assert table.count(" checked") == 2
    bar, drawing = page.board_of.draw(page.page.catalog.read(), Asked.of(asked), None, "en")
    assert drawing.count('<path class="c') == 2 + 2  # a line and a key each
    assert "eval loss" in bar
    (turned,) = page.turn(event(metric="eval_loss"), "", asked, "en")
    assert Asked.of(turned[1]).curve.metric == "eval_loss"
    (saved,) = page.turn(event(save="csv"), "", asked, "en")
    (again,) = page.turn(event(save="csv"), "", asked, "en")
    assert Path(saved[4]["path"]).name == Path(again[4]["path"]).name == "loss-step.csv"
    assert saved[4]["path"] != again[4]["path"]
    assert Path(saved[4]["path"]).read_text().startswith("run,name,step,epoch,tokens,seconds,loss\n")
    (gone,) = page.turn(event(clean=["step-10"]), first.id, asked, "en")
    assert "given back" in gone[2]
    assert [each.step for each in first.complete_checkpoints()] == [20]
    (refused,) = page.turn(event(clean=["../.."]), first.id, asked, "en")
    assert "no checkpoint" in refused[2]
    page.pick(event(star=first.id), "", asked, "en")
    assert read_notes(first).star
    assert [run.id for run in matching(page.page.catalog.read(), "", "starred")] == [first.id]
    page.jot(event(run=first.id, tag="base"), asked, "en")
    page.jot(event(run=first.id, note="why"), asked, "en")
    assert "is no tag" in page.jot(event(run=first.id, tag="a,b"), asked, "en")[1]
    assert (read_notes(first).tags, read_notes(first).note) == (["base"], "why")
    page.jot(event(run=first.id, untag="base"), asked, "en")
    assert "no longer in the workspace" in page.jot(event(note="of no run"), asked, "en")[1]
    assert read_notes(first).tags == []
    back = page.pick(event(run=second.id), "", asked, "en")
    assert (back[0], Asked.of(back[1]).view) == (second.id, "run")
    differ = page.board_of.draw(
        page.page.catalog.read(), Asked(view="settings", ticked=(first.id, second.id)), "", "zh"
    )
    assert re.findall(r'<tr><th title="([\w.]+)"', differ[1]) == ["lora.rank"]


def test_an_archive_is_taken_from_uploads_alone(workspace: Workspace, tmp_path: Path) -> None:
    run = made(Workspace(tmp_path / "elsewhere"), "sft", "first")
    packed = archive.export(run, tmp_path / "a.zip").path
    page = tab(workspace)
    for path in (str(packed), "\0", "\ud800", str(workspace.cache_dir / "uploads" / ".." / "x"), None):
        (refused,) = page.turn(event(**{"import": path}), "", "", "en")
        assert "outside" in refused[2], path
    assert packed.exists()
    uploads = workspace.cache_dir / "uploads" / "x"
    uploads.mkdir(parents=True)
    shutil.copy(packed, uploads / "a.zip")
    *_, came = page.turn(event(**{"import": str(uploads / "a.zip")}), "", "", "en")
    assert came[0] == run.id
    assert "not resumed" in came[2]
    assert list(uploads.iterdir()) == []
    (uploads / "b.zip").write_text("no archive")
    *_, torn = page.turn(event(**{"import": str(uploads / "b.zip")}), "", "", "en")
    assert "no archive of a run" in torn[2]
    assert len(workspace.runs()) == 1


def test_a_clone_fills_the_form_of_its_stage(workspace: Workspace) -> None:
    run = made(workspace, "reward", "scores", settings={"lora.rank": 32, "run.seed": 7})
    app = App(workspace, "en")
    app.build()
    sent = dict(zip(app.stages, app._cloned(run.id), strict=True))
    assert [name for name, value in sent.items() if value != gr.skip()] == ["reward"]
    page = app.stages["reward"]
    filled, preset, *values = page.panel.reuse(sent["reward"], "en")
    assert filled == run.id
    form = {key: value["value"] for key, value in zip(page.form.keys, values, strict=True)}
    assert (form["lora.rank"], form["run.seed"], form["run.name"], preset) == ("32", "7", "", "")
    assert sent["reward"] != app._cloned(run.id)[list(app.stages).index("reward")]  # a second click counts, too


def test_the_address_of_what_lineage_shows(workspace: Workspace) -> None:
    assert address(Node("run", "sft-1", "x", "sft"), ("sft",)) == "?tab=sft&run=sft-1"
    assert address(Node("run", "fetch-1", "x", "fetch"), ("sft",)) == "?tab=runs&run=fetch-1"
    assert address(Node("dataset", "a b@1", "x"), ()) == "?tab=data&dataset=a+b%401"
    assert address(Node("dataset", "a@1", "x", gone=True), ()) == ""


def test_what_ended_last_is_recent(workspace: Workspace) -> None:
    one = summary(made(workspace, "sft", "one"))
    runs = [replace(one, id=f"r{at}", name=f"r{at}", created=one.created - at) for at in range(8)]
    runs.append(replace(one, id="long", name="long", created=one.created - 9, ended=one.created + 10**6))
    shown = re.findall(r'class="name">([^<]*)<', side_runs(runs, "en"))
    assert shown == ["long", *(f"r{at}" for at in range(5))]


def test_a_deletion_names_the_runs_that_came_of_it(workspace: Workspace) -> None:
    base = made(workspace, "sft", "my base")
    user = made(workspace, "sft", "its user", number=1, settings={"model.base": base.id}, outcome="")
    page = tab(workspace)
    asked, _ = page.ask(base.id, "en")
    assert "started from it: its user." in asked
    assert "started from it" not in page.ask(user.id, "en")[0]
    lock = take_run(user)
    assert lock is not None
    refused, *_ = page.remove(base.id, "en")
    os.close(lock)
    assert "my base cannot be deleted: its user starts from it" in refused
    assert base.exists()


def test_runs_are_called_by_their_names(workspace: Workspace) -> None:
    base = made(workspace, "sft", "my base")
    user = made(
        workspace,
        "ppo",
        "user",
        number=1,
        settings={"model.base": base.id, "rewards.rules": ["length"]},
        checkpoints=[3],
    )
    page = tab(workspace)
    detail = "".join(part for part in page.show("en", "", "all", user.id, None) if isinstance(part, str))
    assert f"<dd>my base ({base.id})</dd>" in detail
    catalog = page.page.catalog.read()
    differ = page.board_of.draw(catalog, Asked(view="settings", ticked=(user.id, base.id)), None, "en")[1]
    assert f"<td>my base ({base.id})</td>" in differ
    drawn = page.board_of.draw(catalog, Asked(view="disk"), user.id, "en")[1]
    assert t("figure.eval_reward", "en") + " -2.997" in drawn
    shutil.rmtree(base.path)
    lineage = page.board_of.draw(catalog, Asked(view="lineage"), user.id, "en")[1]
    assert ">SFT of " in lineage
    assert f"({base.id})</title>" in lineage


def test_rows_that_were_read_are_no_steps(workspace: Workspace) -> None:
    run = made(workspace, "sft", "first", outcome="failed")
    write_record(run.progress_file, Progress(phase="tokenising", step=40, total=40, unit="row", updated_at=START))
    assert "40" not in views.progress(views.snapshot(run), "en")
    assert "width:0.0%" in views.progress(views.snapshot(run), "en")
    assert '<td class="progress">–</td>' in run_table([summary(run)], 1, None, "en")


def test_choices_have_letters_and_one_row_is_no_rows() -> None:
    row = {"question": "Which?", "choices": ["this", "<b>that"], "answer": "B"}
    assert "<p>A. this\nB. &lt;b&gt;that</p>" in row_text(row, "en")
    assert t("data.row_count", "en", rows="1") == "1 row"
    assert t("data.row_count", "en", rows="21") == "21 rows"
    assert t("data.row_count", "en", rows="1,001") == "1,001 rows"


def test_whole_things_have_whole_ticks() -> None:
    assert ticks(1, 3, 8, whole=True) == [1, 2, 3]
    assert 1.5 in ticks(1, 3, 8)


def test_the_end_of_a_run_is_told_to_the_browser(workspace: Workspace) -> None:
    run = made(workspace, "sft", "first", outcome="failed")
    side = side_runs(Reader(workspace).read().runs, "zh")
    assert f"失败 · {clock(START + 601)}" in side, "when it ended, not when it was made"
    (said,) = re.findall(r'data-ends="([^"]*)"', side)
    assert json.loads(said.replace("&quot;", '"')) == {run.id: ["first", "失败"]}
