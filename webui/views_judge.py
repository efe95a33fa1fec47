"""What the Evaluate tab shows of a run, read from its output: the comparison's table, answers side by side, its files.
No gradio.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.records_evaluation import (
    Answering,
    Cell,
    Evaluation,
    Exam,
    Judged,
    Question,
    Refusal,
    Reply,
    answers_file,
    evaluation_file,
    prompts_file,
)
from core.rundir import RunDir, read_jsonl, read_record
from webui.figures import count, esc, figure, size
from webui.messages import code_text, join
from webui.tails import tail
from webui.text import stage_name, t
from webui.views import Snapshot, empty

SHOWN_QUESTIONS = 50
# Figure → text keys of its column's head and of what it means; for text and for pairs.
TEXT_COLUMNS = {
    "loss": ("judge.loss", "judge.loss_help"),
    "perplexity": ("judge.perplexity", "judge.perplexity_help"),
    "bits_per_byte": ("judge.bits", "judge.bits_help"),
}
PAIR_COLUMNS = {
    "accuracy": ("judge.accuracy", "judge.accuracy_help"),
    "margin": ("judge.margin", "judge.margin_help"),
}
NO_ANSWER = {"too_long": "judge.end_too_long", "refused": "judge.end_refused"}
LOW_IS_BEST = {"loss", "perplexity", "bits_per_byte"}
BY_TOKENS = {"loss", "perplexity"}  # comparable between models of one tokenizer only


# -- the table --------------------------------------------------------------------------------------------------------
def table(shot: Snapshot, lang: str) -> str:
    """Every model a row, every dataset a group of columns; the best of a column is marked."""
    found = read_record(evaluation_file(shot.run.output), Evaluation)
    if found is None:
        return f'<div class="chart-empty">{esc(t("judge.not_yet", lang))}</div>'
    top, heads = [f'<th class="name" rowspan="2">{esc(t("judge.model", lang))}</th>'], []
    for exam in found.exams:
        columns = columns_of(exam)
        rows = t("judge.rows", lang, n=count(exam.rows))
        top.append(_group(exam.dataset, rows, len(columns)))
        heads += [
            f'<th title="{esc(t(about_it, lang))}"{_first(at)}>{esc(t(key, lang))}</th>'
            for at, (key, about_it) in enumerate(columns.values())
        ]
    if found.prompts:
        top.append(_group(found.prompts, t("judge.answers", lang), 2))
        heads += [f'<th class="first">{esc(t("judge.length", lang))}</th>', f"<th>{esc(t('judge.cut_off', lang))}</th>"]
    body = "".join(_row(found, place, shot.state.live, lang) for place in range(len(found.models)))
    drawn = f"<thead><tr>{''.join(top)}</tr><tr>{''.join(heads)}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll judge"><table class="table">{drawn}</table></div>{_notes(found, lang)}'


def _group(dataset: str, note: str, columns: int) -> str:
    """The head of a dataset's columns: its name, the version under the pointer."""
    name = f"{esc(dataset.partition('@')[0])}<span>{esc(note)}</span>"
    return f'<th class="group" colspan="{columns}" title="{esc(dataset)}">{name}</th>'


def columns_of(exam: Exam) -> dict[str, tuple[str, str]]:
    return PAIR_COLUMNS if exam.kind == "preference" else TEXT_COLUMNS


def _first(at: int) -> str:
    return ' class="first"' if at == 0 else ""


def _row(found: Evaluation, place: int, live: bool, lang: str) -> str:
    cells = []
    for number, exam in enumerate(found.exams):
        cell = found.cell(place, number)
        for at, name in enumerate(columns_of(exam)):
            cells.append(_cell(found, cell, name, at, live, lang))
    if found.prompts:
        cells += _answering(found.answers_of(place), live, lang)
    judged = found.models[place]
    said = esc(" · ".join(about(judged, lang)))
    name = f'<td class="name"><b title="{esc(judged.text)}">{esc(judged.name)}</b><span>{said}</span></td>'
    return f"<tr>{name}{''.join(cells)}</tr>"


