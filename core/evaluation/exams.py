"""What the models are measured on: rows of a dataset, the same for each, encoded as each of them needs it.

    text         every token of the documents but their first, in windows of `max_length` tokens, `stride` apart
    messages     the assistant's turns, as SFT learns them
    preference   which of the two answers is preferred (`core.evaluation.pairs`)
    choice       which of the choices is the likeliest answer (`core.evaluation.choice`)

Left out: ranked answers, of which a recipe step makes pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.data.encode.documents import EncodedDocuments, encode_documents
from core.data.encode.encoding import IGNORED, encode_dataset
from core.data.encode.pairs import EncodedPairs, encode_pairs
from core.data.store.library import Dataset
from core.errors import DataError, ModelError
from core.evaluation.choice import examine_choice
from core.evaluation.contenders import Language
from core.evaluation.marks import Mark, Marks, Numbers, grouped
from core.evaluation.means import Means
from core.evaluation.pairs import Answers, Floats, Ids, preference
from core.evaluation.perplexity import SUMS, Sums, prediction, sum_rows
from core.records_evaluation import EXAM_KINDS, Asking
from core.training.batching import Rows
from core.training.judges import Judge, pair_scores
from core.training.preparing import choose_rows


@dataclass(frozen=True)
class Sitting:
    """One dataset and the rows drawn of it, ascending. `asking`, `dev`: how questions are put, and their examples."""

    dataset: Dataset
    rows: NDArray[np.int64]
    asking: Asking | None = None
    dev: Dataset | None = None

    @property
    def kind(self) -> str:
        return self.dataset.card.kind

    def categories(self, numbers: Numbers) -> list[str | None]:
        """Of the rows with these numbers in the dataset."""
        return self.dataset.categories(numbers.tolist())


def draw(
    dataset: Dataset, limit: int | None, seed: int, asking: Asking | None = None, dev: Dataset | None = None
) -> Sitting:
    """All rows, or `limit` of them drawn by the seed. Raises DataError `evaluate.kind` for rows that give no figure."""
    if dataset.card.kind not in EXAM_KINDS:
        raise DataError("evaluate.kind", ref=dataset.ref, kind=dataset.card.kind, kinds=", ".join(EXAM_KINDS))
    rows = choose_rows(len(dataset), limit, seed)
    return Sitting(dataset, rows, asking or Asking(), dev) if dataset.card.kind == "choice" else Sitting(dataset, rows)


def examine(language: Language, sitting: Sitting, means: Means) -> Marks:
    """A language model's figures. Raises ModelError and DataError with the reason where there can be none."""
    if sitting.kind == "preference":
        return _prefers(language, sitting, means)
    if sitting.asking is not None:
        return examine_choice(language, sitting.dataset, sitting.rows.tolist(), sitting.asking, sitting.dev, means)
    rows, whose = _text(language, sitting, means) if sitting.kind == "text" else _dialogues(language, sitting, means)
    sums = _sums(language, rows, means, share=len(sitting.rows) / len(rows))
    numbers, sums = sums.together(whose)
    marks = [
        Mark(number, dict(zip(SUMS, each, strict=True)))
        for number, each in zip(numbers.tolist(), sums.each.tolist(), strict=True)
    ]
    groups = grouped(sitting.categories(numbers), lambda places: prediction(sums.of(places)))
    left_out = len(sitting.rows) - len(numbers)
    return Marks(prediction(sums), len(numbers), left_out, groups=groups, each=marks)


def _sums(language: Language, rows: Rows, means: Means, share: float) -> Sums:
    """`sum_rows`; each of `rows` stands for `share` of the dataset's rows in the progress."""
    language.warm_up(rows)
    return sum_rows(
        language.fused, rows, language.token_bytes, tokens=means.tokens, check_stop=means.check_stop,
        on_progress=lambda done: means.on_progress(int(done * share)),
    )  # fmt: skip


