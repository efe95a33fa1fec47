"""quality and bucket: a score for every row by plain signs, and quantiles of score or difficulty.

The signs, each from 0 (bad) to 1 (good), of the answer and the question before it:

    length       an answer of 40 characters or more is 1; one of 4, which may be all there is to say, 0.3
    repetition   half of the text said before is 0 (code left out)
    symbols      half symbols and digits is 0 (code and short answers left out)
    ending       1 with a full stop or the like; less where the text breaks off
    phrases      1 without empty phrases ("as an AI language model", 祝您早日康复); 0 where they are half of it
    echo         1 where the answer says something else than the question; 0 where it repeats it
    surprise     only with a perplexity run: 1 up to the median of the model's loss on an answer, 0 at the worst 1 %

    score = (mean of the signs + the weakest sign) / 2

A mean alone would forgive one fatal fault for five good signs, the weakest alone would not tell good rows apart. The
score is a rough sieve: it knows nothing of what is true. Who has had rows marked by a model or a person
(`core.recipes.annotate`) sieves by those marks instead (`by=column`).
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from core.configs.clean_steps import Bucket, Quality
from core.data.figures import texts_of
from core.data.kinds import Kind, Row
from core.data.normal import row_key, row_text
from core.data.recipe.losses import read_losses
from core.data.steps.base import Drop, Item, Job, PerRow, Rows, Selection
from core.data.steps.rules import LEAST_CHARS, repeated_pieces, symbol_share, without_code
from core.data.steps.shingles import shingles_of
from core.data.steps.texts import learnt_texts
from core.errors import DataError

ENOUGH_CHARS = 50  # with ten for having answered at all
WORST_REPETITION = 0.5
WORST_SYMBOLS = 0.5
ENDED = re.compile(r"[.!?。！？…~～)）\]】}》」』\"”'’:：;；*`|>]\s*$")
BROKEN_OFF = re.compile(r"[,，、\-(（\[【“‘/]\s*$|(?:\b(?:and|or|the|of|to|with)|[和与或及是在])\s*$")
PHRASES_ZH = re.compile(
    r"作为(?:一个|一名|一款)?(?:AI|人工智能|语言模型|大型语言模型)[^，。！]{0,12}|我(?:只)?是(?:一个|一名)?(?:AI|人工智能)[^，。！]{0,10}"
    r"|感谢(?:您|你)的(?:提问|咨询|信任|支持|来信)|谢谢(?:您|你)的(?:提问|咨询|信任|支持|来信)"
    r"|祝(?:您|你)?(?:早日康复|身体健康|健康|生活愉快|好运)"
    r"|希望(?:我的|以上|上述|这些)?(?:回答|回复|解答|建议|信息|内容)?[^，。！]{0,4}(?:能够|能|可以|会)?[^，。！]{0,6}(?:帮助|帮到)[^，。！]{0,6}"
    r"|满意(?:请|的话)[^，。！]{0,6}(?:采纳|好评)|请(?:及时)?采纳|以上(?:是|就是)对[^。！]{2,40}?(?:建议|回答|解答)"
)
PHRASES_EN = re.compile(
    r"as an (?:ai|artificial intelligence)(?: language)?(?: model)?|i(?:'m| am) (?:just )?an? (?:ai|language model)"
    r"|i hope (?:this|that|it) helps|feel free to ask|if you have any (?:other|more|further) questions"
    r"|certainly!|sure!"
)
LATIN = re.compile(r"[a-z]{4}")
ECHO_PIECE = 5
LONG_QUESTION = 4  # times as long as the answer
RARE_PIECE = 3  # characters
COUNTERS = 1 << 22  # pieces are counted by hash, so that memory does not grow with the vocabulary


# -- quality ----------------------------------------------------------------------------------------------------------
def quality(step: Quality, job: Job) -> PerRow:
    """Write the score; drop rows under the least one, naming the weakest sign."""
    if step.by == "column":
        return _brought(step)
    kind = job.kind
    losses = read_losses(job.workspace, step.run) if step.run else None

    def check(item: Item) -> Item | Drop:
        signs = signs_of(kind, item.row)
        if losses is not None and (sign := losses.sign(row_key(kind, item.row))) is not None:
            signs["surprise"] = sign
        item.score = score_of(signs)
        if step.min_score is not None and item.score < step.min_score:
            weakest = min(signs, key=lambda name: signs[name])
            return Drop("step.low_score", {"score": item.score, "limit": step.min_score, "weakest": weakest})
        return item

    return check


def _brought(step: Quality) -> PerRow:
    """Rows by the score that they come with: an annotator's, a reward model's."""

    def check(item: Item) -> Item | Drop:
        if item.score is None:
            return Drop("step.unscored")
        if step.min_score is not None and item.score < step.min_score:
            return Drop("step.low_own_score", {"score": round(item.score, 3), "limit": step.min_score})
        return item

    return check


def score_of(signs: dict[str, float]) -> float:
    """(mean + weakest) / 2, to three digits."""
    return round((sum(signs.values()) / len(signs) + min(signs.values())) / 2, 3)


def signs_of(kind: Kind, row: Row) -> dict[str, float]:
    """Every sign from 0 to 1. Rows without an answer (prompts, choices) are judged by what they ask."""
    asked, answered, _ = texts_of(kind, row)
    texts = learnt_texts(kind, row)
    answer = without_code("\n".join(texts))
    long = len(answer) >= LEAST_CHARS  # a short answer may well be a number
    signs = {
        "length": min(1.0, (len("".join(texts)) + 10) / ENOUGH_CHARS) if answered else 1.0,
        "repetition": 1 - min(1.0, repeated_pieces(answer)[0] / WORST_REPETITION) if long else 1.0,
        "symbols": 1 - min(1.0, symbol_share(answer) / WORST_SYMBOLS) if long else 1.0,
        "ending": min(map(ending, texts), default=1.0) if answered else 1.0,
        "phrases": 1 - min(1.0, 2 * phrase_share(answer)),
    }
    if answered and asked:
        signs["echo"] = 1 - max(0.0, _echo("\n".join(asked), answer) - 0.5) * 2
    return signs


def ending(text: str) -> float:
    """1 for a text that ends, 0.2 for one that breaks off within a clause, 0.8 where no sign tells."""
    if ENDED.search(text[-8:]):
        return 1.0
    return 0.2 if BROKEN_OFF.search(text[-8:]) else 0.8


def phrase_share(text: str) -> float:
    """The share of the text that is empty phrases."""
    found = PHRASES_ZH.findall(text)
    if LATIN.search(text):
        found += PHRASES_EN.findall(text.lower())
    return sum(map(len, found)) / max(1, len(text))


def _echo(question: str, answer: str) -> float:
    """Share of the answer's pieces that stand in the question.

    0 for an answer too long for half of it to, and for one taken from a long text, as a choice or a name is.
    """
    if not len(question) / LONG_QUESTION <= len(answer) <= 2 * len(question) + ECHO_PIECE:
        return 0.0
    asked, own = (
        {text[place : place + ECHO_PIECE] for place in range(max(1, len(text) - ECHO_PIECE + 1))}
        for text in (question, answer)
    )
    return len(own & asked) / len(own)


# -- buckets ----------------------------------------------------------------------------------------------------------
def bucket(step: Bucket, rows: Rows, job: Job) -> Selection:
    """Quantiles of score or difficulty; equal values are never parted but go to the higher bucket together."""
    values = _scores(rows) if step.by == "score" else difficulty(rows, job)
    edges = np.quantile(values, np.arange(1, step.buckets) / step.buckets) if len(values) else np.zeros(0)
    numbers = np.searchsorted(edges, values, side="right") + 1
    columns: dict[str, NDArray[np.float64]] = {}
    if step.note:
        columns["difficulty"] = numbers.astype(np.float64)
    elif step.by == "difficulty":
        own = rows.column("difficulty").astype(np.float64)
        columns["difficulty"] = np.where(np.isnan(own), values, own)
    kept = np.isin(numbers, step.keep) if step.keep else np.ones(len(rows), dtype=bool)
    dropped = {
        int(position): Drop(
            "step.bucket",
            {"bucket": int(numbers[position]), "buckets": step.buckets, "kept": ", ".join(map(str, step.keep))},
        )
        for position in np.flatnonzero(~kept)
    }
    return Selection(np.flatnonzero(kept).astype(np.int64), dropped, columns)


def _scores(rows: Rows) -> NDArray[np.float64]:
    """The scores; rows without one come lowest. Raises DataError `step.no_scores` where no row has one."""
    scores = rows.column("score").astype(np.float64)
    if len(scores) and np.isnan(scores).all():
        raise DataError("step.no_scores")
    return np.nan_to_num(scores, nan=-np.inf)


def difficulty(rows: Rows, job: Job) -> NDArray[np.float64]:
    """From 0 to 1 for every row: the rank of its own difficulty, else made of the ranks of length, turns and rarity.

    Rarity is the mean surprise, -log2(share), of the row's three-character pieces among those of all rows.
    """
    guessed = 0.4 * _rank(rows.column("chars")) + 0.2 * _rank(rows.column("turns")) + 0.4 * _rank(rarity(rows, job))
    own = rows.column("difficulty").astype(np.float64)
    known = ~np.isnan(own)
    guessed[known] = _rank(own[known])
    return guessed


def rarity(rows: Rows, job: Job) -> NDArray[np.float64]:
    """Mean surprise of every row's pieces, in bits."""
    counts = np.zeros(COUNTERS, dtype=np.uint32)
    surprise = np.zeros(len(rows))
    for reading in (0, 1):  # count first, then judge
        share = np.log2(np.maximum(1, counts.sum(dtype=np.int64))) - np.log2(np.maximum(1, counts)) if reading else None
        done = 0
        for batch in rows.batches():
            pieces = shingles_of([row_text(rows.kind, item.row, "\n") for item in batch], RARE_PIECE)
            places = (pieces.hashes % np.uint64(COUNTERS)).astype(np.int64)
            if share is None:
                counts += np.bincount(places, minlength=COUNTERS).astype(np.uint32)
            else:
                sums = np.concatenate([[0.0], np.cumsum(share[places])])
                sizes = np.maximum(1, np.diff(pieces.offsets))
                surprise[done : done + len(batch)] = np.diff(sums[pieces.offsets]) / sizes
            done += len(batch)
            job.progress((reading * len(rows) + done) // 2, len(rows))
    return surprise


def _rank(values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    """From 0 (the smallest) to 1 (the largest); equal values share a rank."""
    distinct, places = np.unique(values, return_inverse=True)
    ranks: NDArray[np.float64] = places / max(1, len(distinct) - 1)
    return ranks