def about(judged: Judged, lang: str) -> list[str]:
    """What is worth knowing of a model in a line."""
    facts = [stage_name(judged.stage, lang) if judged.stage else t("judge.base", lang)]
    if judged.adapters:
        facts.append(t("judge.on", lang, base=judged.root))
    return facts


def _cell(found: Evaluation, cell: Cell | None, name: str, at: int, live: bool, lang: str) -> str:
    first = "first " if at == 0 else ""
    if cell is None:
        return f'<td class="{first}open">{"…" if live else "–"}</td>'
    value = cell.figures.get(name)
    if value is None:
        reason = join(*code_text(cell.refusal.code, cell.refusal.params, lang)) if cell.refusal else ""
        return f'<td class="{first}open" title="{esc(reason)}">–</td>'
    top = _best(found, cell.exam, name)
    best = " best" if top is not None and figure(value) == figure(top) else ""  # what looks alike is marked alike
    error = cell.figures.get(f"{name}_error")
    if name == "accuracy":
        said, spread = f"{100 * value:.1f} %", f"{100 * error:.1f}" if error is not None else ""
    else:
        said, spread = figure(value), f"{error:.2g}" if error is not None else ""
    plus = f"<span>± {esc(spread)}</span>" if spread else ""
    return f'<td class="{first}number{best}">{esc(said)}{plus}</td>'


def _best(found: Evaluation, exam: int, name: str) -> float | None:
    """The best value of a column; None for a single one, and where the tokenizers make the values incomparable."""
    cells = [cell for cell in found.cells if cell.exam == exam and name in cell.figures]
    tokenizers = {found.models[cell.model].tokenizer for cell in cells}
    if len(cells) < 2 or name == "margin" or (name in BY_TOKENS and len(tokenizers) > 1):
        return None
    values = [cell.figures[name] for cell in cells]
    return min(values) if name in LOW_IS_BEST else max(values)


def _answering(replies: Answering | None, live: bool, lang: str) -> list[str]:
    if replies is None or replies.refusal is not None:
        reason = replies.refusal if replies is not None else None
        said = join(*code_text(reason.code, reason.params, lang)) if reason else ""
        sign = "…" if live and replies is None else "–"
        return [f'<td class="first open" title="{esc(said)}">{sign}</td>', '<td class="open"></td>']
    return [
        f'<td class="first number">{esc(figure(round(replies.tokens, 1)))}</td>',
        f'<td class="number">{count(replies.cut_off)} / {count(replies.answers)}</td>',
    ]


def _notes(found: Evaluation, lang: str) -> str:
    """What the figures mean, and why some are missing."""
    said = []
    tokenizers = {model.tokenizer for model in found.models if model.tokenizer}
    if len(tokenizers) > 1 and any(exam.kind != "preference" for exam in found.exams):
        said.append(t("judge.tokenizers_differ", lang))
    if any(cell.by == "likelihood" for cell in found.cells):
        said.append(t("judge.by_likelihood", lang))
    if any(cell.left_out for cell in found.cells):
        left = max(cell.left_out for cell in found.cells)
        said.append(t("judge.left_out", lang, n=count(left)))
    for where in _reasons(found).values():
        refusal = where[0][1]
        names = ", ".join(dict.fromkeys(name for name, _ in where))
        said.append(f"{names}: {join(*code_text(refusal.code, refusal.params, lang))}")
    items = "".join(f"<li>{esc(line)}</li>" for line in said)
    return f'<ul class="judge-notes">{items}</ul>' if items else ""


def _reasons(found: Evaluation) -> dict[str, list[tuple[str, Refusal]]]:
    """Code and parameters → the models it holds for."""
    reasons: dict[str, list[tuple[str, Refusal]]] = {}
    refused: list[tuple[int, Refusal | None]] = [(cell.model, cell.refusal) for cell in found.cells]
    refused += [(each.model, each.refusal) for each in found.answering]
    for model, refusal in refused:
        if refusal is not None:
            reasons.setdefault(refusal.model_dump_json(), []).append((found.models[model].name, refusal))
    return reasons


