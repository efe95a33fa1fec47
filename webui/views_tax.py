"""The alignment-tax report as the Evaluate tab shows it: sentences, table, figure, categories, files. No gradio.

A figure is a button: it carries what `webui.report_part` turns to when it is clicked (`data-go`): the rows, or the
answers, that it was made of, the worst first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.records_evaluation import Evaluation
from core.records_report import MEASURES, Block, Figure, Line, TaxReport, Told, between, said, shown, signed
from core.report_figure import figure_svg
from webui.figures import count, esc, size
from webui.messages import code_text
from webui.text import stage_name, t
from webui.views import title

ROLES = {"domain": "tax.domain", "general": "tax.general", "": "tax.other"}
SIDES = ("domain", "general")
JOINT = {"en": "; ", "zh": "；"}
OF_ANSWERS = ("reward", "win", "tokens", "safe")  # measures whose rows are answers

REPORT_JS = """
element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-go]');
  if (!button) return;
  const go = JSON.parse(button.dataset.go);
  document.querySelector(`#evaluate-tab-${go.tab}-button`)?.click();
  trigger('pick', go);
  galen.reveal(`#evaluate-${go.tab}`);
});
"""


def report(made: TaxReport, found: Evaluation, copies: Sequence[Path], lang: str) -> str:
    """Everything, the sentences first. `copies`: the files that the page may serve; [] while a run is at work."""
    base = made.lines[0]
    head = title(t("tax.title", lang), t("tax.note", lang, base=base.name))
    parts = [
        told(made, lang),
        table(made, found, lang),
        f'<p class="quiet tax-legend">{esc(t("tax.legend", lang, base=base.name))}</p>',
        drawing(made, lang),
        *(categories(made, place, lang) for place in range(len(made.blocks))),
        notes(made, found, lang),
        saved(copies, lang),
    ]
    return f'<section class="tax">{head}{"".join(parts)}</section>'


# -- sentences --------------------------------------------------------------------------------------------------------
def told(made: TaxReport, lang: str) -> str:
    """A card for each model but the base: what it gained in the domain, what it lost in general."""
    return "".join(_card(line, each, lang) for line, each in zip(made.lines[1:], made.told, strict=False))


def _card(line: Line, each: Told, lang: str) -> str:
    name = esc(line.name) + (f" <span>{esc(stage_name(line.stage, lang))}</span>" if line.stage else "")
    if not all(isinstance(each.params.get(side), list) for side in SIDES):
        return f'<div class="tax-told"><h4>{name}</h4><p>{esc(words(each, lang))}</p></div>'
    sides = "".join(f"<dt>{esc(t(ROLES[side], lang))}</dt><dd>{_said(each.params[side], lang)}</dd>" for side in SIDES)
    return f'<div class="tax-told"><h4>{name}</h4><dl>{sides}</dl></div>'


def _said(parts: Sequence[Any], lang: str) -> str:
    """Each part with the colour of what it says."""
    tones = {"report.gained": "better", "report.lost": "worse"}
    found = []
    for part in parts:
        each = part if isinstance(part, Told) else Told.model_validate(part)
        found.append(f'<span class="{tones.get(each.code, "quiet")}">{esc(words(each, lang))}</span>')
    return esc(JOINT[lang]).join(found)


def words(each: Told, lang: str) -> str:
    return said(each, lambda code, params: code_text(code, params, lang)[0], JOINT[lang])


# -- the table --------------------------------------------------------------------------------------------------------
def table(made: TaxReport, found: Evaluation, lang: str) -> str:
    top, heads = [f'<th class="name" rowspan="2">{esc(t("tax.model", lang))}</th>'], []
    for block in made.blocks:
        role = t(ROLES[block.role], lang)
        name = f"{esc(block.label)}<span>{esc(role)}</span>"
        top.append(f'<th class="group" colspan="{len(block.measures)}" title="{esc(block.dataset)}">{name}</th>')
        heads += [_head(measure, at, lang) for at, measure in enumerate(block.measures)]
    rows = "".join(_row(made, found, place, lang) for place in range(len(made.lines)))
    drawn = f"<thead><tr>{''.join(top)}</tr><tr>{''.join(heads)}</tr></thead><tbody>{rows}</tbody>"
    return f'<div class="scroll judge tax-table"><table class="table">{drawn}</table></div>'


def _head(measure: str, at: int, lang: str) -> str:
    first = ' class="first"' if at == 0 else ""
    return f'<th{first} title="{esc(t(f"tax.{measure}_help", lang))}">{esc(t(f"tax.{measure}", lang))}</th>'


def _row(made: TaxReport, found: Evaluation, place: int, lang: str) -> str:
    line = made.lines[place]
    cells = [
        _cell(line.figures[at].get(measure), measure, go(made, found, block, measure, place), first == 0, lang)
        for at, block in enumerate(made.blocks)
        for first, measure in enumerate(block.measures)
    ]
    about = stage_name(line.stage, lang) if line.stage else t("judge.base", lang)
    return f'<tr><td class="name"><b>{esc(line.name)}</b><span>{esc(about)}</span></td>{"".join(cells)}</tr>'


def _cell(figure: Figure | None, measure: str, where: str, first: bool, lang: str) -> str:
    start = "first " if first else ""
    if figure is None:
        return f'<td class="{start}open">–</td>'
    interval = between(measure, figure.low, figure.high) or t("tax.of", lang, n=count(figure.rows))
    hint = f"{t('tax.of', lang, n=count(figure.rows))} · {t('tax.see', lang)}"
    inner = f"<b>{esc(shown(measure, figure.value))}</b><span>{esc(interval)}</span>{_change(figure, measure, lang)}"
    button = f'<button type="button" title="{esc(hint)}" {where}>{inner}</button>' if where else inner
    return f'<td class="{start}number">{button}</td>'


def _change(figure: Figure, measure: str, lang: str) -> str:
    if figure.change is None:
        return ""
    interval = between(measure, figure.change_low, figure.change_high, change=True)
    verdict = t(f"tax.{figure.verdict}", lang) if figure.verdict else ""
    said_ = f"{signed(measure, figure.change)} {interval}".rstrip()
    return f'<span class="change {figure.verdict}" title="{esc(verdict)}">{esc(said_)}</span>'


def go(made: TaxReport, found: Evaluation, block: Block, measure: str, place: int) -> str:
    """The attribute by which a click turns to the rows behind a figure; "" where this run did not measure them."""
    line = made.lines[place]
    models = [at for at, model in enumerate(found.models) if (model.name, model.run) == (line.name, line.run)]
    exams, sources = [exam.dataset for exam in found.exams], [source.name for source in found.sources]
    named = [at for at, name in enumerate(sources if measure in OF_ANSWERS else exams) if name == block.dataset]
    if not models or not named:
        return ""
    data = {"tab": "samples", "source": named[0], "model": models[0], "sort": measure, "order": "worst"}
    if measure not in OF_ANSWERS:
        data = {"tab": "items", "exam": named[0], "model": models[0], "sort": "worst"}
    return f'data-go="{esc(json.dumps(data))}"'


# -- the figure -------------------------------------------------------------------------------------------------------
def drawing(made: TaxReport, lang: str) -> str:
    labels = {measure: t(f"tax.{measure}", lang) for measure in MEASURES}
    labels |= {role: t(key, lang) for role, key in ROLES.items()}
    svg = figure_svg(made, {**labels, "up": t("tax.up", lang), "down": t("tax.down", lang)})
    if not svg:
        return ""
    return f'<details class="tax-drawing" open><summary>{esc(t("tax.figure", lang))}</summary>{svg}</details>'


# -- by category ------------------------------------------------------------------------------------------------------
def categories(made: TaxReport, place: int, lang: str) -> str:
    """One set by category, folded: a row a category, a group of columns a model."""
    block = made.blocks[place]
    if len(block.categories) < 2:
        return ""
    top = [f'<th class="name" rowspan="2">{esc(t("tax.category", lang))}</th>']
    heads: list[str] = []
    for line in made.lines:
        top.append(f'<th class="group" colspan="{len(block.measures)}">{esc(line.name)}</th>')
        heads += [_head(measure, at, lang) for at, measure in enumerate(block.measures)]
    rows = []
    for category in block.categories:
        cells = [
            _cell(line.groups[place].get(category, {}).get(measure), measure, "", at == 0, lang)
            for line in made.lines
            for at, measure in enumerate(block.measures)
        ]
        rows.append(f'<tr><td class="name">{esc(category)}</td>{"".join(cells)}</tr>')
    said_ = t("tax.categories", lang, dataset=block.label)
    drawn = f"<thead><tr>{''.join(top)}</tr><tr>{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody>"
    inner = f'<div class="scroll judge tax-table"><table class="table">{drawn}</table></div>'
    return f'<details class="tax-categories"><summary>{esc(said_)}</summary>{inner}</details>'


# -- what to mind, and the files --------------------------------------------------------------------------------------
def notes(made: TaxReport, found: Evaluation, lang: str) -> str:
    lines = [words(each, lang) for each in made.notes]
    lines += [t("tax.by_reward", lang, name=made.reward)] if made.reward else []
    lines += [t("tax.by_judge", lang, name=made.by)] if made.by else []
    for each in found.judges.unjudged:
        lines.append(t("said.unjudged", lang, reason=code_text(each.code, each.params, lang)[0]))
    items = "".join(f"<li>{esc(line)}</li>" for line in lines)
    return f'<ul class="judge-notes">{items}</ul>' if items else ""


def saved(copies: Sequence[Path], lang: str) -> str:
    """Links to the report's own files."""
    links = [
        f'<a href="gradio_api/file={esc(quote(str(path)))}" download="{esc(path.name)}">{esc(path.suffix[1:].upper())} '
        f"<span>{esc(size(path.stat().st_size))}</span></a>"
        for path in copies
    ]
    return f'<p class="tax-files"><b>{esc(t("tax.save", lang))}</b>{"".join(links)}</p>' if links else ""
