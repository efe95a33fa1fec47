"""What one session's screen shows of the workspace's news, so that a tick sends only what is new.

    seen.tell(mark, wanted, seen.take())      the updates of a tick
    note_writers(blocks, state, components)   whatever else writes these components says so

A component that a handler has written does not show any longer what the tick last sent: the next tick sends it again,
whether or not its news has changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import gradio as gr


@dataclass
class Seen:
    """The last news: its `mark`, and each update as it was sent. `stale`: places of these that others have written.

    It is changed where it lies: a handler that ends during a tick is noted for the next one.
    """

    mark: Any = None
    sent: list[Any] = field(default_factory=list)
    stale: set[int] = field(default_factory=set)

    def wrote(self, places: Iterable[int]) -> None:
        self.stale |= set(places)

    def take(self) -> set[int]:
        """The stale places until now; whoever takes them sends them anew."""
        taken, self.stale = self.stale, set()
        return taken

    def tell(self, mark: Any, wanted: list[Any], stale: set[int]) -> list[Any]:
        """For each of `wanted` its update, or a skip where the screen shows it already."""
        before = self.sent or [None] * len(wanted)
        self.mark, self.sent = mark, wanted
        pairs = enumerate(zip(wanted, before, strict=True))
        return [new if new != old or place in stale else gr.skip() for place, (new, old) in pairs]


def note_writers(blocks: gr.Blocks, state: gr.State, components: Sequence[Any], but: Callable[..., Any]) -> None:
    """Have every event but `but` that writes some of `components` note that in the `Seen` of its session.

    Call it inside the Blocks, when all events are there. The state becomes the last input of these events.
    """
    for event in blocks.fns.values():
        places = {at: components.index(each) for at, each in enumerate(event.outputs) if each in components}
        if places and event.fn is not None and event.fn != but:
            event.inputs = [*event.inputs, state]
            event.fn = _noting(event.fn, places, len(event.outputs))


def _noting(fn: Callable[..., Any], places: Mapping[int, int], outputs: int) -> Callable[..., Any]:
    """`fn` with the session's `Seen` as one more argument, the last. `places`: by the index of an output."""

    def written(result: Any) -> Iterator[int]:
        values = [result] if outputs == 1 else result
        skips = isinstance(values, Mapping)  # one skip for all
        yield from () if skips else (place for at, place in places.items() if values[at] != gr.skip())

    @wraps(fn)
    def once(*values: Any) -> Any:
        result = fn(*values[:-1])
        values[-1].wrote(written(result))
        return result

    @wraps(fn)
    def steps(*values: Any) -> Iterator[Any]:
        for step in fn(*values[:-1]):
            values[-1].wrote(written(step))
            yield step

    noting: Any = steps if inspect.isgeneratorfunction(fn) else once
    asked = inspect.signature(fn).parameters.values()
    # Gradio puts a parameter's default behind the inputs; `fn` has it without.
    noting.__signature__ = inspect.Signature([each for each in asked if each.default is each.empty])
    return noting  # type: ignore[no-any-return]
