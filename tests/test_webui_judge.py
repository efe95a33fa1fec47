"""What the Evaluate tab makes of a run's files: tables, answers, links, reasons; without a browser."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.data.bring.export import export_folder
from core.data.store.library import import_file
from core.records_evaluation import (
    Answering,
    Cell,
    Evaluation,
    Exam,
    Judged,
    Question,
    Refusal,
    Reply,
    answers_file,
    evaluation_file,
    prompts_file,
    table_sheet,
)
from core.rundir import RunDir, append_jsonl, write_record, write_text
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.models_tools import make_run
from webui import views_judge, views_said
from webui.confine import confine
from webui.pages.evaluate import copies
from webui.said import Asked
from webui.views import Snapshot, snapshot

SCRIPT = "<script>alert(1)</script>"


def found(**changes: object) -> Evaluation:
    models = [Judged(text="m", name="base <b>", tokenizer="t"), Judged(text="r", name="tuned", stage="sft", adapters=1)]
    models[1].root, models[1].tokenizer = "m", "t"
    exams = [
        Exam(dataset="docs@1", sha256="", kind="text", rows=9),
        Exam(dataset="p@1", sha256="", kind="preference", rows=8),
    ]
    text = {"loss": 2.5, "loss_error": 0.1, "perplexity": 12.2, "bits_per_byte": 1.5, "tokens": 90.0}
    better = {**text, "loss": 2.0, "perplexity": 7.4, "bits_per_byte": 1.2}
    cells = [
        Cell(model=0, exam=0, rows=9, figures=text),
        Cell(model=1, exam=0, rows=9, figures=better),
        Cell(model=0, exam=1, refusal=Refusal(code="evaluate.only_scores")),
        Cell(
            model=1,
            exam=1,
            rows=8,
            by="likelihood",
            figures={"accuracy": 0.625, "accuracy_error": 0.171, "margin": 0.3},
        ),
    ]
    made = Evaluation(models=models, exams=exams, cells=cells)
    return made.model_copy(update=changes)


def shot_of(workspace: Workspace, stage: str = "evaluate") -> Snapshot:
    run = RunDir.create(workspace.runs_dir, stage)
    write_text(run.config_json, "{}")
    run.output.mkdir()
    return snapshot(run)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_table_marks_the_best_and_says_why_a_figure_is_missing(workspace: Workspace, lang: str) -> None:
    shot = shot_of(workspace)
    assert "chart-empty" in views_judge.table(shot, lang)
    write_record(evaluation_file(shot.run.output), found())
    drawn = views_judge.table(shot, lang)
    assert drawn.count(" best") == 3  # loss, perplexity, bits per byte of the tuned one; one accuracy alone is no best
    assert "62.5 %" in drawn
    assert "base &lt;b&gt;" in drawn
    assert "<b>base <b>" not in drawn
    reason = {"en": "predicts no text", "zh": "奖励模型只给回答打分"}[lang]
    assert reason in drawn


def test_losses_of_different_tokenizers_are_not_compared(workspace: Workspace) -> None:
    shot, made = shot_of(workspace), found()
    made.models[1].tokenizer = "other"
    write_record(evaluation_file(shot.run.output), made)
    drawn = views_judge.table(shot, "en")
    assert drawn.count(" best") == 1  # bits per byte
    assert "bits a byte" in drawn


def test_answers_stand_side_by_side_as_they_come(workspace: Workspace) -> None:
    shot = shot_of(workspace)
    output = shot.run.output
    made = found(prompts="ask@1", asked=2, answering=[Answering(model=0, answers=1)])
    write_record(evaluation_file(output), made)
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SCRIPT}]
    append_jsonl(prompts_file(output), Question(number=0, line=1, messages=asked, reference="as written").model_dump())
    append_jsonl(answers_file(output), Reply(model=0, number=0, text=f"said {SCRIPT}", tokens=3).model_dump())
    append_jsonl(answers_file(output), Reply(model=1, number=0, end="too_long").model_dump())
    drawn = views_said.browser(shot.run, False, Asked(), "en")
    assert "<script>" not in drawn
    assert [name in drawn for name in ("Be brief.", "as written", "said &lt;script&gt;", "leaves no room")] == [
        True
    ] * 4
    assert "--sides:3" in drawn
    assert "1–1 of 1" in drawn
    made.answering = [
        Answering(model=0, refusal=Refusal(code="model.no_template", params={"model": "m", "known": "x"}))
    ]
    write_record(evaluation_file(output), made)
    assert "--sides:2" in views_said.browser(
        shot.run, False, Asked(), "en"
    )  # a model that answers nothing has no column


def test_files_are_served_from_the_folder_for_downloads_alone(workspace: Workspace) -> None:
    shot = shot_of(workspace)
    write_text(table_sheet(shot.run.output), "model\n")
    [copy] = copies(workspace, shot.run)
    assert copy.parent == export_folder(workspace)
    assert copies(workspace, shot.run) == [copy]
    write_text(table_sheet(shot.run.output), "model\nnew\n")
    later = copy.stat().st_mtime_ns + 10**9
    os.utime(table_sheet(shot.run.output), ns=(later, later))
    with ThreadPoolExecutor(8) as pool:  # as many tabs
        several = list(pool.map(lambda _: copies(workspace, shot.run), range(64)))
    assert several == [[copy]] * 64
    [again] = several[0]
    assert again.read_text() == "model\nnew\n"
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    assert f"gradio_api/file={copy}" in views_judge.files([copy], shot.run, "en")


def test_every_name_of_a_list_is_confined(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    run = make_run(workspace, tiny_model, name="tuned")
    dataset = import_file(workspace, write_jsonl(tmp_path / "chat.jsonl", conversations(3)))
    outside = str(tmp_path / "chat.jsonl")
    named = {"models.runs": [run.id, "own/model", str(tiny_model)], "data.rows": [dataset.ref, outside]}
    problems = confine({**named, "data.prompts": outside}, workspace)
    assert [(problem.key, problem.params["path"]) for problem in problems] == [
        ("data.rows", outside),
        ("data.prompts", outside),
        ("models.runs", str(tiny_model)),
    ]
