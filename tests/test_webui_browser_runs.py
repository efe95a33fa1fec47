"""The Runs tab in a real browser: runs side by side, notes, a clone, an archive there and back, and a run's end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.jobs.failures import make
from core.jobs.locks import take_run
from core.notes import read_notes
from core.rundir import write_record
from core.workspace import Workspace
from tests.browser_tools import Page
from tests.runs_tools import falling, made

NOTICED = """window.told = []; window.Notification = class extends Notification {
  constructor(name, options) { super(name, options); told.push([name, options.body]); } };"""


def view(page: Page, name: str) -> None:
    page.tab.click(f"""#runs-bar [data-ask*='"{name}"']""")
    page.tab.wait_for_selector(f".board-bar[data-view={name}]")


def saved(page: Page, label: str, tmp_path: Path) -> Path:
    with page.tab.expect_download() as waiting:
        page.tab.click(f"#runs-board .overlay-save >> text={label}")
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


@pytest.mark.slow
def test_runs_beside_each_other(opened: Callable[..., Page], ready: Workspace, tmp_path: Path) -> None:
    first = made(ready, "sft", "first", rows=falling(40), checkpoints=[10, 20], outcome="stopped")
    second = made(ready, "sft", "second", number=1, rows=falling(40, 2), settings={"lora.rank": 32, "run.seed": 7})
    page = opened()
    page.context.grant_permissions(["notifications"])
    page.tab.add_init_script(NOTICED)
    page.open(f"?tab=runs&run={second.id}")
    # Notes are kept while the page goes on.
    page.tab.fill("#runs-notes [data-field=tag]", "baseline")
    page.tab.press("#runs-notes [data-field=tag]", "Enter")
    page.wait_text("#runs-table em.tag", "baseline")
    page.tab.fill("#runs-notes textarea", "a < b & c")
    page.tab.click("#runs-notes [data-star]")
    page.tab.wait_for_selector("#runs-table button.star.on")
    assert read_notes(second).note == "a < b & c"
    # A field that was typed in says what is noted of the run that is shown, and nothing of the one before.
    note = "document.querySelector('#runs-notes textarea').value"
    for run, said in ((first, ""), (second, "a < b & c")):
        page.tab.click(f"#runs-table tr[data-run='{run.id}'] .name")
        page.tab.wait_for_selector(f"#runs-notes [data-run='{run.id}']")
        page.wait(f"(words) => {note} === words[0]", said)
    assert not read_notes(first).note
    # A note is kept in a pause of writing, and when the page is left; so is which run is chosen.
    field = page.tab.locator("#runs-notes textarea")
    field.press("End")
    field.press_sequentially(" d")
    page.tab.wait_for_selector("#runs-table td[title='a < b & c d']")
    field.press_sequentially("e")
    page.open("?tab=runs")
    page.wait_text("#runs-table td[title='a < b & c de']", "second")
    page.tab.click(f"#runs-table tr[data-run='{second.id}'] .name")
    page.wait(f"() => location.search.includes('{second.id}')")
    page.reload()
    page.wait(f"(words) => {note} === words[0]", "a < b & c de")
    # The list follows what is typed, and what is deleted.
    shown = "document.querySelectorAll('#runs-table tr[data-run]').length"
    search = page.tab.locator("#runs-search :is(input, textarea)")
    for keys, count in (("first", 1), ("Backspace", 1), ("Control+a", 1), ("Delete", 2)):
        search.press_sequentially(keys) if count == 1 and keys.islower() else search.press(keys)
        page.wait(f"(n) => {shown} === n[0]", count)
    page.tab.wait_for_selector("#runs-table.waits-for-news", state="detached")
    # Curves.
    for run in (first, second):
        page.tab.click(f"#runs-table [data-tick='{run.id}']")
        page.tab.wait_for_selector(f"#runs-table [data-tick='{run.id}']:checked")
    page.tab.wait_for_selector("#runs-board svg.overlay")
    # The ticks stay with their runs when others come and go above them.
    ticks = "[...document.querySelectorAll('#runs-table :checked')].map((box) => box.dataset.tick).sort().join()"
    added = made(ready, "sft", "added", number=5)
    for count in (3, 2):
        page.wait(f"(n) => document.querySelectorAll('#runs-table [data-tick]').length === n[0] && {ticks}", count)
        assert page.tab.evaluate(ticks) == ",".join(sorted([first.id, second.id]))
        if count == 3:
            shutil.rmtree(added.path)
    page.tab.select_option("#overlay-metric", "eval_loss")
    page.wait_text("#runs-board svg.overlay text.axis", "eval loss")
    page.tab.click("""#runs-bar [data-ask*='"tokens"']""")
    page.wait_text("#runs-board svg.overlay text.axis", "tokens")
    picture = saved(page, "PNG", tmp_path).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    assert first.id in saved(page, "CSV", tmp_path).read_text()
    drawing = saved(page, "HTML", tmp_path)
    assert drawing.name == "eval_loss-tokens.html"
    assert "<svg" in drawing.read_text()
    # Settings, lineage, and what is kept over a reload.
    view(page, "settings")
    page.wait_text("#runs-board .differ", "Rank")
    assert "Learning rate" not in page.text("#runs-board")
    page.reload()
    page.wait_text("#runs-board .differ", "Rank")
    view(page, "lineage")
    page.tab.wait_for_selector(f"#runs-board a[href='?tab=sft&run={second.id}']")
    # A checkpoint goes when it was asked for twice.
    view(page, "run")
    page.tab.click(f"#runs-table tr[data-run='{first.id}'] .name")
    page.wait_text("#runs-detail", "first")
    view(page, "disk")
    row = page.tab.locator("#runs-board tr[data-names*=step-10]")
    row.locator("[data-do=ask]").click()
    row.locator("[data-do=remove]").click()
    page.wait_text("#runs-note", "given back")
    assert [each.step for each in first.complete_checkpoints()] == [20]
    # Out as an archive, away, and in again.
    view(page, "run")
    page.tab.click("#runs-export")
    with page.tab.expect_download() as waiting:
        page.tab.click("#runs-note a[download]")
    waiting.value.save_as(tmp_path / "run.zip")
    page.tab.click("#runs-delete")
    page.tab.click("#runs-delete-yes")
    page.wait_text("#runs-note", "Deleted")
    page.tab.set_input_files("#runs-import", str(tmp_path / "run.zip"))
    page.wait_text("#runs-note", "Imported")
    assert not page.tab.locator("#runs-resume").is_visible()
    # A run ends: the title says so, and the browser.
    live = made(ready, "sft", "while you look away", number=2, outcome="")
    lock = take_run(live)
    assert lock is not None
    page.wait_text("#side-runs .side-run", "while you look away")
    page.tab.click("#side-runs .bell")
    page.tab.wait_for_selector(".bell[data-state=on]")
    write_record(live.result_file, make("failed", "run.crashed", {"detail": "x"}))
    os.close(lock)
    page.wait("() => document.title === 'Failed: while you look away · Galen'")
    assert page.tab.evaluate("told") == [["while you look away", "Failed"]]
    page.tab.keyboard.press("Shift")
    page.wait("() => document.title === 'Galen'")
    # A clone.
    page.tab.click(f"#runs-table tr[data-run='{second.id}'] .name")
    page.wait_text("#runs-detail", "second")
    page.tab.click("#runs-clone")
    page.wait("() => document.querySelector('#tab-sft .f-lora-rank input')?.value === '32'")
    assert json.loads(second.config_json.read_text())["run"]["seed"] == 7
