"""Runs beside each other: notes, search, curves, settings, lineage, clones, checkpoints, and their command line."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import threading
from pathlib import Path

import pytest

from core.__main__ import main
from core.configs.starts import STARTS
from core.errors import ConfigError, InputError, RunError
from core.hardware import expand
from core.jobs import store
from core.jobs.locks import take_run
from core.jobs.summaries import summary
from core.jobs.trash import coming_in
from core.notes import change, read_notes
from core.rundir import RunDir, State, append_jsonl, state_of, write_json
from core.runs import checkpoints, curve_files, curves
from core.runs.clone import cloned, values_of
from core.runs.differences import ABSENT, settings
from core.runs.lineage import ROLES, Edge, Graph, family, layers
from core.runs.scales import log_ticks, short
from core.runs.search import fits
from core.tails import tail
from core.workspace import Workspace
from tests.runs_tools import checkpoint, falling, made


# -- notes ------------------------------------------------------------------------------------------------------------
def test_notes_are_kept_apart_from_the_config_and_shown_in_lists(workspace: Workspace) -> None:
    run = made(workspace, "sft", "first", outcome="stopped", checkpoints=[5])
    before = run.config_json.read_bytes()
    change(run, star=True, add=["baseline", "老师"], note="  what it showed  ")
    change(run, add=["Baseline", "two words"], remove=["老师"])
    change(run, note="half \ud800 a character")
    assert read_notes(run).note == "half ? a character"
    change(run, note="  what it showed  ")
    assert run.config_json.read_bytes() == before
    line = summary(run)
    assert (line.star, line.tags, line.note) == (True, ("Baseline", "two words"), "what it showed")
    for search, found in (("#base", True), ("#老", False), ("FIRST two", True), ("showed sft", True), ("other", False)):
        assert fits(line, search) is found, search
    assert fits(line, "chat@1 tiny"), "what it was made of"


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("notes.bad_tag", {"add": ["a,b"]}), ("notes.bad_tag", {"add": [" "]}), ("notes.bad_tag", {"add": ["x" * 33]}),
        ("notes.bad_tag", {"add": ["a\x07b"]}), ("notes.many_tags", {"add": [str(n) for n in range(13)]}),
        ("notes.long", {"note": "x" * 4001}),
    ],
)  # fmt: skip
def test_notes_that_cannot_be_kept_change_nothing(workspace: Workspace, code: str, wanted: dict) -> None:
    run = made(workspace, "sft", "first")
    change(run, tags=["kept"])
    with pytest.raises(InputError) as caught:
        change(run, star=True, **wanted)
    assert caught.value.code == code
    assert (read_notes(run).tags, read_notes(run).star) == (["kept"], False)


def test_notes_of_two_who_write_at_once_are_both_kept(workspace: Workspace) -> None:
    run = made(workspace, "sft", "first")
    writers = [threading.Thread(target=change, args=(run,), kwargs={"add": [f"tag {n}"]}) for n in range(10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(read_notes(run).tags) == sorted(f"tag {n}" for n in range(10))


# -- curves -----------------------------------------------------------------------------------------------------------
def test_a_curve_stands_where_its_rows_were_logged(workspace: Workspace) -> None:
    run = made(workspace, "sft", "first", rows=falling(40))
    by = {axis: curves.overlay([run], curves.Wanted("eval_loss", axis))[0].points for axis in curves.AXES}
    assert [x for x, _ in by["step"]] == [10, 20, 30, 40]
    assert [x for x, _ in by["epoch"]] == [0.25, 0.5, 0.75, 1.0]
    assert [x for x, _ in by["tokens"]] == [5120, 10240, 15360, 20480]  # the evaluation itself has none
    assert [x for x, _ in by["time"]] == [18, 38, 58, 78]  # seconds after the first row
    assert len({tuple(y for _, y in points) for points in by.values()}) == 1


def test_smoothing_and_a_logarithmic_scale(workspace: Workspace) -> None:
    rows = [{"step": step, "loss": 2.0 + (-1) ** step, "bad": math.inf, "signed": step - 3} for step in range(1, 9)]
    run = made(workspace, "sft", "first", rows=rows)
    plain, calm = (curves.overlay([run], curves.Wanted("loss", smoothing=weight))[0] for weight in (0.0, 0.9))
    assert plain.raw == []
    assert calm.raw == plain.points
    assert max(y for _, y in calm.points[2:]) < 2.5
    positive = curves.overlay([run], curves.Wanted("signed", log=True))[0]
    assert [y for _, y in positive.points] == [1, 2, 3, 4, 5]
    assert curves.overlay([run], curves.Wanted("bad"))[0].points == []
    assert curves.metrics_of([run]) == ["loss", "signed"]
    assert log_ticks(0.01, 100, 5) == [0.01, 0.1, 1, 10, 100]
    assert log_ticks(1.1, 1.4, 4) == [1.1, 1.2, 1.3, 1.4]
    assert [short(value) for value in (512, 12_800, 3e9, 0.00012)] == ["512", "12.8k", "3G", "0.00012"]


def test_wishes_of_a_page_that_make_no_sense_are_as_by_default() -> None:
    for nonsense in ({"axis": "moon", "smoothing": "x"}, {"smoothing": math.nan}, {"metric": None, "log": ""}):
        assert curves.Wanted.of(nonsense) == curves.Wanted()
    assert curves.Wanted.of({"smoothing": 7}).smoothing == curves.MOST_SMOOTHING


def test_an_overlay_as_files(workspace: Workspace, tmp_path: Path) -> None:
    runs = [made(workspace, "sft", f"<b>{n}</b> & more", number=n, rows=falling(900, n + 1)) for n in range(2)]
    wanted = curves.Wanted("loss", "tokens", 0.5)
    for ending in (".html", ".svg", ".csv"):
        curve_files.write(tmp_path / f"a{ending}", runs, wanted, {"metric": "<i>", "tokens": "词元"})
    page = (tmp_path / "a.html").read_text()
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;1&lt;/b&gt; &amp; more" in page
    assert re.findall(r"""(?:src|href)\s*=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""", page) == []
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len(rows) == 1800  # none left out
    assert (rows[0]["run"], float(rows[0]["tokens"]), float(rows[-1]["seconds"])) == (runs[0].id, 512, 2 * 899)
    assert float(rows[0]["loss smoothed 0.5"]) == float(rows[0]["loss"])
    drawing = (tmp_path / "a.svg").read_text()
    assert "词元" in drawing
    assert drawing.count("L") < 2 * 2 * 330  # downsampled
    for code, path, wish in (
        ("runs.bad_ending", "a.pdf", wanted), ("runs.no_figure", "b.svg", curves.Wanted("reward")),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            curve_files.write(tmp_path / path, runs, wish)
        assert caught.value.code == code
        assert not (tmp_path / path).exists()
    with pytest.raises(InputError, match="at most 16"):
        curves.overlay([runs[0]] * 17, wanted)


def test_rows_of_a_file_know_their_times_also_after_a_resume_has_cut_it(workspace: Workspace) -> None:
    run = made(workspace, "sft", "first", rows=falling(20))
    assert len(tail(run.metrics_file).times) == 22
    run.metrics_file.unlink()
    append_jsonl(run.metrics_file, *falling(3))
    assert [step for step, _ in tail(run.metrics_file).times] == [1, 2, 3]


# -- settings, clones -------------------------------------------------------------------------------------------------
def test_only_what_differs_stands_side_by_side(workspace: Workspace) -> None:
    first = made(workspace, "sft", "first")
    second = made(workspace, "sft", "second", number=1, settings={"lora.rank": 32, "data.mix": ["b: 0.5"]})
    other = made(workspace, "reward", "third", number=2, settings={"data.train": "pairs@1"})
    rows = {row.key: row.values for row in settings([first, second]) if row.differs}
    assert rows == {"lora.rank": (8, 32), "data.mix": ([], ["b: 0.5"])}
    everything = {row.key: row for row in settings([first, second, other])}
    assert "run.name" not in everything
    assert everything["data.mix"].values[2] is ABSENT
    assert everything["data.mix"].differs
    assert not everything["run.seed"].differs
    sections = [row.section for row in settings([first, other])]
    assert sections == sorted(sections, key=sections.index)  # each section's settings stand together


def test_a_clone_has_everything_but_the_name(workspace: Workspace) -> None:
    run = made(workspace, "sft", "first", settings={"lora.rank": 32, "model.trust_remote_code": True})
    values, found = values_of(run), expand(["auto"])
    assert "run.name" not in values
    assert (values["lora.rank"], values["model.trust_remote_code"]) == (32, True)
    assert "devices.use" not in values_of(made(workspace, "sft", "auto", number=1, settings={"devices.use": found}))
    chosen = made(workspace, "sft", "two", number=2, settings={"devices.use": ["cpu:0", "cpu:1"]})
    assert values_of(chosen)["devices.use"] == ["cpu:0", "cpu:1"]
    for each in (run, chosen):
        (each.path / "imported.json").write_text("{}")  # torn or not, it is a mark
    assert "model.trust_remote_code" not in values_of(run)
    assert "devices.use" not in values_of(chosen), "they are another machine's"
    with pytest.raises(ConfigError):  # its base is not here: what a submit says of it, nothing is started
        store.submit(workspace, "sft", cloned(workspace, run, ["lora.rank=4"]))
    assert len(workspace.runs()) == 3


# -- lineage ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def chain(workspace: Workspace) -> dict[str, RunDir]:
    runs = {"pt": made(workspace, "pretrain", "pt", settings={"data.train": "docs@1"})}
    runs["sft"] = made(
        workspace, "sft", "sft", number=1, settings={"model.base": runs["pt"].id, "data.mix": ["more@2: 0.5"]}
    )
    base = {"model.base": f"{runs['sft'].id}:step-20"}
    runs["reward"] = made(workspace, "reward", "rm", number=2, settings={**base, "data.train": "pairs@1"})
    scored = {"rewards.models": [f"{runs['reward'].id}: 0.5"], "data.train": "asked@1"}
    runs["ppo"] = made(workspace, "ppo", "ppo", number=3, settings={**base, **scored}, parent=runs["sft"].id)
    runs["aside"] = made(workspace, "sft", "aside", number=4, settings={"model.base": "elsewhere"})
    return runs


def test_lineage_says_what_came_from_what(workspace: Workspace, chain: dict[str, RunDir]) -> None:
    graph = Graph.read(workspace)
    ids = {name: ("run", run.id) for name, run in chain.items()}
    for edge in (
        Edge(("model", "tiny"), ids["pt"], "base"), Edge(("dataset", "docs@1"), ids["pt"], "train"),
        Edge(ids["pt"], ids["sft"], "base"), Edge(("dataset", "more@2"), ids["sft"], "mix"),
        Edge(ids["sft"], ids["ppo"], "base"), Edge(ids["reward"], ids["ppo"], "reward"),
    ):  # fmt: skip
        assert edge in graph.edges, edge
    assert graph.nodes["dataset", "docs@1"].gone
    assert len(set(graph.edges)) == len(graph.edges)
    mine = family(graph, chain["reward"].id)
    assert ids["aside"] not in mine.nodes
    assert {ids["pt"], ids["sft"], ids["ppo"], ("dataset", "asked@1")} <= set(mine.nodes)
    columns = {node.key: at for at, column in enumerate(layers(mine)) for node in column}
    assert all(columns[edge.source] < columns[edge.target] for edge in mine.edges)
    assert columns["dataset", "asked@1"] == columns[ids["ppo"]] - 1
    assert family(graph, "nobody").nodes == {}
    assert layers(Graph()) == []


def test_every_setting_that_names_a_start_has_a_role() -> None:
    assert set(ROLES) == set(STARTS)


def test_a_circle_of_names_ends(workspace: Workspace) -> None:
    first = made(workspace, "sft", "first")
    second = made(workspace, "sft", "second", number=1, settings={"model.base": first.id})
    config = json.loads(first.config_json.read_text())
    config["model"]["base"] = second.id
    first.config_json.write_text(json.dumps(config))
    graph = family(Graph.read(workspace), first.id)
    assert sum(map(len, layers(graph))) == len(graph.nodes)


# -- checkpoints ------------------------------------------------------------------------------------------------------
def test_what_a_checkpoint_is_good_for_is_said(workspace: Workspace) -> None:
    run = made(workspace, "sft", "first", outcome="stopped", checkpoints=[10, 20])
    checkpoint(run, 5, loss=0.5)
    (run.checkpoints / "tmp-step-30").mkdir()
    user = made(workspace, "sft", "next", number=1, settings={"model.base": f"{run.id}:best"})
    found = {kept.name: kept for kept in checkpoints.checkpoints(workspace, run)}
    assert list(found) == ["tmp-step-30", "step-5", "step-10", "step-20"]
    assert not found["tmp-step-30"].whole
    assert [name for name, kept in found.items() if kept.resumes] == ["step-20"]
    assert [name for name, kept in found.items() if kept.best] == ["step-5"]
    assert found["step-5"].used_by == (user.id,)
    assert found["step-5"].size > 90_000
    done = made(workspace, "sft", "done", number=2, checkpoints=[10])
    (kept,) = checkpoints.checkpoints(workspace, done)
    assert (kept.delivered, kept.resumes) == (True, False)
    assert checkpoints.taken(workspace)[0].run == run.id


def test_checkpoints_of_a_run_that_is_not_over_stay(workspace: Workspace) -> None:
    run = made(workspace, "sft", "first", outcome="stopped", checkpoints=[10, 20])
    user = made(workspace, "sft", "next", number=1, settings={"model.base": f"{run.id}:step-10"}, outcome="")
    for holder, names, code in (
        (run, ["step-10"], "run.live"), (user, ["step-20", "step-10"], "run.needed"),
        (None, ["step-20", "../../sft"], "runs.no_checkpoint"),
    ):  # fmt: skip
        lock = take_run(holder) if holder is not None else None
        with pytest.raises((RunError, InputError)) as caught:
            checkpoints.remove(workspace, run, names)
        assert caught.value.code == code
        assert len(run.complete_checkpoints()) == 2
        if lock is not None:
            os.close(lock)
    assert checkpoints.remove(workspace, run, ["step-10", "step-10"]) > 90_000
    assert [each.step for each in run.complete_checkpoints()] == [20]
    assert list((workspace.path / ".trash").iterdir()) == []


def test_what_a_killed_removal_left_goes_with_the_next(workspace: Workspace) -> None:
    run = made(workspace, "sft", "one")
    trash = workspace.path / ".trash"
    shutil.copytree(run.path, trash / run.id)
    with coming_in(workspace) as mine:
        assert [each.name for each in trash.iterdir()] == [mine.name]
        (mine / "file").touch()
        store.delete(workspace, run)
        assert [each.name for each in trash.iterdir()] == [mine.name], "what somebody holds stays"
    assert list(trash.iterdir()) == []
    assert workspace.runs() == []


def test_what_a_live_run_names_is_needed(workspace: Workspace) -> None:
    judge = made(workspace, "reward", "judge")
    user = RunDir.create(workspace.runs_dir, "evaluate")
    write_json(user.config_json, {"models": {"runs": ["tiny"]}, "judging": {"reward": f"{judge.id}:best"}})
    lock = take_run(user)
    assert lock is not None
    with pytest.raises(RunError) as caught:
        store.delete(workspace, judge)
    assert caught.value.code == "run.needed"
    os.close(lock)
    store.delete(workspace, judge)


# -- the command line -------------------------------------------------------------------------------------------------
def test_the_command_line(workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    one = made(workspace, "sft", "one", rows=falling(30), checkpoints=[10, 20, 30])
    two = made(workspace, "sft", "two", number=1, rows=falling(30, 2), settings={"lora.rank": 32, "model.base": one.id})

    def run(*words: str, status: int = 0) -> str:
        assert main(["--workspace", str(workspace.path), "runs", *words]) == status, words
        return capsys.readouterr().out

    run("note", one.id, "--star", "--tag", "base line", "--note", "it works")
    assert "it works" in run("list", "#base")
    assert two.id not in run("list", "--star")
    assert "lora.rank" in run("compare", one.id, two.id)
    assert "optim" not in run("compare", one.id, two.id)
    run("compare", one.id, status=2)
    drawn = json.loads(run("curves", one.id, two.id, "--metric", "eval_loss", "--axis", "tokens", "--json"))
    assert [len(curve["points"]) for curve in drawn["curves"]] == [3, 3]
    assert "LEAST" in run("curves", one.id)
    long = made(workspace, "sft", "long", number=2, rows=[{"step": step, "loss": float(step)} for step in range(2000)])
    assert run("curves", long.id).splitlines()[1].split()[1:5] == ["0", "0", "1999", "1999"], "no means"
    assert long.id in run("list", "chat@1", "long")
    store.delete(workspace, long)
    run("curves", one.id, "--metric", "lose", status=2)
    assert str(tmp_path / "c.csv") in run("curves", one.id, "--to", str(tmp_path / "c.csv"))
    assert f"→ run two ({two.id})" in run("lineage", one.id)
    assert "in all" in run("disk")
    assert "the best" in run("disk", one.id)
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    run("clean", one.id, "--all", status=2)
    assert len(one.complete_checkpoints()) == 3
    run("clean", one.id, "--but-last", "--yes")
    assert [each.step for each in one.complete_checkpoints()] == [30]
    assert state_of(one) is State.SUCCEEDED
    run("clone", two.id, "lora.rank=4", status=2)  # the base's model is not here
    assert len(workspace.runs()) == 2
