"""The newest chain, or rehearsal of one, as the sidebar lists it: its stages, how it ends, and where it leads. No
gradio.

A chain has no record of its own: it is the newest run that starts from another, with what that came from and what
comes of it. A step that was started again stands where the old one stood.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from core.configs.files import flat
from core.jobs.store import RunSummary
from core.pipeline.rehearsal import in_order
from core.rundir import RunDir, State
from core.workspace import Workspace
from webui.figures import clock, duration, esc
from webui.messages import result_text
from webui.states import state_class, state_text
from webui.text import stage_name, t
from webui.text_fields import choice_label, label
from webui.views_chain import STRIP_STAGES, relatives

BAD_ROWS = "data.bad_rows"


@dataclass(frozen=True)
class Listed:
    """A chain: the newest run of each step, in order. `rehearsal`: its name; "" for a real one. `lenient`: the stages
    of a rehearsal that were told to leave unusable rows out."""

    runs: list[RunSummary]
    rehearsal: str = ""
    lenient: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Nothing goes on by itself any more."""
        return not any(run.state.live and run.held is None for run in self.runs)


def newest(workspace: Workspace, runs: Sequence[RunSummary]) -> Listed | None:
    """The newest chain or rehearsal among all `runs` of the workspace, which stand newest first."""
    known = {run.id for run in runs}
    for run in runs:
        if run.rehearsal:
            return _rehearsal(workspace, run.rehearsal, runs)
        if run.stage in STRIP_STAGES and known.intersection(run.parents):
            found = [each for each in relatives(runs, run, beside=True).values() if not each.rehearsal]
            return Listed(sorted(found, key=lambda each: STRIP_STAGES.index(each.stage)))
    return None


def _rehearsal(workspace: Workspace, name: str, runs: Sequence[RunSummary]) -> Listed:
    """Its steps in the order in which they were first queued; all runs of a step bear the step's name."""
    known = {run.id: run for run in runs if run.rehearsal == name}
    steps: dict[str, RunDir] = {}
    for run in in_order([RunDir(workspace.runs_dir / each) for each in reversed(known)]):
        steps[known[run.id].name] = run  # what is written again keeps its place
    lenient = [run.stage for run in steps.values() if flat(run.config()).get(BAD_ROWS) == "drop"]
    return Listed([known[run.id] for run in steps.values()], name, tuple(lenient))


# -- what is shown ----------------------------------------------------------------------------------------------------
def listing(found: Listed, chat: str, strict: Collection[str], lang: str) -> str:
    """The stages with their ends, a verdict, and where the chain leads.

    `chat` is an address, "" while nothing was tuned. `strict`: the stages whose forms stop at unusable rows.
    """
    rows = "".join(
        f'<button type="button" class="side-run {state_class(run.state, run.held)}" data-run="{esc(run.id)}">'
        f'<span class="name">{esc(stage_name(run.stage, lang))}</span>'
        f'<span class="sub">{esc(_told(run, lang))}</span></button>'
        for run in found.runs
    )
    title = found.rehearsal or t("pipeline.chain_of", lang, time=clock(min(run.created for run in found.runs)))
    said = f'<p class="verdict">{esc(verdict(found, lang))}</p>' if found.settled else ""
    mend = rows_left_out(found, strict, lang)
    said += f'<p class="verdict bad">{esc(mend)}</p>' if mend else ""
    links = _links(found, chat, lang) if found.settled else []
    return f'<h5>{esc(title)}</h5>{rows}{said}<p class="links">{" · ".join(links)}</p>'


def _links(found: Listed, chat: str, lang: str) -> list[str]:
    links = [f'<a href="{esc(chat)}">{esc(t("pipeline.side_by_side", lang))}</a>'] if chat else []
    measured = next((run for run in reversed(found.runs) if run.stage == "evaluate"), None)
    if measured is not None and measured.state is State.SUCCEEDED:
        report = esc(t("pipeline.report", lang))
        links.append(f'<button type="button" class="link" data-run="{esc(measured.id)}">{report}</button>')
    if found.rehearsal:
        sure, drop = esc(t("pipeline.drop_sure", lang)), esc(t("pipeline.drop", lang))
        links.append(
            f'<button type="button" class="link" data-do="drop" data-name="{esc(found.rehearsal)}" '
            f'data-sure="{sure}">{drop}</button>'
        )
    return links


def verdict(found: Listed, lang: str) -> str:
    """How a chain has ended, in a sentence; the first stage that did not succeed is where it stops."""
    stops = [run for run in found.runs if run.state is not State.SUCCEEDED]
    if not stops:
        return t("pipeline.through" if found.rehearsal else "pipeline.finished", lang)
    first = next((run for run in stops if run.held is None), stops[0])
    state = state_text(first.state, first.held, lang)
    return t("pipeline.stops_at", lang, stage=stage_name(first.stage, lang), state=state)


def rows_left_out(found: Listed, strict: Collection[str], lang: str) -> str:
    """What the real chain would stop at: rows that the rehearsal was told to leave out, and the forms are not."""
    stages = [stage for stage in found.lenient if stage in strict]
    if not stages:
        return ""
    field, choice = label(stages[0], BAD_ROWS, lang), choice_label(BAD_ROWS, "drop", lang)
    names = ", ".join(stage_name(stage, lang) for stage in stages)
    return t("pipeline.rows_left_out", lang, stages=names, field=field, choice=choice)


def _told(run: RunSummary, lang: str) -> str:
    facts = [state_text(run.state, run.held, lang)]
    facts += [duration(run.duration, lang)] if run.duration is not None else []
    facts += [result_text(run.why, lang)[0]] if run.why is not None else []
    return " · ".join(facts)
