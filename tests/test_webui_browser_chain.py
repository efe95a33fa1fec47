"""The chain in a real Chromium: queued from the forms, seen in the strip, held, and the address of a chat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.data.bring.importing import Order, import_files
from core.data.bring.samples import SAMPLES
from core.hardware import find
from core.jobs import store
from core.jobs.queue import Claim, Holder
from core.rundir import State, state_of
from core.workspace import Workspace

pytestmark = pytest.mark.browser
SHOTS = os.environ.get("GALEN_SHOTS")  # a folder for screenshots


@pytest.fixture
def taken() -> Iterator[None]:
    """The CPU is somebody else's, so that nothing is computed."""
    claim = Claim(find(["cpu:0"]), Holder(run="test", workspace="/w"))
    assert claim.try_take() == []
    yield
    claim.release()


@pytest.mark.slow
def test_a_chain_is_queued_from_the_forms(opened, ready: Workspace, taken: None) -> None:
    for stage in ("sft", "reward"):
        import_files(ready, [SAMPLES / stage / "en.jsonl"], Order(f"my-{stage}"))
    page = opened("?tab=sft")
    page.tab.click("#chain summary")
    for stage in ("reward", "ppo", "evaluate", "dpo"):
        page.tab.click(f"#chain input[value={stage}]")
    page.tab.click("#chain [data-do=queue]")
    page.wait_text("#chain-note", "2 runs are queued")
    sft, dpo = sorted(ready.runs(), key=lambda run: run.stage, reverse=True)
    assert dpo.config()["model"]["base"] == sft.id
    page.wait_text("#sft-head .chain .place.here", "Queued")
    page.tab.click("#sft-head .chain .place >> text=Waiting")
    page.wait_text("#dpo-progress", "Waiting for another run")
    page.wait("([run]) => location.search.includes('run=' + run)", dpo.id)
    assert page.tab.locator("#dpo-head .chain .place").count() == 6

    store.kill(sft)
    page.wait_text("#dpo-head .held", "was stopped")
    if SHOTS:
        page.tab.screenshot(path=str(Path(SHOTS) / "held.png"))
    assert page.tab.locator("#dpo-head .held [data-release]").count() == 0  # it could not do without
    assert state_of(dpo) is State.QUEUED

    page.reload()
    page.wait("() => document.querySelector('#chain details').open")
    ticked = "els => els.filter((box) => box.checked).map((box) => box.value).join()"
    assert page.tab.eval_on_selector_all("#chain input", ticked) == "sft,dpo", "the browser has kept the ticks"
    page.tab.click("label:has-text('中文')")
    page.wait_text("#chain", "整条流水线")
    assert page.tab.eval_on_selector_all("#chain input", ticked) == "sft,dpo"
    page.tab.click("label:has-text('English')")
    page.wait_text("#rehearsal", "It stops at SFT: Stopped.")

    page.tab.click("#dpo-head .held [data-run]")
    page.wait_text("#sft-in-place", f"In the place of {sft.config()['run']['name']}")
    page.wait_text("#sft-start", "Start")
    page.wait("() => document.querySelector('#sft-in-place input').checked")
    page.tab.click("#sft-start")
    page.wait_text("#dpo-progress, #sft-note", "Started")
    new = next(run for run in ready.runs() if run.stage == "sft" and run.id != sft.id)
    assert dpo.config()["model"]["base"] == new.id
    page.tab.wait_for_selector("#sft-in-place", state="hidden")
    page.wait("([run]) => document.querySelector(`#rehearsal [data-run='${run}']`)", new.id)

    page.open("?tab=chat&panes=tiny,tiny")
    page.tab.wait_for_selector("#chat-heads")
    page.wait("() => document.querySelector('#chat-heads').innerText.split('tiny').length === 3")
    assert "panes" not in page.tab.url
