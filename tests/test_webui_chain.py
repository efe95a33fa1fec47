"""The page's side of chains, without a browser: what may be waited for, the strip, a held run, queueing the forms."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from core.data.bring.samples import SAMPLES, bring_sample
from core.hardware import find
from core.jobs import failures, store
from core.jobs.locks import take_run
from core.jobs.queue import Claim, Holder
from core.models.library import describe, write_card
from core.models.tiny import NAME, bring_in
from core.records import Manifest, RootBase, Status
from core.rundir import RunDir, State, state_of, write_json, write_record
from core.workspace import Workspace
from tests.jobs_tools import eventually
from webui import views, views_chain, views_listed, views_lists
from webui.app import App
from webui.catalog import Reader
from webui.chain_part import STAGES, USUAL
from webui.parents import choices
from webui.runs_board import Asked, Board


class Made:
    """Runs of every state, as their files say it; a live one is live for as long as this process holds its lock."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.locks: list[int] = []
        self.count = 0

    def __call__(self, stage: str, state: str, base: str, *, after: tuple[RunDir, ...] = (), **config: Any) -> RunDir:
        run = RunDir.create(self.workspace.runs_dir, stage)
        self.count += 1  # each in a second of its own, so that their order is told by their names
        run = RunDir(
            run.path.rename(run.path.with_name(run.id.replace(run.when, f"{run.when[:9]}0000{self.count:02d}")))
        )
        own = {"name": f"my {stage} <{state}>", "after": [each.id for each in after]}
        write_json(run.config_json, {"model": {"base": base}, "run": own, **config})
        if state == "queued":
            lock = take_run(run)
            assert lock is not None
            self.locks.append(lock)
        elif state == "failed":
            write_record(run.result_file, failures.make("failed", "run.nan_loss", {
                "step": 8, "count": 1, "rows": 4, "checkpoint": "step-4"}))  # fmt: skip
        else:
            kind = "reward" if stage == "reward" else "evaluation" if stage == "evaluate" else "model"
            (run.output / "model").mkdir(parents=True)
            write_record(run.manifest_file, Manifest(
                run=run.id, name=own["name"], stage=stage, kind=kind, backbone_id="x", method="full", dtype="fp32",
                root_base=RootBase(source="tiny", path="tiny"), model_folder="model",
            ))  # fmt: skip
        return run


@pytest.fixture
def made(workspace: Workspace) -> Iterator[Made]:
    made = Made(workspace)
    yield made
    for lock in made.locks:
        os.close(lock)


def test_the_strip_shows_where_a_run_stands(made: Made, workspace: Workspace) -> None:
    sft = made("sft", "succeeded", "tiny")
    reward = made("reward", "failed", sft.id)
    ppo = made("ppo", "queued", sft.id, after=(reward,), rewards={"models": [f"{reward.id}: 1"]})
    evaluate = made("evaluate", "queued", "", after=(ppo,), models={"chain": ppo.id})
    made("sft", "succeeded", "tiny")  # of another chain
    runs = store.summaries(workspace)
    for shown in (sft, reward, ppo, evaluate):
        found = views_chain.relatives(runs, next(run for run in runs if run.id == shown.id))
        assert {stage: run.id for stage, run in found.items()} == {
            "sft": sft.id, "reward": reward.id, "ppo": ppo.id, "evaluate": evaluate.id,
        }  # fmt: skip
    drawn = views_chain.strip(runs, ppo.id, "ppo", "en")
    assert [f'class="place {state}' in drawn for state in ("succeeded", "failed", "held here", "none")] == [True] * 4
    assert drawn.count("Held") == 2, "PPO, and what waits for it"
    assert "my sft &lt;succeeded&gt;" in drawn
    empty = views_chain.strip(runs, None, "dpo", "zh")
    assert ("data-run" in empty, "可选" in empty, "here" in empty) == (False, True, True)
    assert views_chain.strip(runs, None, "predict", "en") == ""


