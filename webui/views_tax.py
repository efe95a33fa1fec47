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
from core.records_report import MEASURES, SECOND, Block, Figure, Line, TaxReport, Told, between, said, shown, signed
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
        found.append(f'<span class="{tones.get(each.code, "plain")}">{esc(words(each, lang))}</span>')
    return esc(JOINT[lang]).join(found)


def words(each: Told, lang: str) -> str:
    return said(each, lambda code, params: code_text(code, params, lang)[0], JOINT[lang])


# -- the table --------------------------------------------------------------------------------------------------------
def table(made: TaxReport, found: Evaluation, lang: str) -> str:
    """A section for each set, a row in it for each model, a column for each measure that some set has."""
    measures = columns(made.blocks)
    heads = "".join(_head(measure, lang) for measure in measures)
    top = f'<tr><th class="name">{esc(t("tax.model", lang))}</th>{heads}</tr>'
    bodies = "".join(_section(made, found, place, measures, lang) for place in range(len(made.blocks)))
    return f'<div class="scroll judge tax-table"><table class="table"><thead>{top}</thead>{bodies}</table></div>'


def columns(blocks: Sequence[Block]) -> list[str]:
    """Measures in their order; a second reading of another one is left to the sheets."""
    have = {measure for block in blocks for measure in block.measures}
    return [measure for measure in MEASURES if measure in have and measure not in SECOND]


def _head(measure: str, lang: str) -> str:
    return f'<th title="{esc(t(f"tax.{measure}_help", lang))}">{esc(t(f"tax.{measure}", lang))}</th>'


def _section(made: TaxReport, found: Evaluation, place: int, measures: Sequence[str], lang: str) -> str:
    block = made.blocks[place]
    role = t(ROLES[block.role], lang)
    name = f"<b>{esc(role)}</b> {esc(block.label)}"
    head = f'<tr class="set"><th colspan="{1 + len(measures)}" title="{esc(block.dataset)}">{name}</th></tr>'
    rows = "".join(_row(made, found, place, model, measures, lang) for model in range(len(made.lines)))
    return f"<tbody>{head}{rows}</tbody>"


def _row(made: TaxReport, found: Evaluation, place: int, model: int, measures: Sequence[str], lang: str) -> str:
    line, block = made.lines[model], made.blocks[place]
    cells = [
        _cell(line.figures[place].get(measure), measure, go(made, found, block, measure, model), lang)
        for measure in measures
    ]
    about = stage_name(line.stage, lang) if line.stage else t("judge.base", lang)
    return f'<tr><td class="name"><b>{esc(line.name)}</b><span>{esc(about)}</span></td>{"".join(cells)}</tr>'


def _cell(figure: Figure | None, measure: str, where: str, lang: str) -> str:
    """The figure; beneath it the difference with its interval, of the base its own interval."""
    if figure is None:
        return '<td class="open"></td>'
    own, rows = between(measure, figure.low, figure.high), t("tax.of", lang, n=count(figure.rows))
    hint = " · ".join(filter(None, (own, rows, t("tax.see", lang) if where else "")))
    under = _change(figure, measure, lang) or f"<span>{esc(own or rows)}</span>"
    inner = f"<b>{esc(shown(measure, figure.value))}</b>{under}"
    button = f'<button type="button" title="{esc(hint)}" {where}>{inner}</button>'
    return f'<td class="number">{button}</td>' if where else f'<td class="number" title="{esc(hint)}">{inner}</td>'


def _change(figure: Figure, measure: str, lang: str) -> str:
    if figure.change is None:
        return ""
    interval = between(measure, figure.change_low, figure.change_high, change=True)
    verdict = t(f"tax.{figure.verdict}", lang) if figure.verdict else ""
    said_ = f'<span class="change {figure.verdict}" title="{esc(verdict)}">{esc(signed(measure, figure.change))}</span>'
    return f"{said_}<span>{esc(interval or t('tax.of', lang, n=count(figure.pairs)))}</span>"


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
    """One set by category, folded: a section for each category."""
    block = made.blocks[place]
    if len(block.categories) < 2:
        return ""
    measures = columns([block])
    bodies = []
    for category in block.categories:
        head = f'<tr class="set"><th colspan="{1 + len(measures)}">{esc(category)}</th></tr>'
        rows = []
        for line in made.lines:
            figures = line.groups[place].get(category, {})
            cells = "".join(_cell(figures.get(measure), measure, "", lang) for measure in measures)
            rows.append(f'<tr><td class="name">{esc(line.name)}</td>{cells}</tr>')
        bodies.append(f"<tbody>{head}{''.join(rows)}</tbody>")
    top = f'<tr><th class="name">{esc(t("tax.model", lang))}</th>{"".join(_head(name, lang) for name in measures)}</tr>'
    inner = f'<table class="table"><thead>{top}</thead>{"".join(bodies)}</table>'
    said_ = t("tax.categories", lang, dataset=block.label)
    return (
        f'<details class="tax-categories"><summary>{esc(said_)}</summary>'
        f'<div class="scroll judge tax-table">{inner}</div></details>'
    )


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
