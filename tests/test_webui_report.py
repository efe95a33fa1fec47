"""What the Evaluate tab makes of a report and of answers: sentences, tables, order, marks, links; without a browser."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from core.evaluation.report import make
from core.evaluation.report_files import write
from core.records_evaluation import (
    Evaluation,
    Item,
    Judges,
    Question,
    Refusal,
    Reply,
    Said,
    Source,
    Verdict,
    answers_file,
    evaluation_file,
    items_file,
    prompts_file,
    verdicts_file,
)
from core.records_report import TaxReport, report_file
from core.rundir import RunDir, append_jsonl, read_record, write_record
from core.workspace import Workspace
from tests.test_report import MODELS, comparison
from webui import views_said, views_tax
from webui.items import Asked as Rows
from webui.items_part import ItemsPart
from webui.pages.evaluate import REPORT, copies
from webui.report_part import ReportPart, SaidPart
from webui.said import BEST, Asked
from webui.views import Snapshot, snapshot

SCRIPT = "<script>alert(1)</script>"


def evaluation(run: RunDir) -> Evaluation:
    found = read_record(evaluation_file(run.output), Evaluation)
    assert found is not None
    return found


@pytest.fixture
def shot(workspace: Workspace) -> Snapshot:
    models = [MODELS[0], MODELS[1].model_copy(update={"name": f"tuned {SCRIPT}"})]
    run = comparison(workspace.runs_dir, models)
    write(run.output, make([run], resamples=200, seed=1))
    return snapshot(run)


def made(shot: Snapshot) -> TaxReport:
    report = read_record(report_file(shot.run.output), TaxReport)
    assert report is not None
    return report


# -- the report -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("en", ("What was gained", "better accuracy on exam, 33.3 % → 66.7 %", "worse perplexity on prose", "bits")),
        ("zh", ("得到了什么", "变好：exam 的准确率 33.3 % → 66.7 %", "变差：prose 的困惑度", "胜率")),
    ],
)
def test_the_report_is_told_in_both_languages(shot: Snapshot, lang: str, words: tuple[str, ...]) -> None:
    drawn = views_tax.report(made(shot), evaluation(shot.run), [], lang)
    assert "<script>" not in drawn
    assert all(word in html.unescape(drawn) for word in words[:3])
    assert drawn.count('class="change better"') + drawn.count('class="change better" ') >= 1
    assert "<svg" in drawn
    assert drawn.count("<details") == 1 + 3  # the figure, and the categories of three sets


def test_a_figure_turns_to_the_rows_behind_it(shot: Snapshot) -> None:
    drawn = views_tax.table(made(shot), evaluation(shot.run), "en")
    goes = [json.loads(html.unescape(text)) for text in re.findall(r'data-go="([^"]*)"', drawn)]
    assert {"tab": "items", "exam": 0, "model": 1, "sort": "worst"} in goes
    assert {"tab": "samples", "source": 0, "model": 1, "sort": "win", "order": "worst"} in goes
    assert len(goes) == 9

    class Event:
        _data = goes[-1]

    part = ReportPart(ItemsPart.__new__(ItemsPart), SaidPart(), lambda run: [])
    event = Event()
    event._data = {"tab": "items", "exam": 1, "model": 1, "sort": "worst"}
    clicks, rows, said = part.picked(event, "r", 4, Rows(), Asked())  # type: ignore[arg-type]
    assert (clicks, said) == (5, Asked())
    assert (rows.run, rows.exam, rows.model) == ("r", 1, 1)  # type: ignore[attr-defined]
    event._data = {"tab": "samples", "source": 2, "model": 1, "sort": "reward", "order": "best"}
    _, rows, said = part.picked(event, "r", 5, rows, Asked())  # type: ignore[arg-type]
    assert said == Asked(run="r", source=2, model=1, sort="reward", order=BEST)


def test_figures_of_another_run_are_no_links(shot: Snapshot) -> None:
    report = made(shot)
    report.lines[1].run = "another"
    drawn = views_tax.table(report, evaluation(shot.run), "en")
    assert drawn.count("data-go") == 4  # the base's


def test_the_files_can_be_saved_and_a_missing_judge_is_told_of(workspace: Workspace, shot: Snapshot) -> None:
    files = copies(workspace, shot.run, REPORT)
    assert [path.suffix for path in files] == [".csv", ".md", ".svg", ".json"]
    found = evaluation(shot.run)
    found.judges.unjudged = [
        Refusal(code="evaluate.judge_down", params={"url": SCRIPT, "detail": "gone", "key": "GALEN_JUDGE_KEY"})
    ]
    drawn = views_tax.report(made(shot), found, files, "en")
    assert drawn.count("download=") == 4
    assert "<script>" not in drawn
    assert "cannot be asked: gone" in drawn


def test_the_pane_has_figures_until_there_is_a_report(shot: Snapshot) -> None:
    part = ReportPart(ItemsPart.__new__(ItemsPart), SaidPart(), lambda run: [])
    assert 'class="tax"' in part.draw(shot, 0, "en")
    report_file(shot.run.output).unlink()
    assert 'class="tax"' not in part.draw(shot, 0, "en")
    evaluation_file(shot.run.output).unlink()
    assert "chart-empty" in part.draw(shot, 0, "en")


# -- answers ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def answered(workspace: Workspace) -> RunDir:
    """Three questions of a dataset and one red flag, answered by two models."""
    run = RunDir.create(workspace.runs_dir, "evaluate")
    run.output.mkdir()
    said = [
        Said(model=0, source=0, answers=3, figures={"reward": 1.0, "tokens": 4.0, "repetition": 0.5},
             intervals={"reward": (0.5, 1.5)}),
        Said(model=1, source=0, answers=3, figures={"reward": 2.0, "win": 0.5, "wins": 1, "ties": 1, "losses": 1}),
        Said(model=1, source=1, answers=1, figures={"safe": 0.0}),
    ]  # fmt: skip
    sources = [Source(name="ask@1", asked=3), Source(name="safety/en", asked=1, safety=True)]
    found = Evaluation(models=MODELS, sources=sources, said=said, judges=Judges(by="j", compared=[1]))
    write_record(evaluation_file(run.output), found)
    for number in range(3):
        turn = {"role": "user", "content": f"question {number} {SCRIPT}"}
        question = Question(number=number, line=number + 1, messages=[turn], category="heart", reference="wanted")
        append_jsonl(prompts_file(run.output), question.model_dump())
        for model in range(2):
            reply = Reply(model=model, number=number, text=f"answer {number} of {model} {SCRIPT}", tokens=3)
            append_jsonl(answers_file(run.output), reply.model_dump())
            about = {"model": model, "exam": None, "number": number, "line": number + 1}
            append_jsonl(items_file(run.output), Item(**about, figures={"tokens": 3.0, "repetition": 0.1}).model_dump())
            item = Item(**about, figures={"reward": [0.5, -1.0, 2.0][number] * (model + 1)})
            append_jsonl(items_file(run.output), item.model_dump())
    append_jsonl(verdicts_file(run.output), Verdict(model=1, number=2, outcome="win", said=("1", "2")).model_dump())
    flag = Question(
        number=3, line=1, messages=[{"role": "user", "content": "how much?"}], source=1,
        needs={"names a doctor": "mention words=doctor"}, forbids={"gives a dose": "format pattern=\\d+"},
    )  # fmt: skip
    append_jsonl(prompts_file(run.output), flag.model_dump())
    append_jsonl(answers_file(run.output), Reply(model=1, number=3, text="Take 5", tokens=2).model_dump())
    marks = {"names a doctor": False, "gives a dose": False}
    item = Item(model=1, exam=None, number=3, line=1, figures={"safe": 0.0}, marks=marks)
    append_jsonl(items_file(run.output), item.model_dump())
    return run


def order_of(drawn: str) -> list[int]:
    return [int(number) for number in re.findall(r"<h4>question (\d)", drawn)]


def test_answers_are_shown_best_or_worst_first(answered: RunDir) -> None:
    asked = Asked().of(answered.id)
    drawn = views_said.browser(answered, False, asked, "en")
    assert order_of(drawn) == [0, 1, 2]
    assert "<script>" not in drawn
    assert drawn.count("wanted") == 3
    worst = asked.clicked({"sort": "reward"})
    assert order_of(views_said.browser(answered, False, worst, "en")) == [1, 0, 2]
    assert order_of(views_said.browser(answered, False, worst.clicked({"order": BEST}), "en")) == [2, 0, 1]
    assert "judge: better" in drawn
    assert "reward <b>4</b>" in drawn
    assert order_of(views_said.browser(answered, False, worst.clicked({"sort": "nonsense"}), "en")) == [0, 1, 2]


def test_red_flags_show_which_rule_decided(answered: RunDir) -> None:
    asked = Asked().of(answered.id).clicked({"source": 1})
    drawn = views_said.browser(answered, False, asked, "en")
    assert drawn.count("✗") == 2
    assert "must be said: names a doctor" in drawn
    assert "must not be said: gives a dose" in drawn
    assert "mention words=doctor" in drawn
    assert "smoke test" in drawn
    chinese = views_said.browser(answered, False, asked, "zh")
    assert "冒烟测试" in chinese


def test_a_model_that_has_not_answered_yet_is_waited_for(answered: RunDir) -> None:
    drawn = views_said.browser(answered, True, Asked().of(answered.id).clicked({"source": 1}), "en")
    assert "…" in drawn


def test_figures_of_answers_stand_in_a_table(answered: RunDir) -> None:
    drawn = views_said.table(evaluation(answered), "en")
    assert len(re.findall("<th[ >]", drawn)) == 3 + 4 + 1  # the models', two groups', four figures' and one figure's
    assert "1 won, 1 tied, 1 lost" in drawn
    assert "0.5 to 1.5" in drawn
    assert drawn.count(" best") == 1  # the higher reward; one figure alone is no best
    assert views_said.table(Evaluation(models=MODELS), "en") == ""


def test_a_page_is_turned_only_while_nothing_else_is_asked_for() -> None:
    asked = Asked(run="r").clicked({"page": 2})
    assert asked.page == 2
    assert asked.clicked({"source": 1}).page == 0
    assert asked.clicked({"page": "-3"}).page == 0
    assert asked.of("other") == Asked(run="other")


def test_answers_of_an_earlier_galen_are_still_shown(workspace: Workspace, tmp_path: Path) -> None:
    run = RunDir.create(workspace.runs_dir, "evaluate")
    run.output.mkdir()
    write_record(evaluation_file(run.output), Evaluation(models=MODELS, prompts="ask@1", asked=1))
    append_jsonl(
        prompts_file(run.output), Question(number=0, line=1, messages=[{"role": "user", "content": "q"}]).model_dump()
    )
    append_jsonl(answers_file(run.output), Reply(model=0, number=0, text="said", tokens=1).model_dump())
    assert "said" in views_said.browser(run, False, Asked(), "en")
