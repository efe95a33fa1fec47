"""One model's answers in figures: of each answer, and of all answers to the questions of one source. Torch-free.

    items = answer_items(place, questions, replies)        texts and rules; rewards and comparisons join them later
    said = summed(found, questions, replies, items, …)     a `Said` for every source that was answered

What is reported of an answer is defined in `core.evaluation.texts`, and how sure a mean is in `core.intervals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from core.data.red_flags import marked
from core.evaluation.marks import Figures, Numbers, grouped
from core.evaluation.texts import Overlap, bleu_of, measure, overlap
from core.intervals import LEAST, Draws, Floats, Sampled, of_wins, wilson
from core.records_evaluation import Item, Question, Reply, Said

ANSWERED = ("stop", "length")  # how a reply ends that is an answer
MEANS = (
    "tokens", "chars", "cut_off", "repetition", "char_bleu4", "rouge1", "rouge2", "rougeL", "exact", "reward", "win",
    "safe",
)  # fmt: skip
SHARES = ("cut_off", "exact", "safe")  # 0 or 1 of every answer
OUTCOMES = {"wins": 1.0, "ties": 0.5, "losses": 0.0}


def answered(replies: Iterable[Reply]) -> list[Reply]:
    return [reply for reply in replies if reply.end in ANSWERED]


def answer_items(place: int, questions: Sequence[Question], replies: Iterable[Reply]) -> list[Item]:
    """What can be said of each answer by itself, by number. `place`: the model's."""
    asked = {question.number: question for question in questions}
    found = []
    for reply in sorted(answered(replies), key=lambda reply: reply.number):
        question = asked[reply.number]
        figures = measure(reply.text, question.reference)
        figures |= {"tokens": float(reply.tokens), "cut_off": float(reply.end == "length")}
        item = Item(
            model=place, exam=None, number=question.number, line=question.line, category=question.category,
            figures=figures,
        )  # fmt: skip
        if question.needs or question.forbids:
            item.marks = marked(question, reply.text)
            item.figures["safe"] = float(all(item.marks.values()))
        found.append(item)
    return found


def summed(
    place: int, questions: Sequence[Question], replies: Mapping[int, Reply], items: Sequence[Item], *,
    seed: int, resamples: int,
) -> list[Said]:  # fmt: skip
    """A `Said` for every source of which the model has answered a question; replies and items are this model's."""
    by_source: dict[int, list[Item]] = {}
    asked = {question.number: question for question in questions}
    for item in items:
        by_source.setdefault(asked[item.number].source, []).append(item)
    found = []
    for source, its in sorted(by_source.items()):
        overlaps = [overlap(replies[item.number].text, asked[item.number].reference) for item in its]
        draws = Draws(len(its), seed, resamples)
        figures, intervals = _figures(its, overlaps), _intervals(its, overlaps, draws)
        groups = grouped(
            [item.category for item in its],
            lambda places, its=its, overlaps=overlaps: _of(places, its, overlaps),  # type: ignore[misc]
        )
        said = Said(model=place, source=source, answers=len(its), figures=figures, intervals=intervals, groups=groups)
        found.append(said)
    return found


def _of(places: Numbers, items: Sequence[Item], overlaps: Sequence[Overlap | None]) -> Figures:
    return _figures([items[place] for place in places], [overlaps[place] for place in places])


def _figures(items: Sequence[Item], overlaps: Sequence[Overlap | None]) -> Figures:
    """Means over the items that have the figure, BLEU of all, and counts of won, tied and lost comparisons."""
    found: Figures = {}
    for name in MEANS:
        values = [item.figures[name] for item in items if name in item.figures]
        if values:
            found[name] = float(np.mean(values))
    counts = [each.counts for each in overlaps if each is not None]
    if counts:
        found["bleu"] = bleu_of(np.sum(counts, axis=0).tolist())
    outcomes = [item.figures["win"] for item in items if "win" in item.figures]
    unread = sum("unread" in item.figures for item in items)
    if outcomes or unread:
        found |= {name: float(outcomes.count(value)) for name, value in OUTCOMES.items()}
        found["unread"] = float(unread)
    return found


def _intervals(
    items: Sequence[Item], overlaps: Sequence[Overlap | None], draws: Draws
) -> dict[str, tuple[float, float]]:
    """Of shares, and of what at least LEAST items have. What only some answers have is drawn from those alone."""
    found: dict[str, tuple[float, float]] = {}
    for name in MEANS:
        values = np.array([item.figures[name] for item in items if name in item.figures])
        if name in SHARES and len(values):
            found[name] = wilson(float(values.mean()), len(values))
        elif len(values) >= LEAST:
            drawn = _draws(draws, len(values)).mean(values)
            found[name] = of_wins(drawn, len(values)) if name == "win" else drawn.interval
    counts = np.array([each.counts for each in overlaps if each is not None], dtype=np.float64)
    if len(counts) >= LEAST:
        found["bleu"] = bleu_interval(counts, _draws(draws, len(counts)))
    return found


def _draws(draws: Draws, rows: int) -> Draws:
    return draws if draws.rows == rows else Draws(rows, draws.seed, draws.resamples)


def bleu_interval(counts: Floats, draws: Draws) -> tuple[float, float]:
    """counts [answers, 10]: of each, as `Overlap.counts`. Whole answers are drawn (Koehn, EMNLP 2004)."""
    return Sampled(0.0, np.array([bleu_of(each) for each in draws.sums(counts).tolist()])).interval
