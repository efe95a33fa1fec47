"""Following a run on one terminal: its phase, progress and log, calmly, until it ends.

On a terminal the last line is a status line that moves; elsewhere (a file, a pipe) there are plain lines only, one per
phase and then one every ten seconds at most. Ctrl-C asks the run to stop and goes on following until it has stopped;
a second Ctrl-C leaves it alone. What a run wrote is shown without its control characters.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from core.cli.output import SHOWN_PROBLEMS, cut, duration, print_json, size, words_of
from core.errors import GalenError
from core.fit.relief import relief
from core.jobs import store
from core.jobs.failures import LAST_WORDS
from core.jobs.hosts import commands
from core.jobs.summaries import RunSummary, summary
from core.records import TRAINING
from core.rundir import RunDir, State
from core.workspace import Workspace

POLL = 0.3
TRACEBACK = "Traceback (most recent call last)"
PLAIN_SECONDS = 10.0  # between two progress lines where there is no terminal


def follow(run: RunDir, *, json: bool = False, stop: bool = False) -> int:
    """Show the run until it ends; with `stop` ask it to at once.

    Exit status 0 succeeded, 1 failed, 2 bad input, 130 stopped or left alone.
    """
    screen = Screen()
    interrupts: list[float] = [time.monotonic()] if stop else []
    with on_interrupt(lambda: interrupts.append(time.monotonic())):
        tail = Tail(run.log_file(0))
        asked = False
        while True:
            now = summary(run)
            screen.log(tail.lines())
            if not now.state.live:
                break
            screen.progress(run, now)
            if interrupts and not asked:
                asked = True
                _ask_to_stop(run, screen)
            if len(interrupts) > 1:
                return _leave(run, screen, json)
            time.sleep(POLL)
        screen.log(tail.lines(rest=True))
    screen.end()
    if json:
        print_json(now.as_dict())
    else:
        _tell_end(run, now)
    return exit_status(run, now.state)


def tell_started(run: RunDir, *, json: bool) -> int:
    """The id of a run that has been started, and of one on several hosts what to type on each of them."""
    typed = commands(run)
    if json:
        print_json({"run": run.id, "path": str(run.path), **({"commands": typed} if typed else {})})
        return 0
    print(run.id)
    for host, words in enumerate(typed):
        print(f"  host {host}: {words}")
    return 0


def exit_status(run: RunDir, state: State) -> int:
    """The exit status that a run's end means for whoever started it from a terminal."""
    if state is State.SUCCEEDED:
        return 0
    if state is State.STOPPED:
        return 130
    status = run.status()
    ends = status.ranks_ended if status is not None else []
    return 2 if any(end.rank == 0 and end.code == 2 for end in ends) else 1


@contextmanager
def on_interrupt(note: Callable[[], None]) -> Iterator[None]:
    def handler(number: int, frame: FrameType | None) -> None:
        note()

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ask_to_stop(run: RunDir, screen: Screen) -> None:
    try:
        store.stop(run)
    except GalenError:
        return  # it ended in this moment: the next look says how
    screen.line("asked to stop: it saves a checkpoint first (Ctrl-C again leaves it alone)")


def _leave(run: RunDir, screen: Screen, json: bool) -> int:
    screen.end()
    if json:
        print_json(summary(run).as_dict())
    else:
        print(f"{run.id} goes on without this terminal; python -m core jobs log -f {run.id} comes back to it")
    return 130


def _tell_end(run: RunDir, now: RunSummary) -> None:
    took = f" after {duration(now.duration)}" if now.duration is not None else ""
    print(f"{run.id} {now.state}{took}")
    if now.state is State.SUCCEEDED:
        print(f"  it made {run.output}")
        return
    if now.why is not None:
        print(plain(f"  {now.why.reason} {now.why.remedy}".rstrip()), file=sys.stderr)
        for problem in now.why.problems[:SHOWN_PROBLEMS]:
            where = problem.get("key") or (f"line {problem['line']}" if problem.get("line") else "")
            print(plain(f"    {where}: {problem.get('message', '')} {problem.get('remedy', '')}"), file=sys.stderr)
    _tell_relief(run, now)
    if store.resumable(run, now.state):
        print(f"  python -m core jobs resume {run.id}", file=sys.stderr)


