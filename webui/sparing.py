"""What is set right of Gradio's front end once a page is built, for all of its events."""

from __future__ import annotations

import inspect
from typing import Any

import gradio as gr


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