def test_a_held_run_says_why_and_offers_what_to_do(made: Made, workspace: Workspace) -> None:
    sft = made("sft", "failed", "tiny")
    ppo = made("ppo", "queued", sft.id, after=(sft,))
    notice = views_chain.held_notice(views.snapshot(ppo), "en")
    assert "my sft &lt;failed&gt;, which failed" in notice
    assert f'data-run="{sft.id}">Open my sft &lt;failed&gt;' in notice
    assert "data-release" not in notice, "there are no weights to start from"
    assert "without waiting" not in notice
    assert "python -m core" not in notice
    chinese = views_chain.held_notice(views.snapshot(ppo), "zh")
    assert "失败" in chinese
    assert "loss" not in chinese.lower(), "the reason is translated, too"
    assert views_chain.held_notice(views.snapshot(sft), "en") == ""


def test_a_held_run_is_called_so_everywhere(made: Made, workspace: Workspace) -> None:
    sft = made("sft", "failed", "tiny")
    ppo = made("ppo", "queued", sft.id, after=(sft,))
    write_record(ppo.status_file, Status(supervisor_pid=1, supervisor_started=1.0, submitted_at=1.0,
                                         waiting_for=[sft.id, "somebody else"]))  # fmt: skip
    shot, catalog = views.snapshot(ppo), Reader(workspace).read()
    line = next(run for run in catalog.runs if run.id == ppo.id)
    progress = views.progress(shot, "en")
    disk = Board(workspace, ()).draw(catalog, Asked(view="disk"), ppo.id, "en")[1]
    for shown in (
        views.head(shot, "en"), progress, views_lists.side_runs([line], "en"), catalog.choice(line, "en"), disk,
        views_lists.run_table([line], 1, None, "en"),
    ):  # fmt: skip
        assert "Held" in shown
        assert "Queued" not in shown
    assert "已搁置" in views_lists.side_runs([line], "zh")
    assert "moving" not in progress
    assert 'class="bar"' not in views_lists.side_runs([line], "en")
    assert "Waits for my sft &lt;failed&gt;, somebody else" in progress
    waiting = made("ppo", "queued", ppo.id, after=(made("sft", "queued", "tiny"),))
    assert "moving" in views.progress(views.snapshot(waiting), "en")


@pytest.fixture
def app(workspace: Workspace) -> App:
    app = App(workspace, "en")
    app.build()
    return app


def test_a_run_at_work_is_offered_and_waited_for(made: Made, workspace: Workspace, app: App) -> None:
    sft, reward = made("sft", "queued", "tiny"), made("reward", "queued", "tiny")
    catalog = app.reader.read(fresh=True)
    page = app.page
    offered = {offer.value: offer for offer in page.parents.offers(catalog, "ppo", ("sft",), waits=True)}
    assert (offered[sft.id].legal, offered[reward.id].legal) == (True, False)
    assert "will start when it has succeeded" in choices([offered[sft.id]], catalog, "en")[0][0]
    assert not {o.value: o for o in page.parents.offers(catalog, "ppo", ("sft",))}[sft.id].legal
    assert page.parents.problem("ppo", sft.id) is None
    problem = page.parents.problem("ppo", reward.id)
    assert problem is not None
    assert problem.code == "parent.scores_only"
    panel = app.stages["ppo"].panel
    keys = {"model.base": sft.id, "data.train": "x", "rewards.models": reward.id}
    values = [keys.get(key, panel.form.show_one(key, panel.form.default(key))) for key in panel.form.keys]
    _, command, *_ = panel.check("en", None, [], False, "", None, *values)
    assert f"run.after={sft.id},{reward.id}" in command
    problem = page.parents.problem("ppo", f"{sft.id}:last")
    assert problem is not None
    assert problem.code == "model.no_checkpoint", "a checkpoint is not waited for"


