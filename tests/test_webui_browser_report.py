"""The alignment tax in a real Chromium: a chain chosen with one click, the report, its rows and answers, its files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from core.data.store.library import import_file
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.models_tools import make_run
from tests.test_webui_browser_judge import choose

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_a_chain_is_reported_on(opened, ready: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    rows = [{**row, "category": ("heart", "lungs")[at % 2]} for at, row in enumerate(conversations(8))]
    import_file(ready, write_jsonl(tmp_path / "field.jsonl", rows))
    import_file(ready, write_jsonl(tmp_path / "elsewhere.jsonl", conversations(6, seed=9)))
    make_run(ready, tiny_model, name="tuned")
    page = opened("?tab=evaluate")
    choose(page, "models.chain", "tuned")
    choose(page, "report.domain", "field@")
    page.tab.keyboard.press("Escape")
    choose(page, "report.general", "elsewhere@")
    page.tab.keyboard.press("Escape")
    choose(page, "safety.questions", "English")
    page.fill("generation.max_new_tokens", "4")
    page.wait_text(".command", "safety.questions=en")
    page.tab.click("#evaluate-start")
    page.wait_text("#evaluate-head .badge", "Finished")
    told = page.tab.locator("#evaluate-curves .tax-told")
    told.wait_for()
    assert "Domain" in told.inner_text()
    table = page.tab.locator("#evaluate-curves .tax-table").first
    assert table.locator("tr.set").all_inner_texts() == ["Domain field", "General elsewhere", "other safety/en"]
    tuned = table.locator("tbody").first.locator("tr").nth(2)
    assert "tuned" in tuned.inner_text()
    assert page.tab.locator("#evaluate-curves .tax-figure").count() == 1

    # A length turns to the answers, the perplexity to the rows; the worst stand first.
    tuned.locator("button").nth(1).click()
    page.tab.wait_for_selector("#evaluate-samples select[data-said=sort] >> visible=true")
    page.wait("() => document.querySelector('#evaluate-samples select[data-said=sort]').value === 'tokens'")
    tuned.locator("button").nth(0).click()
    page.tab.wait_for_selector("#evaluate-items .item >> visible=true")
    page.wait("() => document.querySelector('#evaluate-items select[data-field=model]').value === '1'")

    page.tab.click("#evaluate-tab-samples-button")
    page.tab.locator("#evaluate-samples select[data-said=source]").select_option(label="safety/en")
    page.tab.wait_for_selector("#evaluate-samples .said-marks li.bad >> visible=true")
    with page.tab.expect_download() as saved:
        page.tab.click("#evaluate-curves .tax-files a >> text=CSV")
    found = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8-sig"))))
    assert {row["stands_for"] for row in found} == {"domain", "general", ""}
    assert {row["category"] for row in found if row["dataset"].startswith("field")} == {"", "heart", "lungs"}
