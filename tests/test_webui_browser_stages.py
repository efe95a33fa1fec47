"""The stage pages in a real Chromium: impossible parents, arguments, the fit pane, small runs, from stage to stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.store.library import import_file
from core.rundir import RunDir, write_text
from core.workspace import Workspace
from tests.conftest import write_jsonl

pytestmark = pytest.mark.browser


@pytest.fixture
def documents(ready: Workspace, tmp_path: Path) -> Workspace:
    rows = [{"text": f"糖尿病的早期症状包括多饮多尿，ba be bi {at}。" * 20} for at in range(40)]
    import_file(ready, write_jsonl(tmp_path / "docs.jsonl", rows))
    return ready


def test_an_impossible_parent_is_listed_and_cannot_be_chosen(opened, ready: Workspace, chat_file: Path) -> None:
    import_file(ready, chat_file)
    broken = RunDir.create(ready.runs_dir, "sft")
    write_text(broken.config_json, json.dumps({"run": {"name": "broken one"}}))
    page = opened()
    page.wait("() => document.querySelector('.f-model-base input').value.startsWith('tiny')")
    page.tab.click(".f-model-base input >> visible=true")
    barred = page.tab.locator("[role=option][aria-label^='⊘']")
    barred.first.wait_for()
    assert "broken one" in barred.first.inner_text()
    assert barred.first.evaluate("option => getComputedStyle(option).pointerEvents") == "none"
    page.fill("model.base", broken.id)  # typed all the same
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_selector(".f-model-base.has-error")
    page.tab.click("#sft-start")
    page.wait_text("#sft-note", "1 setting(s) need attention")
    assert len(ready.runs()) == 1


def test_pasted_arguments_and_a_preset_change_the_form_and_the_estimate(
    opened, ready: Workspace, chat_file: Path
) -> None:
    import_file(ready, chat_file)
    page = opened()
    page.tab.wait_for_selector("#sft-fit .fit")
    page.tab.click("#sft-arguments .label-wrap")
    page.tab.fill("#sft-arguments textarea", '{"learning_rate": 2e-05, "no_cuda": false}')
    page.tab.click("#sft-arguments-take")
    page.wait_text("#sft-arguments-note", "1 became settings, 1 were left out")
    page.wait("() => document.querySelector('.f-optim-learning_rate input').value === '2e-5'")
    page.wait_text(".command", "optim.learning_rate=2e-5")
    page.fill("schedule.batch_size", "3")
    page.wait_text("#sft-fit .sub", "12 rows")


def test_another_part_of_the_data_tab_begins_at_its_top(opened, ready: Workspace, chat_file: Path) -> None:
    import_file(ready, chat_file)
    page = opened("?tab=data")
    page.tab.click("#data-tab-look-button")
    at = "document.querySelector('.data-work')"
    page.tab.evaluate(f"() => {{ {at}.style.maxHeight = '200px'; {at}.scrollTo(0, 150); }}")
    page.tab.click("#data-tab-shape-button")
    page.wait(f"() => {at}.scrollTop === 0")


@pytest.mark.long
@pytest.mark.slow
def test_a_corpus_is_scored_before_it_is_trained_on(opened, documents: Workspace) -> None:
    page = opened("?tab=pretrain")
    page.wait("() => document.querySelector('.f-data-train input').value.startsWith('docs')")
    page.tab.click("#worth .label-wrap")
    page.tab.click("#worth-start")
    page.wait_text("#worth-result .verdict", "bits a byte")
    assert [run.stage for run in documents.runs()] == ["perplexity"]
    page.reload()
    page.tab.click("#worth .label-wrap")
    page.wait_text("#worth-result .verdict", "bits a byte")  # read from the run's files


@pytest.mark.long
def test_new_words_pretraining_and_sft_follow_each_other(opened, documents: Workspace, chat_file: Path) -> None:
    page = opened("?tab=pretrain")
    page.wait("() => document.querySelector('.f-data-train input').value.startsWith('docs')")
    page.tab.click("#vocabulary .label-wrap")
    page.fill("words.size", "20")
    page.tab.click("#vocabulary-start")
    page.wait("() => document.querySelector('.f-model-base input').value.includes('vocabulary')")
    page.wait_text("#vocabulary-result", "characters per token")
    page.fill("data.block_size", "64")
    page.fill("schedule.max_steps", "2")
    page.tab.click("#pretrain-start")
    page.wait_text("#pretrain-head .badge", "Finished")
    import_file(documents, chat_file)
    page.go("sft")
    page.tab.click(".f-model-base input >> visible=true")
    page.tab.locator("[role=option]:not([aria-label^='⊘'])").filter(has_text="pretraining").first.click()
    trains = "[...document.querySelectorAll('.f-data-train input')]"
    page.wait(f"() => {trains}.some((field) => field.checkVisibility() && field.value.startsWith('chat'))")
    page.fill("schedule.max_steps", "2")
    page.tab.click("#sft-start")
    page.wait_text("#sft-head .badge", "Finished")
    newest = documents.runs()[0].manifest()
    assert newest is not None
    assert newest.stage == "sft"
    assert newest.parent is not None
    assert newest.parent.startswith("pretrain-")
