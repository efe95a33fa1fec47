"""A dataset as a table, and one of its rows as a conversation or as fields to edit: own escaped HTML. No gradio."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.data.kinds import LETTERS, Kind, Row
from core.data.look.view import Page, Query, TableRow
from core.data.store.edits import Edits, texts_of_row
from webui.figures import count, esc, figure
from webui.text import has, t
from webui.views import empty

SHORT_ROWS = 30  # of an edited text, at most


# -- table ------------------------------------------------------------------------------------------------------------
def table(page: Page, query: Query, kind: Kind, edits: Edits, chosen: int | None, lang: str) -> str:
    """The rows of one page. Heads carry the column they sort by, rows their number."""
    if not page.total:
        return empty(t("look.nothing", lang))
    plain = kind == "text"
    columns = ["index", "text" if plain else "question", *([] if plain else ["answer"]), "chars", "turns", "language"]
    columns += ["duplicates"]
    columns += [name for name in ("difficulty", "score") if any(getattr(row, name) is not None for row in page.rows)]
    heads = "".join(_head(name, query, lang) for name in columns)
    body = "".join(_table_row(row, columns, query.search, edits, row.index == chosen, lang) for row in page.rows)
    key = f"{query.name}.{page.number}"  # the browser keeps its place in the list while this stays the same
    inside = f'<table class="table look-table"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll look-scroll" data-key="{key}">{inside}</div>'


def _head(name: str, query: Query, lang: str) -> str:
    label = esc(t(f"look.head_{name}" if has(f"look.head_{name}") else f"look.col_{name}", lang))
    sort = {"index": "line", "question": "", "answer": "answer_chars", "text": ""}.get(name, name)
    if not sort:
        return f'<th class="c-{name}">{label}</th>'
    arrow, order = "", "none"
    if query.sort == sort:
        arrow, order = ("↓", "descending") if query.descending else ("↑", "ascending")
    return (
        f'<th class="c-{name}" aria-sort="{order}"><button type="button" class="sort" data-sort="{sort}" '
        f'title="{esc(t(f"look.col_{sort}", lang))}">{label}<i>{arrow}</i></button></th>'
    )


def _table_row(row: TableRow, columns: Sequence[str], search: str, edits: Edits, chosen: bool, lang: str) -> str:
    cells = {
        "index": f"{row.index + 1:,}",
        "question": f"<p>{marked(row.question, search)}</p>",
        "answer": f"<p>{marked(_said(row, search), search)}</p>",
        "text": f"<p>{marked(_said(row, search), search)}</p>",
        "chars": count(row.chars),
        "turns": count(row.turns),
        "language": esc(t(f"language.{row.language}", lang)),
        "duplicates": f'<b title="{esc(t("look.equal", lang, n=count(row.copies)))}">×{count(row.copies + 1)}</b>'
        if row.copies
        else "",
        "difficulty": figure(row.difficulty),
        "score": figure(row.score),
    }
    marks = ["chosen"] if chosen else []
    marks += ["gone"] if row.index in edits.dropped else ["edited"] if row.index in edits.changed else []
    inside = "".join(f'<td class="c-{name}">{cells[name]}</td>' for name in columns)
    return f'<tr data-row="{row.index}" tabindex="0" class="{" ".join(marks)}">{inside}</tr>'


def _said(row: TableRow, search: str) -> str:
    """The answer's beginning, or the place where the search was found when neither beginning shows it."""
    shown = search and search.lower() in f"{row.question}\n{row.answer}".lower()
    return row.excerpt if row.excerpt and not shown else row.answer


def marked(text: str, search: str) -> str:
    """`text` escaped, with what was searched for marked."""
    if not search:
        return esc(text)
    parts, done = [], 0
    for found in re.finditer(re.escape(search), text, re.IGNORECASE):
        parts += [esc(text[done : found.start()]), f"<mark>{esc(found[0])}</mark>"]
        done = found.end()
    return "".join(parts) + esc(text[done:])


