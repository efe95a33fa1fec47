"""Markup in every text that a page shows: names, rows, logs, answers, votes, reasons. It must stay text.

    python -m tests.attack.markup --count 12                 needs Chromium

`count` is how many pages are opened, of a workspace in which everything is called or says `<img … onerror=…>`. Found is
an element made of it, a script of it that ran, an error in the browser, a page that shows the text nowhere.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core import talks
from core.data.store.library import import_file
from core.jobs import failures
from core.models.library import ModelCard, write_card
from core.records import Status
from core.records_ppo import Episode
from core.records_reward import PairReport, WorstPair
from core.report import Report
from core.rundir import RunDir, write_json, write_record
from core.workspace import Workspace
from tests.attack.tools import Tally, command
from tests.browser_tools import Page, find_browser
from tests.conftest import write_jsonl
from tests.test_talks import talk_of
from tests.webui_tools import serve

EVIL = '<img class="pwned" src=x onerror="window.pwned=1"><script>window.pwned=1</script>&lt;b&gt;"\'`${1}'
STAGES = ("pretrain", "sft", "reward", "ppo", "dpo", "merge", "evaluate", "predict")
NOT_TEXT = (
    "() => document.querySelectorAll('.pwned, [onerror], iframe').length + (window.pwned ? 1000 : 0)"
    " + [...document.scripts].filter((s) => s.textContent === 'window.pwned=1').length"
)
SHOWS = "() => document.body.innerText.includes('window.pwned=1')"


def evil_run(workspace: Workspace, stage: str, *, failed: bool) -> RunDir:
    """A run that says it wherever it can say anything."""
    run = RunDir.create(workspace.runs_dir, stage)
    config = {"run": {"name": EVIL}, "data": {"train": EVIL, "rows": EVIL, "system": EVIL}, "model": {"base": EVIL}}
    write_json(run.config_json, {**config, "devices": {"use": [EVIL]}, "lora": {"targets": [EVIL]}, EVIL: {EVIL: EVIL}})
    now = time.time()
    status = Status(supervisor_pid=1, supervisor_started=now, submitted_at=now, started_at=now, ended_at=now)
    write_record(run.status_file, status.model_copy(update={"devices": [EVIL], "host": EVIL}))
    report = Report(run)
    report.phase("training", total=3)
    for step in (1, 2, 3):
        report.metrics(step, step, loss=1.0, **{EVIL: 1.0, f"eval_{EVIL}": 1.0, f"reward_{EVIL}": 1.0})
        report.sample(step, EVIL, EVIL)
    report.phase(EVIL)
    run.log_file(0).write_text(f"{EVIL}\n\x1b[31m{EVIL}\n")
    if failed:
        write_record(run.result_file, failures.make("failed", "run.crashed", {"detail": EVIL}))
    worst = WorstPair(dataset=EVIL, line=1, prompt=EVIL, chosen=EVIL, rejected=EVIL, chosen_score=0, rejected_score=1)
    write_record(run.pairs_file, PairReport(step=3, pairs=1, worst=[worst]))
    run.rollouts.mkdir()
    episode = Episode(step=1, number=0, line=1, prompt=EVIL, question=EVIL, answer=EVIL, reference=EVIL, pieces=[EVIL],
                      kl=[0.1], scores={EVIL: 1.0}, reward=1.0, ended=True)  # fmt: skip
    write_jsonl(run.rollouts / "step-1.jsonl", [episode.model_dump()])
    return run


def fill(workspace: Workspace, folder: Path) -> tuple[dict[str, RunDir], str]:
    """The runs by stage, and a dataset."""
    runs = {stage: evil_run(workspace, stage, failed=at % 2 == 0) for at, stage in enumerate(STAGES)}
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": f"{EVIL} {at}"}, {"role": "assistant", "content": EVIL}],
         "source": EVIL, "category": EVIL, EVIL: EVIL}
        for at in range(3)
    ]  # fmt: skip
    file = write_jsonl(
        folder / f"{EVIL.replace('/', '_')[:80]}.jsonl", [*rows, {"messages": [{"role": EVIL, "content": EVIL}]}]
    )
    incoming = workspace.cache_dir / "incoming" / "abcdef"
    incoming.mkdir(parents=True)
    (incoming / file.name).write_bytes(file.read_bytes())
    dataset = import_file(workspace, file, "rows", bad_rows="drop")
    write_record(dataset.folder / "card.json", dataset.card.model_copy(update={"licence": EVIL, "origin": EVIL}))
    (workspace.models_dir / "evil").mkdir()
    card = ModelCard(name="evil", kind="folder", source=EVIL, licence=EVIL, architecture=EVIL, model_type=EVIL,
                     parameters=1, dtype=EVIL, size=1, points_to=EVIL, created=time.time())  # fmt: skip
    write_card(workspace.models_dir / "evil", card)
    talk = talk_of({"a": EVIL, "b": EVIL})
    talk.turns[0].question = talk.turns[0].system = talk.turns[0].replies["a"].name = EVIL
    talk.turns[0].replies["b"].error = EVIL
    talks.save(workspace, talk, "talk")
    return runs, dataset.ref


def addresses(runs: dict[str, RunDir], ref: str) -> Iterator[str]:
    yield f"?dataset={ref}&part=look"
    yield f"?run={runs['ppo'].id}"
    yield "?tab=chat"
    yield f"?run={runs['reward'].id}"
    yield f"?run={runs['sft'].id}"
    yield "?tab=data&part=bring"
    yield "?tab=runs"
    for stage in ("pretrain", "dpo", "merge", "evaluate", "predict"):
        yield f"?run={runs[stage].id}"


def visit(page: Page, address: str, talk: dict[str, Any], tally: Tally) -> None:
    page.tab.evaluate("(talk) => localStorage.setItem('galen.chat', JSON.stringify(talk))", talk)
    page.open(address)
    page.tab.wait_for_timeout(500)
    for button in page.tab.locator("button[role=tab] >> visible=true").all()[9:]:  # the inner ones, behind the nine
        button.click(timeout=5000)
        page.tab.wait_for_timeout(150)
    if address.endswith("=runs"):
        page.tab.locator("#runs-table [data-run]").first.click()
        page.tab.wait_for_timeout(700)
    wrong = page.tab.evaluate(NOT_TEXT)
    if wrong:
        tally.find(f"{address}: {wrong} elements made of text")
    if not page.tab.evaluate(SHOWS):
        tally.find(f"{address} shows the text nowhere: nothing was tested")
    tally.done["pages looked at"] += 1


@contextmanager
def browser() -> Iterator[Any]:
    path = find_browser()
    if path is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def look(opened: Any, folder: Path, count: int, tally: Tally) -> None:
    """Open `count` pages of such a workspace in `opened`, a browser."""
    workspace = Workspace(folder / "workspace")
    runs, ref = fill(workspace, folder)
    talk = json.loads(talks.load(workspace, "talk").model_dump_json())
    with serve(workspace) as url:
        page = Page(opened, url)
        for address, _ in zip(addresses(runs, ref), range(count), strict=False):
            visit(page, address, talk, tally)
        for error in page.errors:
            tally.find(f"in the browser: {error}")
        page.context.close()
    said = (workspace.path / "webui.log").read_text()
    if "Traceback" in said:
        tally.find(f"the page's log: {said[-2000:]}")


def attack(count: int, seed: int) -> Tally:
    tally = Tally()
    with tempfile.TemporaryDirectory() as name, browser() as opened:
        if opened is None:
            tally.figures["no browser here: nothing was done"] = "skipped"
            return tally
        look(opened, Path(name), count, tally)
    return tally


def main() -> int:
    return command(attack, count=12, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
