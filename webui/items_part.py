"""The rows of a comparison one by one, as a part of the run panel: what a session asks of them, and their pane.
`webui.views_items` draws it from the run's files and the datasets.
"""

from __future__ import annotations

import gradio as gr

from webui.items import Asked
from webui.page import EACH, Page
from webui.views import Snapshot
from webui.views_items import ITEMS_JS, browser


class ItemsPart:
    """One of `RunPanel`'s parts: `asked` goes into every look at the run, and `draw` says what its pane shows."""

    js = ITEMS_JS

    def __init__(self, page: Page) -> None:
        self.page = page

    def build(self) -> None:
        self.asked = gr.State(Asked())

    def wire(self, pane: gr.HTML, select: gr.Dropdown) -> gr.events.Dependency:
        """The event after which the pane has to be drawn anew."""
        return pane.pick(self.picked, [select, self.asked], self.asked, **EACH)

    def picked(self, event: gr.EventData, run_id: str | None, asked: Asked) -> Asked:
        """After a click in the pane."""
        return asked.of(run_id or "").clicked(event._data or {})

    def draw(self, shot: Snapshot, asked: Asked, lang: str) -> str:
        return browser(shot.run, asked, self.page.dataset, lang)