def foot(page: Page, query: Query, size: int, lang: str) -> str:
    """How many rows there are, how they are sorted, and what turns the pages."""
    first = (page.number - 1) * size + 1 if page.rows else 0
    key = "look.rows_of" if query.everything else "look.rows_found"
    place = {"first": count(first), "last": count(first + len(page.rows) - 1), "total": count(page.total)}
    said = esc(t(key, lang, **place)) if page.total else ""
    if query.sort:
        way = "look.sorted_down" if query.descending else "look.sorted_up"
        said += (
            f" · {esc(t(way, lang, column=t(f'look.col_{query.sort}', lang)))}"
            f"{_icon('flip', '⇅', t('look.flip', lang))}{_icon('unsort', '×', t('look.unsort', lang))}"
        )
    turn = ""
    if page.pages > 1:
        before, after = page.number == 1, page.number == page.pages
        turn = (
            f"{_turn('«', 1, before, t('look.first', lang))}"
            f"{_turn('‹', page.number - 1, before, t('look.previous', lang))}"
            f'<label>{esc(t("look.page", lang))} <input type="text" inputmode="numeric" class="to-page" '
            f'value="{page.number}" aria-label="{esc(t("look.page", lang))}"></label>'
            f"<span>{esc(t('look.pages', lang, pages=count(page.pages)))}</span>"
            f"{_turn('›', page.number + 1, after, t('look.next', lang))}"
            f"{_turn('»', page.pages, after, t('look.last', lang))}"
        )
    return f'<div class="look-foot"><span class="what">{said}</span><span class="turn-pages">{turn}</span></div>'


def _icon(act: str, sign: str, title: str, off: bool = False) -> str:
    named = f'title="{esc(title)}" aria-label="{esc(title)}"{" disabled" if off else ""}'
    return f'<button type="button" class="sign" data-act="{act}" {named}>{sign}</button>'


def _turn(sign: str, to: int, off: bool, title: str) -> str:
    dead = " disabled" if off else ""
    return (
        f'<button type="button" class="sign" data-page="{to}" title="{esc(title)}" aria-label="{esc(title)}"{dead}>'
        f"{sign}</button>"
    )


def working(what: str, done: int, total: int, found: int | None, lang: str) -> str:
    """A line for work under way, with a way to stop it. `found`: rows that a search has found so far."""
    share = done / total * 100 if total else 0
    said = "" if found is None else t("look.so_far", lang, n=count(found))
    right = f"{share:.0f} %" if total else ""
    moving = "" if total else " moving"
    return (
        f'<div class="progress running look-work"><div class="line"><b>{esc(what)}</b><span>{esc(said)}</span>'
        f'<span class="end">{right}</span>'
        f'<button type="button" class="act" data-act="stop">{esc(t("look.stop", lang))}</button></div>'
        f'<div class="bar{moving}"><i style="width:{share:.1f}%"></i></div></div>'
    )


# -- pending changes --------------------------------------------------------------------------------------------------
def pending_bar(edits: Edits, lang: str) -> str:
    """What waits to be saved; "" where nothing does."""
    if not len(edits):
        return ""
    said = t("look.pending", lang, dropped=count(len(edits.dropped)), changed=count(len(edits.changed)))
    return (
        f'<div class="pending-edits"><b>{esc(said)}</b>'
        f'<button type="button" class="act primary" data-act="save">{esc(t("look.save", lang))}</button>'
        f'<button type="button" class="act" data-act="discard">{esc(t("look.discard", lang))}</button></div>'
    )


