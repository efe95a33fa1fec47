"""What the Look part does longer than a moment: in a thread, followed by a timer, ended when nobody asks any more.

Every session has one piece of work of each sort at a time; asking for another ends the one before. A page that was
closed asks no more, and its work ends by itself. Nothing here is lost that is not kept in files, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.errors import StopRequested
from webui.inline_work import InlineWork, Tell

PATIENCE = 0.1  # seconds that a first look waits, so that short work never shows its progress
ABANDONED = 12.0  # seconds without a look after which nobody waits any more
KEPT = 200  # pieces of finished work that are remembered


@dataclass
class Asked:
    """A piece of work, what it is for, and when somebody last looked at it."""

    key: Any
    seen: float
    work: InlineWork[Any] | None = None


class Desk:
    """The work of all sessions."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], Asked] = {}
        self._lock = threading.Lock()

    def ask(
        self, session: str, sort: str, key: Any, work: Callable[[Tell, Callable[[], None]], Any]
    ) -> InlineWork[Any]:
        """The work that answers `key`, begun unless it is under way or done, after a short wait for its end."""
        with self._lock:
            asked = self._asked.get((session, sort))
            if asked is None or asked.key != key or asked.work is None:
                if asked is not None and asked.work is not None:
                    asked.work.stop()
                asked = Asked(key, time.monotonic())
                asked.work = InlineWork(_watched(asked, work))
                self._asked.pop((session, sort), None)
                self._asked[session, sort] = asked
                self._tidy()
            asked.seen = time.monotonic()
            found = asked.work
        found.wait(PATIENCE)
        return found

    def known(self, session: str, sort: str, key: Any) -> InlineWork[Any] | None:
        """The work that answers `key`, where it was asked for."""
        asked = self._asked.get((session, sort))
        return asked.work if asked is not None and asked.key == key else None

    def stop(self, session: str, sort: str) -> None:
        """Ask a piece of work to end. It stays known as stopped until `forget`."""
        asked = self._asked.get((session, sort))
        if asked is not None and asked.work is not None:
            asked.work.stop()
            asked.work.wait(PATIENCE)

    def forget(self, session: str, sort: str) -> None:
        """Let go of work; what is still under way is asked to end."""
        with self._lock:
            asked = self._asked.pop((session, sort), None)
        if asked is not None and asked.work is not None:
            asked.work.stop()

    def _tidy(self) -> None:
        done = [name for name, asked in self._asked.items() if asked.work is not None and not asked.work.alive]
        for name in done[: max(0, len(self._asked) - KEPT)]:
            del self._asked[name]


def _watched(asked: Asked, work: Callable[[Tell, Callable[[], None]], Any]) -> Callable[..., Any]:
    """`work` with a `check_stop` that also ends it when nobody has looked for a while."""

    def run(tell: Tell, check_stop: Callable[[], None]) -> Any:
        def check() -> None:
            check_stop()
            if time.monotonic() - asked.seen > ABANDONED:
                raise StopRequested

        return work(tell, check)

    return run
