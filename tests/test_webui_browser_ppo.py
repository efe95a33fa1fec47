"""The PPO tab in a real Chromium: a run's curves, alarms and rollout browser, rewards chosen from lists, a start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.store.library import import_file
from core.records import Status
from core.rundir import RunDir, append_jsonl, write_record, write_text
from core.workspace import Workspace
from tests.browser_tools import Page
from tests.conftest import write_jsonl
from tests.models_tools import make_run
from tests.test_reward_pairs import pair_rows
from tests.test_webui_ppo import SCRIPT, episode, figures, put, reward_run

pytestmark = pytest.mark.browser
BAR = "#ppo-rollouts .roll-bar"


@pytest.fixture
def finished(ready: Workspace, tiny_model: Path) -> RunDir:
    """A finished run with 40 rollouts, an evaluation at every tenth, and answers that never end."""
    run = RunDir.create(ready.runs_dir, "ppo")
    config = {"run": {"name": "polite"}, "model": {"base": "tiny"}, "data": {"train": "asked"}}
    write_text(run.config_json, json.dumps(config))
    write_record(run.status_file, Status(supervisor_pid=1, supervisor_started=0, submitted_at=0, started_at=0))
    for step in range(41):
        if step:
            append_jsonl(run.metrics_file, figures(step, no_end=0.95))
            put(run, f"step-{step}", [episode(step, 4 * step + at, answer=f"a{step} b{at}") for at in range(4)])
        if step % 10 == 0:
            append_jsonl(run.metrics_file, {"step": step, "eval_reward": step / 50, "eval_reward_error": 0.05})
            put(run, f"held-out-{step}", [episode(step, at, pieces=[f"at {step}"], kl=[0.5]) for at in range(3)])
    put(run, "step-40", [episode(40, 160 + at, question=SCRIPT) for at in range(4)])
    manifest = make_run(ready, tiny_model).manifest()
    assert manifest is not None
    run.output.mkdir()
    write_record(run.manifest_file, manifest.model_copy(update={"run": run.id, "name": "polite", "stage": "ppo"}))
    return run


def ask(page: Page, text: str) -> None:
    page.tab.locator("#ppo-rollouts button").filter(has_text=text).first.click()


def first(page: Page, text: str) -> None:
    """Wait until the first answer of the list says where it stands as `text`."""
    page.wait("(text) => document.querySelector('#ppo-rollouts .where')?.innerText.includes(text[0])", text)


def test_a_run_is_watched_and_its_answers_are_read(opened, finished: RunDir) -> None:
    page = opened(f"?run={finished.id}")  # the address of a run opens its tab
    page.wait_text("#ppo-head .badge", "Finished")
    page.wait_text("#ppo-curves .alarms .notice", "do not end within the limit")
    page.wait_text("#ppo-curves .ppo-facts", "held-out reward 0.000 ± 0.050 → 0.800 ± 0.050")
    assert page.tab.locator("#ppo-curves svg.chart").count() == 3
    assert page.tab.locator("#ppo-curves .key.source").count() == 2

    first(page, "#160 · step 40")
    assert SCRIPT in page.text("#ppo-rollouts .roll-question")
    assert page.tab.get_attribute("#ppo-rollouts .said .down4", "title") == "-2.50"
    ask(page, "Lowest")
    ask(page, "Highest")  # at once: a click counts though the one before it is still being answered
    first(page, "#162 · step 40")
    ask(page, "Lowest")
    first(page, "#160 · step 40")
    ask(page, "Highest")
    first(page, "#162 · step 40")
    page.tab.click("#ppo-rollouts .sign >> nth=0")
    first(page, "step 39")
    page.tab.fill("#ppo-rollouts [data-field=step]", "12")
    page.tab.keyboard.press("Enter")
    first(page, "step 12")

    page.tab.fill(f"{BAR} input", "A7 B3")
    page.tab.keyboard.press("Enter")
    first(page, "#31 · step 7")
    assert page.tab.locator("#ppo-rollouts article").count() == 1
    page.tab.fill(f"{BAR} input", "")
    page.tab.keyboard.press("Enter")
    first(page, "step 12")

    ask(page, "Held-out")
    first(page, "line 3 · step 40")  # its reward is the highest
    ask(page, "Over time")
    page.wait("() => document.querySelectorAll('#ppo-rollouts article').length === 5")
    answers = page.tab.locator("#ppo-rollouts article .said").all_inner_texts()
    assert answers == [f"at {step}" for step in range(0, 41, 10)]
    page.reload()
    first(page, "#160 · step 40")  # as it begins
    assert page.tab.locator("#sft-rollouts").count() == 0


@pytest.mark.long
def test_a_rollout_that_is_new_is_shown(opened, finished: RunDir) -> None:
    page = opened(f"?run={finished.id}")
    first(page, "step 40")
    put(finished, "step-41", [episode(41, 164)])
    first(page, "#164 · step 41")
    page.tab.click("#language >> text=中文")
    first(page, "#164 · 第 41 步")


def test_rewards_are_chosen_from_lists_and_a_start_without_is_refused(
    opened, ready: Workspace, chat_file: Path
) -> None:
    import_file(ready, chat_file)
    reward = reward_run(ready, "my prefs", None)
    page = opened("?tab=ppo")
    page.wait("() => document.querySelector('#ppo-start')?.checkVisibility()")
    data = "[...document.querySelectorAll('.f-data-train input')]"
    page.wait(f"() => {data}.some((field) => field.checkVisibility() && field.value.startsWith('chat'))")
    page.tab.click("#ppo-start")
    page.tab.wait_for_selector(".f-rewards-models.has-error")
    assert "Nothing says what an answer is worth" in page.text(".f-rewards-models")
    page.wait_text("#ppo-note", "1 setting(s) need attention")
    assert [run.id for run in ready.runs()] == [reward.id]

    page.tab.click(f"#reward-runs [data-pick='{reward.id}']")
    page.wait_text("#reward-runs .listed", "my prefs")
    assert page.tab.input_value(".f-rewards-models textarea") == f"{reward.id}: 1"
    page.tab.click(f"#reward-runs [data-pick='{reward.id}']")
    page.wait("() => document.querySelector('.f-rewards-models textarea').value === ''")
    page.tab.click("#reward-rules summary")
    page.tab.click("#reward-rules [data-pick=length]")
    page.wait_text("#ppo-start, .command", "length low=20 high=200 weight=1")
    page.fill("rewards.rules", "lenght low=2")
    page.tab.wait_for_selector(".f-rewards-rules.has-error")
    assert "did you mean 'length'" in page.text(".f-rewards-rules")


@pytest.mark.slow
def test_a_policy_learns_from_a_rule_and_shows_its_answers(opened, ready: Workspace, chat_file: Path) -> None:
    import_file(ready, chat_file)
    page = opened("?tab=ppo")
    data = "[...document.querySelectorAll('.f-data-train input')]"
    page.wait(f"() => {data}.some((field) => field.checkVisibility() && field.value.startsWith('chat'))")
    page.fill("rewards.rules", "length low=2 high=8")
    for key, value in {
        "ppo.episodes": "24", "rollout.prompts": "8", "rollout.max_new_tokens": "8", "evaluation.steps": "2",
        "evaluation.prompts": "3", "ppo.epochs": "1",
    }.items():  # fmt: skip
        page.fill(key, value)
    page.wait_text(".command", "ppo.epochs=1")
    page.tab.wait_for_selector("#ppo-fit .fit")
    page.tab.click("#ppo-start")
    page.tab.wait_for_selector("#ppo-rollouts article .said span[title]")  # while it runs, or soon after
    page.wait_text("#ppo-head .badge", "Finished")
    page.wait_text("#ppo-curves .ppo-facts", "24 answers")
    page.wait_text("#ppo-rollouts .roll-place", "8 answers")
    ask(page, "Held-out")
    page.wait("() => document.querySelectorAll('#ppo-rollouts article').length === 3")
    ask(page, "Over time")
    page.wait("() => document.querySelectorAll('#ppo-rollouts article').length === 3")  # before, after two, after three
    [run] = ready.runs()
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.stage == "ppo"
    assert page.tab.is_visible("#ppo-chat")


@pytest.mark.long
def test_runs_of_several_stages_are_opened_one_after_another(opened, finished: RunDir, ready: Workspace) -> None:
    """Each brings its tab and method to the front, and the address names it and nothing else."""
    runs = [reward_run(ready, "my prefs", None).id, finished.id]
    other = RunDir.create(ready.runs_dir, "dpo")
    write_text(other.config_json, json.dumps({"run": {"name": "pairs"}, "model": {"base": "tiny"}}))
    runs.append(other.id)
    page = opened("")
    for run in (*runs, *reversed(runs)):
        page.tab.click(f'#side-runs [data-run="{run}"]')
        stage = run.partition("-")[0]
        page.wait(f"() => location.search.includes('tab={stage}') && location.search.includes('{run}')")
        page.wait(f"() => document.querySelector('#{stage}-head')?.checkVisibility()")
        assert page.tab.evaluate("() => new URL(location.href).searchParams.getAll('run').length") == 1
    page.tab.reload()  # and once more before it is set up: the address outlives that
    page.reload()
    page.wait(
        f"() => location.search.includes('{runs[0]}') && document.querySelector('#reward-head')?.checkVisibility()"
    )
    page.go("sft")
    page.wait("() => location.search.includes('tab=sft') && !location.search.includes('reward')")
    page.open("?tab=ppo&run=ppo-20991130-000000-0000")
    page.wait_text("#ppo-curves", "no longer in the workspace")


@pytest.mark.slow
def test_the_other_method_learns_from_pairs(opened, ready: Workspace, tmp_path: Path) -> None:
    import_file(ready, write_jsonl(tmp_path / "pairs.jsonl", pair_rows(32)))
    page = opened("?tab=ppo")
    page.tab.click("#method label >> nth=1")
    page.wait("() => location.search.includes('tab=dpo')")
    data = "[...document.querySelectorAll('.f-data-train input')]"
    page.wait(f"() => {data}.some((field) => field.checkVisibility() && field.value.startsWith('pairs'))")
    page.fill("schedule.max_steps", "2")
    page.fill("evaluation.prompts", "")
    page.wait_text(".command", "core dpo")
    page.tab.wait_for_selector("#dpo-fit .fit")
    page.tab.click("#dpo-start")
    page.wait_text("#dpo-head .badge", "Finished")
    page.wait_text("#dpo-curves", "eval pair accuracy")
    [run] = ready.runs()
    page.open(f"?run={run.id}")  # the address of a run brings its method to the front
    page.wait_text("#dpo-head .badge", "Finished")
    page.tab.click("#method label >> nth=0")
    page.wait("() => document.querySelector('#ppo-start')?.checkVisibility()")
    page.go("sft")
    page.go("ppo")
    page.wait("() => location.search.includes('tab=ppo') && document.querySelector('#ppo-start')?.checkVisibility()")
