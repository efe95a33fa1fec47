"""What a comparison found as sheets for other programs: written beside its own files, in CSV that a spreadsheet opens.

    output/table.csv      a line for each model and dataset, and for its answers to the questions of each source
    output/answers.csv    a line for each prompt, a column for each model
    output/items.csv      a line for each model and row of a dataset, and for each of its answers: what was asked, what
                          was chosen or said, its figures

UTF-8 with a byte order mark, without which a spreadsheet takes Chinese for something else.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from core.data.store.dataset import Dataset
from core.evaluation.answers import asked
from core.evaluation.report_files import MARK
from core.messages import sentence
from core.records_evaluation import (
    Evaluation,
    Item,
    Question,
    Reply,
    answers_sheet,
    items_file,
    items_sheet,
    table_sheet,
    together,
)
from core.rundir import read_jsonl, write_text

TEXT_CHARS = 2000  # of what was asked
ITEMS = ("model", "dataset", "line", "category", "asked", "right", "said")
FIGURES = (
    "loss", "loss_error", "perplexity", "bits_per_byte", "tokens",
    "accuracy", "accuracy_error", "margin", "ties", "length_correlation",
    "accuracy_norm", "accuracy_norm_error", "accuracy_bytes", "macro", "macro_error", "macro_norm", "chance",
    "multiple", "accuracy_multiple", "fewer_shots",
)  # fmt: skip
# Of answers; a length in tokens is not the number of tokens that text has.
ANSWERS = {
    "answer_tokens": "tokens", "chars": "chars", "cut_off": "cut_off", "repetition": "repetition", "bleu": "bleu",
    "char_bleu4": "char_bleu4", "rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rougeL", "exact": "exact",
    "reward": "reward", "win": "win", "wins": "wins", "ties_with_base": "ties", "losses": "losses", "safe": "safe",
}  # fmt: skip
HEAD = ("model", "run", "base", "dataset", "kind", "rows", "left_out")
TABLE = (*HEAD, *FIGURES, *ANSWERS, "by", "seconds", "no_figure_because")


def write_sheets(
    output: Path, found: Evaluation, questions: Sequence[Question], replies: Mapping[tuple[int, int], Reply]
) -> None:
    """Both sheets into `output`; replies by (model, number of the question)."""
    _write(table_sheet(output), TABLE, _figures(found))
    if questions:
        names = [judged.name for judged in found.models]
        head = ("dataset", "line", "category", "prompt", "reference", *names)
        _write(answers_sheet(output), head, _answers(found, questions, replies))


def write_items(
    output: Path,
    found: Evaluation,
    datasets: Sequence[Dataset],
    questions: Sequence[Question],
    replies: Mapping[tuple[int, int], Reply],
) -> None:
    """The sheet of items; `datasets` are those of the exams, in their order."""
    items = together(read_jsonl(items_file(output))[0])
    names = list(dict.fromkeys(name for item in items for name in item.figures))
    lines = itertools.chain(
        _item_lines(found, [item for item in items if item.exam is not None], names, datasets),
        _answer_lines(found, [item for item in items if item.exam is None], names, questions, replies),
    )
    _write(items_sheet(output), (*ITEMS, *names), lines)


def _item_lines(
    found: Evaluation, items: Sequence[Item], names: Sequence[str], datasets: Sequence[Dataset]
) -> Iterable[list[object]]:
    texts: dict[tuple[int | None, int], str] = {}
    for number, dataset in enumerate(datasets):
        rows = sorted({item.number for item in items if item.exam == number})
        for at, row in zip(rows, dataset.take(rows), strict=True):
            texts[number, at] = asked(dataset.card.kind, row)[0][-1]["content"][:TEXT_CHARS]
    for item in items:
        about = [found.models[item.model].name, found.exams[item.exam or 0].dataset, item.line, item.category or ""]
        figures = [item.figures.get(name, "") for name in names]
        yield [*about, texts[item.exam, item.number], item.right, item.said, *figures]


def _answer_lines(
    found: Evaluation,
    items: Sequence[Item],
    names: Sequence[str],
    questions: Sequence[Question],
    replies: Mapping[tuple[int, int], Reply],
) -> Iterable[list[object]]:
    by_number = {question.number: question for question in questions}
    for item in items:
        question, reply = by_number[item.number], replies[item.model, item.number]
        about = [found.models[item.model].name, found.sources[question.source].name, item.line, item.category or ""]
        figures = [item.figures.get(name, "") for name in names]
        yield [*about, question.messages[-1]["content"][:TEXT_CHARS], question.reference or "", reply.text, *figures]


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows(rows)
    write_text(path, MARK + text.getvalue(), durable=False)


def _figures(found: Evaluation) -> Iterable[list[object]]:
    for cell in found.cells:
        judged, exam = found.models[cell.model], found.exams[cell.exam]
        reason = "" if cell.refusal is None else sentence(cell.refusal.code, cell.refusal.params)[0]
        about = [judged.name, judged.run or "", judged.root, exam.dataset, exam.kind, cell.rows, cell.left_out]
        figures = [cell.figures.get(name, "") for name in FIGURES]
        yield [*about, *figures, *[""] * len(ANSWERS), cell.by or "", round(cell.seconds, 1), reason]
    for said in found.said:
        judged, source = found.models[said.model], found.sources[said.source]
        about = [judged.name, judged.run or "", judged.root, source.name, "answers", said.answers]
        figures = [said.figures.get(name, "") for name in ANSWERS.values()]
        yield [*about, source.asked - said.answers, *[""] * len(FIGURES), *figures, found.judges.by, "", ""]


def _answers(
    found: Evaluation, questions: Sequence[Question], replies: Mapping[tuple[int, int], Reply]
) -> Iterable[list[object]]:
    for question in questions:
        turns = question.messages
        prompt = (
            turns[0]["content"] if len(turns) == 1 else "\n".join(f"{one['role']}: {one['content']}" for one in turns)
        )
        said = [replies.get((model, question.number)) for model in range(len(found.models))]
        about = [found.sources[question.source].name, question.line, question.category or "", prompt]
        yield [*about, question.reference or "", *("" if one is None else one.text for one in said)]
