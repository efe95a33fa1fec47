"""Where in the chain a run stands, and what holds one that waits. No gradio."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from core.errors import Problem
from core.jobs.failures import explain
from core.jobs.store import RunSummary, releasable
from core.rundir import RunDir, State
from core.runs.curves import name_of
from core.workspace import Workspace
from webui.figures import esc
from webui.messages import code_text, result_text
from webui.states import state_class, state_text
from webui.text import stage_name, t
from webui.views import Snapshot

# The places of a chain, in order; PPO and DPO are two ways of one.
PLACES: tuple[tuple[str, ...], ...] = (("pretrain",), ("sft",), ("reward",), ("ppo", "dpo"), ("merge",), ("evaluate",))
OPTIONAL = ("pretrain", "merge")
STRIP_STAGES = tuple(stage for place in PLACES for stage in place)

# A click on a run opens it; one on a button beside a waiting run has it start.
CHAIN_JS = """element.addEventListener('click', (e) => {
  const go = e.target.closest('[data-release]'); if (go) { trigger('release', {run: go.dataset.release}); return; }
  const row = e.target.closest('[data-run]'); if (row) trigger('pick', {run: row.dataset.run}); });"""


# -- the strip --------------------------------------------------------------------------------------------------------
def strip(runs: Sequence[RunSummary], shown: str | None, stage: str, lang: str) -> str:
    """The chain of the run `shown` (or, without one, the places alone), with the page's own `stage` marked.

    `runs`: all of the workspace, newest first.
    """
    if stage not in STRIP_STAGES:
        return ""
    own = next((run for run in runs if run.id == shown), None)
    found = {} if own is None else relatives(runs, own)
    places = "".join(_place(place, found, stage, lang) for place in PLACES)
    return f'<nav class="chain" aria-label="{esc(t("pipeline.strip", lang))}">{places}</nav>'


def relatives(runs: Sequence[RunSummary], own: RunSummary, *, beside: bool = False) -> dict[str, RunSummary]:
    """By stage: `own`; else what it comes from, the nearest first; else what has come of it, the newest first.

    `beside`: else what has come of those that it comes from.
    """
    by_id = {run.id: run for run in runs}
    above = [by_id[name] for name in _closure(own.id, {run.id: run.parents for run in runs}) if name in by_id]
    children: dict[str, list[str]] = {}
    for run in runs:
        for parent in run.parents:
            children.setdefault(parent, []).append(run.id)
    below = set(_closure(own.id, children))
    around = {name for run in above for name in _closure(run.id, children)} if beside else set()
    found: dict[str, RunSummary] = {}
    for run in (own, *above, *(run for names in (below, around) for run in runs if run.id in names)):
        found.setdefault(run.stage, run)
    return found


def _closure(start: str, links: Mapping[str, Collection[str]]) -> list[str]:
    """Everything that `links` lead to from `start`, the nearest first."""
    found: dict[str, None] = {}
    left = [start]
    while left:
        for name in links.get(left.pop(0), ()):
            if name not in found and name != start:
                found[name] = None
                left.append(name)
    return list(found)


def _place(place: tuple[str, ...], found: Mapping[str, RunSummary], stage: str, lang: str) -> str:
    """A place with its run; of PPO and DPO the one that is shown, or that there is."""
    there = [name for name in place if name in found]
    name = stage if stage in place else (there or place)[0]
    run = found.get(name)
    here = " here" if stage in place else ""
    label = f"<b>{esc(stage_name(name, lang))}</b>"
    if run is None:
        note = t("pipeline.optional", lang) if name in OPTIONAL else "–"
        return f'<span class="place none{here}">{label}<span>{esc(note)}</span></span>'
    state, said = state_class(run.state, run.held), state_text(run.state, run.held, lang)
    said = t("pipeline.waits", lang) if run.held is None and run.state is State.QUEUED and run.parents else said
    return (
        f'<button type="button" class="place {state}{here}" data-run="{esc(run.id)}" title="{esc(run.name)}">'
        f"{label}<span>{esc(said)}</span></button>"
    )


# -- a run that waits -------------------------------------------------------------------------------------------------
def held_notice(shot: Snapshot, lang: str) -> str:
    """What holds a waiting run, with buttons that open the run at fault, and, where it can do without, have it start
    all the same; "" for one that nothing holds."""
    if shot.held is None:
        return ""
    said, remedy = held_text(shot.run, shot.held, lang)
    buttons = []
    parent = RunDir(shot.run.path.parent / str(shot.held.params["parent"]))
    if parent.exists():
        label = esc(t("pipeline.open", lang, name=name_of(parent)))
        buttons.append(f'<button type="button" class="go" data-run="{esc(parent.id)}">{label}</button>')
    if releasable(Workspace(shot.run.path.parent.parent), shot.run):
        label = esc(t("pipeline.release", lang))
        buttons.append(f'<button type="button" class="go" data-release="{esc(shot.run.id)}">{label}</button>')
    row = f"<div>{' '.join(buttons)}</div>" if buttons else ""
    return f'<div class="notice bad held" role="status"><b>{esc(said)}</b> {esc(remedy)}{row}</div>'


def held_text(run: RunDir, problem: Problem, lang: str) -> tuple[str, str]:
    """(sentence, remedy), with the reason of the run at fault in the reader's language, too, and its shown name."""
    parent = RunDir(run.path.parent / str(problem.params["parent"]))
    why = explain(parent) if parent.exists() else None
    params = {**problem.params, "parent": name_of(parent), "why": result_text(why, lang)[0] if why is not None else ""}
    return code_text(problem.code, params, lang)
