"""Curves, tails, and what the page says about a run, on run directories written as a run writes them."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import orjson
import pytest

from core.data.check.doctor import check_file
from core.errors import DataError, Problem
from core.jobs.failures import make, result_for
from core.jobs.store import summary
from core.records import Result, Status
from core.report import Report
from core.rundir import RunDir, State, write_record, write_text
from core.runs.scales import smooth, ticks
from core.tails import downsample, last_text, tail
from core.workspace import Workspace
from webui import charts, views, views_lists, views_report
from webui.catalog import Reader
from webui.figures import clock, duration, figure, size
from webui.pages.runs import matching

EVIL = "<script>alert(1)</script> a<b && c>d ${x} {{y}}"


def make_run(workspace: Workspace, name: str = "first", steps: int = 0) -> RunDir:
    run = RunDir.create(workspace.runs_dir, "sft")
    config = {"run": {"name": name, "seed": 42}, "optim": {"learning_rate": 0.1}, "data": {"train": "d@1"}}
    write_text(run.config_json, json.dumps(config))
    now = time.time()
    write_record(
        run.status_file, Status(supervisor_pid=1, supervisor_started=now, submitted_at=now, started_at=now - 9)
    )
    report = Report(run)
    report.phase("training", total=steps)
    for step in range(1, steps + 1):
        report.metrics(step, step / 10, loss=3.0 / step, learning_rate=2e-4)
    report.progress(steps)
    return run


# -- figures ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (2e-4, "2e-4"), (1.234567, "1.235"), (3, "3"), (1234.5, "1,234"), (None, "–")]
)
def test_figures_are_short(value: float | None, shown: str) -> None:
    assert figure(value) == shown


def test_times_and_sizes() -> None:
    assert duration(42, "en") == "42 s"
    assert duration(185, "zh") == "3 分 5 秒"
    assert duration(7800, "en") == "2 h 10 min"
    assert size(999) == "999 B"
    assert size(98_400_000) == "98.4 MB"
    assert re.fullmatch(r"\d\d:\d\d", clock(time.time()))


# -- tails ------------------------------------------------------------------------------------------------------------
def test_a_tail_reads_only_what_is_new_and_leaves_a_torn_line(workspace: Workspace) -> None:
    run = make_run(workspace, steps=3)
    seen = tail(run.metrics_file)
    assert seen.curve("loss") == [(1, 3.0), (2, 1.5), (3, 1.0)]
    with open(run.metrics_file, "a") as file:
        file.write('{"step": 4, "loss": 0.5}\n{"step": 5, "lo')
    assert tail(run.metrics_file) is seen
    assert seen.curve("loss")[-1] == (4, 0.5)


@pytest.mark.parametrize("how", ["shorter in place", "another file"])
def test_a_tail_begins_anew_when_the_file_was_cut(workspace: Workspace, how: str) -> None:
    run = make_run(workspace, steps=30)
    seen = tail(run.metrics_file)
    kept = b"".join(run.metrics_file.read_bytes().splitlines(keepends=True)[:10])
    if how == "another file":
        other = run.path / "other"
        other.write_bytes(kept * 3)  # as long as before: only the inode tells
        os.replace(other, run.metrics_file)
    else:
        run.metrics_file.write_bytes(kept)
    assert len(seen.refresh().curve("loss")) == (30 if how == "another file" else 10)
    assert seen.curve("loss")[9] == (10, pytest.approx(0.3))


def test_downsampling_keeps_ends_length_and_level() -> None:
    column = [(float(step), 1.0 + (step % 2)) for step in range(100_000)]
    few = downsample(column, 300)
    assert len(few) == 300
    assert (few[0][0], few[-1][0]) == (0.0, 99_999.0)
    assert all(value == pytest.approx(1.5, abs=0.01) for _, value in few)
    assert downsample(column[:5], 300) == column[:5]


def test_a_hundred_thousand_rows_make_a_small_chart_and_are_read_once(workspace: Workspace) -> None:
    run = make_run(workspace)
    rows = (
        orjson.dumps({"step": step, "epoch": step / 1e4, "time": 1.0, "loss": 2.0, "lr": 1e-4})
        for step in range(100_000)
    )
    run.metrics_file.write_bytes(b"\n".join(rows) + b"\n")
    read = tail(run.metrics_file)
    assert len(charts.main_chart(read, "en")) < 60_000
    assert tail(run.metrics_file) is read


def test_the_log_begins_at_a_whole_line(workspace: Workspace) -> None:
    run = make_run(workspace)
    run.log_file(0).write_text("".join(f"line {n}\n" for n in range(1000)))
    text, cut = last_text(run.log_file(0), 100)
    assert cut
    assert text.startswith("line ")
    assert text.endswith("line 999\n")
    assert last_text(run.path / "nothing", 10) == ("", False)


# -- charts -----------------------------------------------------------------------------------------------------------
def test_ticks_are_round_and_within() -> None:
    assert ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert ticks(0.13, 0.38, 4) == [0.2, 0.3]
    assert ticks(5, 5, 4) == [5]


def test_a_chart_survives_one_point_and_values_that_are_no_numbers() -> None:
    drawn = charts.line_chart([charts.Curve("loss", "main", [(1, 2.0), (2, float("nan")), (3, float("inf"))])])
    assert "nan" not in drawn.lower()
    assert "inf" not in drawn.lower()
    assert drawn.count("<circle") == 1
    assert charts.line_chart([charts.Curve("loss", "main", [(1, float("nan"))])]) == ""
    assert ">-1<" not in charts.line_chart([charts.Curve("loss", "main", [(0, 2.0)])])  # there is no step before 0


def test_smoothing_of_a_constant_is_the_constant() -> None:
    assert [y for _, y in smooth([(x, 7.0) for x in range(5)])] == pytest.approx([7.0] * 5)


# -- what is said about a run -----------------------------------------------------------------------------------------
def test_a_finished_and_a_failed_run(workspace: Workspace) -> None:
    run = make_run(workspace, steps=4)
    result = Result(outcome="failed", code="data.no_answer", reason="It has no answer.", ended_at=time.time())
    write_record(run.result_file, result)
    shot = views.snapshot(run)
    assert shot.state is State.FAILED
    said = views.progress(shot, "zh")
    assert "失败" in said
    assert "对话没有以助手的回答结束" in said
    assert "notice bad" in said


def test_a_run_that_ended_early_says_why_and_where(workspace: Workspace) -> None:
    run = make_run(workspace, steps=4)
    progress = run.progress()
    assert progress is not None
    write_record(run.progress_file, progress.model_copy(update={"train_total": 12, "trained": 7, "phase": "saving"}))
    said = {"step": 7, "alarm": "Nothing ends."}
    write_record(run.result_file, make("succeeded", "ppo.alarm_stop", said))
    shot = views.snapshot(run)
    assert shot.state is State.SUCCEEDED
    for lang, word in (("en", "because an alarm was raised: Nothing ends."), ("zh", "因警报而结束")):
        shown = views.progress(shot, lang)
        assert word in shown
        assert "notice calm" in shown
    assert "7 of 12" in views.progress(shot, "en")
    assert "width:58.3%" in views.progress(shot, "en")


def test_rows_that_stopped_a_run_are_listed_with_their_lines(workspace: Workspace) -> None:
    run = make_run(workspace, steps=1)
    config = {**json.loads(run.config_json.read_bytes()), "data": {"train": "d@1", "bad_rows": "stop"}}
    write_text(run.config_json, json.dumps(config))
    problem = Problem("data.no_label_left", {"max_length": 8, "detail": ""}, line=41, excerpt="<b>long</b>")
    error = DataError("data.rows_without_label", problems=[problem], ref="d@1", count=7)
    write_record(run.result_file, result_for(error))
    shot = views.snapshot(run)
    said = views.notice(shot, "zh")
    assert '<td class="line">41</td>' in said
    assert "没有留下回答" in said
    assert "请调大“最大长度”" in said
    assert "&lt;b&gt;long" in said
    assert "显示前 1 条，共 7 条" in said
    assert "No answer" not in said
    assert views.can_drop_rows(shot)
    write_text(run.config_json, json.dumps({**config, "data": {"train": "d@1", "bad_rows": "drop"}}))
    assert not views.can_drop_rows(views.snapshot(run))


def test_the_check_names_the_shape_and_its_evidence(chat_file: Path) -> None:
    said = views_report.check_report(check_file(chat_file), "en")
    keys = "<code>conversations</code> with <code>from</code>/<code>value</code>"
    assert f"{keys}: <b>ShareGPT</b> → SFT" in said
    assert "64 of the first 64 rows" in said


# -- what others wrote ------------------------------------------------------------------------------------------------
def test_runs_are_found_by_name_model_and_data(workspace: Workspace) -> None:
    run = make_run(workspace, name="first")
    write_text(
        run.config_json, json.dumps({"run": {"name": "first"}, "model": {"base": "Qwen"}, "data": {"train": "med@1"}})
    )
    make_run(workspace, name="second")
    catalog = Reader(workspace).read()
    for words in ("qwen", "MED first", run.id):
        assert [found.id for found in matching(catalog, words, "all")] == [run.id]
    assert matching(catalog, "qwen second", "all") == []


def test_whoever_wrote_it_text_is_escaped(workspace: Workspace) -> None:
    run = make_run(workspace, name=EVIL, steps=2)
    Report(run).sample(1, EVIL, EVIL)
    run.log_file(0).write_text(EVIL)
    shot = views.snapshot(run)
    row = {"messages": [{"role": EVIL, "content": EVIL}]}
    everything = "".join(
        [
            views.head(shot, "en"), views.progress(shot, "en"), views.samples(run, "en"), views.log(run, "en"),
            views.settings(shot, "en"), views.result(shot, "en"), views.command(EVIL, "en"), views.say(EVIL, EVIL),
            views_lists.side_runs([summary(run)], "en"), views_lists.run_table([summary(run)], 1, None, "en"),
            views_lists.data_rows([row, {"text": EVIL}], 0, 2, "en"),
        ]
    )  # fmt: skip
    assert "<script" not in everything
    assert "a<b" not in everything
    assert everything.count("a&lt;b &amp;&amp; c&gt;d ${x} {{y}}") >= 10


def test_settings_mark_what_differs_from_the_defaults(workspace: Workspace) -> None:
    said = views.settings(views.snapshot(make_run(workspace)), "en")
    assert re.search(r'pair changed" title="optim.learning_rate"', said)
    assert re.search(r'pair" title="run.seed"', said)


# -- the catalog ------------------------------------------------------------------------------------------------------
def test_two_hundred_runs_are_listed_and_idle_reads_change_nothing(workspace: Workspace) -> None:
    for number in range(200):
        make_run(workspace, name=f"run {number}", steps=1)
    reader = Reader(workspace)
    assert len(reader.read().runs) == 200
    mark = reader.read(fresh=True).mark
    assert reader.read(fresh=True).mark == mark
    make_run(workspace, name="from a terminal")
    assert reader.read(fresh=True).mark == mark + 1
    assert "from a terminal" in views_lists.run_table(reader.read().runs, 201, None, "en", most=201)
