"""The answers of a comparison as HTML: their figures in a table, and one by one with marks, scores and verdicts.

No gradio. Whatever can be chosen carries its name (`data-said`) or what is asked for as JSON (`data-ask`); `SAID_JS`
sends it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from core.records_evaluation import (
    Evaluation,
    Item,
    Question,
    Reply,
    Said,
    Source,
    Verdict,
    evaluation_file,
    labels,
)
from core.rundir import RunDir, read_record
from webui.figures import count, esc, figure
from webui.said import BEST, IN_ORDER, PAGE, WORST, Asked, Shown, read
from webui.text import t
from webui.views import empty, title
from webui.views_items import role_name

# The columns, in order; those that no model has are left out.
COLUMNS = (
    "safe", "win", "reward", "bleu", "char_bleu4", "rouge1", "rouge2", "rougeL", "exact", "tokens", "cut_off",
    "repetition",
)  # fmt: skip
SHARES = ("safe", "win", "exact", "cut_off", "repetition")  # in per cent
LOW_IS_BEST = ("cut_off", "repetition")
NO_BEST = ("tokens",)
OF_ONE = ("reward", "bleu", "char_bleu4", "rougeL", "tokens", "repetition")  # figures beneath an answer
NO_ANSWER = {"too_long": "judge.end_too_long", "refused": "judge.end_refused"}
OUTCOMES = {"win": ("said.win_mark", "good"), "tie": ("said.tie_mark", ""), "loss": ("said.loss_mark", "bad")}
SHOWN_CHARS = 4000  # of an answer

SAID_JS = """
element.addEventListener('change', (e) => {
  const field = e.target.closest('[data-said]');
  if (field) trigger('pick', {[field.dataset.said]: field.value});
});
element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-ask]');
  if (button && !button.disabled) trigger('pick', JSON.parse(button.dataset.ask));
});
"""


# -- figures ----------------------------------------------------------------------------------------------------------
def table(found: Evaluation, lang: str) -> str:
    """Every model a row, every source of questions a group of columns; "" before anything was answered."""
    groups = [(place, _columns(found, place)) for place in range(len(found.sources))]
    groups = [(place, columns) for place, columns in groups if columns]
    if not groups:
        return ""
    top, heads = [f'<th class="name" rowspan="2">{esc(t("judge.model", lang))}</th>'], []
    names = labels([source.name for source in found.sources])
    for place, columns in groups:
        source = found.sources[place]
        name = f"{esc(names[place])}<span>{esc(t('tax.rows', lang, n=count(source.asked)))}</span>"
        top.append(f'<th class="group" colspan="{len(columns)}" title="{esc(source.name)}">{name}</th>')
        heads += [_head(column, at, lang) for at, column in enumerate(columns)]
    rows = "".join(_row(found, model, groups, lang) for model in range(len(found.models)))
    drawn = f"<thead><tr>{''.join(top)}</tr><tr>{''.join(heads)}</tr></thead><tbody>{rows}</tbody>"
    return f'{title(t("said.title", lang))}<div class="scroll judge"><table class="table">{drawn}</table></div>'


def _columns(found: Evaluation, source: int) -> list[str]:
    have = {name for said in found.said if said.source == source for name in said.figures}
    return [name for name in COLUMNS if name in have]


def _head(column: str, at: int, lang: str) -> str:
    first = ' class="first"' if at == 0 else ""
    return f'<th{first} title="{esc(t(f"said.{column}_help", lang))}">{esc(t(f"said.{column}", lang))}</th>'


def _row(found: Evaluation, model: int, groups: Sequence[tuple[int, list[str]]], lang: str) -> str:
    cells = [
        _cell(found, found.said_by(model, place), name, at == 0, lang)
        for place, columns in groups
        for at, name in enumerate(columns)
    ]
    return f'<tr><td class="name"><b>{esc(found.models[model].name)}</b></td>{"".join(cells)}</tr>'


def _cell(found: Evaluation, said: Said | None, name: str, first: bool, lang: str) -> str:
    start = "first " if first else ""
    value = said.figures.get(name) if said is not None else None
    if said is None or value is None:
        return f'<td class="{start}open">–</td>'
    best = " best" if value == _best(found, said.source, name) else ""
    hint = ""
    if name in said.intervals:
        low, high = (written(name, end) for end in said.intervals[name])
        hint = t("said.interval", lang, low=low, high=high)
    counts = ""
    if name == "win":
        wins, ties, losses = (count(int(said.figures[each])) for each in ("wins", "ties", "losses"))
        counts = t("said.counts", lang, wins=wins, ties=ties, losses=losses)
    under = f"<span>{esc(hint)}</span>" if hint else ""
    return f'<td class="{start}number{best}" title="{esc(counts)}">{esc(written(name, value))}{under}</td>'


def _best(found: Evaluation, source: int, name: str) -> float | None:
    """The best value of a column; None for a single one, and where there is no good or bad."""
    values = [said.figures[name] for said in found.said if said.source == source and name in said.figures]
    if len(values) < 2 or len(set(values)) < 2 or name in NO_BEST:
        return None
    return min(values) if name in LOW_IS_BEST else max(values)


def written(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if name in SHARES else figure(float(f"{value:.4g}"))


# -- one by one -------------------------------------------------------------------------------------------------------
def browser(run: RunDir, live: bool, asked: Asked, lang: str) -> str:
    """The inner tab "Answers" of a comparison."""
    asked = asked.of(run.id)
    found = read_record(evaluation_file(run.output), Evaluation)
    if found is None:
        return empty(t("judge.no_answers_yet", lang))
    if found.prompts and not found.sources:  # of an earlier Galen
        found.sources = [Source(name=found.prompts, asked=found.asked)]
    if not found.sources:
        return empty(t("judge.no_prompts", lang))
    if asked.source >= len(found.sources) or asked.model >= len(found.models):
        asked = Asked(run=run.id)
    shown = read(run, found, asked)
    if not shown.total:
        return empty(t("said.none", lang))
    whom = [place for place in range(len(found.models)) if not _refused(found, place)]
    blocks = "".join(_question(question, found, whom, shown, live, lang) for question in shown.questions)
    smoke = f'<p class="quiet">{esc(t("said.smoke", lang))}</p>' if found.sources[asked.source].safety else ""
    return f'{_bar(found, asked, shown, lang)}{smoke}<div class="answers-beside said-list">{blocks}</div>'


def _refused(found: Evaluation, model: int) -> bool:
    replies = found.answers_of(model)
    return replies is not None and replies.refusal is not None


def _bar(found: Evaluation, asked: Asked, shown: Shown, lang: str) -> str:
    sources = {str(at): name for at, name in enumerate(labels([source.name for source in found.sources]))}
    models = {str(at): model.name for at, model in enumerate(found.models)}
    sorts = {IN_ORDER: t("said.in_order", lang), **{name: t(f"said.{name}", lang) for name in shown.sorts}}
    orders = {WORST: t("said.worst", lang), BEST: t("said.best", lang)}
    fields = [_select("source", sources, str(asked.source), t("said.source", lang))] if len(sources) > 1 else []
    fields.append(_select("sort", sorts, asked.sort if asked.sort in sorts else IN_ORDER, t("said.by", lang)))
    if asked.sort in shown.sorts:
        fields.append(_select("order", orders, asked.order, ""))
        fields += [_select("model", models, str(asked.model), t("said.of", lang))] if len(models) > 1 else []
    page, last = shown.first // PAGE, max(0, shown.total - 1) // PAGE
    where = t(
        "said.page", lang, first=count(shown.first + 1), last=count(min(shown.first + PAGE, shown.total)),
        total=count(shown.total),
    )  # fmt: skip
    turns = (
        f'<span class="pages">{_turn("‹", "said.before", page - 1, page > 0, lang)}<span>{esc(where)}</span>'
        f"{_turn('›', 'said.after', page + 1, page < last, lang)}</span>"
    )
    return f'<div class="said-bar item-bar">{"".join(fields)}{turns}</div>'


def _select(name: str, entries: Mapping[str, str], chosen: str, label: str) -> str:
    options = "".join(
        f'<option value="{esc(value)}"{" selected" if value == chosen else ""}>{esc(said)}</option>'
        for value, said in entries.items()
    )
    return f'<label>{esc(label)}<select data-said="{name}" aria-label="{esc(label or name)}">{options}</select></label>'


def _turn(sign: str, meaning: str, to: int, can: bool, lang: str) -> str:
    said = esc(t(meaning, lang))
    off = "" if can else " disabled"
    data = esc(json.dumps({"page": to}))
    return (
        f'<button type="button" class="sign" title="{said}" aria-label="{said}"{off} data-ask="{data}">{sign}</button>'
    )


def _question(question: Question, found: Evaluation, whom: Sequence[int], shown: Shown, live: bool, lang: str) -> str:
    *before, last = question.messages
    turns = "".join(
        f'<div class="before"><b>{esc(role_name(one["role"], lang))}</b> {esc(one["content"])}</div>' for one in before
    )
    columns = []
    if question.reference is not None:
        said = f'<div class="said">{esc(question.reference)}</div>'
        columns.append(f'<div class="one-answer reference"><h5>{esc(t("judge.reference", lang))}</h5>{said}</div>')
    for place in whom:
        at = place, question.number
        body = _reply(shown.replies.get(at), live, lang)
        body += _figures(shown.items.get(at), shown.verdicts.get(at), lang) + _marks(
            question, shown.items.get(at), lang
        )
        columns.append(f'<div class="one-answer"><h5>{esc(found.models[place].name)}</h5>{body}</div>')
    where = " · ".join(filter(None, (t("look.row_line", lang, line=count(question.line)), question.category)))
    return (
        f'<section class="sample">{turns}<h4>{esc(last["content"])}</h4><span class="at">{esc(where)}</span>'
        f'<div class="beside" style="--sides:{len(columns)}">{"".join(columns)}</div></section>'
    )


def _reply(reply: Reply | None, live: bool, lang: str) -> str:
    if reply is None:
        return f'<div class="said open">{"…" if live else "–"}</div>'
    if reply.end in NO_ANSWER:
        return f'<div class="said open">{esc(t(NO_ANSWER[reply.end], lang))}</div>'
    text = reply.text if len(reply.text) <= SHOWN_CHARS else reply.text[:SHOWN_CHARS] + "…"
    end = f" · {t('judge.end_length', lang)}" if reply.end == "length" else ""
    facts = t("judge.tokens", lang, n=count(reply.tokens)) + end
    return f'<div class="said">{esc(text)}</div><span class="at">{esc(facts)}</span>'


def _figures(item: Item | None, verdict: Verdict | None, lang: str) -> str:
    """What is known of one answer, in a line; the judge's own words under the pointer."""
    if item is None:
        return ""
    said = [
        f"<span>{esc(t(f'said.{name}', lang))} <b>{esc(written(name, item.figures[name]))}</b></span>"
        for name in OF_ONE
        if name in item.figures and name != "tokens"
    ]
    if verdict is not None:
        key, tone = OUTCOMES.get(verdict.outcome, ("said.no_verdict", ""))
        words = " / ".join(verdict.said)
        said.insert(0, f'<span class="{tone}" title="{esc(words)}">{esc(t(key, lang))}</span>')
    return f'<div class="said-figures">{"".join(said)}</div>' if said else ""


def _marks(question: Question, item: Item | None, lang: str) -> str:
    """Every rule of a red-flag question: what it stands for, whether it went well, its own line under the pointer."""
    if item is None or not item.marks:
        return ""
    lines = []
    for kind, rules in (("said.needed", question.needs), ("said.forbidden", question.forbids)):
        for name, rule in rules.items():
            good = item.marks.get(name, False)
            meaning = t("said.mark_good" if good else "said.mark_bad", lang)
            hint = f"{t(kind, lang)}: {rule}"
            sign = "✓" if good else "✗"
            lines.append(
                f'<li class="{"good" if good else "bad"}" title="{esc(hint)}"><i aria-label="{esc(meaning)}">{sign}</i>'
                f"<span>{esc(t(kind, lang))}: {esc(name)}</span></li>"
            )
    return f'<ul class="said-marks">{"".join(lines)}</ul>'