# -- answers ----------------------------------------------------------------------------------------------------------
def answers(shot: Snapshot, lang: str) -> str:
    """Every prompt with the models' answers beside each other, as far as they have come."""
    found = read_record(evaluation_file(shot.run.output), Evaluation)
    if found is None or not found.prompts:
        return empty(t("judge.no_prompts", lang))
    rows, _ = read_jsonl(prompts_file(shot.run.output))
    questions = [Question.model_validate(row) for row in rows[:SHOWN_QUESTIONS]]
    replies: dict[tuple[int, int], dict[str, Any]] = {}
    for row in tail(answers_file(shot.run.output), keep_rows=True).rows:
        replies[row.get("model", 0), row.get("number", 0)] = row
    asked = [place for place in range(len(found.models)) if not _refused(found.answers_of(place))]
    blocks = "".join(_question(question, found, asked, replies, shot.state.live, lang) for question in questions)
    more = t("judge.more_answers", lang, shown=count(len(questions)), count=count(found.asked))
    note = f'<p class="quiet">{esc(more)}</p>' if found.asked > len(questions) else ""
    return f'<div class="answers-beside">{blocks}</div>{note}'


def _refused(replies: Answering | None) -> bool:
    return replies is not None and replies.refusal is not None


def _question(
    question: Question, found: Evaluation, asked: Sequence[int], replies: dict[tuple[int, int], dict[str, Any]],
    live: bool, lang: str,
) -> str:  # fmt: skip
    *before, last = question.messages
    turns = "".join(
        f'<div class="before"><b>{esc(_role(one["role"], lang))}</b> {esc(one["content"])}</div>' for one in before
    )
    columns = []
    if question.reference is not None:
        said = f'<div class="said">{esc(question.reference)}</div>'
        columns.append(f'<div class="one-answer reference"><h5>{esc(t("judge.reference", lang))}</h5>{said}</div>')
    for place in asked:
        row = replies.get((place, question.number))
        columns.append(
            f'<div class="one-answer"><h5>{esc(found.models[place].name)}</h5>{_reply(row, live, lang)}</div>'
        )
    return (
        f'<section class="sample">{turns}<h4>{esc(last["content"])}</h4>'
        f'<div class="beside" style="--sides:{len(columns)}">{"".join(columns)}</div></section>'
    )


def _role(role: str, lang: str) -> str:
    return t(f"role.{role}", lang) if role in ("system", "user", "assistant") else role


def _reply(row: dict[str, Any] | None, live: bool, lang: str) -> str:
    if row is None:
        return f'<div class="said open">{"…" if live else "–"}</div>'
    reply = Reply.model_validate(row)
    if reply.end in NO_ANSWER:
        return f'<div class="said open">{esc(t(NO_ANSWER[reply.end], lang))}</div>'
    facts = t("judge.tokens", lang, n=count(reply.tokens))
    facts += f" · {t('judge.end_length', lang)}" if reply.end == "length" else ""
    return f'<div class="said">{esc(reply.text)}</div><span class="at">{esc(facts)}</span>'


# -- files ------------------------------------------------------------------------------------------------------------
def files(copies: Sequence[Path], run: RunDir, lang: str) -> str:
    """Links to what a comparison has written; `copies` are those that the page may serve."""
    if not copies:
        return empty(t("judge.no_files", lang))
    links = "".join(
        f'<li><a href="gradio_api/file={esc(quote(str(path)))}" download="{esc(path.name)}">'
        f"{esc(path.name.removeprefix(run.id + '-'))}</a><span>{esc(size(path.stat().st_size))}</span></li>"
        for path in copies
    )
    where = t("judge.files_at", lang, path=str(run.output))
    return f'<ul class="judge-files">{links}</ul><p class="quiet">{esc(where)}</p>'
