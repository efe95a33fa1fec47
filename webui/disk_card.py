"""Models, adapters and caches on the disk, and a way to delete each: the fold "Models and disk" of the Runs tab.

Sizes are summed up when the fold is opened, not at every tick: a cache may hold many files.
"""

from __future__ import annotations

import gradio as gr

from core.errors import GalenError
from core.jobs import store
from core.models.disk_use import Item, remove, stored
from webui import views
from webui.figures import size
from webui.messages import error_text
from webui.page import QUIET, Page
from webui.text import t
from webui.views_disk import DISK_JS, table


class DiskCard:
    """Build it in the Runs tab; `wire` when everything is built."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def build(self) -> None:
        fold = self.page.labels.accordion("disk.title", open=False, elem_id="disk", elem_classes=["section", "other"])
        with fold as self.fold:
            self.note = gr.HTML("", elem_id="disk-note", elem_classes=["bare"])
            self.list = gr.HTML("", js_on_load=DISK_JS, elem_id="disk-list", elem_classes=["bare"])

    def wire(self) -> None:
        lang = self.page.lang
        self.fold.expand(self.shown, lang, [self.note, self.list], **QUIET)
        lang.input(self.shown, lang, [self.note, self.list], **QUIET)
        self.list.pick(self.removed, lang, [self.note, self.list], **QUIET)

    def shown(self, lang: str) -> list[str]:
        return ["", self._table(lang)]

    def removed(self, event: gr.EventData, lang: str) -> list[str]:
        """Delete what was clicked twice; what cannot be deleted says why."""
        workspace, data = self.page.workspace, event._data or {}
        key = (data.get("sort"), data.get("name"), data.get("run") or "")
        item = next((each for each in stored(workspace) if (each.sort, each.name, each.run) == key), None)
        if item is None:
            return self.shown(lang)
        try:
            self._remove(item)
        except GalenError as error:
            why = (views.by_name(part, workspace.runs_dir) for part in error_text(error, lang))
            return [views.say(*why), self._table(lang)]
        self.page.catalog.read(fresh=True)
        said = views.say(t("disk.removed", lang, name=item.name, size=size(item.size)), tone="good")
        return [said, self._table(lang)]

    def _table(self, lang: str) -> str:
        names = {run.id: run.name for run in self.page.catalog.read().runs}
        return table(stored(self.page.workspace), names, lang)

    def _remove(self, item: Item) -> None:
        if item.run:
            store.delete(self.page.workspace, self.page.workspace.run(item.run))
        else:
            remove(self.page.workspace, item)
