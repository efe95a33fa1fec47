"""The rating pane: rows that wait for a person, judged with one key each, on the page.

    pane = RatingPane(page); pane.build(); pane.wire(making)

`rating.js` holds the next rows and answers keys at once; here it gets rows and brings judgements, which are kept in the
run's own file (`core.annotating.people`). Whatever it did not see acknowledged it sends again: nothing is kept twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from core.annotating.people import Ratings, waits_for_person
from core.errors import GalenError
from core.rundir import State
from webui.catalog import Catalog
from webui.figures import esc
from webui.messages import error_text
from webui.page import EACH, Page
from webui.views_annotate import rating

STAGE = "annotate"
AHEAD = 40  # rows that the browser holds
RATING_JS = (Path(__file__).parent / "rating.js").read_text(encoding="utf-8")
FEED_JS = """watch('value', () => {
  const told = element.textContent.trim(); if (told) galen.rated?.(JSON.parse(told)); });"""


class RatingPane:
    """`build` in its place, `wire` when everything is built; `pane.make` is the event of its button."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def build(self) -> None:
        self.pane = gr.HTML("", js_on_load=RATING_JS, apply_default_css=False, elem_id="rating", elem_classes=["bare"])
        self.feed = gr.HTML("", js_on_load=FEED_JS, elem_id="rating-feed")

    def wire(self) -> None:
        self.pane.post(self.posted, self.page.lang, self.feed, **EACH)

    def frame(self, catalog: Catalog, lang: str) -> str:
        """The pane for the runs that wait, the newest first."""
        waiting = [
            {"id": run.id, "name": run.name}
            for run in catalog.runs
            if run.stage == STAGE and run.state is State.STOPPED and waits_for_person(self.page.workspace.run(run.id))
        ]
        return rating(waiting, lang)

    def posted(self, event: gr.EventData, lang: str) -> str:
        """Keep what was judged, and send the next rows: the feed's new text."""
        data: dict[str, Any] = event._data
        return esc(json.dumps(self.reply(data, lang), ensure_ascii=False))

    def reply(self, data: Mapping[str, Any], lang: str) -> dict[str, Any]:
        """Of a post `{"run", "said", "have"}`: judgements that are acknowledged, how far the run is, further rows.

        A judgement that is none is acknowledged with an error: sent again, it would be none again.
        """
        run_id, have = str(data.get("run")), [number for number in data.get("have") or [] if isinstance(number, int)]
        said = [row for row in data.get("said") or [] if isinstance(row, dict)]
        try:
            ratings = Ratings(self.page.workspace.run(run_id))
        except GalenError:
            return {"run": run_id, "gone": True}
        error = self._keep(ratings, said, lang)
        judged = len(ratings.judgements())
        cards = ratings.cards(max(0, AHEAD - len(have)), without=have)
        return {
            "run": run_id,
            "task": ratings.task,
            "total": len(ratings.all_cards),
            "judged": judged,
            "left": len(ratings.all_cards) - judged,
            "cards": [card.model_dump(exclude_defaults=True) for card in cards],
            "acknowledged": [row.get("id") for row in said],
            "error": error,
            "at": time.time_ns(),  # an answer like the one before it is told, too
        }

    def _keep(self, ratings: Ratings, said: list[dict[str, Any]], lang: str) -> str:
        """Keep all that can be kept; returns what is wrong with the last that cannot."""
        wrong = ""
        coming = iter(said)
        while True:
            try:
                ratings.judge(coming)  # as far as it gets; what comes after a wrong one is still to come
                return wrong
            except GalenError as error:
                wrong = error_text(error, lang)[0]
