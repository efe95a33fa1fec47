"""Whether the form's run would fit, beneath its command: kept up to date while the form is edited, with *Apply*."""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.errors import ConfigError, GalenError
from core.fit.estimate import estimate
from core.fit.relief import relief
from core.jobs.failures import explain
from core.jobs.store import waiting_for_live
from webui import views
from webui.forms import Form
from webui.messages import error_text
from webui.page import QUIET, Page
from webui.text import t
from webui.views_fit import FIT_JS, ladder, pane


class FitPane:
    """`build` in its place, `wire` with the event after which the form may have changed."""

    def __init__(self, page: Page, form: Form) -> None:
        self.page = page
        self.form = form

    def build(self) -> None:
        self.shown = gr.HTML(
            "", js_on_load=FIT_JS, apply_default_css=False, elem_id=f"{self.form.stage}-fit", elem_classes=["bare"]
        )

    def wire(self, edited: Any) -> None:
        lang, fields = self.page.lang, self.form.components
        edited.then(self.look, [lang, *fields], self.shown, **QUIET)
        self.shown.apply(self.taken, None, fields, **QUIET)

    def look(self, lang: str, *values: Any) -> str:
        """The estimate of the form as it stands; nothing while something in it is wrong or missing."""
        try:
            config = self.form.resolve(values, self.page.workspace)
            if waiting_for_live(self.page.workspace, config).run.after:
                return views.say(t("fit.waits", lang), tone="calm")
            return pane(estimate(config, self.page.workspace), self.form.stage, lang)
        except ConfigError:
            return ""
        except GalenError as error:
            return views.say(*error_text(error, lang), tone="calm")

    def after_failure(self, shot: views.Snapshot, lang: str) -> str:
        """What a run that ran out of memory can be started again with; "" for every other run."""
        why = explain(shot.run, shot.state)
        rungs = relief(self.page.workspace, shot.run, why.code) if why is not None else []
        return f'<div class="fit">{ladder(rungs, "no", shot.stage, lang, "fit.again")}</div>' if rungs else ""

    def changed(self, event: gr.EventData) -> dict[str, Any]:
        """The settings that a click on a rung stands for."""
        changes = event._data.get("changes")
        return {key: value for key, value in (changes or {}).items() if key in self.form.known}

    def taken(self, event: gr.EventData) -> list[Any]:
        """A change was chosen: into the form with it, everything else stays."""
        return self.form.fill(self.changed(event), keep=self.form.keys)
