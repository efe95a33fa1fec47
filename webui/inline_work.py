"""Short work that the page does itself: in a thread, followed by an event's generator, stopped by another event.

Work that may take long is a run instead. What a thread does goes on when the browser leaves; nothing that is used here
leaves anything half-written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from core.errors import StopRequested

T = TypeVar("T")
TICK = 0.25  # seconds between two looks at the progress
PATIENCE = 0.4  # seconds in which work may end without its progress being shown at all

Tell = Callable[..., None]


class InlineWork(Generic[T]):
    """`work(tell, check_stop)` in a thread of its own, begun at once. `at` is what `tell` was last called with."""

    def __init__(self, work: Callable[[Tell, Callable[[], None]], T]) -> None:
        self.at: tuple[Any, ...] = ()
        self._stop = threading.Event()
        self._result: T | None = None
        self._error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, name="inline work", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work(self._tell, self._check_stop)
        except BaseException as error:
            self._error = error

    def _tell(self, *at: Any) -> None:
        self.at = at

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StopRequested

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Whether the work is over, now or within so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask it to stop; it ends with StopRequested, unless it was done first."""
        self._stop.set()

    def follow(self) -> Iterator[tuple[Any, ...]]:
        """What `tell` was last called with, now and then, until the work is over."""
        self._thread.join(PATIENCE)
        while self._thread.is_alive():
            yield self.at
            self._thread.join(TICK)

    def result(self) -> T | None:
        """What the work gave. Raises what it raised. Call it when `follow` has ended."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result


class Bench:
    """The work of each session, one at a time: another event of the same session finds it to stop it."""

    def __init__(self) -> None:
        self._works: dict[str, InlineWork[Any]] = {}
        self._lock = threading.Lock()

    def begin(self, session: str, work: Callable[[Tell, Callable[[], None]], T]) -> InlineWork[T] | None:
        """Start work of a session; None while its last one is not over."""
        with self._lock:
            self._works = {name: other for name, other in self._works.items() if other.alive}
            if session in self._works:
                return None
            begun = self._works[session] = InlineWork(work)
            return begun

    def stop(self, session: str) -> None:
        work = self._works.get(session)
        if work is not None:
            work.stop()
