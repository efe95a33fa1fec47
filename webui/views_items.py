"""The rows of a comparison one by one, as HTML: what was asked, what was right, what the model chose, worst and best
first; and the figures of every category. `webui.items` reads them. No gradio.

Whatever can be clicked carries what is asked for as JSON (`data-ask`); `ITEMS_JS` sends it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from core.data.kinds import LETTERS, Row
from core.data.store.dataset import Dataset
from core.records_evaluation import Cell, Evaluation, Exam, Item, evaluation_file, labels
from core.rundir import RunDir, read_record
from webui.figures import count, esc, figure
from webui.items import BEST, IN_ORDER, SORTS, WORST, Asked, Found, index_of
from webui.text import t
from webui.views import empty

SHOWN_CHARS = 1200  # of a text
ORDERS = {WORST: "items.worst", BEST: "items.best", IN_ORDER: "items.in_order"}
MARKS = {"right": "items.is_right", "said": "items.is_said"}
SIDES = {"chosen": "items.chosen", "rejected": "items.rejected"}
BY = {"letters": "judge.by_letters", "texts": "judge.by_texts"}
MAIN = {"choice": "accuracy", "preference": "accuracy"}  # the figure of a category; of text, bits a byte

ITEMS_JS = """
element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-ask]');
  if (button && !button.disabled) trigger('pick', JSON.parse(button.dataset.ask));
});
element.addEventListener('change', (e) => {
  const field = e.target.closest('[data-field]');
  if (field) trigger('pick', {[field.dataset.field]: field.value});
});
"""


def browser(run: RunDir, asked: Asked, dataset_of: Callable[[str], Dataset | None], lang: str) -> str:
    """The inner tab "Rows" of a comparison."""
    asked = asked.of(run.id)
    found = read_record(evaluation_file(run.output), Evaluation)
    if found is None or not found.exams:
        return empty(t("items.none", lang))
    index = index_of(run)
    if asked.exam >= len(found.exams) or asked.model >= len(found.models):
        return empty(t("items.none", lang))
    page = index.find(asked)
    exam = found.exams[asked.exam]
    bar = _bar(found, asked, page, lang)
    if not page.total:
        return f'<div class="items">{bar}{empty(t("items.none_yet", lang))}</div>'
    dataset = dataset_of(exam.dataset)
    rows = dataset.take([item.number for item in page.items]) if dataset is not None else []
    texts = dict(zip((item.number for item in page.items), rows, strict=False))
    note = "" if dataset is not None else f'<p class="quiet">{esc(t("items.gone", lang, ref=exam.dataset))}</p>'
    drawn = "".join(_item(exam, item, texts.get(item.number), lang) for item in page.items)
    return f'<div class="items">{bar}{note}{drawn}</div>'


# -- what is asked for ------------------------------------------------------------------------------------------------
def _select(name: str, entries: Mapping[str, str], chosen: str, label: str) -> str:
    options = "".join(
        f'<option value="{esc(value)}"{" selected" if value == chosen else ""}>{esc(said)}</option>'
        for value, said in entries.items()
    )
    return f'<select data-field="{name}" aria-label="{esc(label)}">{options}</select>'


def _bar(found: Evaluation, asked: Asked, page: Found, lang: str) -> str:
    exams = {str(at): name for at, name in enumerate(labels([exam.dataset for exam in found.exams]))}
    models = {str(at): model.name for at, model in enumerate(found.models)}
    fields = [_select("exam", exams, str(asked.exam), t("items.dataset", lang))] if len(exams) > 1 else []
    fields += [_select("model", models, str(asked.model), t("judge.model", lang))] if len(models) > 1 else []
    if page.categories:
        categories = {"": t("items.every_category", lang)} | {name: name for name in page.categories}
        fields.append(_select("category", categories, asked.category, t("items.category", lang)))
    orders = "".join(
        f'<button type="button" aria-pressed="{"true" if sort == asked.sort else "false"}" {_ask(sort=sort)}>'
        f"{esc(t(ORDERS[sort], lang))}</button>"
        for sort in SORTS
    )
    where = t("items.page", lang, n=count(page.page + 1), of=count(page.pages), rows=count(page.total))
    return (
        f'<div class="item-bar">{"".join(fields)}<span class="choose">{orders}</span>'
        f'<span class="item-pages">{_turn("‹", "items.before", page.page - 1, page, lang)}'
        f"<span>{esc(where)}</span>"
        f"{_turn('›', 'items.after', page.page + 1, page, lang)}</span></div>"
    )


def _ask(**data: Any) -> str:
    return f'data-ask="{esc(json.dumps(data))}"'


def _turn(sign: str, meaning: str, to: int, page: Found, lang: str) -> str:
    off = "" if 0 <= to < page.pages else " disabled"
    said = esc(t(meaning, lang))
    return f'<button type="button" class="sign" title="{said}" aria-label="{said}"{off} {_ask(page=to)}>{sign}</button>'


# -- one row ----------------------------------------------------------------------------------------------------------
def _item(exam: Exam, item: Item, row: Row | None, lang: str) -> str:
    marks = {"choice": _choice_head, "preference": _pair_head}.get(exam.kind, _text_head)
    bodies = {"choice": _choices, "preference": _pair, "messages": _turns, "text": _text}
    where = [t("look.row_line", lang, line=count(item.line)), *([item.category] if item.category else [])]
    body = "" if row is None else bodies[exam.kind](item, row, lang)
    head = f'{marks(item, lang)}<span class="where">{esc(" · ".join(where))}</span>'
    return f'<article class="item"><header>{head}</header>{body}</article>'


def _verdict(right: bool, said: str) -> str:
    return f'<b class="{"right" if right else "wrong"}">{esc(said)}</b>'


def _lead(margin: float, lang: str) -> str:
    """How far what is right lies ahead of the best of what is wrong, or behind it."""
    key = "items.ahead" if margin > 0 else "items.behind"
    return f"<span>{esc(t(key, lang, margin=figure(abs(margin))))}</span>"


def _choice_head(item: Item, lang: str) -> str:
    right = item.figures.get("correct") == 1
    key = "items.chose_right" if right else "items.chose_wrong"
    return f"{_verdict(right, t(key, lang, said=item.said, right=item.right))}{_lead(item.figures['margin'], lang)}"


def _choices(item: Item, row: Row, lang: str) -> str:
    """Every choice, the right one and the model's marked, with its share of the likelihood of all of them."""
    shares = shares_of(item)
    lines = []
    for letter, choice in zip(LETTERS, row["choices"], strict=False):
        names = [*(["right"] if letter in item.right else []), *(["said"] if letter in item.said else [])]
        words = [t(MARKS[name], lang) for name in names]
        share = f'<span class="share">{shares[letter]:.0%}</span>' if letter in shares else ""
        mark = f"<em>{esc(' · '.join(words))}</em>" if words else ""
        lines.append(f'<li class="{" ".join(names)}"><i>{letter}</i><span>{_cut(choice)}</span>{mark}{share}</li>')
    return f'<div class="asked">{_cut(row["question"])}</div><ul class="options">{"".join(lines)}</ul>'


