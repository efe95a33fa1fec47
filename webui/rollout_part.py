"""The rollout browser as a part of the run panel: what a session asks of it, and its pane. `webui.views_rollouts`
draws it from the run's files.
"""

from __future__ import annotations

import gradio as gr

from webui.page import EACH
from webui.rollouts import Asked
from webui.views import Snapshot
from webui.views_rollouts import ROLLOUTS_JS, browser


class RolloutPart:
    """One of `RunPanel`'s parts: `asked` goes into every look at the run, and `draw` says what its pane shows."""

    js = ROLLOUTS_JS

    def build(self) -> None:
        self.asked = gr.State(Asked())

    def wire(self, pane: gr.HTML, select: gr.Dropdown) -> gr.events.Dependency:
        """The event after which the pane has to be drawn anew."""
        return pane.pick(self.picked, [select, self.asked], self.asked, **EACH)

    def picked(self, event: gr.EventData, run_id: str | None, asked: Asked) -> Asked:
        """After a click in the pane, or something that was typed there."""
        return asked.of(run_id or "").clicked(event._data or {})

    def draw(self, shot: Snapshot, asked: Asked, lang: str) -> str:
        return browser(shot.run, asked, lang)
