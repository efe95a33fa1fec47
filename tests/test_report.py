"""The alignment-tax report: figures, differences and verdicts of known rows, its sentences, its files, several runs."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from core.__main__ import main
from core.errors import InputError
from core.evaluation.report import make, verdict_of
from core.evaluation.report_files import as_csv, as_markdown, told, write
from core.intervals import wilson
from core.models.stages_of import stages_of
from core.recipes import evaluate as recipe
from core.records_evaluation import (
    Evaluation,
    Exam,
    Item,
    Judged,
    Judges,
    Question,
    Source,
    evaluation_file,
    items_file,
    prompts_file,
)
from core.records_report import TaxReport, report_file, said
from core.report_figure import short
from core.rundir import RunDir, append_jsonl, read_record, write_record, write_text
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.models_tools import make_run
from tests.test_evaluate import found_by, submitted
from webui.messages import code_text

MODELS = [
    Judged(text="b", name="base", identity="b", tokenizer="t"),
    Judged(text="r", name="tuned", identity="r", tokenizer="t", run="sft-1", stage="sft"),
]
ROWS = 60


def comparison(runs: Path, models: list[Judged] | None = None, **more: object) -> RunDir:
    """A finished run of two models on an exam (domain), a text (general), and questions with rewards and a judge."""
    run = RunDir.create(runs, "evaluate")
    run.output.mkdir(exist_ok=True)
    write_text(run.config_json, json.dumps({"data": {"max_length": 512}, "generation": {"max_new_tokens": 8}}))
    found = Evaluation(
        models=models or MODELS,
        exams=[Exam(dataset="exam@1", sha256="x", kind="choice", rows=ROWS, role="domain"),
               Exam(dataset="prose@1", sha256="y", kind="text", rows=ROWS, role="general")],
        sources=[Source(name="asked@1", sha256="z", asked=ROWS, role="domain")],
        judges=Judges(reward="rm", reward_id="1", by="judge", by_id="2"),
    )  # fmt: skip
    write_record(evaluation_file(run.output), found.model_copy(update=more))
    turn = {"role": "user", "content": "q"}
    questions = [Question(number=at, line=at, messages=[turn], category="ab"[at % 2]) for at in range(ROWS)]
    append_jsonl(prompts_file(run.output), *(question.model_dump() for question in questions))
    for place in range(len(found.models)):
        append_jsonl(items_file(run.output), *(item.model_dump() for item in items(place)))
    return run


def items(place: int) -> list[Item]:
    """The tuned model knows 20 rows of the exam more, and predicts the prose worse by 10 % of its nats."""
    rng = np.random.default_rng(0)
    found = []
    for at in range(ROWS):
        category = "ab"[at % 2]
        about = {"model": place, "number": at, "line": at, "category": category}
        right = float(at < 20 + 20 * place)
        nats, labels = rng.uniform(20, 40) * (1 + 0.1 * place), 20
        found.append(Item(exam=0, figures={"correct": right, "correct_norm": right}, **about))
        prose = {"nats": nats, "labels": labels, "text_nats": nats, "bytes": 80}
        found.append(Item(exam=1, figures=prose, **about))
        found.append(Item(exam=None, figures={"tokens": 10 + 5 * place + at % 3}, **about))
        found.append(Item(exam=None, figures={"reward": rng.normal() + place}, **about))
        if place:
            found.append(Item(exam=None, figures={"win": 0.5 if at % 3 else 1.0}, **about))
    return found


@pytest.fixture
def report(tmp_path: Path) -> TaxReport:
    return make([comparison(tmp_path / "runs")], resamples=1000, seed=42)


# -- figures ----------------------------------------------------------------------------------------------------------
def test_figures_and_differences_are_those_of_the_rows(report: TaxReport) -> None:
    assert [(block.dataset, block.role, block.measures) for block in report.blocks] == [
        ("exam@1", "domain", ["accuracy"]),
        ("asked@1", "domain", ["reward", "win", "tokens"]),
        ("prose@1", "general", ["perplexity"]),
    ]
    base, tuned = report.lines
    exam, known = tuned.figures[0]["accuracy"], base.figures[0]["accuracy"]
    assert (known.value, known.change, known.verdict) == (1 / 3, None, "")
    assert (known.low, known.high) == wilson(1 / 3, ROWS)
    assert math.isclose(exam.change or 0, 1 / 3)
    assert exam.change_low is not None
    assert exam.change_high is not None
    error = math.sqrt(1 / 3 * 2 / 3 / ROWS)
    assert math.isclose(exam.change_low, 1 / 3 - 1.96 * error, abs_tol=0.02)
    assert math.isclose(exam.change_high, 1 / 3 + 1.96 * error, abs_tol=0.02)
    assert (exam.pairs, exam.verdict) == (ROWS, "better")
    nats = sum(item.figures["nats"] for item in items(0) if item.exam == 1)
    prose = tuned.figures[2]["perplexity"]
    assert math.isclose(base.figures[2]["perplexity"].value, math.exp(nats / 20 / ROWS))
    assert math.isclose(prose.value, math.exp(1.1 * nats / 20 / ROWS))
    assert prose.verdict == "worse"
    assert prose.low < prose.value < prose.high
    length = tuned.figures[1]["tokens"]  # the same rows are five tokens longer: there is no doubt
    assert (length.change, length.change_low, length.change_high) == pytest.approx((5, 5, 5))
    assert length.verdict == "changed"
    win = tuned.figures[1]["win"]
    assert math.isclose(win.value, 2 / 3)
    assert math.isclose(win.change or 0, 2 / 3 - 1 / 2)
    assert win.verdict == "better"
    assert "win" not in base.figures[1]


def test_categories_are_figures_of_their_own_rows(report: TaxReport) -> None:
    groups = report.lines[1].groups[0]
    assert set(groups) == set(report.blocks[0].categories) == {"a", "b"}
    own = [item.figures["correct"] for item in items(1) if item.exam == 0 and item.category == "a"]
    assert groups["a"]["accuracy"].value == sum(own) / len(own)
    assert groups["a"]["accuracy"].rows == 30
    assert groups["a"]["accuracy"].change is not None


@pytest.mark.parametrize(
    ("low", "high", "direction", "verdict"),
    [
        (0.1, 0.2, 1, "better"),
        (0.1, 0.2, -1, "worse"),
        (-0.2, -0.1, -1, "better"),
        (-0.2, -0.1, 1, "worse"),
        (-0.1, 0.1, 1, "open"),
        (0.0, 0.1, 1, "open"),
        (0.1, 0.2, 0, "changed"),
    ],
)
def test_what_an_interval_says(low: float, high: float, direction: int, verdict: str) -> None:
    assert verdict_of(low, high, direction) == verdict


def test_perplexities_of_other_tokenizers_are_not_compared(tmp_path: Path) -> None:
    models = [MODELS[0], MODELS[1].model_copy(update={"tokenizer": "u"})]
    report = make([comparison(tmp_path / "runs", models)], resamples=200, seed=1)
    prose = report.lines[1].figures[2]
    assert report.blocks[2].measures == ["perplexity", "bits_per_byte"]
    assert prose["perplexity"].change is None
    assert prose["bits_per_byte"].verdict == "worse"
    assert "report.tokenizers_differ" in [note.code for note in report.notes]


# -- sentences --------------------------------------------------------------------------------------------------------
def test_a_sentence_says_what_was_gained_and_what_was_lost(report: TaxReport) -> None:
    [line] = told(report)
    assert line.startswith("tuned against base. In the domain: better accuracy on exam, 33.3 % → 66.7 % (+33.3 points")
    assert "In general: worse perplexity on prose" in line
    assert "longer answers on asked, 11 → 16 tokens" in line
    [chinese] = [said(each, lambda code, params: code_text(code, params, "zh")[0], "；") for each in report.told]
    assert chinese.startswith("tuned 与 base 相比。领域：变好：exam 的准确率 33.3 % → 66.7 %")
    assert "通用：变差：prose 的困惑度" in chinese


def test_it_says_so_when_nothing_can_be_told(tmp_path: Path) -> None:
    twin = MODELS[0].model_copy(update={"identity": "twin", "name": "twin", "text": "t"})
    run = comparison(tmp_path / "runs", [MODELS[0], twin], judges=Judges())
    lines = [Item.model_validate_json(line) for line in items_file(run.output).read_text("utf-8").splitlines()]
    items_file(run.output).unlink()
    same = [item.model_copy(update={"model": model}) for model in range(2) for item in lines if item.model == 0]
    append_jsonl(items_file(run.output), *(item.model_dump() for item in same))
    report = make([run], resamples=200, seed=1)
    nothing = "nothing can be told, as every interval of a difference holds zero"
    assert told(report) == [f"twin against base. In the domain: {nothing}. In general: {nothing}."]


def test_sets_without_a_role_are_listed_and_told_of(tmp_path: Path) -> None:
    exams = [
        Exam(dataset="exam@1", sha256="x", kind="choice", rows=ROWS),
        Exam(dataset="p@1", sha256="y", kind="text", rows=ROWS),
    ]
    run = comparison(tmp_path / "runs", exams=exams, sources=[Source(name="asked@1", asked=ROWS)])
    report = make([run], resamples=200, seed=1)
    assert {block.role for block in report.blocks} == {""}
    assert "no set stands for the domain" in told(report)[0]
    general = make([comparison(tmp_path / "runs", exams=[exams[0], exams[1].model_copy(update={"role": "general"})],
                               sources=[Source(name="asked@1", asked=ROWS)])], resamples=200, seed=1)  # fmt: skip
    assert "In the domain: no set was named." in told(general)[0]


def test_a_handful_of_rows_proves_nothing(tmp_path: Path) -> None:
    """Four rows on which all went well: a resample of them is all well, too, and says nothing of others."""
    run = comparison(tmp_path / "runs")
    lines = items_file(run.output).read_text("utf-8").splitlines(keepends=True)
    items_file(run.output).write_text("".join(line for line in lines if 20 <= json.loads(line)["number"] < 24))
    report = make([run], resamples=200, seed=1)
    for figures in report.lines[1].figures:
        assert {figure.verdict for figure in figures.values()} == {"open"}
        assert all(figure.change_low is None for figure in figures.values())
    accuracy, length = report.lines[1].figures[0]["accuracy"], report.lines[1].figures[1]["tokens"]
    assert (accuracy.value, accuracy.low, accuracy.high) == (1, *wilson(1.0, 4))
    assert length.low is None
    assert told(report)[0].count("too few rows to tell a change from chance") == 2
    assert "n=4<br>+5" in as_markdown(report)
    assert "Of fewer than ten rows only accuracy and red flags have an interval" in as_markdown(report)


def test_sets_of_one_name_are_told_apart(tmp_path: Path) -> None:
    exams = [Exam(dataset="en@1", sha256="x", kind="choice", rows=ROWS, role="domain"),
             Exam(dataset="en@2", sha256="y", kind="text", rows=ROWS, role="general")]  # fmt: skip
    report = make([comparison(tmp_path / "runs", exams=exams)], resamples=200, seed=1)
    assert [block.label for block in report.blocks] == ["en@1", "asked", "en@2"]
    assert "perplexity on en@2" in told(report)[0]


def test_verdicts_that_could_not_be_read_are_told_of(tmp_path: Path) -> None:
    run = comparison(tmp_path / "runs")
    append_jsonl(
        items_file(run.output), Item(model=1, exam=None, number=3, line=3, figures={"unread": 1.0}).model_dump()
    )
    [note] = [note for note in make([run], resamples=200, seed=1).notes if note.code == "report.unread"]
    assert note.params == {"unread": 1, "pairs": ROWS}


def test_who_was_trained_on_a_set_is_told(tmp_path: Path, report: TaxReport) -> None:
    assert all(note.code != "report.learnt" for note in report.notes)
    models = [MODELS[0], MODELS[1].model_copy(update={"learnt": ["y", "elsewhere"]})]
    [note] = [
        note for note in make([comparison(tmp_path / "again", models)], resamples=50, seed=1).notes
        if note.code == "report.learnt"
    ]  # fmt: skip
    assert note.params == {"set": "prose", "models": MODELS[1].name}


def test_few_rows_are_told_of(tmp_path: Path) -> None:
    run = comparison(tmp_path / "runs")
    lines = items_file(run.output).read_text("utf-8").splitlines(keepends=True)
    few_lines = "".join(line for line in lines if json.loads(line)["number"] < 12)
    items_file(run.output).write_text(few_lines.replace('"win":0.5', '"win":1.0'))
    report = make([run], resamples=200, seed=1)
    win = report.lines[1].figures[1]["win"]  # twelve of twelve, which a resample cannot doubt
    low, high = wilson(1.0, 12)
    assert (win.value, win.low, win.high) == (1, low, high)
    assert (win.change_low, win.change_high, win.verdict) == (low - 0.5, high - 0.5, "better")
    [few] = [note for note in report.notes if note.code == "report.few_rows"]
    assert few.params["sets"] == "exam (12), asked (12), prose (12)"


# -- files ------------------------------------------------------------------------------------------------------------
def test_the_files_hold_every_figure(report: TaxReport, tmp_path: Path) -> None:
    write(tmp_path / "out", report)
    kept = read_record(report_file(tmp_path / "out"), TaxReport)
    assert kept is not None
    assert kept.model_dump() == report.model_dump()
    assert told(kept) == told(report)
    rows = list(csv.DictReader(io.StringIO(report_file(tmp_path / "out", "csv").read_text("utf-8-sig"))))
    whole = [row for row in rows if row["category"] == ""]
    assert len(whole) == 5 + 4  # the base has no win rate
    assert {row["category"] for row in rows} == {"", "a", "b"}
    [accuracy] = [row for row in whole if (row["model"], row["measure"]) == ("tuned", "accuracy")]
    assert float(accuracy["value"]) == 2 / 3
    assert accuracy["verdict"] == "better"
    svg = report_file(tmp_path / "out", "svg").read_text("utf-8")
    assert len(ET.fromstring(svg).findall("{http://www.w3.org/2000/svg}g")) == 5
    markdown = report_file(tmp_path / "out", "md").read_text("utf-8")
    assert "| tuned | 66.7 %" in markdown
    assert "](report.svg)" in markdown


def test_names_are_text_everywhere(tmp_path: Path) -> None:
    wicked = "<script>|`*&amp"
    models = [MODELS[0], MODELS[1].model_copy(update={"name": wicked})]
    report = make([comparison(tmp_path / "runs", models)], resamples=200, seed=1)
    write(tmp_path / "out", report)
    svg = report_file(tmp_path / "out", "svg").read_text("utf-8")
    assert "<script>" not in svg
    ET.fromstring(svg)
    table = [line for line in as_markdown(report).splitlines() if line.startswith("| &#60;script")]
    assert len({line.count("|") for line in table}) == 1
    assert "<script>" not in "".join(table)
    assert next(csv.reader(io.StringIO(as_csv(report).splitlines()[-1])))[0] == wicked


# -- several runs -----------------------------------------------------------------------------------------------------
def test_models_of_several_runs_stand_in_one_table(tmp_path: Path) -> None:
    other = MODELS[1].model_copy(update={"identity": "p", "name": "ppo", "text": "p"})
    first, second = comparison(tmp_path / "runs"), comparison(tmp_path / "runs", [MODELS[0], other])
    report = make([first, second], resamples=500, seed=3)
    assert [line.name for line in report.lines] == ["base", "tuned", "ppo"]
    assert report.lines[2].figures == report.lines[1].figures
    assert report.runs == [first.id, second.id]
    assert "report.settings_differ" not in [note.code for note in report.notes]
    config = {"data": {"max_length": 64}, "generation": {"max_new_tokens": 8}}
    write_text(second.config_json, json.dumps(config))
    again = make([first, second], resamples=200, seed=3)
    [note] = [note for note in again.notes if note.code == "report.settings_differ"]
    assert note.params["settings"] == "data.max_length"


def test_a_terminal_puts_several_runs_into_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace(tmp_path / "workspace")
    other = MODELS[1].model_copy(update={"identity": "p", "name": "ppo", "text": "p"})
    runs = [comparison(workspace.runs_dir), comparison(workspace.runs_dir, [MODELS[0], other])]
    words = ["--workspace", str(workspace.path), "report", *(run.id for run in runs)]
    assert main([*words, "--out", str(tmp_path / "out"), "--resamples", "200"]) == 0
    assert "ppo against base" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.csv", "report.json", "report.md", "report.svg",
    ]  # fmt: skip
    assert not any(report_file(run.output).exists() for run in runs)
    assert main(["--workspace", str(workspace.path), "report", "nobody"]) == 2


def test_scores_of_another_reward_run_are_left_out(tmp_path: Path) -> None:
    other = MODELS[1].model_copy(update={"identity": "p", "name": "ppo", "text": "p"})
    second = comparison(tmp_path / "runs", [MODELS[0], other], judges=Judges(reward="rm", reward_id="9"))
    report = make([comparison(tmp_path / "runs"), second], resamples=200, seed=3)
    assert "reward" in report.lines[1].figures[1]
    assert set(report.lines[2].figures[1]) == {"tokens"}
    assert (report.reward, report.by) == ("rm", "judge")


def test_wins_over_another_base_are_left_out(tmp_path: Path) -> None:
    other = MODELS[0].model_copy(update={"identity": "c", "name": "another base", "text": "c"})
    second = comparison(tmp_path / "runs", [other, MODELS[1].model_copy(update={"identity": "p", "name": "ppo"})])
    report = make([comparison(tmp_path / "runs"), second], resamples=200, seed=3)
    assert [line.name for line in report.lines] == ["base", "tuned", "another base", "ppo"]
    assert "win" in report.lines[1].figures[1]
    assert set(report.lines[3].figures[1]) == {"reward", "tokens"}


def test_a_run_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "runs", "evaluate")
    with pytest.raises(InputError) as caught:
        make([run], resamples=100, seed=1)
    assert caught.value.code == "report.no_evaluation"


def test_names_that_begin_alike_keep_what_tells_them_apart() -> None:
    assert short(["rehearsal pretrain", "rehearsal sft", "rehearsal ppo"], 9) == ["pretrain", "sft", "ppo"]
    assert short(["one base", "one sft"], 9) == ["one base", "one sft"]
    assert short(["alone and long"], 6) == ["alone…"]
    assert short(["x-", "x-longer"], 5) == ["x-", "long…"]


# -- whole ------------------------------------------------------------------------------------------------------------
def test_a_comparison_ends_with_its_report(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    make_run(workspace, tiny_model, name="tuned")
    domain = write_jsonl(tmp_path / "domain.jsonl", conversations(8))
    general = write_jsonl(tmp_path / "general.jsonl", [{"text": "ba be bi bo bu " * 3}, {"text": "fo fu fa fe"}])
    context = submitted(workspace, "models.chain=tuned", f"report.domain=[{domain}]", f"report.general=[{general}]")
    write_text(context.run.config_json, context.config.model_dump_json())
    recipe.main(context)
    run, found = context.run, found_by(context.run)
    tuned = next(run for run in workspace.runs() if run.stage == "sft").manifest()
    assert tuned is not None
    assert [model.learnt for model in found.models] == [[], [used.sha256 for used in tuned.data]]
    assert [model.name for model in found.models] == [tiny_model.name, "tuned"]
    assert [(exam.kind, exam.role) for exam in found.exams] == [("messages", "domain"), ("text", "general")]
    assert [(source.role, source.asked) for source in found.sources] == [("domain", 8)]
    report = read_record(report_file(run.output), TaxReport)
    assert report is not None
    assert [block.measures for block in report.blocks] == [["perplexity", "tokens"], ["perplexity"]]
    assert report_file(run.output, "md").is_file()
    before = report_file(run.output).read_bytes()
    report_file(run.output).unlink()
    assert main(["--workspace", str(workspace.path), "report", run.id]) == 0
    assert report_file(run.output).read_bytes() == before


def test_reporting_loads_no_torch(tmp_path: Path) -> None:
    run = comparison(tmp_path / "workspace" / "runs")
    code = (
        "import sys; from core.__main__ import main; "
        f"code = main(['--workspace', {str(tmp_path / 'workspace')!r}, 'report', {run.id!r}]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "better accuracy on exam" in done.stdout


def test_a_chain_is_its_base_and_whoever_writes(workspace: Workspace, tiny_model: Path) -> None:
    first = make_run(workspace, tiny_model, name="first")
    second = make_run(workspace, tiny_model, name="second", seed=2)
    config = {"model": {"base": first.id}, "run": {"name": "second"}}
    write_text(second.config_json, json.dumps(config))
    assert stages_of(workspace, "second") == [str(tiny_model), first.id, second.id]
