"""Small runs beside a page's work, and that a screen shows what is so although a handler has written over it."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from core.configs.files import resolve
from core.errors import InputError
from core.jobs import failures, store
from core.records import RankEnd, Status
from core.rundir import RunDir, state_of, write_json, write_record
from core.workspace import Workspace
from webui.app import App
from webui.model_shelf import ModelShelf
from webui.seen import Seen


@pytest.fixture
def app(workspace: Workspace) -> App:
    app = App(workspace, "en")
    app.blocks = app.build()  # type: ignore[attr-defined]
    return app


def shelf_of(app: App) -> ModelShelf:
    shelf = app.stages["sft"].shelf  # type: ignore[attr-defined]
    assert isinstance(shelf, ModelShelf)
    return shelf


def ended(workspace: Workspace, model: str, name: str, code: str, **params: Any) -> RunDir:
    """An import that failed as a run does: by its config, its result, and how its process ended."""
    run = RunDir.create(workspace.runs_dir, "fetch")
    config = resolve("fetch", values={"model.source": model, "run.name": name}, workspace=workspace)
    write_json(run.config_json, config.model_dump(mode="json"))
    write_record(run.result_file, failures.make("failed", code, params))
    write_record(run.status_file, Status(
        supervisor_pid=1, supervisor_started=1.0, submitted_at=1.0, started_at=1.0, ended_at=2.0,
        ranks_ended=[RankEnd(rank=0, code=2)],
    ))  # fmt: skip
    return run


def click(act: str, run: RunDir) -> Any:
    return SimpleNamespace(_data={"act": act, "run": run.id})


def values_of(app: App) -> list[None]:
    return [None] * sum(len(listener.inputs) for listener in app.page.listeners)


def news_of(answer: Any) -> list[int]:
    """The places of what a tick sends, but for the session's state and the gauges, which have a life of their own."""
    return [] if answer == gr.skip() else [at for at, one in enumerate(answer) if at not in (0, 2) and one != gr.skip()]


# -- what the screen shows --------------------------------------------------------------------------------------------
def test_what_a_handler_wrote_is_sent_again(app: App, workspace: Workspace) -> None:
    run = ended(workspace, "own/none", "first try", "hub.no_network", source="a hub", detail="no route")
    shelf, seen = shelf_of(app), Seen()
    place = app._told().index(shelf.pane)
    app.reader.read(fresh=True)  # what was read while the page was built may be young enough to serve
    first = app.pulse("en", seen, *values_of(app))
    pane = first[1 + place]
    assert "first try" in pane
    assert news_of(app.pulse("en", seen, *values_of(app))) == []
    event = next(each for each in app.blocks.fns.values() if getattr(each.fn, "__wrapped__", None) == shelf.acted)  # type: ignore[attr-defined]
    assert event.inputs[-1] is app.seen
    event.fn(click("dismiss", run), "en", seen)
    app.page.dismissed.clear()  # as if the same had failed once more, in the very same words
    again = app.pulse("en", seen, *values_of(app))
    assert again[1 + place] == pane
    assert news_of(app.pulse("en", seen, *values_of(app))) == []


def test_every_event_that_writes_news_says_so(app: App) -> None:
    told = app._told()
    for event in app.blocks.fns.values():  # type: ignore[attr-defined]
        if event.fn is not None and event.fn != app.pulse and any(each in told for each in event.outputs):
            assert event.inputs[-1] is app.seen, event.fn


def test_a_handler_that_ends_during_a_tick_is_noted_for_the_next(app: App) -> None:
    seen = Seen(sent=["a", "b"])
    stale = seen.take()
    seen.wrote([1])
    assert seen.tell("mark", ["a", "b"], stale) == [gr.skip(), gr.skip()]
    assert seen.tell("mark", ["a", "b"], seen.take()) == [gr.skip(), "b"]


# -- whose run it is --------------------------------------------------------------------------------------------------
def test_a_click_acts_on_the_run_that_is_shown(app: App, workspace: Workspace, tmp_path: Path) -> None:
    shelf = shelf_of(app)
    older = ended(workspace, "own/none", "older", "hub.no_network", source="a hub", detail="no route")
    time.sleep(1.1)  # runs are ordered by the second
    newer = ended(workspace, "own/other", "newer", "hub.no_network", source="a hub", detail="no route")
    shelf.side.act(click("dismiss", older))
    catalog = app.reader.read(fresh=True)
    pane = shelf.side.follow(catalog, "en", "")[0]
    assert "newer" in pane
    assert f'data-run="{newer.id}"' in pane
    shelf.side.act(click("resume", older))
    assert (older.status().attempt, newer.status().attempt) == (2, 1)  # type: ignore[union-attr]
    shelf.side.act(click("stop", newer))  # it is over already: no complaint
    assert not newer.stop_file.exists()
    foreign = RunDir.create(workspace.runs_dir, "sft")
    write_json(foreign.config_json, {})
    with pytest.raises(InputError):
        shelf.side.act(click("stop", foreign))
    if state_of(older).live:
        store.kill(older)


def test_resume_is_offered_where_it_can_help(app: App, workspace: Workspace, tmp_path: Path) -> None:
    side = shelf_of(app).side
    run = ended(workspace, str(tmp_path), "pickled", "model.bin_refused", path="x.bin", object="os.system")
    pane = side.follow(app.reader.read(fresh=True), "en", "")[0]
    assert 'data-act="resume"' not in pane
    assert 'data-act="dismiss"' in pane
    assert not store.resumable(run)
    write_record(run.result_file, failures.make("failed", "hub.no_network", {"source": "a", "detail": "b"}))
    assert 'data-act="resume"' in side.follow(app.reader.read(fresh=True), "en", "")[0]
    side.act(click("dismiss", run))
    assert side.follow(app.reader.read(fresh=True), "en", "")[0] == ""


def test_a_model_that_came_is_chosen_and_told(app: App, workspace: Workspace, tiny_model: Path) -> None:
    shelf = shelf_of(app)
    app.workspace.roots.append(tiny_model.parent)
    config = resolve("fetch", values={"model.source": str(tiny_model)}, workspace=workspace)
    run = store.submit(workspace, "fetch", config)
    deadline = time.monotonic() + 60
    while state_of(run).live:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # What the reloaded page gets back from the browser is the run that it waited for.
    note, _, awaited, _, picker, _ = shelf.news(app.reader.read(fresh=True), "en", run.id)
    assert tiny_model.name in note
    assert awaited == ""
    assert picker["value"] == tiny_model.name
    assert app.page.kept["awaited"] is shelf.awaited
