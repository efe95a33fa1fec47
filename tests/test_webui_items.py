"""The list of a comparison's rows and the figures of their categories, without a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from core.data.store.library import import_file, open_dataset
from core.records_evaluation import Asking, Cell, Evaluation, Exam, Item, Judged, evaluation_file, items_file
from core.rundir import append_jsonl, write_record
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.test_webui_intake import checked
from tests.test_webui_judge import SCRIPT, shot_of
from webui import views_judge
from webui.figures import esc
from webui.intake import Intake
from webui.items import BEST, IN_ORDER, PAGE, Asked, index_of
from webui.messages import code_text
from webui.views import Snapshot
from webui.views_items import browser
from webui.views_report import findings

TOPICS = ("heart", "lungs")


def test_the_style_of_a_question_in_the_chat_is_the_chats_alone() -> None:
    """`.asked` is what was asked here, too: a grid would put the letters of a dialogue one under another."""
    chat = Path(views_judge.__file__).with_name("style_chat.css").read_text(encoding="utf-8")
    assert ".chat-turn .asked {" in chat
    assert not re.search(r"(?m)(^|[},])\s*\.asked\s*[{,]", chat)


def question(at: int) -> dict[str, str]:
    return {"question": f"q{at} {SCRIPT}", "A": "a<b && c>d", "B": "no", "answer": "A", "category": TOPICS[at % 2]}


def compared(workspace: Workspace, tmp_path: Path, count: int = 25) -> Snapshot:
    """A finished comparison of two models on `count` questions, the first of which the model has least right."""
    exam = import_file(workspace, write_jsonl(tmp_path / "exam.jsonl", [question(at) for at in range(count)]))
    shot = shot_of(workspace)
    figures = {"accuracy": 0.5, "accuracy_error": 0.1, "accuracy_norm": 0.625, "macro": 0.375, "chance": 0.5}
    groups = {name: {**figures, "rows": 12.0} for name in TOPICS}
    cells = [
        Cell(model=place, exam=0, rows=count, figures={**figures, "fewer_shots": 3.0}, groups=groups)
        for place in range(2)
    ]
    asked = Exam(dataset=exam.ref, sha256="", kind="choice", rows=count, asking=Asking(shots=5, dev="d@1"))
    models = [Judged(text="m", name="base"), Judged(text="r", name=f"tuned {SCRIPT}")]
    write_record(evaluation_file(shot.run.output), Evaluation(models=models, exams=[asked], cells=cells))
    for model in range(2):
        for at in range(count):
            margin = float(at - 10)
            scores = {"correct": float(margin > 0), "margin": margin, "A": margin, "B": 0.0}
            said = "A" if margin > 0 else "B"
            item = Item(model=model, exam=0, number=at, line=at + 1, category=TOPICS[at % 2], figures=scores, said=said)
            item.right = "A"
            append_jsonl(items_file(shot.run.output), item.model_dump())
    return shot


def drawn(workspace: Workspace, shot: Snapshot, asked: Asked, lang: str = "en") -> str:
    return browser(shot.run, asked, lambda ref: open_dataset(workspace, ref), lang)


def test_rows_come_worst_best_and_in_order_a_page_at_a_time(workspace: Workspace, tmp_path: Path) -> None:
    index = index_of(compared(workspace, tmp_path).run)
    worst = index.find(Asked(model=1))
    assert [item.number for item in worst.items] == list(range(PAGE))
    assert {item.model for item in worst.items} == {1}
    assert (worst.page, worst.pages, worst.total, worst.categories) == (0, 3, 25, ["heart", "lungs"])
    assert [item.number for item in index.find(Asked(sort=BEST)).items] == list(range(24, 14, -1))
    assert [item.number for item in index.find(Asked(sort=IN_ORDER, page=2)).items] == list(range(20, 25))
    assert [item.number for item in index.find(Asked(sort=IN_ORDER, page=99)).items] == list(range(20, 25))
    assert [item.number for item in index.find(Asked(category="lungs")).items] == list(range(1, 20, 2))
    assert index.find(Asked(model=7)).items == []


def test_lines_that_are_added_are_found_and_a_torn_one_waits(workspace: Workspace, tmp_path: Path) -> None:
    shot = compared(workspace, tmp_path, 3)
    assert index_of(shot.run).find(Asked()).total == 3
    line = json.dumps(Item(model=0, exam=0, number=2, line=3, figures={"margin": -99.0}).model_dump())
    with items_file(shot.run.output).open("a") as file:
        file.write(line[:40])
    assert index_of(shot.run).find(Asked()).total == 3
    with items_file(shot.run.output).open("a") as file:
        file.write(line[40:] + "\n")
    assert index_of(shot.run).find(Asked()).items[0].figures["margin"] == -99.0
    items_file(shot.run.output).unlink()
    append_jsonl(items_file(shot.run.output), json.loads(line))  # as a resumed run leaves it
    assert index_of(shot.run).find(Asked()).total == 1


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_question_is_shown_with_what_was_chosen(workspace: Workspace, tmp_path: Path, lang: str) -> None:
    shot = compared(workspace, tmp_path)
    html = drawn(workspace, shot, Asked(run=shot.run.id), lang)
    assert "<script>" not in html
    assert "q0 &lt;script&gt;" in html
    assert "a&lt;b &amp;&amp; c&gt;d" in html
    assert html.count('<li class="right">') == html.count('<li class="said">') == PAGE
    assert {"en": "Wrong: B instead of A", "zh": "答错：选 B，应为 A"}[lang] in html
    best = drawn(workspace, shot, Asked(run=shot.run.id, sort=BEST), lang)
    assert best.count('<li class="right said">') == PAGE
    assert ">100%</span>" in best
    nowhere = browser(shot.run, Asked(run=shot.run.id), lambda ref: None, lang)
    assert "q0" not in nowhere
    assert {"en": "no longer in the workspace", "zh": "已不在工作区"}[lang] in nowhere


def test_what_is_clicked_is_what_is_asked_for() -> None:
    asked = Asked(run="r", page=3, category="heart")
    assert asked.clicked({"page": 4}).page == 4
    assert asked.clicked({"exam": "1"}) == Asked(run="r", exam=1)
    assert asked.clicked({"model": 1}) == Asked(run="r", model=1, category="heart")
    assert asked.clicked({"sort": "best"}).sort == BEST
    assert asked.clicked({"sort": "nonsense", "page": 9}).sort == "worst"
    assert asked.clicked({"page": "x"}).page == 0
    assert asked.clicked({"other": 1}) == asked
    assert asked.of("another") == Asked(run="another")


def test_pairs_and_texts_have_rows_too(workspace: Workspace, tmp_path: Path) -> None:
    pair = {"prompt": f"ask {SCRIPT}", "chosen": "good", "rejected": "bad", "category": "harmless"}
    pairs = import_file(workspace, write_jsonl(tmp_path / "pairs.jsonl", [pair]))
    docs = import_file(workspace, write_jsonl(tmp_path / "docs.jsonl", [{"text": f"a text {SCRIPT}"}]))
    chat = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}]
    talks = import_file(workspace, write_jsonl(tmp_path / "talks.jsonl", chat))
    shot = shot_of(workspace)
    exams = [Exam(dataset=each.ref, sha256="", kind=each.card.kind, rows=1) for each in (pairs, docs, talks)]
    write_record(evaluation_file(shot.run.output), Evaluation(models=[Judged(text="m", name="m")], exams=exams))
    text = {"nats": 8.0, "labels": 4.0, "text_nats": 8.0, "bytes": 16.0}
    for exam, figures in enumerate(({"chosen": 1.0, "rejected": 3.0, "correct": 0.0}, text, text)):
        append_jsonl(
            items_file(shot.run.output), Item(model=0, exam=exam, number=0, line=1, figures=figures).model_dump()
        )
    pages = [drawn(workspace, shot, Asked(run=shot.run.id, exam=exam)) for exam in range(3)]
    assert all("<script>" not in page for page in pages)
    assert all(said in pages[0] for said in ("Out of order", "behind by 2", "good", "bad", "ask &lt;script&gt;"))
    assert "0.7213 bits a byte, 4 tokens" in pages[1]
    assert "a text &lt;script&gt;" in pages[1]
    assert "ho" in pages[2]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_table_of_questions(workspace: Workspace, tmp_path: Path, lang: str) -> None:
    html = views_judge.table(compared(workspace, tmp_path), lang)
    for said in ("50.0 %", "± 10.0", "62.5 %", "37.5 %"):
        assert said in html
    assert {"en": "5-shot", "zh": "5 个示例"}[lang] in html
    assert {"en": "Up to 3 questions had fewer examples", "zh": "最多有 3 道题的示例少于设定"}[lang] in html
    assert {"en": "Guessing would give 50.0 % on exam.", "zh": "在 exam 上随机猜测的正确率是 50.0 %。"}[lang] in html
    assert html.count("<details") == 1
    assert "open" not in html[html.index("<details") :].partition(">")[0]
    assert "tuned &lt;script&gt;" in html[html.index("<details") :]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_pages_check_lists_bad_questions(workspace: Workspace, tmp_path: Path, lang: str) -> None:
    rows = [{**question(at), "question": "q"} for at in range(3)]
    rows[1]["answer"], rows[2]["B"] = "E", ""
    intake = Intake(workspace)
    item = checked(intake, write_jsonl(tmp_path / "exam.jsonl", rows))
    assert item.report is not None
    assert not item.report.ok
    assert [(problem.code, problem.line) for problem in item.report.problems] == [
        ("data.choice_answer", 2),
        ("data.choices", 3),
    ]
    html = findings(item.report, lang)
    for problem in item.report.problems:
        assert esc(code_text(problem.code, problem.params, lang)[0]) in html