def shares_of(item: Item) -> dict[str, float]:
    """The likelihood of each choice as a share of that of all; {} where sets of letters were chosen from."""
    scores = {letter: item.figures[letter] for letter in LETTERS if letter in item.figures}
    highest = max(scores.values(), default=0.0)
    total = sum(math.exp(score - highest) for score in scores.values())
    return {letter: math.exp(score - highest) / total for letter, score in scores.items()}


def _pair_head(item: Item, lang: str) -> str:
    right = item.figures.get("correct") == 1
    said = t("items.in_pair_order" if right else "items.out_of_order", lang)
    return _verdict(right, said) + _lead(item.figures["chosen"] - item.figures["rejected"], lang)


def _pair(item: Item, row: Row, lang: str) -> str:
    sides = "".join(
        f'<div class="one-answer{" reference" if name == "chosen" else ""}"><h5>{esc(t(key, lang))} · '
        f'{figure(item.figures[name])}</h5><div class="said">{_cut(row[name][-1]["content"])}</div></div>'
        for name, key in SIDES.items()
    )
    asked = f'<div class="asked">{_cut(row["prompt"][-1]["content"])}</div>'
    return f'{asked}<div class="answers-beside"><div class="beside" style="--sides:2">{sides}</div></div>'


def _text_head(item: Item, lang: str) -> str:
    figures = item.figures
    bits = figures["text_nats"] / math.log(2) / figures["bytes"] if figures.get("bytes") else None
    said = t("items.bits", lang, bits=figure(bits), tokens=count(int(figures["labels"])))
    return f"<b>{esc(said)}</b>"