# -- one row ----------------------------------------------------------------------------------------------------------
def row_head(row: TableRow, category: str | None, edits: Edits, first: bool, last: bool, lang: str) -> str:
    """Number and marks of the shown row, what drops or keeps it, and the way to its neighbours."""
    gone, edited = row.index in edits.dropped, row.index in edits.changed
    facts = [t("look.row_line", lang, line=count(row.line)), row.source, t(f"language.{row.language}", lang)]
    facts += [category] if category else []
    facts += [t("look.equal", lang, n=count(row.copies))] if row.copies else []
    for name in ("difficulty", "score"):
        value = getattr(row, name)
        facts += [f"{t(f'look.col_{name}', lang)} {figure(value)}"] if value is not None else []
    mark = t("look.is_dropped", lang) if gone else t("look.is_edited", lang) if edited else ""
    act = ("keep", t("look.keep", lang)) if gone else ("drop", t("look.drop", lang))
    return (
        f'<div class="row-head"><h4>{esc(t("look.row", lang, n=count(row.index + 1)))}</h4>'
        f'{f"<em>{esc(mark)}</em>" if mark else ""}<span class="facts">{esc(" · ".join(facts))}</span>'
        f'<button type="button" class="act" data-act="{act[0]}">{esc(act[1])}</button>'
        f"{_icon('before', '↑', t('look.row_before', lang), first)}"
        f"{_icon('after', '↓', t('look.row_after', lang), last)}"
        f"{_icon('close', '×', t('look.row_close', lang))}</div>"
    )


def role(name: str, lang: str) -> str:
    return t(f"role.{name}", lang) if has(f"role.{name}") else name


def bubbles(kind: Kind, row: Row, search: str, lang: str) -> str:
    """A canonical row as a conversation; answers that are compared stand side by side."""
    if kind == "text":
        return f'<div class="bubbles"><div class="bubble plain"><p>{marked(row["text"], search)}</p></div></div>'
    if kind == "choice":
        return f'<div class="bubbles">{_choices(row, search, lang)}</div>'
    turns = row["messages"] if kind == "messages" else row["prompt"]
    said = "".join(_bubble(turn["role"], role(turn["role"], lang), turn["content"], search) for turn in turns)
    sides = []
    for name in ("chosen", "rejected"):
        text = "\n\n".join(turn["content"] for turn in row.get(name, []))
        sides += [_bubble(f"assistant {name}", t(f"look.name_{name}", lang), text, search)] if name in row else []
    for number, answer in enumerate(row.get("answers", []), 1):
        title = t("look.answer_n", lang, n=number)
        if answer.get("score") is not None:
            title += " · " + t("look.with_score", lang, score=figure(answer["score"]))
        sides.append(_bubble("assistant", title, answer["content"], search))
    pair = f'<div class="side-by-side">{"".join(sides)}</div>' if sides else ""
    return f'<div class="bubbles">{said}{pair}</div>'


def _bubble(name: str, title: str, text: str, search: str) -> str:
    return f'<div class="bubble {esc(name)}"><span>{esc(title)}</span><p>{marked(text, search)}</p></div>'


def _choices(row: Mapping[str, Any], search: str, lang: str) -> str:
    items = []
    for letter, choice in zip(LETTERS, row["choices"], strict=False):
        right = letter in row["answer"]
        note = f" <em>{esc(t('look.right', lang))}</em>" if right else ""
        items.append(f'<li class="{"right" if right else ""}"><b>{letter}</b>{marked(choice, search)}{note}</li>')
    return (
        _bubble("user", role("question", lang), row["question"], search) + f'<ul class="choices">{"".join(items)}</ul>'
    )


def editor(kind: Kind, row: Row, key: str, note: str, changed: bool, lang: str) -> str:
    """A field for each text of the row. `key` names the row; `note`: HTML that says what came of the last change."""
    fields = []
    for number, (name, text) in enumerate(texts_of_row(kind, row)):
        title = t(f"look.name_{name}", lang) if has(f"look.name_{name}") else role(name, lang)
        height = min(SHORT_ROWS, max(2, text.count("\n") + 1 + len(text) // 60))
        # A text that begins with a line break would lose it to the parser, which takes the first one away.
        fields.append(
            f'<label class="edit {esc(name)}"><span>{esc(title)}</span>'
            f'<textarea rows="{height}" data-key="{esc(key)}.{number}">\n{esc(text)}</textarea></label>'
        )
    back = (
        f'<button type="button" class="act" data-act="keep">{esc(t("look.revert", lang))}</button>' if changed else ""
    )
    return (
        f'<div class="editor"><p class="hint">{esc(t("look.edit_help", lang))}</p>{"".join(fields)}'
        f'<div class="acts"><button type="button" class="act primary" data-act="change">{esc(t("look.apply", lang))}'
        f"</button>{back}</div>{note}</div>"
    )
