"""Twenty browsers that watch a live run for five minutes: the page's process must not grow.

    python -m tests.attack.browsers --count 300

`count` is for how many seconds. Sixteen sessions speak a browser's protocol, at the pace of the page's own timers as
far as its answers keep up with it; four are tabs of a real Chromium, where there is one. The run's metrics, progress
and log grow meanwhile. Compared is the memory of the second fifth of the time with that of the last. A session that
breaks, or makes too few polls, is found, too: what is not asked proves nothing.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from core.jobs.locks import take_run
from core.records import Status
from core.report import Report
from core.rundir import RunDir, write_json, write_record
from core.workspace import Workspace
from tests.attack.protocol import PATIENCE, Event, Session
from tests.attack.tools import Tally, command
from tests.browser_tools import find_browser
from tests.webui_tools import free_port, serve, start

SESSIONS, TABS = 16, 4
GROWTH = 1.05  # of the memory, from the second fifth of the time to the last
OTHER_RUNS = 20
PANELS = 2  # timers that a session follows beside the frame's
FIRST = 2.0  # seconds within which each timer ticks first
LEAST = 0.2  # of the polls at the timers' pace: sessions beside Chromium on two cores may not keep it
AT_PACE = "polls, had every answer come at once"


class Live:
    """A run that goes on: its lock is held here, and its files grow twice a second."""

    def __init__(self, workspace: Workspace) -> None:
        for number in range(OTHER_RUNS):
            other = RunDir.create(workspace.runs_dir, "sft")
            write_json(other.config_json, {"run": {"name": f"run {number}"}, "data": {"train": "chat"}})
        self.run = RunDir.create(workspace.runs_dir, "sft")
        write_json(self.run.config_json, {"run": {"name": "the live one"}, "data": {"train": "chat"}})
        self.lock = take_run(self.run)
        now = time.time()
        write_record(
            self.run.status_file,
            Status(attempt=1, supervisor_pid=1, supervisor_started=now, host="here", submitted_at=now, started_at=now),
        )
        self.report = Report(self.run)
        self.report.phase("training", total=10_000)
        self.over = threading.Event()
        threading.Thread(target=self._go_on, daemon=True).start()

    def _go_on(self) -> None:
        step = 0
        while not self.over.wait(0.5):
            step += 1
            self.report.metrics(step, step / 100, loss=1 / step, learning_rate=1e-4, tokens_per_second=100.0)
            self.report.progress(step, step_seconds=0.5, eta_seconds=100.0)
            with open(self.run.log_file(0), "a") as log:
                log.write(f"step {step}\n")


def poll(url: str, run_id: str, seed: int, over: threading.Event, tally: Tally) -> None:
    """One session, until it is `over`; a session that breaks is found, and one that asks too little."""
    made, begun = 0, time.monotonic()
    try:
        session = Session(url)
        rng = random.Random(seed)
        followed = timers_of(session, rng)
        pace = sum(1 / seconds for _, seconds in followed)
        begun = time.monotonic()
        due = [time.monotonic() + rng.random() * min(FIRST, seconds) for _, seconds in followed]
        for _ in polls(session, followed, due, run_id, over, tally):
            made += 1
    except Exception as error:
        tally.find(f"session {seed} broke after {made} polls: {error!r}")
        return
    wanted = pace * (time.monotonic() - begun)
    tally.done["polls"] += made
    tally.done[AT_PACE] += round(wanted)
    if made < max(1, LEAST * wanted):
        tally.find(f"session {seed} made {made} polls of {wanted:.0f}")


def timers_of(session: Session, rng: random.Random) -> list[tuple[Event, float]]:
    """The frame's timer, which comes first, and a few panels', each with its seconds."""
    timers = session.timers()
    frame = max(timers, key=lambda pair: len(pair[0].outputs))
    return [frame, *rng.sample([each for each in timers if each is not frame], PANELS)]


def polls(
    session: Session, followed: list[tuple[Event, float]], due: list[float], run_id: str, over: threading.Event,
    tally: Tally,
) -> Iterator[None]:  # fmt: skip
    """What timers ask, each at its own pace, one after another; `due`: when each asks first. Yields after each poll."""
    while not over.is_set():
        for at, (event, seconds) in enumerate(followed):
            if time.monotonic() >= due[at]:
                due[at] += seconds
                chosen = run_id if at else None  # in a run panel the one picker is of runs
                data = [chosen if session.kind(one) == "dropdown" else session.value(one) for one in event.inputs]
                answer = session.send(event, data)
                if answer.error:
                    tally.find(f"event {event.number} ({event.name}): {answer.error}")
                yield
        over.wait(0.05)


@contextmanager
def tabs(url: str, run_id: str, tally: Tally) -> Iterator[None]:
    """Tabs of a real browser, which watch the run by themselves."""
    path = find_browser()
    if path is None:
        tally.figures["tabs of a real browser (none is installed)"] = "0"
        yield
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(TABS):
            tab = browser.new_page()
            tab.on("pageerror", lambda error: tally.find(f"in a browser: {error}"))
            tab.goto(f"{url}?run={run_id}")
        tally.figures["tabs of a real browser"] = str(TABS)
        yield
        browser.close()


def visited(url: str, run_id: str, sessions: int, seed: int, tally: Tally, watch: Callable[[], None]) -> None:
    """So many sessions, for as long as `watch` takes."""
    over = threading.Event()
    pollers = [
        threading.Thread(target=poll, args=(url, run_id, seed + at, over, tally), daemon=True) for at in range(sessions)
    ]
    for poller in pollers:
        poller.start()
    watch()
    over.set()
    for poller in pollers:
        poller.join(PATIENCE + 10)
        if poller.is_alive():
            tally.find("a session neither ends nor fails")
    tally.figures[AT_PACE] = str(tally.done.pop(AT_PACE, 0))


def attack(count: int, seed: int) -> Tally:
    """Watch for `count` seconds."""
    tally = Tally()
    sizes: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace(Path(name))
        live = Live(workspace)
        port = free_port()
        server = start(workspace, port)
        url = f"http://127.0.0.1:{port}/"
        try:
            with tabs(url, live.run.id, tally):
                process = psutil.Process(server.pid)
                visited(url, live.run.id, SESSIONS, seed, tally, lambda: sizes.extend(watch(process, count)))
        finally:
            live.over.set()
            server.kill()
            server.wait()
        said = (workspace.path / "webui.log").read_text()
    judge(sizes, said, tally)
    return tally


def look(folder: Path, seconds: float, tally: Tally) -> None:
    """The short form: three sessions, no tab, and memory is not looked at."""
    workspace = Workspace(folder)
    live = Live(workspace)
    try:
        with serve(workspace) as url:
            visited(url, live.run.id, 3, 0, tally, lambda: time.sleep(seconds))
    finally:
        live.over.set()
    unbroken((workspace.path / "webui.log").read_text(), tally)


def watch(process: psutil.Process, seconds: int) -> list[float]:
    """Its resident memory, once a second, in megabytes."""
    sizes = []
    for _ in range(seconds):
        time.sleep(1)
        sizes.append(process.memory_info().rss / 1e6)
    return sizes


def judge(sizes: list[float], said: str, tally: Tally) -> None:
    fifth = max(1, len(sizes) // 5)
    early, late = (statistics.median(part) for part in (sizes[fifth : 2 * fifth] or sizes, sizes[-fifth:]))
    tally.figures["memory in the second fifth of the time"] = f"{early:.0f} MB"
    tally.figures["memory in the last fifth of the time"] = f"{late:.0f} MB"
    tally.figures["the most"] = f"{max(sizes):.0f} MB"
    if late > early * GROWTH:
        tally.find(f"the page's process grew from {early:.0f} to {late:.0f} MB")
    unbroken(said, tally)


def unbroken(said: str, tally: Tally) -> None:
    if "Traceback" in said:
        tally.find(f"the page's log: {said[-2000:]}")


def main() -> int:
    return command(attack, count=300, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
