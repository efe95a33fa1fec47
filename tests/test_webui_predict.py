"""What the page makes of a prediction: its last lines as they are, files to save, paths that stay inside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.records_predict import Batch, Failure, Prediction, Summary, predictions_file, summary_file, windows_folder
from core.rundir import RunDir, write_record, write_text
from core.workspace import Workspace
from webui import views_predict
from webui.catalog import Reader
from webui.confine import confine
from webui.forms import Form
from webui.labels import Labels
from webui.page import Page
from webui.pages.predict import copies
from webui.prompt_card import WAYS, PromptCard
from webui.views import snapshot

SCRIPT = "<script>alert(1)</script> **a<b && c>d** <|im_end|>"


def rows(count: int, start: int = 1) -> list[Prediction]:
    return [
        Prediction(line=number, input=f"q{number} {SCRIPT}", output=f"a{number} {SCRIPT}", tokens=3, finish="length")
        for number in range(start, start + count)
    ]


@pytest.fixture
def run(workspace: Workspace) -> RunDir:
    made = RunDir.create(workspace.runs_dir, "predict")
    write_text(made.config_json, json.dumps({"run": {"name": "asked"}}))
    return made


def test_while_it_works_the_last_answers_are_shown(run: RunDir) -> None:
    assert "begin" in views_predict.answers(snapshot(run), "en")
    folder = windows_folder(run.path)
    folder.mkdir()
    for number in range(3):
        batches = [Batch(rows=list(enumerate(rows(8, 1 + number * 16 + at * 8)))) for at in range(2)]
        lines = "".join(batch.model_dump_json() + "\n" for batch in batches)
        (folder / f"window-{number:06d}.jsonl").write_text(lines + '{"rows": [[0, {"li', encoding="utf-8")
    found = views_predict.answers(snapshot(run), "en")
    assert found.count("<tr>") == 21
    assert ">48<" in found
    assert ">28<" not in found
    assert "<script>" not in found
    assert "a48 &lt;script&gt;alert(1)&lt;/script&gt; **a&lt;b &amp;&amp; c&gt;d** &lt;|im_end|&gt;" in found


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_end_and_what_came_of_it(run: RunDir, lang: str) -> None:
    run.output.mkdir()
    failed = Failure(code="predict.no_room", params={"tokens": 900, "context": 512}, sentence="…")
    told = [*rows(29), Prediction(line=30, input=[{"role": "user", "content": SCRIPT}], error=failed)]
    predictions_file(run.output).write_text("".join(row.model_dump_json() + "\n" for row in told), encoding="utf-8")
    summary = Summary(lines=30, answered=29, cut_off=29, failed={"predict.no_room": 1}, seconds=10.0, base="m<b>",
                      adapters=["sft-1"], weights="abcdef" * 9, copy_at="/w/out.jsonl")  # fmt: skip
    write_record(summary_file(run.output), summary)
    found = views_predict.answers(snapshot(run), lang)
    assert found.count("<tr>") == 21
    assert "m&lt;b&gt; + sft-1 abcdefabcdef" in found
    assert "900" in found
    assert ("a second" in found, "每秒" in found) == (lang == "en", lang == "zh")
    assert "/w/out.jsonl" in found
    assert "user: &lt;script&gt;" in found


def test_its_files_can_be_saved(workspace: Workspace, run: RunDir) -> None:
    assert copies(workspace, run) == []
    run.output.mkdir()
    predictions_file(run.output).write_text("1\n")
    [copy] = copies(workspace, run)
    assert copy.read_text() == "1\n"
    assert copy.name == f"{run.id}-predictions.jsonl"
    assert copies(workspace, run) == [copy]


def test_the_page_reads_and_writes_inside_only(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("q\n")

    def keys(**read: str) -> list[str | None]:
        return [problem.key for problem in confine({key.replace("_", ".", 1): read[key] for key in read}, workspace)]

    away = str(outside)
    found = keys(data_file=away, data_predictions=away, model_lora=str(tmp_path), model_tokenizer="/")
    assert found == ["model.lora", "model.tokenizer", "data.file", "data.predictions"]
    assert keys(data_predictions="answers.jsonl") == ["data.predictions"]  # that would be where the page was started
    inside = str(workspace.path / "prompts" / "q.txt")
    assert keys(data_file=inside, data_predictions=inside, model_lora="sft-1", data_system="/etc") == []


def test_an_uploaded_file_stays_in_the_workspace(workspace: Workspace) -> None:
    labels = Labels("en")
    form = Form("predict", labels)
    for key in form.known:
        form.place(key)
    card = PromptCard(Page(workspace, labels, Reader(workspace), None), form)
    sent = workspace.cache_dir / "uploads" / "x" / "问题.txt"
    sent.parent.mkdir(parents=True)
    sent.write_text("发烧?\n", encoding="utf-8")
    _, path, note = card.take(str(sent), "en")
    assert Path(path).read_text(encoding="utf-8") == "发烧?\n"
    assert Path(path).is_relative_to(workspace.path / "prompts")
    assert "问题.txt" in note
    assert not sent.exists()
    sent.write_text("")
    _, update, note = card.take(str(sent), "en")
    assert "is empty" in note
    assert not isinstance(update, str)
    assert not sent.exists()
    assert WAYS["greedy"]["temperature"] == 0
    assert WAYS["article"]["top_p"] == 0.85
