"""What a check found, as the Data tab shows it: evidence, verdicts, counts by reason, rows; and rows as converted.

No gradio.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.data.check.doctor import CheckReport
from core.data.check.repair import common_ends
from core.data.check.severity import is_error
from core.data.kinds import Row
from core.data.store.library import Dataset
from core.errors import Problem
from webui.figures import count, esc
from webui.messages import code_text, problem_text, reason
from webui.text import stage_name, t
from webui.views import say, title
from webui.views_data import named
from webui.views_lists import data_rows, numbered, row_text
from webui.views_rows import problem_rows

DIFFS_SHOWN = 20
FEW = 6  # findings that need no counting
ROWS_SHOWN = 5
CONTEXT = 120  # characters of what did not change, before and after what did
INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")


def check_report(report: CheckReport, lang: str) -> str:
    """How many rows can be used, what they were taken for and why, and what every stage can do with them."""
    if not report.rows:
        said = t("data.no_rows", lang)
    elif report.ok:
        said = t("data.all_usable", lang, rows=count(report.rows))
    else:
        said = t("data.usable", lang, usable=count(report.usable), rows=count(report.rows))
    share = report.usable / report.rows * 100 if report.rows else 0
    return (
        f'<div class="check {"clean" if report.ok else "mixed"}"><b>{esc(said)}</b>'
        f'<div class="bar"><i style="width:{share:.1f}%"></i></div>{_evidence(report, lang)}'
        f"{_verdicts(report, lang)}{_duplicates(report, lang)}</div>"
    )


def findings(report: CheckReport, lang: str) -> str:
    """Every finding with line, excerpt, reason and remedy: errors, and apart from them warnings."""
    errors = [problem for problem in report.problems if is_error(problem.code)]
    warnings = [problem for problem in report.problems if not is_error(problem.code)]
    parts = []
    if errors:
        bad = report.rows - report.usable
        mendable = t("data.mendable", lang, count=count(report.repairable)) if report.repairable else ""
        if bad:
            parts.append(title(t("data.unusable", lang, count=count(bad)), mendable))
        parts.append(grouped({code: n for code, n in report.counts.items() if is_error(code)}, lang))
        parts.append(problem_rows(errors, report.errors, lang))
    if warnings:
        head = esc(t("data.doubtful", lang, count=count(report.warnings)))
        inner = grouped({code: n for code, n in report.counts.items() if not is_error(code)}, lang)
        inner += problem_rows(warnings, report.warnings, lang)
        parts.append(f'<details class="more"{"" if errors else " open"}><summary>{head}</summary>{inner}</details>')
    return "".join(parts)


def _verdicts(report: CheckReport, lang: str) -> str:
    """What every stage can do with the file."""
    if report.kind is None:
        return ""
    items = []
    for stage, one in report.verdicts.items():
        kind = named("kind", str(one.why.params.get("kind", "")), lang)
        why = code_text(one.why.code, {**one.why.params, "kind": kind}, lang)[0]
        mark = "fits" if one.fits else "none"
        items.append(f'<li class="{mark}"><b>{esc(stage_name(stage, lang))}</b><span>{esc(why)}</span></li>')
    return f'<ul class="verdicts">{"".join(items)}</ul>'


def _duplicates(report: CheckReport, lang: str) -> str:
    found = report.duplicates
    if found is None or not found.normalised:
        return ""
    said = t("data.duplicates", lang, exact=count(found.exact), near=count(found.normalised))
    return f'<p class="evidence duplicates">{esc(said)}</p>'


def grouped(counts: Mapping[str, int], lang: str) -> str:
    """How often each reason occurs, the most frequent first; nothing where the table beneath says it at a glance."""
    if len(counts) < 2 or sum(counts.values()) <= FEW:
        return ""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    items = "".join(f"<li><b>{count(n)}</b>{esc(reason(code, lang))}</li>" for code, n in ordered)
    return f'<ul class="reasons">{items}</ul>'


def _evidence(report: CheckReport, lang: str) -> str:
    """The shape that was found, by which keys, and what it is good for: `conversations` …: ShareGPT → SFT."""
    why = report.evidence
    if why is None:
        return ""
    if report.format is None:
        return f'<p class="quiet">{esc(code_text(why.code, why.params, lang)[0])}</p>'
    shape = named("shape", report.format, lang)
    stages = ", ".join(stage_name(stage, lang) for stage in report.stages) or "–"
    found = f"{_keys(str(why.params.get('keys', '')), lang)}: <b>{esc(shape)}</b> → {esc(stages)}"
    if "matched" not in why.params:
        return f'<p class="evidence">{found}</p>'
    rows = t("data.matched", lang, matched=count(why.params["matched"]), rows=count(why.params["looked_at"]))
    return f'<p class="evidence">{found} <span class="quiet">({esc(rows)})</span></p>'


def _keys(described: str, lang: str) -> str:
    """`conversations[from, value]` in words; other descriptions of a shape as they are."""
    nested = re.fullmatch(r"(\w+)\[([\w, ]+)\]", described)
    if nested is None:
        return f"<code>{esc(described)}</code>"
    inner = "/".join(f"<code>{esc(key.strip())}</code>" for key in nested[2].split(","))
    return t("data.keys_with", lang, outer=f"<code>{esc(nested[1])}</code>", inner=inner)


def notes(report: CheckReport, lang: str) -> str:
    """What is worth saying of the file and makes no row unusable."""
    return "".join(say(*code_text(note.code, note.params, lang), tone="calm") for note in report.notes)


# -- rows -------------------------------------------------------------------------------------------------------------
def first_rows(first: Sequence[tuple[int, Any, Row | Problem]], lang: str) -> str:
    """The first rows of the file as they would be converted; of the others, what stands in their way."""
    blocks = []
    for line, _, found in first:
        said = (
            f'<p class="stands-in-the-way">{esc(problem_text(found, lang))}</p>'
            if isinstance(found, Problem)
            else row_text(found, lang)
        )
        blocks.append(numbered(line, said))
    return title(t("tune.first_rows", lang)) + f'<div class="rows">{"".join(blocks)}</div>' if blocks else ""


def beginning(dataset: Dataset, lang: str) -> str:
    """The first rows of a dataset that was just made."""
    return data_rows(dataset.rows(0, ROWS_SHOWN), 0, len(dataset), lang)


def repairs(dataset: Dataset, lang: str) -> str:
    """What a repair changed, row by row: before and after."""
    if not dataset.card.repaired:
        return ""
    rows = dataset.repaired()
    shown = "".join(_repair(row, lang) for row in rows[:DIFFS_SHOWN])
    more = t("data.first_of", lang, shown=count(min(len(rows), DIFFS_SHOWN)), count=count(len(rows)))
    note = f'<p class="quiet">{esc(more)}</p>' if len(rows) > DIFFS_SHOWN else ""
    return f'{title(t("data.repairs", lang))}<div class="diffs">{shown}</div>{note}'


def _repair(row: Mapping[str, Any], lang: str) -> str:
    why = ", ".join(reason(code, lang) for code in row.get("codes") or [])
    before, after = difference(str(row.get("before") or ""), str(row.get("after") or ""))
    return (
        f'<article class="diff"><h6>{esc(t("data.line", lang))} {count(row.get("line"))} · {esc(why)}</h6>'
        f"<pre>{before}</pre><pre>{after}</pre></article>"
    )


def _named(found: re.Match[str]) -> str:
    """A character that shows nothing, by its number: U+200B."""
    return f"⟨U+{ord(found[0]):04X}⟩"


def difference(before: str, after: str) -> tuple[str, str]:
    """Both texts as HTML, what differs between their common beginning and end marked; long common parts are cut."""
    start, rest = common_ends(before, after)
    parts = []
    for text, tag in ((before, "del"), (after, "ins")):
        end = len(text) - rest
        head, middle, tail = text[:start], INVISIBLE.sub(_named, text[start:end]), text[end:]
        head = f"…{head[-CONTEXT:]}" if len(head) > CONTEXT else head
        tail = f"{tail[:CONTEXT]}…" if len(tail) > CONTEXT else tail
        parts.append(f"{esc(head)}<{tag}>{esc(middle)}</{tag}>{esc(tail)}" if middle else f"{esc(head)}{esc(tail)}")
    return parts[0], parts[1]
