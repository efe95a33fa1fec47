"""A full workspace: 200 runs, one of them with 100 000 rows of metrics; every page must answer within 0.3 s.

    python -m tests.attack.pages --count 3

`count` is how often everything is asked; the quickest answer of each counts, because the machine may be busy. Beside
what `benchmarks.page` times, every tab is asked for its first look and its idle one, by a browser's own protocol.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.page import METRIC_ROWS, RUNS, answers, fill
from core.workspace import Workspace
from tests.attack.protocol import Session
from tests.attack.tools import Tally, command
from tests.webui_tools import serve

LIMIT = 0.3  # seconds


def attack(count: int, seed: int, *, limit: float = LIMIT) -> Tally:
    tally = Tally()
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_id = fill(folder)
        for _ in range(count):
            for what, seconds in answers(folder, run_id).items():
                best[what] = min(seconds, best.get(what, seconds))
            tally.done["looks of one process"] += 1
        with serve(Workspace(folder)) as url:
            for _ in range(count):
                ask(Session(url), run_id, best, tally)
                tally.done["sessions over HTTP"] += 1
    for what, seconds in best.items():
        tally.figures[what] = f"{seconds:.3f} s"
        if seconds > limit:
            tally.find(f"{what}: {seconds:.2f} s, with {RUNS} runs and {METRIC_ROWS} rows of metrics")
    return tally


def ask(session: Session, run_id: str, best: dict[str, float], tally: Tally) -> None:
    """Every timer of the page, twice: what a browser is sent first, and what it is sent when nothing has changed."""
    for event, _ in session.timers():
        pickers = sum(session.kind(one) == "dropdown" for one in event.inputs)  # a run panel has one, of runs
        chosen = run_id if pickers == 1 else None
        data = [chosen if session.kind(one) == "dropdown" else session.value(one) for one in event.inputs]
        for look in ("first", "idle"):
            start = time.perf_counter()
            answer = session.send(event, data)
            seconds = time.perf_counter() - start
            what = f"{look} answer of timer {event.number} ({event.name})"
            if answer.error:
                tally.find(f"{what}: {answer.error}")
            best[what] = min(seconds, best.get(what, seconds))


def main() -> int:
    return command(attack, count=3, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