def _tell_relief(run: RunDir, now: RunSummary) -> None:
    """How to start a run again that died of memory: a resume would only meet the same end."""
    workspace = Workspace(run.path.resolve().parent.parent)
    for rung in relief(workspace, run, now.why.code if now.why is not None else ""):
        words = f"python -m core {run.stage} --config {run.config_yaml} {words_of(rung.changes)}"
        print(f"  start again with about {size(rung.total)}: {words}", file=sys.stderr)


def plain(text: str) -> str:
    """`text` without control characters: a log line must not move the cursor or set the terminal's title."""
    return "".join(char for char in text if char.isprintable() or char in "\t\n")


class Tail:
    """The lines that a log file gains, from its beginning (or its last `last` lines) on."""

    def __init__(self, path: Path, last: int | None = None) -> None:
        self.path = path
        self.offset = 0
        self.inode = 0
        self.torn = b""
        self.first = last

    def lines(self, *, rest: bool = False) -> list[str]:
        """What is new, in whole lines; with `rest` a last line without its end, too. A replaced file is read anew."""
        try:
            with open(self.path, "rb") as file:
                self._notice_replacement(file)
                file.seek(self.offset)
                new = file.read()
                self.offset = file.tell()
        except FileNotFoundError:
            return []
        *whole, self.torn = (self.torn + new).split(b"\n")
        if rest and self.torn:
            whole.append(self.torn)
        if self.first is not None:
            whole, self.first = (whole[-self.first :] if self.first else []), None
        return [plain(line.decode("utf-8", "replace").rsplit("\r", 1)[-1]) for line in whole]

    def _notice_replacement(self, file: Any) -> None:
        found = os.fstat(file.fileno())
        if found.st_ino != self.inode or found.st_size < self.offset:
            self.inode, self.offset, self.torn = found.st_ino, 0, b""


class Screen:
    """Lines that stay, and below them, on a terminal, one that moves."""

    def __init__(self) -> None:
        self.moving = sys.stdout.isatty()
        self.phase = ""
        self.broken = False
        self.told = 0.0

    def line(self, text: str) -> None:
        print(("\r\x1b[K" if self.moving else "") + text, flush=True)

    def log(self, lines: list[str]) -> None:
        """What the run prints, up to its last words or a traceback: these stay in the log, and the one-line reason
        comes at the end."""
        for line in lines:
            self.broken = self.broken or line.startswith((TRACEBACK, LAST_WORDS))
            if not self.broken:
                self.line(f"  | {line}")

    def progress(self, run: RunDir, now: RunSummary) -> None:
        text = progress_line(run, now)
        phase = f"{now.state} {now.phase} {now.held and now.held.code}"
        if self.moving:
            print("\r\x1b[K" + cut(text, shutil.get_terminal_size().columns - 1), end="", flush=True)
        elif phase != self.phase or time.monotonic() - self.told > PLAIN_SECONDS:
            self.line(text)
            self.told = time.monotonic()
        self.phase = phase

    def end(self) -> None:
        if self.moving:
            print("\r\x1b[K", end="", flush=True)


def progress_line(run: RunDir, now: RunSummary) -> str:
    """`training 12/60 (20 %)  loss 2.31  1m 05s left`, `saving  training 12/60 (20 %)`, or whom the run waits for."""
    if now.held is not None:
        return plain(str(now.held))
    if now.waiting_for:
        return f"queued: waiting for {plain(', '.join(now.waiting_for))}"
    parts = [now.phase or "starting"]
    between_steps = now.phase_step is not None
    if between_steps:
        parts[0] += f" {now.phase_step}/{now.phase_total}" if now.phase_total else ""
        parts.append(TRAINING)
    if now.total:
        shown = size if now.unit == "byte" else str
        parts[-1] += f" {shown(now.step)}/{shown(now.total)} ({100 * now.step // now.total} %)"
    for name, figure in (("loss", now.loss), ("reward", now.reward)):
        if figure is not None and (between_steps or now.phase == TRAINING):
            parts.append(f"{name} {figure:.4g}")
    if now.eta is not None:
        parts.append(f"{duration(now.eta)} left")
    deadline, at = store.stop_deadline(run), run.progress()
    if deadline is not None and at is not None and at.writing:
        parts.append("stopping once this is written")
    elif deadline is not None:
        parts.append(f"stopping, killed in {duration(max(0.0, deadline - time.time()))} at the latest")
    return "  ".join(parts)
