"""The chain in the sidebar: queue what is filled into the stages' forms, or rehearse it first.

One button queues the chosen stages, each to start from what the one before it makes; one does a few steps of each; one
rehearses everything on the samples with the tiny model. What is queued are runs like any others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import gradio as gr

from core.errors import ConfigError, GalenError, Problem
from core.pipeline import rehearsal
from core.pipeline.plan import Step, Wanted, plan, queue
from core.rundir import RunDir
from webui import views, views_listed, views_rows
from webui.catalog import Catalog
from webui.confine import confine
from webui.figures import esc
from webui.forms import Form
from webui.messages import error_text
from webui.page import QUIET, Page
from webui.text import stage_name, t
from webui.views_listed import BAD_ROWS

STAGES = ("pretrain", "sft", "reward", "ppo", "dpo", "evaluate")  # whose forms make a chain
USUAL = ("sft", "reward", "ppo", "evaluate")  # chosen at first
BUTTONS = (
    ("queue", "pipeline.queue", "pipeline.queue_help"),
    ("rehearse", "pipeline.rehearse", "pipeline.rehearse_help"),
    ("tiny", "pipeline.tiny", "pipeline.tiny_help"),
)
# A click on a run opens it; a button that asks first is told on the second click.
DO_JS = """element.addEventListener('click', (e) => {
  const run = e.target.closest('[data-run]'); if (run) { trigger('pick', {run: run.dataset.run}); return; }
  const button = e.target.closest('[data-do]'); if (!button || button.disabled) return;
  const { do: act, name, sure } = button.dataset;
  if (sure && button.textContent !== sure) { button.textContent = sure; return; }
  const stages = [...element.querySelectorAll('input:checked')].map((box) => box.value);
  trigger('act', {do: act, name, stages}); });"""
# The browser keeps the ticks, and whether the part is open; drawn anew, it gets them back.
KEEP_JS = """const boxes = () => [...element.querySelectorAll('input')], fold = () => element.querySelector('details');
const ticked = () => boxes().filter((box) => box.checked).map((box) => box.value);
const keep = () => galen.keep('chain', {stages: ticked(), open: fold().open});
const restore = () => {
  const kept = galen.kept('chain', null);
  if (!kept || !fold()) return;
  boxes().forEach((box) => { box.checked = kept.stages.includes(box.value); });
  fold().open = kept.open;
};
element.addEventListener('change', keep);
element.addEventListener('toggle', keep, true);
new MutationObserver(restore).observe(element, { childList: true, subtree: true });
restore();
"""


class WithForm(Protocol):
    form: Form


class ChainPart:
    """`build` in the sidebar; `wire` once every stage's form is placed."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def build(self) -> None:
        self.pane = self.page.labels.html(
            controls, js_on_load=KEEP_JS + DO_JS, elem_id="chain", elem_classes=["bare", "chain-part"]
        )
        self.note = self.page.labels.passing("chain-note")
        self.state = gr.HTML("", js_on_load=DO_JS, elem_id="rehearsal", elem_classes=["bare", "chain-part"])

    def wire(self, stages: Mapping[str, WithForm]) -> None:
        self.forms = {name: stages[name].form for name in STAGES}
        inputs = [component for form in self.forms.values() for component in form.components]
        self.pane.act(self.act, [self.page.lang, *inputs], self.note, **QUIET)
        self.state.act(self.drop, self.page.lang, self.note, **QUIET)
        told = [self.state, self.note]
        rows = [form.component(BAD_ROWS) for form in self.forms.values() if BAD_ROWS in form.keys]
        self.page.on_catalog(self.news, [self.note, *rows], told)
        gr.on([each.change for each in rows], self.look, [self.page.lang, self.note, *rows], told, **QUIET)

    # -- showing ------------------------------------------------------------------------------------------------------
    def news(self, catalog: Catalog, lang: str, note: str, *rows: str) -> list[Any]:
        """Updates of (list, note): how the newest chain or rehearsal stands. `rows`: what the forms that have a say in
        it do with unusable rows. That runs were queued is said until one of them has ended."""
        found = views_listed.newest(self.page.workspace, catalog.runs)
        if found is None:
            return ["", gr.skip()]
        chat = rehearsal.outcome(self.page.workspace, [self._dir(run.id) for run in found.runs]).chat
        asked = [stage for stage, form in self.forms.items() if BAD_ROWS in form.keys]
        strict = [stage for stage, value in zip(asked, rows, strict=True) if value != "drop"]
        begun = all(run.state.live and run.held is None for run in found.runs)
        gone = "notice good" in (note or "") and not begun
        return [views_listed.listing(found, chat, strict, lang), "" if gone else gr.skip()]

    def look(self, lang: str, note: str, *rows: str) -> list[Any]:
        return self.news(self.page.catalog.read(), lang, note, *rows)

    def _dir(self, run_id: str) -> RunDir:
        return RunDir(self.page.workspace.runs_dir / run_id)

    # -- acting -------------------------------------------------------------------------------------------------------
    def act(self, event: gr.EventData, lang: str, *values: Any) -> Iterator[str]:
        """That it is being done, then what became of the button that was pressed, in words."""
        yield views.say(t("pipeline.working", lang), tone="calm")
        yield self._done(event._data or {}, lang, values)

    def _done(self, wanted: Mapping[str, Any], lang: str, values: Sequence[Any]) -> str:
        chosen = [stage for stage in STAGES if stage in (wanted.get("stages") or ())]
        workspace = self.page.workspace
        try:
            if wanted.get("do") == "tiny":
                runs = rehearsal.start(workspace, rehearsal.samples(workspace, rehearsal.tiny(workspace), lang))
            elif wanted.get("do") == "rehearse":
                runs = rehearsal.start(workspace, rehearsal.limited(self._plan(chosen, values)))
            else:
                runs = queue(workspace, self._plan(chosen, values))
        except GalenError as error:
            return _complaint(error, lang)
        self.page.catalog.read(fresh=True)
        names = " → ".join(stage_name(run.stage, lang) for run in runs)
        return views.say(t("pipeline.queued", lang, count=len(runs)), names, tone="good")

    def _plan(self, chosen: Sequence[str], values: Sequence[Any]) -> list[Step]:
        """The chain of the forms. Raises ConfigError, for paths outside the roots among others."""
        wanted, problems, at = [], [], 0
        for stage, form in self.forms.items():
            mine = values[at : at + len(form.keys)]
            at += len(form.keys)
            if stage in chosen:
                read = form.read(mine)
                found = confine(read, self.page.workspace)
                problems += [Problem(each.code, each.params, key=f"{stage}.{each.key}") for each in found]
                wanted.append(Wanted(stage, stage, form=read))
        if problems:
            raise ConfigError(problems)
        return plan(self.page.workspace, wanted)

    def drop(self, event: gr.EventData, lang: str) -> str:
        """Remove the runs of the rehearsal whose button was clicked, unless some are at work."""
        name = str((event._data or {}).get("name") or "")
        runs = [run for run in self.page.catalog.read(fresh=True).runs if name and run.rehearsal == name]
        if not views_listed.Listed(runs, name).settled:
            return views.say(t("pipeline.drop_live", lang))
        try:
            gone = rehearsal.remove(self.page.workspace, name) if runs else []
        except GalenError as error:
            return _complaint(error, lang)
        self.page.catalog.read(fresh=True)
        return views.say(t("pipeline.dropped", lang, count=len(gone)), tone="calm")


def _complaint(error: GalenError, lang: str) -> str:
    return views.say(*error_text(error, lang)) + views_rows.problem_list(error.problems, lang)


def controls(lang: str) -> str:
    """The stages to choose from, and the three buttons."""
    boxes = "".join(
        f'<label><input type="checkbox" value="{stage}"{" checked" if stage in USUAL else ""}>'
        f"{esc(stage_name(stage, lang))}</label>"
        for stage in STAGES
    )
    buttons = "".join(
        f'<button type="button" data-do="{name}" title="{esc(t(about, lang))}">{esc(t(label, lang))}</button>'
        for name, label, about in BUTTONS
    )
    return (
        f"<details><summary>{esc(t('pipeline.title', lang))}</summary>"
        f'<p class="quiet">{esc(t("pipeline.help", lang))}</p>'
        f'<div class="boxes">{boxes}</div><div class="buttons">{buttons}</div></details>'
    )