def test_the_forms_are_queued_as_a_chain(
    workspace: Workspace, app: App, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is taken meanwhile, so that nothing is computed."""
    monkeypatch.setenv("GALEN_CPU_SLOTS", "1")
    monkeypatch.setenv("GALEN_LOCK_DIR", str(workspace.path / "locks"))
    (workspace.models_dir / "tiny").mkdir()
    card = describe(tiny_model, "tiny", "folder", str(tiny_model), weights=[], points_to=str(tiny_model))
    write_card(workspace.models_dir / "tiny", card)
    data = {stage: bring_sample(workspace, SAMPLES / stage / "en.jsonl").ref for stage in ("sft", "reward", "ppo")}

    def form_of(stage: str, **filled: Any) -> list[Any]:
        form = app.stages[stage].form
        typed = {"model.base": "tiny", "data.train": data.get(stage), "devices.use": ["cpu:0"]}
        typed |= {"data.rows": [data["sft"]], "data.max_length": "200", **filled}
        return [typed.get(key, form.show_one(key, form.default(key))) for key in form.keys]

    def act(do: str, stages: tuple[str, ...], **filled: Any) -> str:
        values = [value for stage in STAGES for value in form_of(stage, **filled)]
        event: Any = SimpleNamespace(_data={"do": do, "stages": list(stages)})
        return list(app.chain.act(event, "en", *values))[-1]

    said = act("queue", USUAL, **{"optim.learning_rate": "much"})
    assert "sft.optim.learning_rate" in said
    assert workspace.runs() == []
    assert "/etc/passwd" in act("queue", USUAL, **{"model.base": "/etc/passwd"})

    claim = Claim(find(["cpu:0"]), Holder(run="test", workspace="/w"))
    assert claim.try_take() == []
    try:
        assert "4 runs are queued" in act("queue", USUAL)
        evaluate, ppo, reward, sft = sorted(workspace.runs(), key=lambda run: USUAL.index(run.stage), reverse=True)
        assert [state_of(run) for run in (sft, reward, ppo, evaluate)] == [State.QUEUED] * 4
        assert sft.config()["model"]["base"] == str(tiny_model)
        assert reward.config()["model"]["base"] == ppo.config()["model"]["base"] == sft.id
        assert ppo.config()["rewards"]["models"] == [f"{reward.id}: 1"]
        assert ppo.config()["run"]["after"] == [sft.id, reward.id]
        assert (evaluate.config()["models"]["chain"], evaluate.config()["run"]["after"]) == (ppo.id, [ppo.id])

        panel = app.stages["ppo"].panel
        store.kill(ppo)
        assert eventually(lambda: panel.place.said(app.reader.read(fresh=True), ppo, "en")[0] == ppo.id)
        ticked = panel.place.said(app.reader.read(fresh=True), ppo, "en")
        assert f"{evaluate.config()['run']['name']} goes on" in ticked[1]
        mended = form_of("ppo", **{"data.max_length": "190"})
        _, command, *_ = panel.check("en", None, [], True, "", ppo.id, *mended)
        assert f"jobs replace --workspace {workspace.path} {ppo.id}" in command
        assert "data.max_length=190" in command
        assert "model.base" not in command
        ruled = form_of("ppo", **{"rewards.rules": "length low=1 high=9"})
        place, values = panel.place.read([True, ppo.id, ppo.id, *ruled])
        followed = panel.place.config(values, place).model_dump()
        assert followed["model"]["base"] == "tiny", "a form that was filled from the run is followed"
        panel.launch("en", True, "", ppo.id, *mended)
        new = next(run for run in workspace.runs() if run.stage == "ppo" and run.id != ppo.id)
        assert new.config()["model"]["base"] == sft.id, "the form names the model that the whole chain began with"
        assert new.config()["rewards"]["models"] == [f"{reward.id}: 1"]
        assert new.config()["data"]["max_length"] == 190
        assert (evaluate.config()["models"]["chain"], evaluate.config()["run"]["after"]) == (new.id, [new.id])
        assert eventually(lambda: panel.place.said(app.reader.read(fresh=True), ppo, "en") == ("", "", "")), (
            "none waits"
        )
        assert "2 runs are queued" in act("rehearse", ("sft", "evaluate"))
        note = views.say("2 runs are queued.", tone="good")

        def news() -> list[Any]:
            return app.chain.news(app.reader.read(fresh=True), "en", note, *["stop"] * len(STAGES))

        drawn, said = news()
        assert (drawn.count("data-run"), "data-do" in drawn, said) == (2, False, gr.skip())
        values_of_schedule = next(r for r in workspace.runs() if r.config()["run"]["rehearsal"] and r.stage == "sft")
        assert values_of_schedule.config()["schedule"]["max_steps"] == 2
        drop: Any = SimpleNamespace(_data={"do": "drop", "name": values_of_schedule.config()["run"]["rehearsal"]})
        assert "still running" in app.chain.drop(drop, "en")
        store.kill(values_of_schedule)
        assert eventually(lambda: "data-sure" in news()[0])
        drawn, said = news()
        assert ("It stops at SFT: Stopped." in drawn, said) == (True, "")
        place = app.stages["sft"].panel.place
        found, values = place.read([True, "", values_of_schedule.id, *form_of("sft", **{"run.name": "my own"})])
        rehearsed = place.config(values, found).model_dump(mode="json")
        assert (rehearsed["schedule"]["max_steps"], rehearsed["run"]["name"]) == (2, "rehearsal sft")
        assert rehearsed["run"]["rehearsal"] == drop._data["name"], "it stays a rehearsal"
        assert "2 runs of the rehearsal" in app.chain.drop(drop, "en")
        assert len(workspace.runs()) == 5
    finally:
        for run in workspace.runs():
            if state_of(run).live:
                store.kill(run)
        claim.release()


def test_the_newest_chain_is_listed_and_what_was_started_again_stands_in_its_place(
    made: Made, workspace: Workspace
) -> None:
    def listed(*strict: str) -> tuple[list[str], str]:
        found = views_listed.newest(workspace, store.summaries(workspace))
        assert found is not None
        return [run.id for run in found.runs], views_listed.listing(found, "?tab=chat", strict, "en")

    alone = made("sft", "succeeded", "tiny")
    assert views_listed.newest(workspace, store.summaries(workspace)) is None
    made("ppo", "failed", alone.id)
    reward, new = made("reward", "succeeded", alone.id), made("ppo", "succeeded", alone.id)
    ids, drawn = listed()
    assert (ids, "The chain has finished." in drawn) == ([alone.id, reward.id, new.id], True)
    assert "Side by side" in drawn
    assert "data-do" not in drawn, "what was trained is deleted in the Runs tab"

    tried = {"run": {"name": "rehearsal sft", "after": [], "rehearsal": "rehearsal 1"}}
    first = made("sft", "failed", "tiny", **tried)
    drawn = listed()[1]
    assert ("It stops at SFT: Failed." in drawn, "The chain" in drawn) == (True, False)
    again = made("sft", "succeeded", "tiny", **tried, data={"bad_rows": "drop"})
    ids, drawn = listed("sft", "ppo")
    assert (ids, "The chain comes through." in drawn) == ([again.id], True)
    assert "Set “Unusable rows” to “Drop”" in drawn
    assert "Unusable" not in listed("ppo")[1], "the form leaves them out, too"
    assert first.exists()


def test_an_address_names_who_is_asked(app: App) -> None:
    first = app.chat.opened({}, ["tiny", "ppo-run"])[0]
    assert [pane["model"] for pane in first["panes"]] == ["tiny", "ppo-run"]
    assert app.chat.opened({"talk": first}, ["tiny", "ppo-run"])[0]["id"] == first["id"], (
        "the same conversation goes on"
    )
    assert app.chat.opened({"talk": first})[0]["id"] == first["id"]


def test_what_a_rehearsal_leaves_is_not_started_from(workspace: Workspace, app: App) -> None:
    """Whoever rehearses first, and gets the starter then, trains the starter."""
    bring_in(workspace)
    page = app.stages["sft"]
    catalog = app.reader.read(fresh=True)
    assert [card.name for card in catalog.models] == [NAME]
    assert page.page.parents.offers(catalog, "sft", ("sft",), waits=True) == []
    update = page.news(catalog, "en", None, None, None)[0]
    assert update["choices"] == []
    assert "value" not in update
