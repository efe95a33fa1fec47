"""The report and the answers of a comparison as parts of the run panel: what a session asks of them, and their panes.

A click on a figure of the report turns the inner tab of rows, or of answers, to what the figure was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr

from core.records_evaluation import Evaluation, evaluation_file
from core.records_report import TaxReport, report_file
from core.rundir import RunDir, read_record
from webui import views_judge, views_said, views_tax
from webui.figures import esc
from webui.items import Asked as Rows
from webui.items_part import ItemsPart
from webui.page import EACH
from webui.said import Asked
from webui.text import t
from webui.views import Snapshot


class SaidPart:
    """The inner tab "Answers"."""

    js = views_said.SAID_JS

    def build(self) -> None:
        self.asked = gr.State(Asked())

    def wire(self, pane: gr.HTML, select: gr.Dropdown) -> gr.events.Dependency:
        """The event after which the pane has to be drawn anew."""
        return pane.pick(self.picked, [select, self.asked], self.asked, **EACH)

    def picked(self, event: gr.EventData, run_id: str | None, asked: Asked) -> Asked:
        return asked.of(run_id or "").clicked(event._data or {})

    def draw(self, shot: Snapshot, asked: Asked, lang: str) -> str:
        return views_said.browser(shot.run, shot.state.live, asked, lang)


class ReportPart:
    """The pane above the inner tabs: the report, once there is one, and every figure. `copies`: files for saving."""

    js = views_tax.REPORT_JS

    def __init__(self, items: ItemsPart, said: SaidPart, copies: Callable[[RunDir], Sequence[Path]]) -> None:
        self.items, self.said, self.copies = items, said, copies

    def build(self) -> None:
        self.asked = gr.State(0)  # how often a figure was clicked: the panes beneath are drawn anew

    def wire(self, pane: gr.HTML, select: gr.Dropdown) -> gr.events.Dependency:
        states = [self.asked, self.items.asked, self.said.asked]
        return pane.pick(self.picked, [select, *states], states, **EACH)

    def picked(self, event: gr.EventData, run_id: str | None, clicks: int, rows: Rows, said: Asked) -> list[object]:
        """After a click on a figure: what is wanted of the rows, or of the answers."""
        data, run = dict(event._data or {}), run_id or ""
        if data.get("tab") == "samples":
            return [clicks + 1, rows, said.of(run).clicked(data)]
        rows = rows.of(run)
        for name in ("exam", "model", "sort"):
            rows = rows.clicked({name: data[name]}) if name in data else rows
        return [clicks + 1, rows, said]

    def draw(self, shot: Snapshot, asked: int, lang: str) -> str:
        found = read_record(evaluation_file(shot.run.output), Evaluation)
        figures = views_judge.table(shot, lang)
        if found is None:
            return figures
        figures += views_said.table(found, lang)
        made = read_record(report_file(shot.run.output), TaxReport)
        if made is None or not made.blocks or len(made.lines) < 2:
            return figures
        copies = [] if shot.state.live else self.copies(shot.run)
        every = f'<details class="tax-all"><summary>{esc(t("tax.all", lang))}</summary>{figures}</details>'
        return views_tax.report(made, found, copies, lang) + every
