"""What a comparison found as sheets for other programs: written beside its own files, in CSV that a spreadsheet opens.

    output/table.csv      a line for each figure: model, dataset, what was measured
    output/answers.csv    a line for each prompt, a column for each model
    output/items.csv      a line for each model and row of a dataset: what was asked, what was chosen, its figures

UTF-8 with a byte order mark, without which a spreadsheet takes Chinese for something else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from core.data.store.dataset import Dataset
from core.evaluation.answers import asked
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
)
from core.rundir import read_jsonl, write_text

MARK = "\ufeff"
TEXT_CHARS = 2000  # of what was asked
ITEMS = ("model", "dataset", "line", "category", "asked", "right", "said")
FIGURES = (
    "loss", "loss_error", "perplexity", "bits_per_byte", "tokens",
    "accuracy", "accuracy_error", "margin", "ties", "length_correlation",
    "accuracy_norm", "accuracy_norm_error", "accuracy_bytes", "macro", "macro_error", "macro_norm", "chance",
    "multiple", "accuracy_multiple", "fewer_shots",
)  # fmt: skip
TABLE = ("model", "run", "base", "dataset", "kind", "rows", "left_out", *FIGURES, "by", "seconds", "no_figure_because")


def write_sheets(
    output: Path, found: Evaluation, questions: Sequence[Question], replies: Mapping[tuple[int, int], Reply]
) -> None:
    """Both sheets into `output`; replies by (model, number of the question)."""
    _write(table_sheet(output), TABLE, _figures(found))
    if questions:
        names = [judged.name for judged in found.models]
        _write(answers_sheet(output), ("line", "prompt", "reference", *names), _answers(found, questions, replies))


def write_items(output: Path, found: Evaluation, datasets: Sequence[Dataset]) -> None:
    """The sheet of items; `datasets` are those of the exams, in their order."""
    rows, _ = read_jsonl(items_file(output))
    items = [Item.model_validate(row) for row in rows if row["exam"] is not None]
    names = list(dict.fromkeys(name for item in items for name in item.figures))
    _write(items_sheet(output), (*ITEMS, *names), _item_lines(found, items, names, datasets))


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
        yield [*about, *figures, cell.by or "", round(cell.seconds, 1), reason]


def _answers(
    found: Evaluation, questions: Sequence[Question], replies: Mapping[tuple[int, int], Reply]
) -> Iterable[list[object]]:
    for question in questions:
        turns = question.messages
        prompt = (
            turns[0]["content"] if len(turns) == 1 else "\n".join(f"{one['role']}: {one['content']}" for one in turns)
        )
        said = [replies.get((model, question.number)) for model in range(len(found.models))]
        yield [question.line, prompt, question.reference or "", *("" if one is None else one.text for one in said)]
