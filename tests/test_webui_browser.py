"""What a person does, in a real Chromium against the real server: upload, train, reload, chat, switch languages."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from core.data.store.library import import_file
from core.jobs import store
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace
from tests.browser_tools import Page, only_run, upload
from tests.conftest import conversations, write_jsonl
from tests.webui_tools import free_port, start

pytestmark = pytest.mark.browser


def slow_settings(page: Page, steps: int) -> None:
    """So many steps, a figure for each, evaluated twice."""
    page.fill("schedule.max_steps", str(steps))
    page.fill("schedule.epochs", "500")
    page.fill("data.validation_split", "0.1")
    page.fill("evaluation.steps", str(steps // 2))


# -- data -------------------------------------------------------------------------------------------------------------
def test_a_file_becomes_a_dataset(opened, ready: Workspace, chat_file: Path) -> None:
    page = opened()
    upload(page, chat_file)
    assert "All 64 rows can be used" in page.text("#data-report")
    page.tab.fill("#data-name input", "我的 chat")
    page.tab.click("#data-import")
    page.wait_text("#datasets .dataset", "我的 chat")
    page.wait_text("#data-rows", "Rows 1–5 of 64")
    assert list((ready.cache_dir / "uploads").rglob("chat.jsonl")) == []  # the copy that was uploaded is gone
    page.tab.click("#data-use")
    page.tab.wait_for_selector("#sft-start")
    page.wait("() => /^我的 chat@/.test(document.querySelector('.f-data-train input').value)")
    page.go("data")
    page.tab.click("#data-delete")
    page.tab.click("#data-delete-yes")
    page.wait_text("#datasets", "No dataset yet")


def test_unusable_rows_are_listed_before_anything_is_stored(opened, ready: Workspace, tmp_path: Path) -> None:
    rows = conversations(5)
    rows[1]["conversations"][1]["value"] = ""
    rows[3] = {"wrong": "<img src=x onerror=alert(1)>"}
    page = opened()
    upload(page, write_jsonl(tmp_path / "bad.jsonl", rows))
    assert "3 of 5 rows can be used" in page.text("#data-report")
    lines = page.tab.locator("#data-report td.line").all_inner_texts()
    assert lines == ["2", "4"]
    assert "is empty" in page.text("#data-report")
    assert "<img src=x" in page.text("#data-report")
    assert not page.tab.is_visible("#data-import")
    assert list(ready.datasets_dir.iterdir()) == []
    page.tab.click("#data-import-drop")
    page.wait_text("#data-note", "3 rows, 2 dropped")


# -- the form ---------------------------------------------------------------------------------------------------------
def test_a_typo_is_told_beside_its_field_and_nothing_starts(opened, ready: Workspace, chat_file: Path) -> None:
    import_file(ready, chat_file)
    page = opened()
    page.fill("optim.learning_rate", "abc")
    page.tab.wait_for_selector(".f-optim-learning_rate.has-error")
    assert "'abc' cannot be used" in page.text(".f-optim-learning_rate")
    page.tab.click("#sft-start")
    page.wait_text("#sft-note", "1 setting(s) need attention")
    assert ready.runs() == []
    page.fill("optim.learning_rate", "2e-5")
    page.wait("() => !document.querySelector('.f-optim-learning_rate.has-error')")
    page.wait_text(".command", "optim.learning_rate=2e-5")
    page.reload()
    assert page.tab.input_value(".f-optim-learning_rate input") == "2e-5"  # the unsent form is still there


def test_a_message_is_shown_character_by_character(opened, ready: Workspace) -> None:
    page = opened()
    page.fill("optim.learning_rate", "a<b>_x_*y* my_model_v2")
    page.tab.wait_for_selector(".f-optim-learning_rate.has-error")
    assert "'a<b>_x_*y* my_model_v2' cannot be used" in page.text(".f-optim-learning_rate")


def test_devices_of_another_machine_do_not_stop_the_form(opened, ready: Workspace) -> None:
    page = opened()
    kept = json.dumps(json.dumps({"devices.use": ["cuda:7"], "lora.rank": "33"}))
    page.tab.add_init_script(f"localStorage.setItem('galen.form.sft', {kept})")  # whatever the page has kept by then
    page.reload()
    page.wait_text(".command", "lora.rank=33")
    assert page.tab.locator(".device-picker input:checked").count() == 1
    page.fill("lora.rank", "34")
    page.wait_text(".command", "lora.rank=34")


def test_another_model_is_brought_in_and_chosen(opened, ready: Workspace, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, ready.path / "brought")
    page = opened()
    page.tab.click("#other-model .label-wrap")
    page.fill("model.source", "/etc/my_model_v2")
    page.tab.click("#get-model")
    page.tab.wait_for_selector(".f-model-source.has-error")
    assert "/etc/my_model_v2 is outside the folders" in page.text(".f-model-source")
    page.fill("model.source", str(ready.path / "brought"))
    page.tab.click("#get-model")
    page.wait("() => document.querySelector('.f-model-base input').value.startsWith('brought')")
    assert (ready.models_dir / "brought" / "galen.json").is_file()


def test_own_presets_are_saved_and_loaded(opened, ready: Workspace) -> None:
    page = opened()
    page.fill("lora.rank", "32")
    page.tab.fill(".preset-save input", "big rank")
    page.tab.click("#sft-preset-save")
    page.wait_text(".settings", "Preset “big rank” saved")
    assert "rank: 32" in (ready.presets_dir / "sft" / "big rank.yaml").read_text()
    page.fill("lora.rank", "4")
    page.tab.click("#sft-preset input")
    page.tab.get_by_role("option", name="Defaults").click()
    page.wait("() => document.querySelector('.f-lora-rank input').value === '8'")
    page.tab.click("#sft-preset input")
    page.tab.get_by_role("option", name="big rank (yours)").click()
    page.wait("() => document.querySelector('.f-lora-rank input').value === '32'")
    page.reload()
    page.wait("() => document.querySelector('#sft-preset input').value === 'big rank (yours)'")
    assert page.tab.input_value(".f-lora-rank input") == "32"


# -- language and look ------------------------------------------------------------------------------------------------
def test_the_language_switch_reaches_everything_and_is_remembered(opened, ready: Workspace) -> None:
    page = opened()
    assert page.text("#sft-start").strip() == "Start"
    page.tab.click("#language >> text=中文")
    page.wait("() => document.querySelector('#sft-start').innerText.trim() === '开始'")
    page.wait_text("#devices", "设备")
    page.wait_text("#sft-curves", "当前未选择运行")
    page.wait_text("#side-runs", "还没有运行")
    chinese = page.text(".frame")
    for word in ("Start from", "Settings", "Learning rate", "No run", "Devices", "Dataset"):
        assert word not in chinese, word
    page.reload()
    assert page.text("#sft-start").strip() == "开始"
    run = RunDir.create(ready.runs_dir, "sft")
    run.config_json.write_text("{}")
    page.open(f"?tab=runs&run={run.id}")
    page.wait("() => document.querySelector('#runs-notes [data-field=tag]')?.placeholder === '添加标签'")
    page.tab.click("#runs-export")
    page.wait_text("#runs-note", "不含检查点")
    page.tab.click("#language >> text=English")
    page.wait("() => document.querySelector('#runs-notes [data-field=tag]')?.placeholder === 'add a tag'")
    page.wait("() => document.querySelector('#runs-note').innerText.trim() === ''")
    assert opened(locale="zh-CN").text("#sft-start").strip() == "开始"


def test_start_progress_and_curve_are_on_the_first_screen(opened, ready: Workspace) -> None:
    page = opened()
    page.tab.goto(page.url)
    page.tab.wait_for_selector("#tab-sft-button")
    page.wait("() => window.galen && galen.ready")
    for selector in ("#sft-start", "#sft-curves", ".f-model-base", ".device-picker"):
        box = page.tab.locator(selector).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, selector
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.tab.evaluate("document.documentElement.scrollHeight") <= 900


# -- runs -------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_train_reload_finish_and_chat(opened, ready: Workspace, chat_file: Path) -> None:
    import_file(ready, chat_file)
    page = opened()
    slow_settings(page, 60)
    page.fill("run.name", "小模型 <b>")
    page.tab.click("#sft-start")
    page.wait_text("#sft-head", "SFT")
    run = only_run(ready)
    page.wait("(id) => location.search.includes(id[0])", run.id)
    page.wait("() => document.querySelectorAll('#sft-curves path.curve').length > 0")
    page.reload()  # in the middle of the run: its whole history is there, from the address alone
    page.wait("() => document.querySelectorAll('#sft-curves path.curve').length > 0")
    first = page.tab.evaluate("JSON.parse(document.querySelector('svg.chart').dataset.curve).curves[0].p[0][0]")
    assert first == 1
    assert page.tab.input_value("#sft-run input").startswith("小模型 <b>")
    page.wait_text("#sft-head .badge", "Finished")
    page.wait_text("#sft-samples", "step 60")
    assert state_of(run) is State.SUCCEEDED

    page.tab.click("#sft-chat")
    page.tab.wait_for_selector("#chat-question textarea")
    page.wait("(id) => document.querySelector('[data-pane=b] select')?.dataset.value === id[0]", run.id)
    page.tab.fill("#chat-question textarea", "ba be <i>bi</i> a<b && c>d")
    page.tab.click("#chat-send")
    page.wait("() => document.querySelectorAll('.made .weights').length === 2")
    assert page.text(".asked-text") == "ba be <i>bi</i> a<b && c>d"
    base, tuned = page.tab.locator(".weights").all_inner_texts()
    assert re.search(r"base [0-9a-f]{12} · no adapter", base)
    assert re.search(r"base [0-9a-f]{12} · adapter [0-9a-f]{12}", tuned)
    assert base.split()[1] == tuned.split()[1]
    page.reload()
    page.wait("() => document.querySelectorAll('.reply').length === 2")  # the conversation is kept
    page.wait_text("#chat-status", "Ready on")
    page.tab.click("#chat-free")
    page.wait_text("#chat-status", "No model is in memory")


@pytest.mark.slow
def test_rows_that_stop_a_run_can_be_left_out(opened, ready: Workspace, tmp_path: Path) -> None:
    rows = conversations(12)
    rows[4]["conversations"][0]["value"] = "ba " * 600
    import_file(ready, write_jsonl(tmp_path / "long.jsonl", rows))
    page = opened(locale="zh-CN")
    page.fill("data.max_length", "128")
    page.fill("schedule.max_steps", "2")
    page.tab.click("#sft-start")
    page.wait_text("#sft-progress", "没有留下回答")
    assert page.tab.locator("#sft-progress td.line").all_inner_texts() == ["5"]
    page.tab.click("#sft-drop_rows")
    page.wait_text("#sft-head .badge", "已完成")
    assert len(ready.runs()) == 2


@pytest.mark.slow
def test_a_killed_server_loses_nothing(browser, ready: Workspace, chat_file: Path) -> None:
    import_file(ready, chat_file)
    port = free_port()
    server = start(ready, port)
    page = Page(browser, f"http://127.0.0.1:{port}/")
    try:
        slow_settings(page, 4000)
        page.tab.click("#sft-start")
        run = only_run(ready)
        page.wait("() => document.querySelectorAll('#sft-curves path.curve').length > 0")
        server.kill()  # SIGKILL: nothing can be tidied up
        server.wait()
        assert state_of(run) is State.RUNNING
        server = start(ready, port)
        reached = int(json.loads(run.progress_file.read_bytes())["step"])
        # The open tab goes on by itself with the new server …
        shown = "document.querySelector('#sft-progress')?.innerText.match(/([\\d,]+) of/)"
        page.wait(f"(at) => Number(({shown} || ['', '0'])[1].replace(/,/g, '')) > at[0]", reached)
        # … and a new one shows the run with its history, still running.
        other = Page(browser, f"http://127.0.0.1:{port}/?run={run.id}")
        other.wait("() => document.querySelectorAll('#sft-curves path.curve').length > 0")
        assert other.text("#sft-head .badge") == "Running"
        other.tab.click("#sft-stop")
        other.wait_text("#sft-head .badge", "Stopped")
        other.tab.wait_for_selector("#sft-resume")
        other.context.close()
    finally:
        page.context.close()
        server.kill()
        server.wait()


@pytest.mark.slow
def test_a_run_from_a_terminal_appears_and_can_be_deleted(opened, ready: Workspace, chat_file: Path) -> None:
    from core.configs.files import resolve

    dataset = import_file(ready, chat_file)
    page = opened("?tab=runs")
    page.wait_text("#runs-table", "No run yet")
    values = {
        "model.base": "tiny",
        "data.train": dataset.ref,
        "run.name": "aus dem Terminal",
        "schedule.max_steps": 3000,
    }
    run = store.submit(ready, "sft", resolve("sft", values=values))
    page.wait_text("#runs-table tr[data-run]", "aus dem Terminal")
    page.wait_text("#side-runs", "aus dem Terminal")
    page.tab.click("#runs-table tr[data-run]")
    page.wait_text("#runs-detail", "aus dem Terminal")
    page.tab.click("#runs-stop")
    page.wait_text("#runs-detail .badge", "Stopped")
    page.tab.click("#runs-delete")
    page.wait_text(".confirm", "cannot be undone")
    page.tab.click("#runs-delete-yes")
    page.wait_text("#runs-table", "No run yet")
    assert not run.path.exists()
