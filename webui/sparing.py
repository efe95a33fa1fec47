"""What is set right of Gradio once a page is built: its front end, for all events; its server's memory and its log."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import gradio as gr
from fastapi import HTTPException
from gradio.blocks import Block
from gradio.state_holder import SessionState


def spare_the_browser(blocks: gr.Blocks) -> None:
    """Three things that Gradio's front end does badly, put right for all events.

    It tells every component that ever showed progress of every event, by a search through the whole page (5 s of the
    first 9 with all stages): where progress is hidden, and where the browser alone computes, nobody needs to be told;
    one that is told makes every event of the page slow for good. And two listeners of one trigger that
    both wait for the last event start each other for ever, once two events come in quick succession: one may wait.
    And what draws after another event is dropped while it is drawing already, so that what came last is not shown:
    it draws once more. (What works, a generator, is begun once.)
    """
    waiting: set[Any] = set()
    for event in blocks.fns.values():
        if event.show_progress == "hidden" or event.fn is None:
            event.show_progress_on = []
        follows = event.trigger_after is not None and event.trigger_mode == "once"
        if follows and event.fn is not None and not inspect.isgeneratorfunction(event.fn):
            event.trigger_mode = "always_last"
        if event.fn is not None and event.trigger_mode == "always_last":
            targets = {target for target in event.targets if target[0] is not None}
            if targets & waiting:
                event.trigger_mode = "multiple"
            waiting |= targets


def spare_the_server() -> None:
    """Have a component that an update made anew for a session keep the number of the one it stands for.

    Gradio 6 gives it another, finds it again by the old one, and when an event reads it files it once more under its
    own: one component more, and its configuration, for every update of every input, as long as the session lives. A
    page that watches a run took 75 KB more at every tick. (`python -m tests.attack.browsers` measures it.)

    And a log that names errors only: see `_worth_a_line`.
    """
    logging.getLogger("uvicorn.error").addFilter(_worth_a_line)  # the same function is added once
    if getattr(SessionState.__setitem__, "keeps_numbers", False):
        return
    put = SessionState.__setitem__

    def keep(session: SessionState, number: int, value: Any) -> None:
        if isinstance(value, Block):
            value._id = number
        put(session, number, value)

    keep.keeps_numbers = True  # type: ignore[attr-defined]
    SessionState.__setitem__ = keep


def _worth_a_line(record: logging.LogRecord) -> bool:
    """False for a page that left while its stream was being opened.

    Gradio has forgotten the session by then and says so by a 404, but inside an answer that has begun: to the server
    this is an error with a long traceback, and to whoever left it is nothing.
    """
    error = record.exc_info[1] if record.exc_info else None
    cause = error.__cause__ if isinstance(error, RuntimeError) else None
    return not (isinstance(cause, HTTPException) and cause.status_code == 404)
