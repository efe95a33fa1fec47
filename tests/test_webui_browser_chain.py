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
    assert page.tab.locator("#dpo-head .held .go").count() == 0  # it could not do without
    assert state_of(dpo) is State.QUEUED

    page.open("?tab=chat&panes=tiny,tiny")
    page.tab.wait_for_selector("#chat-heads")
    page.wait("() => document.querySelector('#chat-heads').innerText.split('tiny').length === 3")
    assert "panes" not in page.tab.url
