"""What training gained in the domain and lost elsewhere: the alignment-tax report. Torch-free.

    report = make([run, …], resamples=1000, seed=42)       from the runs' own files; can be made again at any time
    lines = write(folder, report)                          report.json, .csv, .md and .svg; the table for a log

    1  read the models, and what each made of every row: evaluation.json, items.jsonl, prompts.jsonl
    2  put the rows of one dataset together, whichever run measured them; a model that is there twice counts once
    3  of every model, set and measure: the figure, and an interval from rows drawn at random
    4  the difference to the base, over the rows that both have, from the same draws
    5  the same of every category
    6  sentences (`core.evaluation.telling`)

The base is the first model of the first run. Perplexities of different tokenizers are not compared; bits per byte are.
Intervals say how much the choice of rows matters, not that of training data or seed. They are not corrected for the
number of comparisons: of twenty differences that are none, one is expected to look like one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from core.errors import InputError
from core.evaluation.telling import notes_on, sentences
from core.intervals import LEAST, Draws, Floats, Sampled, of_wins, wilson
from core.records_evaluation import (
    Evaluation,
    Item,
    Judged,
    Judges,
    Question,
    Role,
    evaluation_file,
    items_file,
    labels,
    prompts_file,
    together,
)
from core.records_report import MEASURES, Block, Figure, Figures, Line, TaxReport, Verdict
from core.rundir import RunDir, read_jsonl, read_record

Key = tuple[Any, ...]  # names a row of a dataset, the same in every run
Rows = dict[Key, Item]
Name = tuple[str, str, str]  # of a set: the dataset, the hash of its rows, and how its questions are put
RATIOS = {"perplexity": ("nats", "labels"), "bits_per_byte": ("text_nats", "bytes")}
MEANS = {
    "accuracy": "correct",
    "accuracy_norm": "correct_norm",
    "safe": "safe",
    "reward": "reward",
    "win": "win",
    "tokens": "tokens",
}
RIGHT = ("accuracy", "accuracy_norm", "safe")  # 0 or 1 of every row
EVEN = 0.5  # the win rate of answers that are as good as the base's


@dataclass
class Set:
    """One dataset: what each model (by its place in the report) made of which row. by: what answered its questions."""

    block: Block
    by: str = ""
    rows: dict[int, Rows] = field(default_factory=dict)


@dataclass
class Gathered:
    """What the files of some runs hold. differing: settings that are not the same; unread: comparisons asked for, and
    those of them that gave no verdict."""

    models: list[Judged] = field(default_factory=list)
    sets: dict[Name, Set] = field(default_factory=dict)
    judges: Judges = field(default_factory=Judges)
    differing: list[str] = field(default_factory=list)
    unread: tuple[int, int] = (0, 0)


def make(runs: Sequence[RunDir], *, resamples: int, seed: int) -> TaxReport:
    """Raises InputError `report.no_evaluation` for a run that compared nothing, `report.no_model` where none writes."""
    found = gather(runs)
    if not found.models:
        raise InputError("report.no_model", run=", ".join(run.id for run in runs))
    report = TaxReport(
        runs=[run.id for run in runs], reward=found.judges.reward, by=found.judges.by, resamples=resamples, seed=seed,
        lines=[Line(name=model.name, run=model.run, stage=model.stage) for model in found.models],
    )  # fmt: skip
    same_tokens = len({model.tokenizer for model in found.models if model.tokenizer}) < 2
    for (_, sha256, _), each in found.sets.items():
        each.block.learnt_by = [model.name for model in found.models if sha256 in model.learnt]
    for each in sorted(found.sets.values(), key=lambda each: ("domain", "general", "").index(each.block.role)):
        add(report, each, Measuring(resamples, seed, same_tokens))
    for block, label in zip(report.blocks, labels([block.dataset for block in report.blocks]), strict=True):
        block.label = label
    report.told = sentences(report)
    report.notes = notes_on(report, found.differing, same_tokens, found.unread)
    return report


# -- 1 and 2 ----------------------------------------------------------------------------------------------------------
def gather(runs: Sequence[RunDir]) -> Gathered:
    found = Gathered()
    settings: list[dict[str, Any]] = []
    for run in runs:
        evaluation = read_record(evaluation_file(run.output), Evaluation)
        if evaluation is None:
            raise InputError("report.no_evaluation", run=run.id)
        settings.append(_compared(run, evaluation))
        _take(found, run, evaluation)
    names = sorted({name for each in settings for name in each})
    found.differing = [name for name in names if any(each.get(name) != settings[0].get(name) for each in settings)]
    return found


def _compared(run: RunDir, evaluation: Evaluation) -> dict[str, Any]:
    """Settings that must agree for figures of two runs to be compared, as dotted keys."""
    config = run.config()
    generation = config.get("generation") or {}
    data = config.get("data") or {}
    chosen = {f"generation.{name}": generation.get(name) for name in ("max_new_tokens", "temperature", "top_p")}
    windows = {f"data.{name}": data.get(name) for name in ("max_length", "stride")}
    return {**chosen, **windows, "models.dtype": evaluation.dtype}


def _take(found: Gathered, run: RunDir, evaluation: Evaluation) -> None:
    """One run's models and rows into what is there."""
    places = _places(found, evaluation)
    asked = [Question.model_validate(row) for row in read_jsonl(prompts_file(run.output))[0]]
    questions = {question.number: question for question in asked}
    foreign = _foreign(found, evaluation)
    new: dict[Name, dict[int, Rows]] = {}
    for item in together(read_jsonl(items_file(run.output))[0]):
        if item.model not in places:
            continue
        name, role, by, key = _whose(evaluation, questions, item)
        item.figures = {figure: value for figure, value in item.figures.items() if figure not in foreign}
        each = found.sets.setdefault(name, Set(Block(dataset=name[0], role=role), by))
        each.block.role = each.block.role or role
        judged = "win" in item.figures or "unread" in item.figures
        found.unread = found.unread[0] + judged, found.unread[1] + ("unread" in item.figures)
        new.setdefault(name, {}).setdefault(places[item.model], {})[key] = item
    for name, models in new.items():
        for place, rows in models.items():
            found.sets[name].rows.setdefault(place, {}).update(
                {key: item for key, item in rows.items() if key not in found.sets[name].rows[place]}
            )


