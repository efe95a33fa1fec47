"""Rows that cannot be used, as the Data tab and a failed run list them: line, reason, remedy, excerpt. No gradio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.errors import Problem
from webui.figures import count, esc
from webui.messages import code_text, problem_text
from webui.text import t

PROBLEMS_SHOWN = 200


def kept_problems(stored: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """The problems of a run's result.json, which were written with `Problem.as_dict`."""
    names = Problem.__dataclass_fields__
    return [Problem(**{name: row[name] for name in names if name in row}) for row in stored if row.get("code")]


def problem_rows(problems: Sequence[Problem], total: int, lang: str) -> str:
    """A table of rows that cannot be used, in the reader's language, and beneath it how many there are in all."""
    rows = []
    for problem in problems[:PROBLEMS_SHOWN]:
        said, remedy = code_text(problem.code, problem.params, lang)
        line = "–" if problem.line is None else count(problem.line)
        excerpt = f"<code>{esc(problem.excerpt)}</code>" if problem.excerpt else ""
        rows.append(f'<tr><td class="line">{line}</td><td><b>{esc(said)}</b> {esc(remedy)}{excerpt}</td></tr>')
    heads = f'<th class="line">{esc(t("data.line", lang))}</th><th>{esc(t("data.reason", lang))}</th>'
    table = f'<table class="table"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    more = first_of(problems, total, lang)
    note = f'<p class="quiet">{esc(more)}</p>' if more else ""
    return f'<div class="scroll problems">{table}</div>{note}'


def first_of(problems: Sequence[Problem], total: int, lang: str) -> str:
    """How many of all problems are listed; empty where it is every one."""
    shown = min(len(problems), PROBLEMS_SHOWN)
    return t("data.first_of", lang, shown=count(shown), count=count(total)) if shown < total else ""


def problem_list(problems: Sequence[Problem], lang: str, most: int = 8) -> str:
    """Problems in short, for beneath a message; those with a line as a table."""
    rows = [problem for problem in problems if problem.line is not None]
    items = []
    for problem in [problem for problem in problems if problem.line is None][:most]:
        where = f"{problem.key}: " if problem.key else ""
        items.append(f"<li>{esc(where + problem_text(problem, lang))}</li>")
    listed = f'<ul class="problem-list">{"".join(items)}</ul>' if items else ""
    return listed + (problem_rows(rows, len(rows), lang) if rows else "")
