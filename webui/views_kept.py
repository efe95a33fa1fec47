"""What runs take on the disk, and the checkpoints of the chosen one, each with a button that asks once more. No gradio.

`BOARD_JS` (webui.views_board) does the asking, and names what is to go: `data-names`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from core.errors import Problem
from core.rundir import RunDir
from core.runs.checkpoints import Kept, Taken
from webui.figures import clock, count, esc, size
from webui.states import badge
from webui.text import t
from webui.views import empty, judged_by, title

MOST = 100  # rows of the table


def disk(
    taken: Sequence[Taken],
    chosen: str | None,
    kept: Sequence[Kept],
    names: Mapping[str, str],
    held: Mapping[str, Problem | None],
    live: bool,
    lang: str,
) -> str:
    """names: run id → name. held: run id → why it will not start by itself. kept: checkpoints of the chosen run."""
    own = next((each for each in taken if each.run == chosen), None)
    if own is None:
        first = f'<p class="quiet">{esc(t("kept.choose", lang))}</p>'
    else:
        first = title(t("kept.of", lang, name=own.name)) + checkpoints(kept, RunDir(own.run).stage, names, live, lang)
    return f'<div class="kept">{first}{runs(taken, chosen, held, lang)}</div>'


def checkpoints(kept: Sequence[Kept], stage: str, names: Mapping[str, str], live: bool, lang: str) -> str:
    if not kept:
        return empty(t("kept.none", lang))
    rows = "".join(_row(each, stage, names, live, lang) for each in reversed(kept))
    table = f'<table class="table disk"><tbody>{rows}</tbody></table>'
    if live:
        return f'{table}<p class="quiet">{esc(t("kept.live", lang))}</p>'
    most = [each for each in kept if not (each is kept[-1] or each.best)]
    if not most:
        return table
    said = t("kept.remove_most", lang, size=size(sum(each.size for each in most)))
    used = [warning for each in most if (warning := _used(each, names, lang))]
    return table + (
        f'<div class="kept-most disk" data-names="{_names(most)}">{_buttons(said, lang)}'
        f'<p class="then">{esc(" ".join(used))}</p></div>'
    )


def _row(each: Kept, stage: str, names: Mapping[str, str], live: bool, lang: str) -> str:
    facts = [t("kept.torn", lang)] if not each.whole else []
    facts += [clock(each.saved_at)] if each.saved_at is not None else []
    facts += [judged_by(stage, each.eval_loss, lang)] if each.eval_loss is not None else []
    marks = [t("kept.best", lang)] if each.best else []
    marks += [t("kept.resumes", lang)] if each.resumes else []
    more = [t("kept.delivered", lang)] if each.delivered else []
    marked = "".join(f'<em class="mark">{esc(mark)}</em>' for mark in marks)
    warning = [_used(each, names, lang), t("kept.lost_resume", lang) if each.resumes else ""]
    said = " ".join(filter(None, warning))
    doing = "" if live else _buttons(t("kept.remove", lang), lang)
    return (
        f'<tr data-names="{_names([each])}"><td class="name"><b>{esc(each.name)}</b>'
        f"<span>{esc(' · '.join(facts + more))}"
        f'</span><p class="then">{esc(said)}</p></td><td>{marked}</td><td class="number">{esc(size(each.size))}</td>'
        f'<td class="doing">{doing}</td></tr>'
    )


def _used(each: Kept, names: Mapping[str, str], lang: str) -> str:
    users = ", ".join(names.get(run, run) for run in each.used_by)
    return t("kept.used", lang, runs=users) if users else ""


def _names(kept: Sequence[Kept]) -> str:
    return esc(json.dumps([each.name for each in kept]))


def _buttons(first: str, lang: str) -> str:
    rows = (
        ("first", "ask", first),
        ("then danger", "remove", t("kept.sure", lang)),
        ("then", "no", t("kept.keep", lang)),
    )
    return "".join(
        f'<button type="button" class="to {kind}" data-do="{do}">{esc(said)}</button> ' for kind, do, said in rows
    )


def runs(taken: Sequence[Taken], chosen: str | None, held: Mapping[str, Problem | None], lang: str) -> str:
    """Every run, the largest first; a click chooses one."""
    if not taken:
        return ""
    most = max(each.total for each in taken) or 1
    heads = "".join(
        f'<th class="number">{esc(t(f"kept.col_{name}", lang))}</th>' for name in ("all", "checkpoints", "output")
    )
    body = "".join(
        f'<tr class="{"chosen" if each.run == chosen else ""}"><td class="name">'
        f'<a href="?tab=runs&amp;run={esc(each.run)}" '
        f'data-run="{esc(each.run)}">{esc(each.name)}</a> {badge(each.state, held.get(each.run), lang)}'
        f'<i class="weight" style="width:{100 * each.total / most:.1f}%"></i></td>'
        f'<td class="number">{esc(size(each.total))}</td><td class="number">{_count(each)}</td>'
        f'<td class="number">{esc(size(each.output))}</td></tr>'
        for each in taken[:MOST]
    )
    total = title(t("kept.runs", lang), t("kept.total", lang, size=size(sum(each.total for each in taken))))
    return (
        f'{total}<table class="table disk"><thead><tr><th>{esc(t("kept.run", lang))}</th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _count(each: Taken) -> str:
    return f'{esc(size(each.checkpoints))} <span class="quiet">×{count(each.count)}</span>' if each.count else "–"
