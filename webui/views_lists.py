"""Lists: devices and runs of the sidebar, the table of runs, and rows of a dataset in full. No gradio."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from core.hardware import Device
from core.jobs.store import RunSummary
from core.records import STARTING_PHASES
from webui.figures import clock, count, duration, esc, figure, size
from webui.states import badge, state_class, state_text
from webui.text import stage_name, t
from webui.views import empty

MARK = (
    '<svg viewBox="0 0 26 26" aria-hidden="true"><rect width="26" height="26" rx="7" fill="var(--accent)"/>'
    '<path d="M5 15.5h4l2.2-7 3.6 10 2-5.5H21" fill="none" stroke="var(--accent-ink)" stroke-width="1.9" '
    'stroke-linecap="round" stroke-linejoin="round"/></svg>'
)

LIVE_SHOWN, RECENT_SHOWN, TABLE_SHOWN = 6, 6, 200
ENDS_TOLD = 40  # runs among which the browser finds those that have ended since it looked


# -- sidebar ----------------------------------------------------------------------------------------------------------
def device_list(devices: Sequence[Device], holders: Mapping[str, str], names: Mapping[str, str], lang: str) -> str:
    """A gauge of used memory for each device, and who computes on it. `names`: run id → name."""
    rows = []
    for device in devices:
        used = 1 - device.memory_free / device.memory_total if device.memory_total else 0.0
        memory = t("side.memory", lang, free=size(device.memory_free), total=size(device.memory_total))
        holder = holders.get(device.id)
        who = t("side.held", lang, holder=names.get(holder, holder)) if holder else t("side.idle", lang)
        rows.append(
            f'<div class="device{" held" if holder else ""}"><div class="line"><b>{esc(device.id)}</b>'
            f'<span title="{esc(device.name)}">{esc(device.name)}</span></div>'
            f'<div class="bar"><i style="width:{used * 100:.0f}%"></i></div>'
            f'<div class="sub"><span>{esc(memory)}</span><span>{esc(who)}</span></div></div>'
        )
    return f"<h5>{esc(t('side.devices', lang))}</h5>{''.join(rows)}"


def side_runs(runs: Sequence[RunSummary], lang: str) -> str:
    """The live runs with their progress, and below them the latest others; each opens its run."""
    live = in_turn([run for run in runs if run.state.live])[:LIVE_SHOWN]
    done = by_end([run for run in runs if not run.state.live])[:RECENT_SHOWN]
    parts = [_ends(runs, lang), f"<h5>{esc(t('side.live', lang))}</h5>"]
    parts.extend(_side_run(run, lang) for run in live)
    if not live:
        parts.append(f'<p class="quiet">{esc(t("side.nothing_live" if runs else "side.no_runs", lang))}</p>')
    if done:
        parts.append(f"<h5>{esc(t('side.recent', lang))}</h5>")
        parts.extend(_side_run(run, lang) for run in done)
    return "".join(parts)


def by_end(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Those that ended last first; by when it was created where nobody could tell the end."""
    return sorted(runs, key=lambda run: run.ended or run.created, reverse=True)