def _foreign(found: Gathered, evaluation: Evaluation) -> set[str]:
    """Figures of this run that do not compare with what is there: another reward run's, another judge's, or wins over
    another base. The first of each kind is the one that counts."""
    judges = evaluation.judges
    found.judges.reward_id = found.judges.reward_id or judges.reward_id
    found.judges.by_id = found.judges.by_id or judges.by_id
    foreign = set() if judges.reward_id == found.judges.reward_id else {"reward"}
    same_base = _who(evaluation.models[evaluation.base]) == _who(found.models[0]) if found.models else True
    if judges.by_id != found.judges.by_id or not same_base:
        foreign |= {"win", "unread"}
    if "reward" not in foreign:
        found.judges.reward = judges.reward
    if "win" not in foreign:
        found.judges.by = judges.by
    return foreign


def _places(found: Gathered, evaluation: Evaluation) -> dict[int, int]:
    """This run's models → their places in the report. Reward models write nothing: they have none."""
    known = {_who(model): place for place, model in enumerate(found.models)}
    places: dict[int, int] = {}
    for number, model in enumerate(evaluation.models):
        if model.kind == "reward":
            continue
        if _who(model) not in known:
            known[_who(model)] = len(found.models)
            found.models.append(model)
        places[number] = known[_who(model)]
    return places


def _who(model: Judged) -> tuple[str, str]:
    return model.identity or model.text, model.template


def _whose(evaluation: Evaluation, questions: Mapping[int, Question], item: Item) -> tuple[Name, Role, str, Key]:
    """(the set, what it stands for, what answers its questions, the row's key)."""
    if item.exam is not None:
        exam = evaluation.exams[item.exam]
        put = exam.asking.model_dump_json() if exam.asking is not None else ""
        by = exam.asking.by if exam.asking is not None else ""
        return (exam.dataset, exam.sha256, put), exam.role, by, ("row", item.number)
    question = questions[item.number]
    source = evaluation.sources[question.source]
    text = "\n".join(f"{turn['role']}: {turn['content']}" for turn in question.messages)
    return (source.name, source.sha256, ""), source.role, "", ("question", question.line, text)


# -- 3 to 5 -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Measuring:
    """How figures are made. same_tokens: whether all models cut text alike, so that perplexities compare."""

    resamples: int
    seed: int
    same_tokens: bool

    def draws(self, rows: int) -> Draws:
        return _draws(rows, self.seed, self.resamples)