def _dialogues(language: Language, sitting: Sitting, means: Means) -> tuple[Rows, Numbers]:
    """(rows, the number in the dataset of each)."""
    rows = encode_dataset(
        sitting.dataset, language.chat, means.cache, rows=sitting.rows.tolist(), check_stop=means.check_stop
    )
    return rows, rows.rows


def _text(language: Language, sitting: Sitting, means: Means) -> tuple[Rows, Numbers]:
    """Every document on its own, in windows; one of a single token predicts nothing and is left out."""
    documents = encode_documents(
        sitting.dataset, language.documents, means.cache, rows=sitting.rows, check_stop=means.check_stop
    )
    rows = Windows(documents, means.max_length, means.stride)
    return rows, documents.rows[np.searchsorted(documents.offsets, rows.starts, side="right") - 1]


class Windows:
    """Documents as rows of at most `max_length` tokens, each token but a document's first predicted in one of them.

    The first window of a document predicts all of its tokens. Each further one begins `stride` tokens later and
    predicts only those that are new to it, with at least `max_length` − `stride` before them; a stride as long as a
    window leaves the one token that the first of them is predicted from.
    """

    def __init__(self, documents: EncodedDocuments, max_length: int, stride: int) -> None:
        self.documents = documents
        sizes, step = np.asarray(documents.lengths, dtype=np.int64), min(stride, max_length - 1)
        counts = np.where(sizes > 1, 1 + np.maximum(0, -(-(sizes - max_length) // step)), 0)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # of a window in its document
        self.starts: Numbers = np.repeat(np.cumsum(sizes) - sizes, counts) + place * step
        self.lengths: Numbers = np.minimum(max_length, np.repeat(sizes, counts) - place * step)
        self.label_counts: Numbers = self.lengths - np.where(place, max_length - step, 1)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> tuple[Ids, Ids]:
        start = int(self.starts[index])
        ids = self.documents.tokens[start : start + int(self.lengths[index])].astype(np.int32)
        labels = ids.copy()
        labels[: len(ids) - int(self.label_counts[index])] = IGNORED
        return ids, labels


def _prefers(language: Language, sitting: Sitting, means: Means) -> Marks:
    """By the mean log-probability of both answers of every pair."""
    pairs = encode_pairs(
        sitting.dataset, language.chat, means.cache, rows=sitting.rows.tolist(), check_stop=means.check_stop
    )
    rows = Answers(pairs)
    scores = -_sums(language, rows, means, share=0.5).nats / rows.label_counts
    return _order(scores.reshape(-1, 2), pairs, sitting, "likelihood")


def examine_judge(judge: Judge, sitting: Sitting, means: Means) -> Marks:
    """A reward model's figures, by its scores. Raises ModelError `evaluate.only_scores` for rows that are no pairs."""
    if sitting.kind != "preference":
        raise ModelError("evaluate.only_scores")
    pairs = encode_pairs(
        sitting.dataset, judge.encoder, means.cache, rows=sitting.rows.tolist(), check_stop=means.check_stop
    )
    judge.warm_up([pairs[index] for index in pairs.lengths.argsort()[:2].tolist()])
    scores = pair_scores(judge, pairs, tokens=means.tokens, check_stop=means.check_stop, on_progress=means.on_progress)
    return _order(scores, pairs, sitting, "score")


def _order(scores: Floats, pairs: EncodedPairs, sitting: Sitting, by: Literal["score", "likelihood"]) -> Marks:
    """scores [pairs, 2] of the chosen and the rejected answer."""
    marks = [
        Mark(number, {"chosen": chosen, "rejected": rejected, "correct": float(chosen > rejected)})
        for number, (chosen, rejected) in zip(pairs.rows.tolist(), scores.tolist(), strict=True)
    ]
    groups = grouped(sitting.categories(pairs.rows), lambda places: preference(scores[places], pairs.answers[places]))
    left_out = len(sitting.rows) - len(pairs)
    return Marks(preference(scores, pairs.answers), len(pairs), left_out, by, groups, marks)