def in_turn(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """`runs`, newest first, with those of one chain in the order in which they run; the newest chain stays first."""
    by_id = {run.id: run for run in runs}
    chain = {run.id: {run.id} for run in runs}  # with whom a run hangs together
    for run in runs:
        for parent in run.parents:
            if parent in chain and chain[parent] is not chain[run.id]:
                chain[run.id] |= chain[parent]
                chain.update(dict.fromkeys(chain[parent], chain[run.id]))
    found: dict[str, RunSummary] = {}

    def place(run: RunSummary, below: frozenset[str] = frozenset()) -> None:
        for parent in run.parents:
            if parent in by_id and parent not in found and parent not in below:
                place(by_id[parent], below | {run.id})
        found.setdefault(run.id, run)

    for newest in runs:
        for run in reversed(runs):  # as they were queued
            if run.id in chain[newest.id]:
                place(run)
    return list(found.values())


def _ends(runs: Sequence[RunSummary], lang: str) -> str:
    """What page.js tells of runs that end: each run's name, and how it ended, "" while it lives; and the bell."""
    newest = by_end(runs)[:ENDS_TOLD]
    watched = [*(run for run in runs if run.state.live), *(run for run in newest if not run.state.live)]
    told = {run.id: [run.name, "" if run.state.live else t(f"state.{run.state.value}", lang)] for run in watched}
    said = "".join(f"<span>{esc(t(f'ended.{name}', lang))}</span>" for name in ("on", "off", "denied"))
    ends = esc(json.dumps(told, ensure_ascii=False))
    return f'<button type="button" class="bell" data-state="off" data-ends="{ends}">{said}</button>'


def _side_run(run: RunSummary, lang: str) -> str:
    share = min(1.0, run.step / run.total) if run.total else 0.0
    moves = run.state.live and run.held is None
    bar = f'<div class="bar"><i style="width:{share * 100:.1f}%"></i></div>' if moves else ""
    facts = [state_text(run.state, run.held, lang)]
    if run.state.live and run.eta is not None:
        facts.append(t("run.eta", lang, time=duration(run.eta, lang)))
    elif not run.state.live:
        facts.append(clock(run.ended or run.created))
    return (
        f'<button type="button" class="side-run {state_class(run.state, run.held)}" data-run="{esc(run.id)}">'
        f'<span class="name">{esc(run.name)}</span>{bar}<span class="sub">{esc(" · ".join(facts))}</span></button>'
    )


# -- runs -------------------------------------------------------------------------------------------------------------
def run_table(
    runs: Sequence[RunSummary],
    total: int,
    chosen: str | None,
    lang: str,
    most: int = TABLE_SHOWN,
    ticked: Container[str] = (),
) -> str:
    """The table of runs; rows carry the run's id. `ticked`: those that stand beside each other."""
    if not total:
        return empty(t("runs.none", lang))
    if not runs:
        return empty(t("runs.no_match", lang))
    heads = "".join(
        f'<th class="{name}">{esc(t(f"runs.col_{name}", lang))}</th>'
        for name in ("name", "state", "progress", "loss", "duration", "created")
    )
    body = "".join(_run_row(run, run.id == chosen, run.id in ticked, lang) for run in runs[:most])
    shown = esc(t("runs.count", lang, shown=count(min(len(runs), most)), count=count(total)))
    table = f'<table class="table"><thead><tr><th class="marks"></th>{heads}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div><p class="quiet">{shown}</p>'


def _run_row(run: RunSummary, chosen: bool, ticked: bool, lang: str) -> str:
    shown = size if run.unit == "byte" else count
    trains = run.total and run.phase not in STARTING_PHASES  # before that it counts the rows that it reads
    at = f"{shown(run.step)} / {shown(run.total)}" if trains else "–"
    about = [stage_name(run.stage, lang), *run.devices, *([t("runs.is_imported", lang)] if run.imported else [])]
    tags = "".join(f'<em class="tag">{esc(tag)}</em>' for tag in run.tags)
    tags = f'<div class="tags">{tags}</div>' if tags else ""
    note = f' title="{esc(run.note)}"' if run.note else ""
    tick = f'<input type="checkbox" data-tick="{esc(run.id)}"{" checked" if ticked else ""}'
    return (
        f'<tr data-run="{esc(run.id)}" tabindex="0" class="{"chosen" if chosen else ""}">'
        f'<td class="marks">{tick} title="{esc(t("runs.compare", lang))}">{star(run.id, run.star, lang)}</td>'
        f'<td class="name"{note}><b>{esc(run.name)}</b><span>{esc(" · ".join(about))}</span>{tags}</td>'
        f'<td class="state">{badge(run.state, run.held, lang)}</td><td class="progress">{esc(at)}</td>'
        f'<td class="loss">{_worth(run, lang)}</td><td class="duration">{esc(duration(run.duration, lang))}</td>'
        f'<td class="created">{esc(clock(run.created))}</td></tr>'
    )


def star(run: str, on: bool, lang: str) -> str:
    said = esc(t("runs.star", lang))
    return (
        f'<button type="button" class="star{" on" if on else ""}" data-star="{esc(run)}" '
        f'aria-pressed="{str(on).lower()}" aria-label="{said}" title="{said}">{"★" if on else "☆"}</button>'
    )


def _worth(run: RunSummary, lang: str) -> str:
    """The last loss; of a run that has none, the last reward, and that it is one."""
    if run.loss is None and run.reward is not None:
        return f"{esc(t('figure.reward', lang))} {figure(run.reward)}"
    return figure(run.loss)


# -- data -------------------------------------------------------------------------------------------------------------
def data_rows(rows: Sequence[Mapping[str, Any]], first: int, total: int, lang: str) -> str:
    """Canonical rows as conversations; anything else as its fields."""
    if not rows:
        return empty(t("data.choose_one", lang))
    blocks = "".join(numbered(first + at + 1, row_text(row, lang)) for at, row in enumerate(rows))
    note = t("data.rows_from", lang, first=count(first + 1), last=count(first + len(rows)), total=count(total))
    return f'<div class="rows">{blocks}</div><p class="quiet">{esc(note)}</p>'


def numbered(number: int, body: str) -> str:
    """One row, with the number that it is known by."""
    return f'<article class="data-row"><span class="number">{number}</span><div>{body}</div></article>'


def row_text(row: Mapping[str, Any], lang: str) -> str:
    """One canonical row as a conversation, or as its fields."""
    if "messages" in row:
        return _turns(row["messages"], lang)
    parts = []
    for key, value in row.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            parts.append(f"<h6>{esc(_role(key, lang))}</h6>{_turns(value, lang)}")
        else:
            parts.append(_turn(key, _field(key, value), lang))
    return "".join(parts)


def _field(key: str, value: Any) -> str:
    """Texts in a list stand below each other, choices with the letters that answers name them by."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return value if isinstance(value, str) else str(value)
    lettered = key == "choices" and len(value) <= len(ascii_uppercase)
    return "\n".join(f"{ascii_uppercase[at]}. {each}" if lettered else each for at, each in enumerate(value))


def _turns(messages: Sequence[Mapping[str, Any]], lang: str) -> str:
    return "".join(_turn(str(message.get("role", "")), str(message.get("content", "")), lang) for message in messages)


def _role(role: str, lang: str) -> str:
    try:
        return t(f"role.{role}", lang)
    except KeyError:
        return role


def _turn(role: str, content: str, lang: str) -> str:
    return f'<div class="turn {esc(role)}"><span>{esc(_role(role, lang))}</span><p>{esc(content)}</p></div>'


def brand(lang: str) -> str:
    said = esc(t("app.tagline", lang))  # page.js takes the language of the whole page from here
    return f'<div class="brand" lang="{lang}">{MARK}<div><b>Galen</b><span>{said}</span></div></div>'
