"""score: what a reward model thinks of answers, one score each.

    1  load the reward model: a finished reward run, or a folder of a sequence-classification model with one score
    2  stretch by stretch of the dataset: encode the answers behind their prompts, score them
    3  write output/scores.jsonl: every row as it is, with its scores
    4  of pairs: how many are in order, and whether PPO may learn from these scores (pairs.json); of ranked answers: how
       often the order is the given one

Run it with `python -m core score model.base=REWARD_RUN data.rows=D`. Rows are conversations (the last answer is
scored), pairs (both answers) or ranked answers (all of them). A higher score is a better answer; scores of two reward
models do not compare. Left out: several devices. A stop keeps nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from core.configs.stages import ScoreConfig
from core.data.dialogue import Message
from core.data.encode.pairs import Unusable, encode_batch
from core.data.kinds import Kind, Row
from core.data.store.library import Dataset, open_dataset
from core.errors import DataError
from core.messages import sentence
from core.models import families
from core.models.loading import resolve_dtype
from core.models.parents import resolve_parent
from core.records_reward import PairReport
from core.report import RunContext
from core.rundir import write_record
from core.training.judges import STRETCH, Judge, judge_of
from core.training.judging import report_on, worst_pairs
from core.training.preparing import choose_rows

SCORES = "scores.jsonl"
KINDS: tuple[Kind, ...] = ("messages", "preference", "ranked")

Scored = tuple[int, list[float], list[int]]  # the row's index, its answers' scores, their tokens


def main(context: RunContext) -> None:
    """Score every row of `data.rows`. Raises DataError for rows without answers, ModelError for the model."""
    config = ScoreConfig.model_validate(context.config.model_dump())
    report = context.report
    dataset = open_dataset(context.workspace, config.data.rows)
    if dataset.card.kind not in KINDS:
        needed = " / ".join(KINDS)
        raise DataError("data.wrong_kind", ref=dataset.ref, kind=dataset.card.kind, needed=needed)
    indices = choose_rows(len(dataset), config.data.max_rows, config.run.seed).tolist()

    # 1
    report.phase("loading")
    parent = resolve_parent(context.workspace, config.model.base, scoring=True)
    context_length = families.context_length(families.read_config(parent.folder))
    judge = judge_of(
        parent,
        config.model.base,
        device=context.device,
        dtype=resolve_dtype(config.model.dtype, context.device),
        max_length=min(config.data.max_length, context_length or config.data.max_length),
        template=config.model.template,
        trust_remote_code=config.model.trust_remote_code,
    )

    # 2 and 3
    report.phase("measuring", total=len(indices), unit="row")
    context.run.output.mkdir(parents=True, exist_ok=True)
    path = context.run.output / SCORES
    found: list[Scored] = []
    with open(path, "wb") as file:
        for start in range(0, len(indices), STRETCH):
            report.check_stop()
            part = indices[start : start + STRETCH]
            found += score_rows(judge, dataset, part, file, tokens=config.data.tokens, first=start == 0)
            report.progress(start + len(part))

    # 4
    print(f"{dataset.ref}: {len(found)} rows scored, {len(indices) - len(found)} without an answer in reach")
    if found:
        print(spread([score for _, scores, _ in found for score in scores]))
    for line in judgement(context, dataset, found):
        print(line)
    print(f"the scores: {path}")


def answers_of(kind: Kind, row: Row) -> tuple[list[Message], list[str]]:
    """(the conversation up to the question, the answers to it)."""
    if kind == "messages":
        return row["messages"][:-1], [row["messages"][-1]["content"]]
    if kind == "preference":
        return row["prompt"], [row["chosen"][-1]["content"], row["rejected"][-1]["content"]]
    return row["prompt"], [answer["content"] for answer in row["answers"]]


def score_rows(
    judge: Judge, dataset: Dataset, indices: Sequence[int], file: Any, *, tokens: int, first: bool
) -> list[Scored]:
    """Score these rows and write each; returns those that have an answer within reach."""
    kind, rows, lines = dataset.card.kind, dataset.take(indices), dataset.lines(indices)
    encoded = encode_batch(judge.encoder, [answers_of(kind, row) for row in rows])
    usable = [found for found in encoded if not isinstance(found, Unusable)]
    trees = [tree for tree, _, _ in usable]
    if first and trees:
        reason = judge.warm_up(trees)
        print("fast path: on" if reason is None else f"fast path: off, because {reason}")
    scores = iter(judge.score(trees, tokens=tokens))
    scored: list[Scored] = []
    for index, row, line, found in zip(indices, rows, lines, encoded, strict=True):
        if isinstance(found, Unusable):
            written = {"line": line, **row, "score": None, "reason": sentence(found.code, found.params)[0]}
        else:
            own = next(scores)
            scored.append((index, own, found[1]))
            written = {"line": line, **with_scores(kind, row, own)}
        file.write(orjson.dumps(written) + b"\n")
    return scored


def with_scores(kind: Kind, row: Row, scores: list[float]) -> Row:
    """The row with its answers' scores. A ranked row's own score becomes `given`, so that it can be read in again."""
    if kind == "messages":
        return {**row, "score": scores[0]}
    if kind == "preference":
        return {**row, "chosen_score": scores[0], "rejected_score": scores[1]}
    answers = [
        {**answer, "given": answer["score"], "score": score}
        for answer, score in zip(row["answers"], scores, strict=True)
    ]
    return {**row, "answers": answers}


# -- what to say ------------------------------------------------------------------------------------------------------
def spread(scores: list[float]) -> str:
    low, middle, high = np.quantile(scores, [0.05, 0.5, 0.95])
    return f"scores: {middle:.3f} in the middle, nine of ten between {low:.3f} and {high:.3f}"


def judgement(context: RunContext, dataset: Dataset, found: list[Scored]) -> list[str]:
    """How the scores agree with what the dataset itself says of its answers, in sentences."""
    if dataset.card.kind == "ranked" and found:
        rows = dataset.take([index for index, _, _ in found])
        given = [[answer["score"] for answer in row["answers"]] for row in rows]
        agreed = agreement(given, [scores for _, scores, _ in found])
        return [] if agreed is None else [f"of the answers with different given scores, {agreed:.1%} are in order"]
    if dataset.card.kind != "preference" or not found:
        return []
    report = pair_report(dataset, found)
    write_record(context.run.pairs_file, report)
    lines = [f"{report.pairs} pairs: {report.accuracy:.1%} in order, mean margin {report.margin:.3f}"]
    lines.append("fit for PPO" if report.gate.fit else "not fit for PPO:")
    return lines + [f"  {sentence(reason.code, reason.params)[0]}" for reason in report.gate.reasons]


def pair_report(dataset: Dataset, found: list[Scored]) -> PairReport:
    """What `core.training.judging` says of these pairs, as a reward run says it of its held-out ones."""
    scores = np.array([own for _, own, _ in found])
    tokens = np.array([tokens for _, _, tokens in found])
    report = report_on(scores, tokens, float(np.logaddexp(0, scores[:, 1] - scores[:, 0]).mean()))
    report.worst = worst_pairs(dataset, np.array([index for index, _, _ in found]), scores)
    return report


def agreement(given: list[list[float]], found: list[list[float]]) -> float | None:
    """Share of all comparisons within a row that both order alike; None where no row has different given scores."""
    compared = [
        (a - b) * (own[first] - own[second]) > 0
        for row, own in zip(given, found, strict=True)
        for (first, a), (second, b) in itertools.combinations(enumerate(row), 2)
        if a != b
    ]
    return sum(compared) / len(compared) if compared else None
