"""The Data tab's lists: the library and its versions, files that wait, imports under way, the catalogue. No gradio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.data.bring.catalogue import Entry
from core.data.store.library import Dataset
from core.jobs.store import resumable, stop_deadline
from core.rundir import State
from webui import views
from webui.figures import clock, count, esc, size
from webui.intake import Waiting
from webui.messages import error_text, problem_text, reason
from webui.text import has, stage_name, t
from webui.text_steps import step_label

REASONS_SHOWN = 6


def named(family: str, key: str, lang: str) -> str:
    """`family.key` where the page has a word for it, else the key itself."""
    return t(f"{family}.{key}", lang) if has(f"{family}.{key}") else key


def chips(stages: Iterable[str], lang: str) -> str:
    return "".join(f'<span class="chip">{esc(stage_name(stage, lang))}</span>' for stage in stages)


# -- library ----------------------------------------------------------------------------------------------------------
def library(datasets: Sequence[Dataset], chosen: str | None, lang: str) -> str:
    """Every version, newest first; versions of one name stand together beneath the newest."""
    if not datasets:
        return views.empty(t("data.none", lang))
    groups: dict[str, list[Dataset]] = {}
    for dataset in datasets:
        groups.setdefault(dataset.name, []).append(dataset)
    blocks = []
    for versions in groups.values():
        entries = "".join(_entry(dataset, dataset.ref == chosen, at > 0, lang) for at, dataset in enumerate(versions))
        blocks.append(f'<div class="versions">{entries}</div>')
    return f'<div class="datasets">{"".join(blocks)}</div>'


def _entry(dataset: Dataset, chosen: bool, older: bool, lang: str) -> str:
    card = dataset.card
    facts = [named("kind", card.kind, lang), t("data.row_count", lang, rows=count(card.rows))]
    marks = f"{' chosen' if chosen else ''}{' older' if older else ''}"
    name = "" if older else f"<b>{esc(dataset.name)}</b>"
    return (
        f'<button type="button" class="dataset{marks}" data-ref="{esc(dataset.ref)}" title="{esc(dataset.ref)}">'
        f'{name}<span class="version">{esc(dataset.version)}</span>'
        f'<span class="sub">{esc(" · ".join(facts))}</span></button>'
    )


def details(dataset: Dataset, lang: str) -> str:
    """What the card of a version says: kind, rows, stages, languages, licence, where it comes from, what went."""
    card = dataset.card
    rows = [
        (t("library.kind", lang), esc(named("kind", card.kind, lang))),
        (t("library.rows", lang), esc(count(card.rows))),
        (t("library.stages", lang), chips(card.stages, lang) or "–"),
    ]
    if card.languages:
        rows.append((t("library.languages", lang), _shares(card.languages, "language", lang)))
    if len(card.sources) > 1:
        rows.append((t("library.sources", lang), _shares(card.sources, "", lang, dataset.name)))
    if card.duplicates is not None:
        rows.append((t("library.duplicates", lang), esc(count(card.duplicates))))
    if card.repaired:
        rows.append((t("library.repaired", lang), esc(t("data.row_count", lang, rows=count(card.repaired)))))
    if card.dropped:
        rows.append((t("library.dropped", lang), _dropped(card.dropped, card.dropped_counts, lang)))
    rows.append((t("library.licence", lang), esc(card.licence or t("catalogue.no_licence", lang))))
    rows.append((t("library.from", lang), _lineage(dataset, lang)))
    rows.append((t("library.added", lang), esc(clock(card.created))))
    pairs = "".join(f'<div class="pair"><dt>{esc(name)}</dt><dd>{value}</dd></div>' for name, value in rows)
    head = f'<h4 class="ref"><b>{esc(dataset.name)}</b><code>@{esc(dataset.version)}</code></h4>'
    return f'{head}<div class="config wide card-facts"><section><dl>{pairs}</dl></section></div>'


def _shares(counts: Mapping[str, int], family: str, lang: str, own: str = "") -> str:
    """The largest four parts in percent. `own` names the part without a name."""
    total = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])[:4]
    parts = [f"{named(family, key, lang) if family else key or own} {100 * n / total:.0f} %" for key, n in ordered]
    return esc(" · ".join(parts)) + (" …" if len(counts) > 4 else "")


def _dropped(dropped: int, counts: Mapping[str, int], lang: str) -> str:
    listed = "".join(f"<li>{esc(reason(code, lang))} · {count(n)}</li>" for code, n in _most(counts))
    return f"{count(dropped)}<ul>{listed}</ul>"


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])[:REASONS_SHOWN]


def _lineage(dataset: Dataset, lang: str) -> str:
    """From which datasets, by which steps, it was made; or the file or set that it came from."""
    card = dataset.card
    if not card.parents:
        came = card.origin or card.source_name
        return f"<code>{esc(came)}</code> {esc(size(card.source_bytes))}"
    links = " + ".join(
        f'<button type="button" class="link" data-ref="{esc(ref)}">{esc(ref)}</button>' for ref in card.parents
    )
    steps = "".join(
        f"<li>{esc(step_label(step.do, lang))} <span>{count(step.before)} → {count(step.after)}</span></li>"
        for step in card.steps
    )
    return f"{links}{f'<ol>{steps}</ol>' if steps else ''}"


# -- files that wait --------------------------------------------------------------------------------------------------
def waiting(items: Sequence[Waiting], shown: str, lang: str) -> str:
    """One line a file: name, size, and how far its check or import is; each can be chosen."""
    if len(items) < 2 and not any(item.busy for item in items):
        return ""
    return f'<div class="waiting">{"".join(_waiting(item, item.key == shown, lang) for item in items)}</div>'


def _waiting(item: Waiting, shown: bool, lang: str) -> str:
    mark = " chosen" if shown else ""
    return (
        f'<button type="button" class="waits {item.phase}{mark}" data-key="{esc(item.key)}">'
        f'<b>{esc(item.path.name)}</b><span class="size">{esc(size(item.size))}</span>'
        f'<span class="sub">{esc(_standing(item, lang))}</span>{bar(item) if item.busy else ""}</button>'
    )


def _standing(item: Waiting, lang: str) -> str:
    report = item.report
    if item.phase == "failed":
        return error_text(item.error, lang)[0] if item.error is not None else ""
    if item.phase != "checked" or report is None:
        return t(f"waiting.{item.phase}", lang)
    if not report.rows and report.problems:
        return problem_text(report.problems[0], lang)
    bad = report.rows - report.usable
    if bad:
        return t("waiting.some_bad", lang, rows=count(report.rows), bad=count(bad))
    return t("waiting.all_good", lang, rows=count(report.rows))


def bar(item: Waiting) -> str:
    done, total = item.done
    share = min(1.0, done / total) if total else 0.0
    moving = "" if done else " moving"
    return f'<div class="bar{moving}"><i style="width:{share * 100:.1f}%"></i></div>'


def working(item: Waiting, lang: str) -> str:
    """The work on the shown file: what, how many bytes of how many, and the bar."""
    done, total = item.done
    at = f"{size(done)} / {size(total)}" if done else size(total)
    said = esc(t(f"waiting.{item.phase}", lang))
    return f'<div class="progress"><div class="line"><b>{said}</b><span>{esc(at)}</span></div>{bar(item)}</div>'


# -- imports under way ------------------------------------------------------------------------------------------------
def imports(shown: Sequence[tuple[views.Snapshot, Dataset | None]], lang: str) -> str:
    """Import runs with their progress, what came of them or why they ended, and what can be done with each."""
    return "".join(_import(shot, made, lang) for shot, made in shown)


def _import(shot: views.Snapshot, made: Dataset | None, lang: str) -> str:
    state = shot.state
    acts = [("look", "data.look")] if made is not None else []
    if state.live and state is not State.STOPPING:
        acts.append(("stop", "run.stop"))
    if resumable(shot.run, state):
        acts.append(("resume", "run.resume"))
    if bad_rows_in_the_way(shot):
        acts.append(("drop", "data.import_drop"))
    if not state.live:
        acts.append(("dismiss", "bring.dismiss"))
    buttons = "".join(
        f'<button type="button" class="act" data-act="{act}" data-run="{esc(shot.run.id)}">{esc(t(key, lang))}</button>'
        for act, key in acts
    )
    deadline = stop_deadline(shot.run) if state is State.STOPPING else None
    told = views.progress(shot, lang, deadline) if made is None else f"<p>{esc(added(made, lang))}</p>"
    return (
        f'<article class="import {state.value}"><div class="import-head"><b>{esc(shot.name)}</b>'
        f'<span class="acts">{buttons}</span></div>{told}</article>'
    )


def added(dataset: Dataset, lang: str) -> str:
    """What an import has brought."""
    key = "data.imported_dropped" if dataset.card.dropped else "data.imported"
    return t(key, lang, ref=dataset.ref, rows=count(len(dataset)), dropped=count(dataset.card.dropped))


def bad_rows_in_the_way(shot: views.Snapshot) -> bool:
    """Whether the import ended because of rows that it could go without."""
    result = shot.result
    if shot.state is not State.FAILED or result is None:
        return False
    return (shot.config.get("rows") or {}).get("bad_rows") == "stop" and result.code == "data.bad_rows"


# -- catalogue --------------------------------------------------------------------------------------------------------
def catalogue(entries: Sequence[Entry], present: Mapping[str, Any], lang: str) -> str:
    """The sets that fit, each with what it is, its licence and a button that imports it."""
    if not entries:
        return views.empty(t("catalogue.none", lang))
    return f'<div class="sets">{"".join(_set(entry, entry.name in present, lang) for entry in entries)}</div>'


def _set(entry: Entry, present: bool, lang: str) -> str:
    facts = [
        t("data.row_count", lang, rows=count(entry.rows)) if entry.rows else t("catalogue.rows_unknown", lang),
        size(entry.megabytes * 1e6) if entry.megabytes else t("catalogue.size_unknown", lang),
        " + ".join(named("language", code, lang) for code in entry.languages),
    ]
    warning = f'<p class="warn">{esc(entry.warning.text(lang))}</p>' if entry.warning else ""
    here = f'<span class="here">{esc(t("catalogue.present", lang))}</span>' if present else ""
    said = t("catalogue.import_again" if present else "catalogue.import", lang)
    return (
        f'<article class="set"><div class="set-text"><b>{esc(entry.title.text(lang))}</b> {here}'
        f"<code>{esc(entry.repo)}</code><p>{esc(entry.about.text(lang))}</p>{warning}"
        f'<div class="set-facts">{chips(entry.stages, lang)}<span>{esc(" · ".join(facts))}</span>'
        f'<span class="licence">{esc(entry.licence or t("catalogue.no_licence", lang))}</span></div></div>'
        f'<button type="button" class="act" data-set="{esc(entry.name)}">{esc(said)}</button></article>'
    )
