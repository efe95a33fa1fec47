"""The parts of the Chat tab: a conversation, and a stage that answers many prompts. The frame (`webui.app`) holds it.

`front` names the part that is seen. The page's address names the part instead of the tab: `?tab=predict&run=…`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import gradio as gr

from webui.labels import Labels
from webui.page import QUIET

TALKS = ("chat", "predict")  # the tab's own name first, then the stage
ADDRESS = "(part, run) => galen.address({tab: part, run: part === 'predict' ? run : '', dataset: '', part: ''})"


class Part(Protocol):
    def build(self) -> None: ...


class Talks:
    """`build` inside the tab; `wire` once all is built."""

    def __init__(self, labels: Labels, parts: Mapping[str, Part]) -> None:
        self.labels, self.parts = labels, parts

    def build(self) -> None:
        self.front = gr.Textbox(TALKS[0], visible=False)
        self.items: dict[str, gr.Tab] = {}
        with gr.Tabs(selected=TALKS[0], elem_classes=["inner-tabs", "chat-parts"]) as self.tabs:
            for name in TALKS:
                with self.labels.tab(f"chat.tab_{name}", id=name, elem_id=f"part-{name}") as item:
                    self.parts[name].build()
                self.items[name] = item

    def wire(self, tab: gr.Tab, run: Any, turn: Callable[[str], list[Any]], turned: list[Any]) -> None:
        """`tab` holds the parts, `run` is the one that the stage shows; `turn(name)` gives updates of `turned`, which
        are needed when that part comes to the front."""
        tab.select(turn, self.front, turned, **QUIET)
        tab.select(None, [self.front, run], None, js=ADDRESS)
        for name, item in self.items.items():
            item.select(partial(_seen, name, turn), None, [self.front, *turned], **QUIET)
            item.select(None, run, None, js=f"(run) => ({ADDRESS})('{name}', run)")

    @property
    def outputs(self) -> list[Any]:
        """What `bring` updates."""
        return [self.front, self.tabs]

    @staticmethod
    def bring(name: str) -> list[Any]:
        """Updates that bring a part to the front; none for the name of something else."""
        return [name, gr.Tabs(selected=name)] if name in TALKS else [gr.skip(), gr.skip()]


def _seen(name: str, turn: Callable[[str], list[Any]]) -> list[Any]:
    return [name, *turn(name)]
