"""`python -m core rate RUN`: judge the rows that a run has put before people, with one key each, in a terminal.

Every key is kept at once, so `q`, Ctrl-C or a lost connection lose nothing; the page may be at the same rows. When all
are judged, or when asked to, the run is resumed and makes its dataset.
"""

from __future__ import annotations

import argparse
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.annotating.people import KEYS, MOST_ANSWERS, Card, Ratings
from core.cli.follow import follow, plain
from core.cli.output import print_json
from core.errors import InputError
from core.jobs import store
from core.rundir import RunDir
from core.workspace import Workspace

WINDOW, PAUSE = 20, 60.0  # judgements by which the pace is told; a longer gap, in seconds, is a break
LEGEND = {
    "difficulty": f"1-{KEYS} how hard (1: easy)",
    "score": f"1-{KEYS} how good (1: bad)",
    "rank": "the numbers, best first · t all equal · b all bad · e write a better one",
    "improve": "f fine as it is · e write a better one",
}
COMMON = "space skip · u undo · q pause"
END_OF_TEXT = "."


def add(subparsers: Any) -> None:
    about = "Judge the rows that an annotating run has put before people."
    parser = subparsers.add_parser("rate", help=about, description=f"{about} One key a row; every key is kept at once.")
    parser.add_argument("run", metavar="RUN", help="a run with annotator.kind=person")
    parser.set_defaults(handler=start)


def start(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    return rate(workspace, workspace.run(args.run), json=args.json)


def rate(workspace: Workspace, run: RunDir, *, json: bool = False) -> int:
    """Judge until all is judged or somebody pauses. Exit status 0, or that of the run that makes the dataset."""
    ratings = Ratings(run)
    if not sys.stdin.isatty():
        raise InputError("annotate.no_terminal", run=run.id)
    with single_keys():
        finished = Desk(ratings).work()
    print()
    judged, total = len(ratings.judgements()), len(ratings.all_cards)
    if not finished or not judged:
        print(f"{judged} of {total} judged. Go on: python -m core rate {run.id}")
        print(f"Make a dataset of what is judged: python -m core jobs resume {run.id}")
        if json:
            print_json({"run": run.id, "judged": judged, "total": total})
        return 0
    store.resume(workspace, run.id)
    return follow(run, json=json)


class Desk:
    """One person at a terminal. `last`: the rows judged here, the latest last, for undo."""

    def __init__(self, ratings: Ratings) -> None:
        self.ratings = ratings
        self.last: list[int] = []
        self.times: deque[float] = deque(maxlen=WINDOW)

    def work(self) -> bool:
        """Whether the dataset is to be made now."""
        waiting = iter(self.ratings.cards(sys.maxsize))
        card = next(waiting, None)
        while card is not None:
            said = self._ask(card)
            if said is None:
                return False
            if said == {"undo": True}:
                waiting, card = self._undo(waiting, card)
                continue
            self.ratings.judge([{"number": card.number, **said, "at": time.time()}])
            self.last.append(card.number)
            self._tick()
            card = next(waiting, None)
        print(f"\nAll {len(self.ratings.all_cards)} rows are judged. Enter makes the dataset, any other key leaves it.")
        return key() in ("\r", "\n")

    def _undo(self, waiting: Iterator[Card], card: Card) -> tuple[Iterator[Card], Card]:
        if not self.last:
            return waiting, card
        number = self.last.pop()
        self.ratings.judge([{"number": number, "undo": True}])
        return iter([card, *waiting]), self.ratings.all_cards[number]

    def _tick(self) -> None:
        now = time.monotonic()
        if self.times and now - self.times[-1] > PAUSE:
            self.times.clear()
        self.times.append(now)

    def pace(self) -> str:
        """`540 an hour`, once there is one."""
        spent = self.times[-1] - self.times[0] if len(self.times) > 2 else 0.0
        return f" · {3600 * (len(self.times) - 1) / spent:.0f} an hour" if spent else ""

    # -- one row ------------------------------------------------------------------------------------------------------
    def _ask(self, card: Card) -> dict[str, Any] | None:
        """What was said of it; `{"undo": True}` to go back, None to pause."""
        self._show(card)
        chosen: list[int] = []
        while True:
            pressed = key()
            if pressed in ("q", "\x03", "\x04", ""):
                return None
            if pressed == "u" and not chosen:
                return {"undo": True}
            if pressed == "e" and self.ratings.task in ("rank", "improve"):
                if text := written():
                    return {"text": text}
                self._show(card)
                chosen = []
            elif pressed == "u":
                chosen = []
                print("\r\x1b[K> ", end="", flush=True)
            elif (said := self._said(card, pressed, chosen)) is not None:
                return said

    def _said(self, card: Card, pressed: str, chosen: list[int]) -> dict[str, Any] | None:
        """A judgement, if the key makes one; numbers of a ranking are noted in `chosen` until they are enough."""
        task = self.ratings.task
        marks = {"rank": {"t": "tie", "b": "bad"}, "improve": {"f": "fine"}}.get(task, {}) | {" ": "skip"}
        if pressed in marks:
            return {"mark": marks[pressed]}
        if not (pressed.isascii() and pressed.isdigit()):
            return None
        number = int(pressed) or MOST_ANSWERS
        if task in ("difficulty", "score"):
            return {"grade": number} if 1 <= number <= KEYS else None
        if task == "rank" and 1 <= number <= len(card.answers) and number - 1 not in chosen:
            chosen.append(number - 1)
            print(("> " if len(chosen) == 1 else " > ") + pressed, end="", flush=True)
            if len(chosen) >= len(card.answers) - 1:
                return {"order": [*chosen, *(place for place in range(len(card.answers)) if place not in chosen)]}
        return None

    def _show(self, card: Card) -> None:
        judged, total = len(self.ratings.judgements()), len(self.ratings.all_cards)
        parts = [f"\x1b[2J\x1b[H\x1b[1m{judged} of {total}{self.pace()}\x1b[0m", ""]
        parts += [plain(text) for text in (card.document, card.question) if text]
        parts += ["", plain(card.answer)] if card.answer else []
        for place, answer in enumerate(card.answers, 1):
            parts += ["", f"\x1b[1m[{place % 10}]\x1b[0m {plain(answer)}"]
        print("\n".join([*parts, "", f"{LEGEND[self.ratings.task]} · {COMMON}", ""]), flush=True)


# -- the keyboard -----------------------------------------------------------------------------------------------------
@contextmanager
def single_keys() -> Iterator[None]:
    """Keys come one by one, and are not shown."""
    before = termios.tcgetattr(sys.stdin.fileno())
    try:
        tty.setcbreak(sys.stdin.fileno())
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)


def key() -> str:
    """The next key; "" where the terminal is gone, or Ctrl-C."""
    try:
        return sys.stdin.read(1)
    except KeyboardInterrupt:
        return ""


def written() -> str:
    """A text of several lines, typed with the terminal's own editing; "" where none was."""
    print(f"\nWrite a better answer; a line with {END_OF_TEXT} alone ends it, none at all goes back.", flush=True)
    lines: list[str] = []
    now = termios.tcgetattr(sys.stdin.fileno())
    now[3] |= termios.ICANON | termios.ECHO
    termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, now)
    try:
        while (line := sys.stdin.readline()) and line.rstrip("\n") != END_OF_TEXT:
            lines.append(line)
    except KeyboardInterrupt:
        lines = []
    finally:
        tty.setcbreak(sys.stdin.fileno())
    return "".join(lines).strip()
