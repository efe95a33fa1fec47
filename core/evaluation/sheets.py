"""What a comparison found as sheets for other programs: written beside its own files, in CSV that a spreadsheet opens.

    output/table.csv      a line for each figure: model, dataset, what was measured
    output/answers.csv    a line for each prompt, a column for each model

UTF-8 with a byte order mark, without which a spreadsheet takes Chinese for something else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from core.messages import sentence
from core.records_evaluation import Evaluation, Question, Reply, answers_sheet, table_sheet
from core.rundir import write_text

MARK = "\ufeff"
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
