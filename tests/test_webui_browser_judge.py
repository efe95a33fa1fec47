"""Merge and Evaluate in a real Chromium: models chosen, a table that fills, answers beside each other, a file saved."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from core.data.store.library import import_file
from core.rundir import State, state_of
from core.workspace import Workspace
from tests.browser_tools import Page
from tests.conftest import conversations, write_jsonl
from tests.models_tools import make_run

pytestmark = pytest.mark.browser


def choose(page: Page, key: str, *names: str) -> None:
    """Pick entries of a picker by what they begin with."""
    box = f".f-{key.replace('.', '-')} input >> visible=true"
    for name in names:
        page.tab.click(box)
        page.tab.locator(f"[role=option][aria-label^='{name}']").first.click()


@pytest.mark.slow
def test_a_base_and_its_run_are_compared(opened, ready: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    import_file(ready, write_jsonl(tmp_path / "chat.jsonl", conversations(6)))
    make_run(ready, tiny_model, name="tuned")
    page = opened("?tab=evaluate")
    page.tab.click("#evaluate-start")
    page.tab.wait_for_selector(".f-models-runs.has-error")  # nothing was chosen
    choose(page, "models.runs", "tiny", "tuned")
    page.tab.keyboard.press("Escape")
    choose(page, "data.rows", "chat@")
    page.tab.keyboard.press("Escape")
    choose(page, "data.prompts", "chat@")
    page.fill("generation.max_new_tokens", "4")
    page.wait_text(".command", "generation.max_new_tokens=4")
    page.tab.click("#evaluate-start")
    page.wait_text("#evaluate-head .badge", "Finished")
    page.tab.click("#evaluate-curves .tax-all > summary")  # the report stands above the figures
    table = page.tab.locator("#evaluate-curves .tax-all > .judge").first
    table.wait_for()
    assert table.locator("tbody tr").count() == 2
    assert table.locator("td.best").count() == 3
    page.tab.wait_for_selector("#evaluate-samples .one-answer")
    assert (
        page.tab.locator("#evaluate-samples .sample").first.locator(".one-answer").count() == 3
    )  # the data's own, too
    page.tab.click("#evaluate-tab-result-button")
    with page.tab.expect_download() as saved:
        page.tab.click("#evaluate-result a >> text=table.csv")
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8-sig"))))
    assert [row["model"] for row in rows][1] == "tuned"
    assert not page.tab.is_visible("#evaluate-chat")  # there is nobody to talk to
    page.reload()
    page.tab.locator("#evaluate-curves .tax-table").first.wait_for()  # the address names the run


@pytest.mark.long
@pytest.mark.slow
def test_questions_are_asked_and_seen_one_by_one(opened, ready: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    """From the form to a row: examples chosen, the table, a category, the best first, the next page, the sheet."""
    rows = [
        {"question": f"ba {at} <b>be</b>", "A": "bi", "B": "bo", "answer": "AB"[at % 2], "subject": "xy"[at % 2]}
        for at in range(24)
    ]
    import_file(ready, write_jsonl(tmp_path / "exam.jsonl", rows[4:]))
    import_file(ready, write_jsonl(tmp_path / "dev.jsonl", rows[:4]))
    page = opened("?tab=evaluate")
    choose(page, "models.runs", "tiny")
    page.tab.keyboard.press("Escape")
    choose(page, "data.rows", "exam@")
    page.tab.keyboard.press("Escape")
    choose(page, "data.dev", "dev@")
    page.tab.keyboard.press("Escape")
    page.tab.click("#evaluate-start")
    page.tab.wait_for_selector(".f-data-shots.has-error")  # a dev set, and no example asked for
    page.fill("data.shots", "2")
    page.wait_text(".command", "data.shots=2")
    page.tab.click("#evaluate-start")
    page.wait_text("#evaluate-head .badge", "Finished")
    page.wait_text("#evaluate-curves .judge", "2-shot")
    page.tab.click("#evaluate-curves .by-category summary")
    assert page.tab.locator("#evaluate-curves .by-category tbody tr").count() == 2
    page.tab.click("#evaluate-tab-items-button")
    items = page.tab.locator("#evaluate-items .item")
    items.first.wait_for()
    assert items.count() == 10
    assert "<b>be</b>" in items.first.inner_text()
    page.tab.click("#evaluate-items .sign >> nth=1")
    page.wait_text("#evaluate-items .item-pages", "2 of 2")
    page.tab.click("#evaluate-items button >> text=As in the file")
    page.wait_text("#evaluate-items .item >> nth=0", "line 1 of")
    page.tab.select_option("#evaluate-items select[data-field=category]", "y")
    page.wait_text("#evaluate-items .item >> nth=0", "line 2 of")
    page.tab.click("#evaluate-tab-result-button")
    with page.tab.expect_download() as saved:
        page.tab.click("#evaluate-result a >> text=items.csv")
    sheet = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8-sig"))))
    assert len(sheet) == 20
    assert sheet[0]["asked"].startswith("ba 4 <b>be</b>\nA. bi")
    assert not page.errors


@pytest.mark.slow
def test_a_run_is_merged_and_the_proof_shown(opened, ready: Workspace, tiny_model: Path) -> None:
    trained = make_run(ready, tiny_model, name="tuned")
    page = opened("?tab=merge")
    choose(page, "model.base", "tuned")
    page.wait("() => document.querySelector('#tab-merge-button').ariaSelected === 'true'")
    page.tab.locator(".f-model-folder input >> visible=true").fill("whole")
    page.tab.click("#merge-start")
    page.wait_text("#merge-head .badge", "Finished")
    page.wait_text("#merge-curves .notice.good", "differ from those of its adapters by no more than is allowed")
    assert page.tab.locator("#merge-curves .probes tbody tr").count() == 5
    [merged] = [run for run in ready.runs() if run.stage == "merge"]
    assert state_of(merged) is State.SUCCEEDED
    assert merged.config()["model"]["base"] == trained.id
    assert (ready.models_dir / "whole" / "galen.json").is_file()