def _turns(item: Item, row: Row, lang: str) -> str:
    said = "".join(
        f'<div class="turn"><h5>{esc(role_name(turn["role"], lang))}</h5>{_cut(turn["content"])}</div>'
        for turn in row["messages"]
    )
    return f'<div class="asked turns">{said}</div>'


def role_name(role: str, lang: str) -> str:
    return t(f"role.{role}", lang) if role in ("system", "user", "assistant") else role


def _text(item: Item, row: Row, lang: str) -> str:
    return f'<div class="asked">{_cut(row["text"])}</div>'


def _cut(text: str) -> str:
    return esc(text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…")


# -- categories -------------------------------------------------------------------------------------------------------
def categories(found: Evaluation, lang: str) -> str:
    """Beneath the table, folded: each category's own figure, a column a model."""
    return "".join(_grouped(found, number, exam, lang) for number, exam in enumerate(found.exams))


def _grouped(found: Evaluation, number: int, exam: Exam, lang: str) -> str:
    cells = [found.cell(place, number) for place in range(len(found.models))]
    groups = [cell.groups if cell is not None else {} for cell in cells]
    names = sorted({name for each in groups for name in each})
    if len(names) < 2:
        return ""
    heads = "".join(f"<th>{esc(model.name)}</th>" for model in found.models)
    body = "".join(
        f'<tr><td class="name">{esc(name)}</td><td>{count(_rows(groups, name))}</td>'
        f"{''.join(_figure(each.get(name), exam) for each in groups)}</tr>"
        for name in names
    )
    title = t("items.by_category", lang, dataset=exam.dataset.partition("@")[0], n=count(len(names)))
    key = "judge.share_right" if exam.kind == "choice" else "judge.accuracy"
    what = t(key if exam.kind in MAIN else "judge.bits", lang)
    top = f'<tr><th class="name">{esc(t("items.category", lang))}</th><th>{esc(t("items.rows", lang))}</th>{heads}</tr>'
    return (
        f'<details class="judge by-category"><summary>{esc(title)} <span>{esc(what)}</span></summary>'
        f'<table class="table"><thead>{top}</thead><tbody>{body}</tbody></table></details>'
    )


def _rows(groups: list[dict[str, dict[str, float]]], name: str) -> int:
    return int(max(each[name]["rows"] for each in groups if name in each))


def _figure(figures: Mapping[str, float] | None, exam: Exam) -> str:
    name = MAIN.get(exam.kind, "bits_per_byte")
    value = (figures or {}).get(name)
    if value is None:
        return '<td class="open">–</td>'
    if name != "accuracy":
        return f'<td class="number">{esc(figure(value))}</td>'
    error = (figures or {}).get("accuracy_error")
    spread = f"<span>± {100 * error:.1f}</span>" if error is not None else ""
    return f'<td class="number">{100 * value:.1f} %{spread}</td>'


def asked_how(exam: Exam, lang: str) -> str:
    """`5-shot · by letter` of a multiple-choice exam; "" of others."""
    if exam.asking is None:
        return ""
    facts = [t("judge.shots", lang, n=exam.asking.shots), t(BY[exam.asking.by], lang)]
    facts += [t("judge.in_chat", lang)] if exam.asking.chat else []
    return " · ".join(facts)


def fewer_shots(cells: list[Cell]) -> int:
    """The most questions of one model that had fewer examples than asked for."""
    return int(max((cell.figures.get("fewer_shots", 0.0) for cell in cells), default=0.0))
