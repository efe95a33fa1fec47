"""Runs that wait for others: each starts when those before it have succeeded, and says what holds it."""

from __future__ import annotations

import json

import pytest

from core.__main__ import main
from core.errors import ConfigError, RunError
from core.jobs import store
from core.jobs.failures import explain
from core.rundir import RunDir, State, state_of
from core.runs import lineage
from core.workspace import Workspace
from tests.drill import Drill, DrillConfig
from tests.jobs_tools import (
    drills,
    eventually,
    finished_whole,
    go,
    in_phase,
    kill9,
    logs,
    orphans,
    rank_pids,
    reaches,
    supervisor_pid,
)  # fmt: skip
from webui import views_lineage
from webui.views import snapshot
from webui.views_chain import held_notice

__all__ = ["drills"]


def after(workspace: Workspace, *runs: RunDir, **settings: object) -> RunDir:
    """A drill that waits for `runs`, by their ids."""
    config = DrillConfig.model_validate(
        {"devices": {"use": "cpu:0"}, "run": {"after": [run.id for run in runs]}, "drill": Drill(**settings)}
    )
    return store.submit(workspace, "drill", config)


def waits(run: RunDir, *names: str) -> bool:
    status = run.status()
    return state_of(run) is State.QUEUED and status is not None and status.waiting_for == list(names)


def listed(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:
    capsys.readouterr()
    assert main(["jobs", "list", "--workspace", str(workspace.path), "--json"]) == 0
    return {run["id"]: run for run in json.loads(capsys.readouterr().out)["runs"]}


def test_a_failed_run_holds_the_rest_and_lets_it_go(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    first = after(workspace, fails="crash", pause_in="loading")
    second = after(workspace, first)
    third = after(workspace, second, first)
    in_phase(first, "loading")
    assert eventually(lambda: waits(second, first.id))
    assert eventually(lambda: waits(third, second.id, first.id))
    assert [run["held"] for run in listed(workspace, capsys).values()] == [None, None, None]
    with pytest.raises(RunError, match=second.id) as caught:
        store.delete(workspace, first)
    assert caught.value.code == "run.needed"

    go(first)
    assert reaches(first) is State.FAILED
    rows = listed(workspace, capsys)
    for run in (second, third):
        held = rows[run.id]["held"]
        assert (rows[run.id]["state"], held["code"], held["params"]["parent"]) == (
            "queued",
            "run.held_failed",
            first.id,
        )
        assert "the recipe has a bug" in held["message"]
        assert f"jobs resume {first.id}" in held["remedy"]
        assert f"jobs stop {run.id}" in held["remedy"]
    assert rows[third.id]["parents"] == [second.id, first.id]
    assert main(["jobs", "list", "--workspace", str(workspace.path)]) == 0
    assert "Held: " in capsys.readouterr().out
    graph = lineage.Graph.read(workspace)
    assert lineage.tree(graph, second.id)[0].endswith(" held")
    assert views_lineage.drawing(graph, first.id, (), "en").count(" · Held") == 2

    (first.path / "repaired").touch()
    store.resume(workspace, first.id)
    for run in (first, second, third):
        finished_whole(run)
    statuses = [run.status() for run in (first, second, third)]
    ends = [(status.started_at or 0, status.ended_at or 0) for status in statuses if status is not None]
    assert ends[0][1] <= ends[1][0]
    assert ends[1][1] <= ends[2][0]
    assert third.config()["run"]["after"] == [], "its waiting is over: those before it may be deleted"
    store.delete(workspace, second)


def test_what_waited_for_a_failed_run_is_led_to_the_one_in_its_place(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    first = after(workspace, fails="crash", pause_in="loading")
    second = after(workspace, first)
    third = after(workspace, second, first)
    in_phase(first, "loading")
    go(first)
    assert reaches(first) is State.FAILED
    capsys.readouterr()
    assert main(["jobs", "replace", first.id, "drill.fails=", "--workspace", str(workspace.path)]) == 0
    new = workspace.run(capsys.readouterr().out.split()[0])
    assert (second.config()["run"]["after"], third.config()["run"]["after"]) == ([new.id], [second.id, new.id])
    assert eventually(lambda: waits(second, new.id))
    assert store.summary(second).held is None
    in_phase(new, "loading")
    go(new)
    for run in (new, second, third):
        finished_whole(run)
    assert state_of(first) is State.FAILED


def test_a_run_that_was_let_go_waits_again_for_others(workspace: Workspace) -> None:
    first = after(workspace, fails="crash")
    assert reaches(first) is State.FAILED
    second = after(workspace, first, fails="crash")
    assert eventually(lambda: waits(second, first.id))
    store.release(workspace, second)
    assert reaches(second) is State.FAILED
    (second.path / "repaired").touch()
    third = after(workspace, pause_in="loading")
    store.resume(workspace, second.id, [f"run.after=[{third.id}]"])
    assert eventually(lambda: waits(second, third.id))
    go(third)
    finished_whole(second)


def test_what_lost_its_supervisor_while_it_waited_waits_again(workspace: Workspace) -> None:
    """As after a reboot: everything is gone at once, and the first run is resumed."""
    first = after(workspace, pause_in="training")
    second = after(workspace, first)
    third = after(workspace, second)
    in_phase(first, "training")
    assert eventually(lambda: waits(third, second.id))
    kill9(*(supervisor_pid(run) for run in (third, second, first)), *rank_pids(first))
    for run in (first, second, third):
        assert reaches(run) is State.INTERRUPTED
    go(first)
    store.resume(workspace, first.id)
    for run in (first, second, third):
        finished_whole(run)


def test_a_waiting_run_is_released_or_cancelled(workspace: Workspace) -> None:
    first = after(workspace, pause_in="loading")
    second, third, fourth = after(workspace, first), after(workspace, first), after(workspace, first)
    in_phase(first, "loading")
    store.stop(third)
    assert reaches(third) is State.STOPPED
    why = explain(third)
    assert why is not None
    assert why.code == "run.stopped_waiting"
    store.stop(first)
    go(first)
    assert reaches(first) is State.STOPPED
    held = store.summary(fourth).held
    assert held is not None
    assert held.code == "run.held_stopped"
    assert "data-release" in held_notice(snapshot(second), "en"), "it needs nothing of the one that was stopped"
    assert main(["jobs", "release", second.id, "--workspace", str(workspace.path)]) == 0
    finished_whole(second)
    with pytest.raises(RunError) as caught:
        store.release(workspace, second)
    assert caught.value.code == "run.not_waiting"
    store.kill(fourth)
    assert state_of(fourth) is State.STOPPED, logs(fourth)
    assert orphans(fourth) == []


def test_what_cannot_be_waited_for_is_refused(workspace: Workspace) -> None:
    config = DrillConfig.model_validate({"devices": {"use": "cpu:0"}, "run": {"after": ["nobody"]}, "drill": {}})
    with pytest.raises(ConfigError) as caught:
        store.submit(workspace, "drill", config)
    assert [(problem.key, problem.code) for problem in caught.value.problems] == [("run.after", "run.not_found")]
    assert workspace.runs() == []
    first = after(workspace, fails="crash")
    assert reaches(first) is State.FAILED
    second = after(workspace, first)
    with pytest.raises(ConfigError) as caught:
        store.resume(workspace, first.id, [f"run.after={second.id}"])
    assert [problem.code for problem in caught.value.problems] == ["run.after_itself"]
    store.kill(second)