@lru_cache(maxsize=4)
def _draws(rows: int, seed: int, resamples: int) -> Draws:
    return Draws(rows, seed, resamples)


def add(report: TaxReport, each: Set, means: Measuring) -> None:
    """One set, and what it says of every model, into the report."""
    names = [name for name in MEASURES if any(_has(rows, name) for rows in each.rows.values())]
    if means.same_tokens and "perplexity" in names:
        names.remove("bits_per_byte")
    if "accuracy_norm" in names and each.by != "texts":  # letters are equally long
        names.remove("accuracy_norm")
    categories = sorted({item.category for rows in each.rows.values() for item in rows.values() if item.category})
    each.block.measures, each.block.categories = names, categories
    if not names:
        return
    report.blocks.append(each.block)
    base = each.rows.get(0, {})
    for place, line in enumerate(report.lines):
        rows = each.rows.get(place, {})
        line.figures.append(figures_of(rows, base if place else None, names, means))
        groups = {}
        for category in categories:
            own, beneath = _within(rows, category), _within(base, category)
            groups[category] = figures_of(own, beneath if place else None, names, means)
        line.groups.append(groups)


def _has(rows: Rows, name: str) -> bool:
    return any(_counts(item, name) for item in rows.values())


def _counts(item: Item, name: str) -> bool:
    """Whether a row says something of this measure; a row without text predicts none."""
    if name in RATIOS:
        return item.figures.get(RATIOS[name][1], 0) > 0
    return MEANS[name] in item.figures


def _within(rows: Rows, category: str) -> Rows:
    return {key: item for key, item in rows.items() if item.category == category}


def figures_of(rows: Rows, base: Rows | None, names: Iterable[str], means: Measuring) -> Figures:
    """Every measure that these rows have; `base`: the base's rows, None where these are the base's own."""
    found: Figures = {}
    for name in names:
        if _has(rows, name):
            found[name] = _figure(rows, base, name, means)
    return found


def _figure(rows: Rows, base: Rows | None, name: str, means: Measuring) -> Figure:
    keys = [key for key in sorted(rows) if _counts(rows[key], name)]
    own = _sampled([rows[key] for key in keys], name, means)
    figure = Figure(value=own.value, rows=len(keys))
    if name in RIGHT:
        figure.low, figure.high = wilson(own.value, len(keys))
    elif len(keys) >= LEAST:
        figure.low, figure.high = of_wins(own, len(keys)) if name == "win" else own.interval
    if base is None or (name == "perplexity" and not means.same_tokens):
        return figure
    if name == "win":
        low, high = of_wins(own, len(keys))
        return _with_change(figure, own.value - EVEN, (low - EVEN, high - EVEN), len(keys), name)
    both = [key for key in keys if key in base and _counts(base[key], name)]
    if not both:
        return figure
    mine, theirs = (_sampled([each[key] for key in both], name, means) for each in (rows, base))
    change = mine.minus(theirs)
    return _with_change(figure, change.value, change.interval, len(both), name)


def _sampled(items: Sequence[Item], name: str, means: Measuring) -> Sampled:
    def column(figure: str) -> Floats:
        return np.array([item.figures[figure] for item in items], dtype=np.float64)

    draws = means.draws(len(items))
    if name not in RATIOS:
        return draws.mean(column(MEANS[name]))
    above, below = RATIOS[name]
    ratio = draws.ratio(column(above), column(below))
    return ratio.map(_SCALES[name])


_SCALES: dict[str, Callable[[Floats], Floats]] = {
    "perplexity": np.exp,
    "bits_per_byte": lambda nats: nats / np.log(2),
}


def _with_change(figure: Figure, change: float, interval: tuple[float, float], pairs: int, name: str) -> Figure:
    figure.change, figure.pairs, figure.verdict = change, pairs, "open"
    if pairs >= LEAST:
        figure.change_low, figure.change_high = interval
        figure.verdict = verdict_of(*interval, MEASURES[name])
    return figure


def verdict_of(low: float, high: float, direction: int) -> Verdict:
    """direction: 1 where more is better, -1 where less is, 0 where neither."""
    if low <= 0 <= high:
        return "open"
    if direction == 0:
        return "changed"
    return "better" if (low > 0) == (direction > 0) else "worse"
