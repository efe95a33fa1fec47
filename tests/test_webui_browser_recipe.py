"""Cleaning and shaping in a real Chromium: build a recipe, preview it, make the dataset, stop it, take it away."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.data.store.library import Dataset, import_file, list_datasets
from core.jobs import store
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace
from tests.browser_tools import Page
from tests.conftest import write_jsonl
from tests.jobs_tools import eventually
from tests.test_webui_recipe import dialogues
from tests.webui_tools import serve

pytestmark = pytest.mark.browser
CHARACTERS = "发烧咳嗽头痛血压糖尿病药医生患者治疗检查休息饮食运动睡眠心脏肝肾肺胃肠皮肤骨科手术疫苗"


class Recipe(Page):
    """The Data tab with the recipe of one dataset in front."""

    def show(self, ref: str) -> None:
        self.go("data")
        self.tab.click(f'#datasets [data-ref="{ref}"]')
        self.tab.click("#data-tab-shape-button")
        self.wait("(ref) => document.querySelector('.recipe')?.dataset.draft.includes(ref[0])", ref)

    def add(self, do: str) -> None:
        before = self.tab.locator("#recipe [data-step]").count()
        self.tab.click("#recipe [data-act=menu]")
        self.tab.click(f"#recipe [data-do={do}]")
        self.wait("(n) => document.querySelectorAll('#recipe [data-step]').length > n[0]", before)

    def type(self, path: str, text: str) -> None:
        self.tab.fill(f'#recipe [data-path="{path}"]', text)

    def steps(self) -> list[str]:
        return self.tab.locator("#recipe .rec-what b").all_inner_texts()

    def chosen(self) -> str:
        return str(self.tab.evaluate("JSON.parse(document.querySelector('.recipe')?.dataset.draft ?? '{}').ref"))

    def preview(self) -> None:
        self.tab.click("#recipe-preview")
        self.tab.wait_for_selector("#recipe .rec-step:not(.stale) .rec-bar")


@pytest.fixture
def at(browser, workspace: Workspace) -> Iterator[Callable[..., Recipe]]:
    pages: list[Recipe] = []
    with serve(workspace) as url:

        def open_at(ref: str, locale: str = "en-US") -> Recipe:
            pages.append(Recipe(browser, url, locale))
            pages[-1].show(ref)
            return pages[-1]

        yield open_at
        for page in pages:
            page.context.close()
        for run in workspace.runs():
            if state_of(run).live:
                store.kill(run)
    for page in pages:
        assert page.errors == []
        assert page.outside == []


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> Dataset:
    rows = dialogues(100)
    rows[1]["output"] = "<img src=x onerror=alert(1)> 请拨打 13800138000 咨询，多喝水，注意休息。"
    return import_file(workspace, write_jsonl(tmp_path / "fever.jsonl", rows))


def large(workspace: Workspace, tmp_path: Path, count: int) -> Dataset:
    """So many different dialogues, long enough that comparing them takes seconds."""
    rng = random.Random(0)
    path = tmp_path / "large.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for at in range(count):
            words = "".join(rng.choices(CHARACTERS, k=120))
            file.write(json.dumps({"instruction": f"{at}{words[:20]}", "output": words}, ensure_ascii=False) + "\n")
    return import_file(workspace, path)


def test_a_recipe_is_built_previewed_and_made(at, workspace: Workspace, dataset: Dataset) -> None:
    page = at(dataset.ref)
    assert "No step yet" in page.text("#recipe")
    page.add("exact")
    page.add("length")
    page.type("steps.2.min_answer_chars", "ten")
    page.wait_text('[data-step="2"] .rec-error', "cannot be used")
    page.type("steps.2.min_answer_chars", "10")
    page.wait("() => !document.querySelector('#recipe .has-error')")
    page.add("mask")
    begun = time.monotonic()
    page.preview()
    assert time.monotonic() - begun < 5
    assert "80" in page.text('[data-step="2"] .rec-counts b')
    page.tab.click('[data-step="2"] .rec-what')
    page.wait_text('[data-step="2"] .rec-examples', "the first 8 of 20")
    page.tab.click('[data-step="3"] .rec-what')
    assert "<img src=x onerror=alert(1)>" in page.text('[data-step="3"] .rec-examples')
    assert "13800138000" in page.text('[data-step="3"] .rec-examples del')
    assert page.tab.locator("#recipe img").count() == 0

    page.tab.click('[data-step="3"] [data-act=up]')
    page.wait("() => document.querySelectorAll('#recipe .rec-step.stale').length === 2")
    assert page.tab.evaluate("document.activeElement.closest('[data-step]').dataset.step") == "3"  # focus went with it
    page.reload()
    page.show(dataset.ref)
    page.wait("() => document.querySelectorAll('#recipe [data-step]').length === 3")
    assert page.steps() == ["Exact duplicates", "Mask personal data", "Length"]

    page.tab.click("#recipe-start")
    page.wait_text("#recipe-made", "How this version was made")
    made = next(each for each in list_datasets(workspace) if each.card.recipe is not None)
    assert (made.card.rows, made.card.dropped, made.card.parents) == (80, 20, [dataset.ref])
    assert page.chosen() == made.ref
    page.wait_text("#recipe-made .made-rows", "第0个问题")
    page.tab.click("#recipe-made [data-again]")
    page.wait("() => document.querySelectorAll('#recipe [data-step]').length === 3")
    assert page.chosen() == dataset.ref


def test_what_is_missing_is_told_when_somebody_tries(at, workspace: Workspace, dataset: Dataset) -> None:
    page = at(dataset.ref)
    page.tab.click("#recipe-start")
    page.wait_text("#recipe-note", "Add a step first")
    page.add("contamination")
    assert page.tab.locator("#recipe .has-error").count() == 0
    page.tab.click('[data-step="1"] .rec-what')  # closed
    page.tab.click("#recipe-start")
    page.wait_text("#recipe-note", "1 setting(s) need attention")
    page.wait_text('[data-step="1"].open .rec-error', "This is empty")
    page.tab.wait_for_timeout(500)  # and it stays: the dataset is chosen still
    assert "1 setting(s) need attention" in page.text("#recipe-note")
    assert len(list_datasets(workspace)) == 1


def test_fast_typing_and_chinese_arrive_whole(at, dataset: Dataset) -> None:
    page = at(dataset.ref)
    page.add("system")
    field = page.tab.locator('[data-path="steps.1.text"]')
    field.press_sequentially("你是一位谨慎的医生，回答要短。", delay=60)
    page.wait_text('[data-step="1"] .rec-set', "你是一位谨慎的医生，回答要短。")
    assert field.input_value() == "你是一位谨慎的医生，回答要短。"
    assert page.tab.evaluate("document.activeElement.dataset.path") == "steps.1.text"
    page.tab.click("#tab-runs-button")
    page.go("data")
    assert field.input_value() == "你是一位谨慎的医生，回答要短。"


def test_a_change_that_had_to_wait_is_the_one_that_counts(at, dataset: Dataset) -> None:
    page = at(dataset.ref)
    page.add("mask")
    pressed = page.tab.evaluate(
        """() => { const chips = [...document.querySelectorAll('[data-step="1"] [data-chip]')];
                   chips.slice(0, 3).forEach((chip) => chip.click()); // the second and the third have to wait
                   return chips.filter((chip) => chip.ariaPressed === 'true').map((chip) => chip.dataset.chip); }"""
    )
    shown = "Object.values(JSON.parse(document.querySelector('.recipe').dataset.draft).steps[0].values)"
    page.wait(f"(words) => {shown}.includes(words[0])", ", ".join(pressed))


def test_presets_mixing_and_the_other_language(at, workspace: Workspace, dataset: Dataset, tmp_path: Path) -> None:
    other = import_file(workspace, write_jsonl(tmp_path / "other.jsonl", dialogues(40)))
    import_file(workspace, write_jsonl(tmp_path / "pages.jsonl", [{"text": f"page {n}"} for n in range(9)]))
    page = at(dataset.ref)
    page.tab.click("#recipe .rec-offer >> nth=0")
    page.wait("() => document.querySelectorAll('#recipe [data-step]').length > 3")
    count = len(page.steps())
    page.tab.click("#recipe-preset input")  # looked at and left again: nothing happens to the steps
    page.tab.keyboard.press("Escape")
    page.tab.click('[data-step="1"] .rec-what')
    page.tab.select_option("#recipe .rec-mixer", other.ref)
    page.type("mixed.0.weight", "0.5")
    page.wait("() => document.querySelector('.recipe').dataset.draft.includes('0.5')")
    assert page.tab.locator("#recipe .rec-mixer option[disabled]").inner_text().startswith("pages@")
    page.tab.click("#recipe-terminal .label-wrap")
    page.wait_text("#recipe-command", "weight: 0.5")
    page.tab.fill("#recipe-preset-name input", "我的配方")
    page.tab.click("#recipe-save")
    page.wait_text("#recipe-note", "Preset “我的配方” saved")
    assert (workspace.presets_dir / "prepare" / "我的配方.yaml").read_text("utf-8").count("- do:") == count
    page.tab.click("#language >> text=中文")
    page.wait_text('[data-step="1"] .rec-what', "完全重复")
    assert len(page.steps()) == count
    shown = page.text(".recipe-part")
    for word in ("Exact", "Weight", "Preview", "Make the", "Export", "settings"):
        assert word not in shown, word


def test_short_work_is_stopped_and_nothing_is_left(at, workspace: Workspace, tmp_path: Path) -> None:
    dataset = large(workspace, tmp_path, 40_000)
    page = at(dataset.ref)
    for _ in range(5):  # some ten seconds of work, of which a click needs one
        page.add("quality")
    page.tab.click("#recipe-start")
    page.tab.click("#recipe-halt")
    page.wait_text("#recipe-note", "Nothing was made")
    assert [each.ref for each in list_datasets(workspace)] == [dataset.ref]
    assert [path.name for path in workspace.datasets_dir.iterdir()] == ["large"]


@contextmanager
def held(run: RunDir) -> Iterator[None]:
    """Within: the run's worker stands still, once there is one."""
    assert eventually(lambda: bool((status := run.status()) and status.rank_pids), 60)
    pids = run.status().rank_pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
