"""What a comparison has found so far, on disk: rewritten after every figure, so that it is seen and survives a stop.

A resumed run takes over what its last attempt left, as far as the same weights were measured on the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from core.evaluation.sheets import write_sheets
from core.records_evaluation import (
    Answering,
    Cell,
    Evaluation,
    Item,
    Judged,
    Question,
    Refusal,
    Reply,
    Said,
    Verdict,
    answers_file,
    evaluation_file,
    items_file,
    prompts_file,
    together,
    verdicts_file,
)
from core.rundir import RunDir, append_jsonl, read_jsonl, read_record, write_record

JUDGED = ("reward", "win")  # figures of answers that judges give, when all models have answered


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
        for now, then in zip(self.found.models, before.models, strict=True):  # known since they were loaded
            now.tokenizer, now.template = then.tokenizer, then.template
        self.found.cells = before.cells
        rows, _ = read_jsonl(answers_file(folders[-1]))
        self.reply(Reply.model_validate(row) for row in rows)
        self.found.answering, self.found.said = before.answering, before.said
        self.found.judges.rewarded, self.found.judges.compared = before.judges.rewarded, before.judges.compared
        self._take_over_items(folders[-1])

    def _take_over_items(self, folder: Path) -> None:
        """Those of finished cells, of counted and of judged answers; what an unfinished one left is made again."""
        rows, _ = read_jsonl(items_file(folder))
        cells = {(cell.model, cell.exam) for cell in self.found.cells}
        counted = {each.model for each in self.found.answering}
        judges = self.found.judges
        done = {"reward": set(judges.rewarded), "win": set(judges.compared), "unread": set(judges.compared)}
        for row in rows:
            model, exam, figures = row["model"], row["exam"], row["figures"]
            whose = next((done[name] for name in done if name in figures), counted)
            if (model in whose) if exam is None else (model, exam) in cells:
                append_jsonl(items_file(self.run.output), row)
        verdicts, _ = read_jsonl(verdicts_file(folder))
        append_jsonl(verdicts_file(self.run.output), *(row for row in verdicts if row["model"] in judges.compared))

    def _same(self, before: Evaluation) -> bool:
        """Whether an earlier attempt measured these very weights on these very rows."""
        now = self.found
        whom = [judged.identity for judged in before.models] == [judged.identity for judged in now.models]
        same = (before.exams, before.prompts, before.sources) == (now.exams, now.prompts, now.sources)
        judges = (before.judges.reward_id, before.judges.by_id) == (now.judges.reward_id, now.judges.by_id)
        return whom and same and judges and before.packages == now.packages and before.dtype == now.dtype

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

    def answered(self, answering: Answering, said: Sequence[Said] = ()) -> None:
        """One model has answered. With its answers' figures, in one write: neither is ever there alone."""
        self.found.answering.append(answering)
        self.sums(answering.model, said)

    def sums(self, model: int, said: Sequence[Said]) -> None:
        """A model's answers in figures, in the place of earlier ones."""
        self.found.said = [each for each in self.found.said if each.model != model] + list(said)
        self._write()

    def judged_answers(
        self, model: int, by: str, values: Mapping[int, dict[str, float]], verdicts: Sequence[Verdict]
    ) -> None:
        """What a judge made of a model's answers, by the question's number: more figures of their items. `by`: a name
        of `JUDGED`."""
        asked = {question.number: question for question in self.questions}
        items = [
            Item(model=model, exam=None, number=number, line=asked[number].line, figures=figures,
                 category=asked[number].category)
            for number, figures in values.items()
        ]  # fmt: skip
        self.items(items)
        append_jsonl(verdicts_file(self.run.output), *(verdict.model_dump() for verdict in verdicts))
        judges = self.found.judges
        (judges.rewarded if by == "reward" else judges.compared).append(model)

    def unjudged(self, refusal: Refusal) -> None:
        self.found.judges.unjudged.append(refusal)
        self._write()

    def answer_items(self, model: int) -> list[Item]:
        """Everything that is known of each of a model's answers."""
        rows, _ = read_jsonl(items_file(self.run.output))
        return together(row for row in rows if row["exam"] is None and row["model"] == model)

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

    def open_to(self, by: str) -> list[int]:
        """The models whose answers a judge has not seen yet. The base is compared with nobody."""
        judges = self.found.judges
        seen = judges.rewarded if by == "reward" else [self.found.base, *judges.compared]
        return [each.model for each in self.found.answering if each.answers and each.model not in seen]

    # -- what is left to do -------------------------------------------------------------------------------------------
    def open_exams(self, model: int) -> list[int]:
        """The exams that this model has no figure or reason for."""
        return [exam for exam in range(len(self.found.exams)) if self.found.cell(model, exam) is None]

    def open_answers(self, model: int) -> bool:
        """Whether this model's answers are not counted yet, be they all there or not."""
        return bool(self.questions) and self.found.answers_of(model) is None

    def open_questions(self, model: int) -> list[Question]:
        """What this model was not asked yet."""
        return [question for question in self.questions if (model, question.number) not in self.replies]
