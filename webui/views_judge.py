"""What the Evaluate tab shows of a run, read from its output: the comparison's table and its files. Answers are
`webui.views_said`, the report is `webui.views_tax`. No gradio.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from core.records_evaluation import (
    Cell,
    Evaluation,
    Exam,
    Judged,
    Refusal,
    evaluation_file,
)
from core.rundir import RunDir, read_record
from webui.figures import count, esc, figure, size
from webui.messages import code_text, join
from webui.text import stage_name, t
from webui.views import Snapshot, empty
from webui.views_items import asked_how, categories, fewer_shots

# Figure → text keys of its column's head and of what it means; for text and for pairs.
TEXT_COLUMNS = {
    "loss": ("judge.loss", "judge.loss_help"),
    "perplexity": ("judge.perplexity", "judge.perplexity_help"),
    "bits_per_byte": ("judge.bits", "judge.bits_help"),
}
CHOICE_COLUMNS = {
    "accuracy": ("judge.share_right", "judge.share_right_help"),
    "accuracy_norm": ("judge.norm", "judge.norm_help"),
    "macro": ("judge.macro", "judge.macro_help"),
}
SHARES = {"accuracy", "accuracy_norm", "macro"}  # shown as per cent
PAIR_COLUMNS = {
    "accuracy": ("judge.accuracy", "judge.accuracy_help"),
    "margin": ("judge.margin", "judge.margin_help"),
}
LOW_IS_BEST = {"loss", "perplexity", "bits_per_byte"}
BY_TOKENS = {"loss", "perplexity"}  # comparable between models of one tokenizer only


# -- the table --------------------------------------------------------------------------------------------------------
def table(shot: Snapshot, lang: str) -> str:
    """Every model a row, every dataset a group of columns; the best of a column is marked."""
    found = read_record(evaluation_file(shot.run.output), Evaluation)
    if found is None:
        return f'<div class="chart-empty">{esc(t("judge.not_yet", lang))}</div>'
    if not found.exams:
        return ""
    top, heads = [f'<th class="name" rowspan="2">{esc(t("judge.model", lang))}</th>'], []
    for exam in found.exams:
        columns = columns_of(exam)
        rows = " · ".join(filter(None, (t("judge.rows", lang, n=count(exam.rows)), asked_how(exam, lang))))
        top.append(_group(exam.dataset, rows, len(columns)))
        heads += [
            f'<th title="{esc(t(about_it, lang))}"{_first(at)}>{esc(t(key, lang))}</th>'
            for at, (key, about_it) in enumerate(columns.values())
        ]
    body = "".join(_row(found, place, shot.state.live, lang) for place in range(len(found.models)))
    drawn = f"<thead><tr>{''.join(top)}</tr><tr>{''.join(heads)}</tr></thead><tbody>{body}</tbody>"
    beneath = categories(found, lang) + _notes(found, lang)
    return f'<div class="scroll judge"><table class="table">{drawn}</table></div>{beneath}'


def _group(dataset: str, note: str, columns: int) -> str:
    """The head of a dataset's columns: its name, the version and the note under the pointer."""
    name = f"{esc(dataset.partition('@')[0])}<span>{esc(note)}</span>"
    return f'<th class="group" colspan="{columns}" title="{esc(dataset)} · {esc(note)}">{name}</th>'


def columns_of(exam: Exam) -> dict[str, tuple[str, str]]:
    return {"preference": PAIR_COLUMNS, "choice": CHOICE_COLUMNS}.get(exam.kind, TEXT_COLUMNS)


def _first(at: int) -> str:
    return ' class="first"' if at == 0 else ""


def _row(found: Evaluation, place: int, live: bool, lang: str) -> str:
    cells = []
    for number, exam in enumerate(found.exams):
        cell = found.cell(place, number)
        for at, name in enumerate(columns_of(exam)):
            cells.append(_cell(found, cell, name, at, live, lang))
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
    if name in SHARES:
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


def _notes(found: Evaluation, lang: str) -> str:
    """What the figures mean, and why some are missing."""
    said = []
    tokenizers = {model.tokenizer for model in found.models if model.tokenizer}
    if len(tokenizers) > 1 and any(exam.kind in ("text", "messages") for exam in found.exams):
        said.append(t("judge.tokenizers_differ", lang))
    if any(cell.by == "likelihood" for cell in found.cells):
        said.append(t("judge.by_likelihood", lang))
    for exam, chance in _chances(found).items():
        said.append(t("judge.guessing", lang, dataset=exam, share=f"{100 * chance:.1f} %"))
    if fewer := fewer_shots(found.cells):
        said.append(t("judge.fewer_shots", lang, n=count(fewer)))
    if any(cell.left_out for cell in found.cells):
        left = max(cell.left_out for cell in found.cells)
        said.append(t("judge.left_out", lang, n=count(left)))
    for where in _reasons(found).values():
        refusal = where[0][1]
        names = ", ".join(dict.fromkeys(name for name, _ in where))
        said.append(f"{names}: {join(*code_text(refusal.code, refusal.params, lang))}")
    items = "".join(f"<li>{esc(line)}</li>" for line in said)
    return f'<ul class="judge-notes">{items}</ul>' if items else ""


def _chances(found: Evaluation) -> dict[str, float]:
    """Dataset of questions → what guessing gives."""
    cells = [cell for cell in found.cells if "chance" in cell.figures]
    return {found.exams[cell.exam].dataset.partition("@")[0]: cell.figures["chance"] for cell in cells}


def _reasons(found: Evaluation) -> dict[str, list[tuple[str, Refusal]]]:
    """Code and parameters → the models it holds for."""
    reasons: dict[str, list[tuple[str, Refusal]]] = {}
    refused: list[tuple[int, Refusal | None]] = [(cell.model, cell.refusal) for cell in found.cells]
    refused += [(each.model, each.refusal) for each in found.answering]
    for model, refusal in refused:
        if refusal is not None:
            reasons.setdefault(refusal.model_dump_json(), []).append((found.models[model].name, refusal))
    return reasons


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
