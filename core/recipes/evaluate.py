"""evaluate: several models on the same rows and prompts, in one table.

    1  draw the rows of every dataset, and the prompts: the same for all models
    2  model by model: load it, with its chain merged
    3  measure it on every dataset: loss and perplexity of text, accuracy on pairs and on questions with choices
    4  let it answer the prompts, and measure the answers
    5  let the reward run score them, and the judge compare them with the first model's
    6  report what was gained in the domain and lost in general
    7  after each of these write what there is: the page shows it, and a resumed run goes on from there

Run it with `python -m core evaluate 'models.runs=[M, RUN]' 'data.rows=[D]' data.prompts=P`. A model that cannot be
measured on a dataset (a reward model on text, a base without a chat template on conversations) gets the reason in its
place; the run fails only where nothing could be measured at all. Left out: several devices.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from core.configs.models import Tests
from core.configs.stages import EvaluateConfig
from core.data.store.dataset import Dataset
from core.data.store.library import open_dataset
from core.errors import DataError, GalenError, InputError, ModelError, RunError
from core.evaluation import contenders, exams, judging_answers, report, report_files, sources
from core.evaluation.answers import answer_all
from core.evaluation.contenders import Contender, Language
from core.evaluation.exams import Sitting
from core.evaluation.log_lines import lines
from core.evaluation.marks import Marks
from core.evaluation.means import Means
from core.evaluation.notes import Notes
from core.evaluation.sheets import write_items
from core.models.loading import resolve_dtype
from core.records_evaluation import Answering, Asking, Cell, Evaluation, Exam, Item, Role
from core.report import RunContext
from core.training.delivery import device_name
from core.training.judges import judge_of
from core.workspace import Workspace

Examiner = Callable[[Sitting, Means], Marks]
PACKAGES = ("torch", "transformers", "peft", "tokenizers")


@dataclass(frozen=True)
class Comparison:
    """What stays the same for all models."""

    context: RunContext
    config: EvaluateConfig
    dtype: torch.dtype
    sittings: list[Sitting]
    notes: Notes


def main(context: RunContext) -> None:
    """Compare `models.runs` on `data.rows` and `data.prompts`. Raises DataError for rows that give no figure."""
    config = EvaluateConfig.model_validate(context.config.model_dump())

    # 1
    seed, limit = config.run.seed, config.data.max_rows
    roles = sources.measured(context.workspace, config)
    asking, dev = asking_of(config.data), examples_of(context.workspace, config.data)
    sittings = [exams.draw(open_dataset(context.workspace, ref), limit, seed, asking, dev) for ref in roles]
    asked_of, asked = sources.gather(context.workspace, config)
    whom = [contenders.find(context.workspace, text) for text in config.models.runs]
    dtype = resolve_dtype(config.models.dtype, context.device)
    context.report.phase("loading")
    found = Evaluation(
        models=[each.judged for each in whom],
        exams=[exam_of(sitting, role) for sitting, role in zip(sittings, roles.values(), strict=True)],
        prompts=config.data.prompts,
        asked=len(asked),
        sources=asked_of,
        judges=judging_answers.judges_of(context.workspace, config.judging),
        dtype=str(dtype).removeprefix("torch."),
        device=device_name(context),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
    )
    comparison = Comparison(context, config, dtype, sittings, Notes(context.run, found, asked))

    # 2 to 4
    errors = [error for place, each in enumerate(whom) for error in judge(comparison, place, each)]
    if errors and not any(cell.figures for cell in found.cells) and not any(each.answers for each in found.answering):
        raise errors[0]

    # 5
    judging_answers.reward_answers(context, config, dtype, comparison.notes)
    judging_answers.compare_answers(context, config, comparison.notes)

    # 6
    notes, tested = comparison.notes, [sitting.dataset for sitting in sittings]
    write_items(context.run.output, found, tested, notes.questions, notes.replies)
    for line in lines(found):
        print(line)
    if any(model.kind == "language" for model in found.models):
        context.report.phase("reporting")
        made = report.make([context.run], resamples=config.report.resamples, seed=seed)
        report_files.write(context.run.output, made)
        for line in report_files.table(made):
            print(line)


def asking_of(tests: Tests) -> Asking:
    """How questions with choices are put."""
    by, chat, preamble = tests.choice_by, tests.choice_chat, tests.choice_preamble
    return Asking(shots=tests.shots, dev=tests.dev, by=by, chat=chat, preamble=preamble)


def examples_of(workspace: Workspace, tests: Tests) -> Dataset | None:
    """The dataset of examples. Raises DataError `data.wrong_kind` and `evaluate.few_examples`."""
    if tests.dev is None:
        return None
    dev = open_dataset(workspace, tests.dev)
    if dev.card.kind != "choice":
        raise DataError("data.wrong_kind", ref=dev.ref, kind=dev.card.kind, needed="choice")
    if len(dev) < tests.shots:
        raise DataError("evaluate.few_examples", ref=dev.ref, rows=len(dev), shots=tests.shots)
    return dev


def exam_of(sitting: Sitting, role: Role) -> Exam:
    card, rows = sitting.dataset.card, len(sitting.rows)
    ref, sha256, asking = sitting.dataset.ref, card.sha256, sitting.asking
    return Exam(dataset=ref, sha256=sha256, kind=card.kind, rows=rows, role=role, asking=asking)


def judge(comparison: Comparison, place: int, contender: Contender) -> list[GalenError]:
    """Everything that is still to be found of one model. Returns the reasons for what there is no figure of."""
    notes, report = comparison.notes, comparison.context.report
    if not notes.open_exams(place) and not notes.open_answers(place):
        return []
    report.phase("loading" if place == 0 else "switching")
    report.check_stop()
    by_kind = judge_reward if contender.judged.kind == "reward" else judge_language
    try:
        errors = by_kind(comparison, place, contender)
    except InputError as error:  # it cannot be loaded: the others still can
        errors = [error]
        for exam in notes.open_exams(place):
            notes.cell(Cell(model=place, exam=exam, refusal=judging_answers.refusal(error)))
        if notes.open_answers(place):
            notes.answered(Answering(model=place, refusal=judging_answers.refusal(error)))
    judging_answers.let_go()
    return errors


def judge_language(comparison: Comparison, place: int, contender: Contender) -> list[GalenError]:
    notes, config = comparison.notes, comparison.config
    language = contenders.load_language(
        contender,
        config.models,
        device=comparison.context.device,
        dtype=comparison.dtype,
        max_length=config.data.max_length,
    )
    notes.judged(place, contender.judged)
    examiner = partial(exams.examine, language)
    errors = [error for exam in notes.open_exams(place) for error in measure(comparison, place, exam, examiner)]
    if notes.open_answers(place):
        errors += answer(comparison, place, language)
    return errors


def judge_reward(comparison: Comparison, place: int, contender: Contender) -> list[GalenError]:
    notes, config = comparison.notes, comparison.config
    model = judge_of(
        contender.parent,
        contender.judged.text,
        device=comparison.context.device,
        dtype=comparison.dtype,
        max_length=config.data.max_length,
        template=config.models.template,
        trust_remote_code=config.models.trust_remote_code,
    )
    contender.judged.template = model.encoder.template_name
    notes.judged(place, contender.judged)
    examiner = partial(exams.examine_judge, model)
    errors = [error for exam in notes.open_exams(place) for error in measure(comparison, place, exam, examiner)]
    if notes.open_answers(place):
        errors.append(ModelError("evaluate.only_scores"))
        notes.answered(Answering(model=place, refusal=judging_answers.refusal(errors[-1])))
    return errors


def measure(comparison: Comparison, place: int, exam: int, examiner: Examiner) -> list[GalenError]:
    """One figure of the table, or the reason why there is none. `examiner`: how this model is measured."""
    context, config, sitting = comparison.context, comparison.config, comparison.sittings[exam]
    report = context.report
    report.phase("measuring", total=len(sitting.rows), unit="row")
    began = time.monotonic()
    means = Means(
        max_length=config.data.max_length,
        stride=config.data.stride or config.data.max_length // 2,
        tokens=config.data.tokens,
        cache=context.workspace.encoded_dir,
        check_stop=report.check_stop,
        on_progress=report.progress,
    )
    cell = Cell(model=place, exam=exam)
    try:
        marks = examiner(sitting, means)
    except InputError as error:
        cell.refusal = judging_answers.refusal(error)
        comparison.notes.cell(cell)
        report.progress(len(sitting.rows))
        return [error]
    cell.rows, cell.left_out, cell.figures, cell.by = marks.rows, marks.left_out, marks.figures, marks.by
    cell.groups, cell.seconds = marks.groups, time.monotonic() - began
    comparison.notes.cell(cell, items_of(cell, sitting, marks))
    return []


def items_of(cell: Cell, sitting: Sitting, marks: Marks) -> list[Item]:
    """What each row gave, with the line that it stands on."""
    rows = [mark.row for mark in marks.each]
    lines, categories = sitting.dataset.lines(rows), sitting.dataset.categories(rows)
    return [
        Item(
            model=cell.model, exam=cell.exam, number=mark.row, line=line, category=category,
            figures=mark.figures, said=mark.said, right=mark.right,
        )
        for mark, line, category in zip(marks.each, lines, categories, strict=True)
    ]  # fmt: skip


def answer(comparison: Comparison, place: int, language: Language) -> list[GalenError]:
    """The answers to all prompts that are still open, written as they come."""
    context, config, notes = comparison.context, comparison.config, comparison.notes
    report, asked = context.report, notes.open_questions(place)
    report.phase("answering", total=len(notes.questions), unit="row", step=len(notes.questions) - len(asked))
    began = time.monotonic()
    try:
        replies = answer_all(
            language.respondent, asked, config.generation,
            place=place, seed=config.run.seed, tokens=config.data.tokens, check_stop=report.check_stop,
        )  # fmt: skip
        for reply in replies:
            notes.reply([reply])
            report.progress(len(notes.replies_of(place)))
    except (InputError, RunError) as error:  # the latter: its weights are broken
        notes.answered(Answering(model=place, refusal=judging_answers.refusal(error)))
        return [error]
    judging_answers.count_answers(notes, config, place, time.monotonic() - began)
    return []
