"""What a comparison has found so far, on disk: rewritten after every figure, so that it is seen and survives a stop.

A resumed run takes over what its last attempt left, as far as the same weights were measured on the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from core.evaluation.sheets import write_sheets
from core.records_evaluation import (
    Answering,
    Cell,
    Evaluation,
    Item,
    Judged,
    Question,
    Reply,
    answers_file,
    evaluation_file,
    items_file,
    prompts_file,
)
from core.rundir import RunDir, append_jsonl, read_jsonl, read_record, write_record


class Notes:
    """The one writer of `output/` of a run. `found` is everything noted until now."""

    def __init__(self, run: RunDir, found: Evaluation, questions: Sequence[Question]) -> None:
        self.run, self.found, self.questions = run, found, list(questions)
        self.replies: dict[tuple[int, int], Reply] = {}  # (model, number of the question)
        run.output.mkdir(parents=True, exist_ok=True)
        for question in questions:
            append_jsonl(prompts_file(run.output), question.model_dump())
        self._take_over()
        self._write()

    def _take_over(self) -> None:
        """Figures and replies of the last attempt that left any; `attempts/n/output` holds what it wrote."""
        numbers = sorted(int(path.name) for path in self.run.attempts.iterdir() if path.name.isdigit())
        folders = [self.run.attempts / str(number) / "output" for number in numbers]
        folders = [folder for folder in folders if evaluation_file(folder).is_file()]
        before = read_record(evaluation_file(folders[-1]), Evaluation) if folders else None
        if before is None or not self._same(before):
            return
        self.found.cells = before.cells
        rows, _ = read_jsonl(answers_file(folders[-1]))
        self.reply(Reply.model_validate(row) for row in rows)
        self.found.answering = before.answering
        self._take_over_items(folders[-1])

    def _take_over_items(self, folder: Path) -> None:
        """Those of finished cells and of counted answers; what an unfinished one left is made again."""
        rows, _ = read_jsonl(items_file(folder))
        done: set[tuple[int, int | None]] = {(cell.model, cell.exam) for cell in self.found.cells}
        done |= {(each.model, None) for each in self.found.answering}
        append_jsonl(items_file(self.run.output), *(row for row in rows if (row["model"], row["exam"]) in done))

    def _same(self, before: Evaluation) -> bool:
        """Whether an earlier attempt measured these very weights on these very rows."""
        now = self.found
        whom = [judged.identity for judged in before.models] == [judged.identity for judged in now.models]
        same = (before.exams, before.prompts, before.asked) == (now.exams, now.prompts, now.asked)
        return whom and same and before.packages == now.packages and before.dtype == now.dtype

    # -- writing ------------------------------------------------------------------------------------------------------
    def judged(self, place: int, judged: Judged) -> None:
        """What has become known of a model."""
        self.found.models[place] = judged
        self._write()

    def cell(self, cell: Cell, items: Sequence[Item] = ()) -> None:
        """A figure of the table, and what it was made of."""
        self.items(items)
        self.found.cells.append(cell)
        self._write()

    def reply(self, replies: Iterable[Reply]) -> None:
        for reply in replies:
            self.replies[reply.model, reply.number] = reply
            append_jsonl(answers_file(self.run.output), reply.model_dump())

    def items(self, items: Sequence[Item]) -> None:
        """Those of one cell, or of one model's answers, at once: they are taken over only where that was finished."""
        append_jsonl(items_file(self.run.output), *(item.model_dump() for item in items))

    def answered(self, answering: Answering) -> None:
        self.found.answering.append(answering)
        self._write()

    def counted(self, model: int, seconds: float) -> Answering:
        """A model's replies in figures; `seconds` are those of this attempt."""
        replies = self.replies_of(model)
        said = [reply for reply in replies if reply.end in ("stop", "length")]
        return Answering(
            model=model,
            answers=len(said),
            tokens=sum(reply.tokens for reply in said) / max(1, len(said)),
            cut_off=sum(reply.end == "length" for reply in said),
            unasked=len(replies) - len(said),
            seconds=seconds,
        )

    def _write(self) -> None:
        write_record(evaluation_file(self.run.output), self.found)
        write_sheets(self.run.output, self.found, self.questions, self.replies)

    def replies_of(self, model: int) -> list[Reply]:
        return [reply for reply in self.replies.values() if reply.model == model]

    # -- what is left to do -------------------------------------------------------------------------------------------
    def open_exams(self, model: int) -> list[int]:
        """The exams that this model has no figure or reason for."""
        return [exam for exam in range(len(self.found.exams)) if self.found.cell(model, exam) is None]

    def open_questions(self, model: int) -> list[Question]:
        """What this model was not asked yet; [] once its answers are counted."""
        if self.found.answers_of(model) is not None:
            return []
        return [question for question in self.questions if (model, question.number) not in self.replies]
