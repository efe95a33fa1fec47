"""annotate: an endpoint, a model or a person says something about rows, and a dataset comes of it.

    1  draw the rows; of the task rank, let a model write the answers that are compared
    2  ask: every reply is kept as it comes, so nothing is asked twice, whatever ends the run
       a person is asked by the page or a terminal: the run puts the rows before people and ends until it is resumed
    3  write the dataset: rows with what was said of them, and beside them the rows that came to nothing, with reasons

Run it with `python -m core annotate data.rows=D annotator.url=URL annotator.model=M`. A model is loaded here, one at a
time; for an endpoint or a person torch is not even imported. Left out: several devices.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from core.annotating.asking import Asking
from core.annotating.delivering import deliver
from core.annotating.endpoint import Endpoint
from core.annotating.people import MOST_ANSWERS, Ratings, annotating, put_before_people, verdict_of, work_file
from core.annotating.replies import RETRY_TEMPERATURE, Annotator, something
from core.annotating.rows import Dropped, Worked, ask_all, chosen_numbers, each_work, results, said_by_model, stored
from core.annotating.tasks import RowTask, Work, parts
from core.annotating.verdicts import Verdict
from core.annotating.writing import Maker, known_questions
from core.configs.models import Answers
from core.configs.stages import AnnotateConfig
from core.data.kinds import Kind
from core.data.recipe.rows import StoredRows
from core.data.steps.base import Drop, Item, Job
from core.data.store.dataset import Dataset
from core.data.store.library import open_dataset
from core.errors import StopRequested
from core.records import Produced
from core.report import RunContext
from core.rundir import write_record

METRIC_SECONDS = 1.0  # between two lines of metrics.jsonl
PATIENCE = 2  # times as many failures in a row as an endpoint is asked at once: then it is down
PHASE = "annotating"


def main(context: RunContext) -> None:
    """Annotate `data.rows`. Raises RunError `annotate.endpoint_down` and `annotate.nothing`; StopRequested
    `annotate.waiting` where rows wait for a person."""
    config = AnnotateConfig.model_validate(context.config.model_dump())
    dataset = open_dataset(context.workspace, config.data.rows)
    scratch = annotating(context.run) / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)  # of an attempt that was killed
    scratch.mkdir(parents=True)
    rows = stored(dataset, chosen_numbers(len(dataset), config.data.max_rows, config.run.seed), scratch)
    try:
        if config.task.kind == "instruct":
            write_new(context, config, dataset, rows)
        elif config.annotator.kind == "person":
            by_person(context, config, dataset, rows)
        else:
            by_model(context, config, dataset, rows)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


# -- rows -------------------------------------------------------------------------------------------------------------
def by_model(context: RunContext, config: AnnotateConfig, dataset: Dataset, rows: StoredRows) -> None:
    """Steps 1 to 3 with an endpoint or a model."""
    task, works = work_over(context, config, dataset.card.kind, rows)  # 1
    with asked(context, config) as asking:
        tell = Told(context, config, asking, len(rows))
        failures = ask_all(task, works(), asking, tell)  # 2
        tell.note()
        found = results(task, works(), said_by_model(task, asking, failures))
        finish(context, config, [dataset], task.makes, found, asking)  # 3


def by_person(context: RunContext, config: AnnotateConfig, dataset: Dataset, rows: StoredRows) -> None:
    """Step 1, then to wait; resumed, step 3 with what has been judged."""
    prepared = work_file(context.run).is_file()
    task, works = work_over(context, config, dataset.card.kind, rows)
    if not prepared:
        context.report.phase(PHASE, total=len(rows), unit="row")
        put_before_people(context.run, (work for work in works() if isinstance(work, Work)))
    ratings = Ratings(context.run)
    judged, total = ratings.judgements(), len(ratings.all_cards)
    if not prepared or not judged:
        raise StopRequested("annotate.waiting", rated=len(judged), total=total, run=context.run.id)

    def verdict(work: Work) -> Verdict | Drop:
        one = judged.get(work.number)
        return Drop("annotate.unjudged") if one is None else verdict_of(task.task.kind, one)

    made = finish(context, config, [dataset], task.makes, results(task, works(), verdict))
    if len(judged) < total:
        run = context.run.id
        raise StopRequested("annotate.made_and_waiting", rated=len(judged), total=total, dataset=made.ref, run=run)


def work_over(
    context: RunContext, config: AnnotateConfig, kind: Kind, rows: StoredRows
) -> tuple[RowTask, Callable[[], Iterator[Worked]]]:
    """The task, and what gives the work of each row, as often as it is called."""
    most = MOST_ANSWERS if config.annotator.kind == "person" else None
    task = RowTask(config.task, kind, seed=config.run.seed, most=most)
    if config.task.kind != "rank" or not config.answers.base:
        return task, partial(each_work, task, rows, {})
    return task, partial(each_work, task, rows, sample(context, config, rows), own=config.answers.own)


def sample(context: RunContext, config: AnnotateConfig, rows: StoredRows) -> dict[int, list[str]]:
    """Answers to the question of every row, by its number; kept line by line, as replies are."""
    from core.evaluation.speaking import speaking  # torch

    wanted, who, report = config.answers, config.annotator, context.report
    questions = {
        str(number): parts(rows.kind, item.row)[0]
        for number, item in zip(
            rows.numbers.tolist(), (item for batch in rows.batches() for item in batch), strict=True
        )
    }
    answers: dict[int, list[str]] = {int(number): [] for number in questions}
    assert wanted.base is not None
    settings = Answers(max_new_tokens=wanted.max_new_tokens, temperature=wanted.temperature)
    seeds = [config.run.seed + place for place in range(wanted.count)]
    with speaking(
        context, wanted.base, settings, seeds=seeds, tokens=who.tokens, template=who.template,
        trust_remote_code=who.trust_remote_code,
    ) as speakers:  # fmt: skip
        for place, speaker in enumerate(speakers):
            asking = Asking(speaker, annotating(context.run) / "answers.jsonl")
            for done, (number, reply) in enumerate(asking.ask(questions, something), 1 + place * len(questions)):
                if reply.text:
                    answers[int(number)].append(reply.text)
                enter(context, "sampling", wanted.count * len(questions))
                report.progress(done)
    return answers


# -- new rows ---------------------------------------------------------------------------------------------------------
def write_new(context: RunContext, config: AnnotateConfig, dataset: Dataset, rows: StoredRows) -> None:
    """The task instruct: rounds of asking until there are enough rows."""
    there = [open_dataset(context.workspace, ref) for ref in config.new.against]
    there = [dataset, *there] if dataset.card.kind != "text" else there
    every = [stored(each, chosen_numbers(len(each), None, 0), rows.scratch) for each in there]
    known = [item for each in every for item in known_questions(each)]
    job = Job(context.workspace, config.run.seed, rows.scratch, check_stop=context.report.check_stop)
    maker = Maker(config.task, config.new, rows, known, seed=config.run.seed, output=config.data.output, job=job)
    with asked(context, config) as asking:
        tell = Told(context, config, asking, config.new.rows)
        found = maker.make(asking, tell)
        tell.note()
        print(f"{found.requests} prompts; {found.spare} rows came when there were enough")
        finish(
            context, config, list(dict.fromkeys([dataset, *there])), "messages", [*found.rows, *found.dropped], asking
        )


# -- who is asked -----------------------------------------------------------------------------------------------------
@contextmanager
def asked(context: RunContext, config: AnnotateConfig) -> Iterator[Asking]:
    """The endpoint or the model, with what it has said so far. Raises RunError `annotate.endpoint_down` for an address
    or a key that cannot be used."""
    kept = annotating(context.run) / "replies.jsonl"
    with annotator(context, config) as who:
        yield Asking(who, kept, patience=PATIENCE * config.annotator.at_once)


@contextmanager
def annotator(context: RunContext, config: AnnotateConfig) -> Iterator[Annotator]:
    who = config.annotator
    if who.kind == "endpoint":
        with Endpoint(
            who.url, who.model, key_name=who.key, timeout=who.timeout, at_once=who.at_once,
            temperature=who.temperature, retry_temperature=RETRY_TEMPERATURE, max_tokens=who.max_new_tokens,
            check_stop=context.report.check_stop,
        ) as endpoint:  # fmt: skip
            yield endpoint
        return
    from core.evaluation.speaking import speaking  # torch

    assert who.base is not None
    settings = Answers(max_new_tokens=who.max_new_tokens, temperature=who.temperature)
    with speaking(
        context, who.base, settings, seeds=[config.run.seed], tokens=who.tokens, template=who.template,
        trust_remote_code=who.trust_remote_code,
    ) as speakers:  # fmt: skip
        yield speakers[0]


# -- what is told -----------------------------------------------------------------------------------------------------
class Told:
    """Rows, failures, tokens and cost so far: into progress.json, and into metrics.jsonl now and then."""

    def __init__(self, context: RunContext, config: AnnotateConfig, asking: Asking, total: int) -> None:
        self.context, self.who, self.asking, self.total = context, config.annotator, asking, total
        self.done = self.lost = 0
        self.noted = 0.0

    def __call__(self, done: int, lost: int) -> None:
        enter(self.context, PHASE, self.total)
        self.done, self.lost = done, lost
        usage = self.asking.usage
        self.context.report.progress(done, tokens=usage.tokens_in + usage.tokens_out)
        if time.monotonic() - self.noted >= METRIC_SECONDS:
            self.note()

    def note(self) -> None:
        self.noted = time.monotonic()
        self.context.report.flush()
        self.context.report.metrics(self.done, 0.0, rows=self.done, failed=self.lost, **spent(self.asking, self.who))


def spent(asking: Asking, who: Any) -> dict[str, float]:
    """Tokens so far, and what they cost where a price is known."""
    usage = asking.usage
    priced = who.kind == "endpoint" and (who.price_in or who.price_out)
    cost = {"cost": round(usage.cost(who.price_in, who.price_out), 6)} if priced else {}
    return {"tokens_in": usage.tokens_in, "tokens_out": usage.tokens_out, **cost}


def enter(context: RunContext, phase: str, total: int) -> None:
    """Enter a phase with the first row that is done in it: a model may still have been loading."""
    if context.report.current_phase != phase:
        context.report.phase(phase, total=total, unit="row")


def finish(
    context: RunContext,
    config: AnnotateConfig,
    parents: list[Dataset],
    kind: Kind,
    found: Iterable[Item | Dropped],
    asking: Asking | None = None,
) -> Dataset:
    """Step 3."""
    context.report.phase("delivering")
    who = config.annotator
    names = {"endpoint": f"{who.model} @ {who.url}", "model": who.base or "", "person": ""}
    annotation = {
        "task": config.task.model_dump(mode="json"),
        "annotator": {"kind": who.kind, "name": names[who.kind]},
        "run": context.run.id,
        **({"asked": asking.usage.asked, **spent(asking, who)} if asking is not None else {}),
    }
    made = deliver(context.workspace, config.data.output, kind, found, parents, annotation)
    context.run.output.mkdir(parents=True, exist_ok=True)
    write_record(context.run.produced_file, Produced(datasets=[made.ref]))
    print(f"{made.ref}: {made.card.rows} rows, {made.card.dropped} dropped with their reasons")
    for code, count in sorted(made.card.dropped_counts.items()):
        print(f"  {code}: {count}")
    return made