def test_long_work_is_a_run_that_survives_a_reload(at, workspace: Workspace, tmp_path: Path) -> None:
    dataset = large(workspace, tmp_path, 51_000)
    page = at(dataset.ref)
    page.add("quality")
    page.tab.click("#recipe-start")
    page.tab.wait_for_selector("#recipe-stop")
    run = workspace.runs()[0]
    with held(run):  # however quick the machine: the run is not over before the page is back
        page.reload()
        page.show(dataset.ref)
        page.tab.click("#recipe-stop")
        assert eventually(run.stop_file.exists, 60)
    page.tab.wait_for_selector("#recipe-resume")
    assert (run.stage, state_of(run)) == ("prepare", State.STOPPED)
    page.tab.click("#recipe-resume")
    page.tab.wait_for_selector("#recipe-stop")
    page.wait_text("#recipe-made", "How this version was made")
    assert state_of(run) is State.SUCCEEDED
    assert page.chosen() != dataset.ref


def test_a_dataset_is_taken_away_as_a_file(at, workspace: Workspace, dataset: Dataset) -> None:
    page = at(dataset.ref)
    page.tab.click("#export-form input")
    page.tab.get_by_role("option", name="Alpaca").click()
    page.tab.click("#export-write")
    with page.tab.expect_download() as download:
        page.tab.click("#export-note a")
    assert download.value.suggested_filename == f"fever-{dataset.version}-alpaca.jsonl"
    rows = [json.loads(line) for line in Path(download.value.path()).read_text("utf-8").splitlines()]
    assert len(rows) == 100
    assert rows[2]["instruction"] == "第2个问题：发烧怎么办？"
