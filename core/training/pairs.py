"""The pairs of a run that learns from preferred answers (Reward, DPO): which rows, encoded, and what to say of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from core.configs.stages import DPOConfig, RewardConfig
from core.data.encode.encoding import Encoder
from core.data.encode.pairs import EncodedPairs, encode_pairs, problems
from core.data.store.library import Dataset, open_dataset
from core.errors import DataError
from core.records import DataUsed
from core.report import RunContext
from core.training.delivery import data_used
from core.training.naming import Names, row_names
from core.training.preparing import choose_rows, split_rows

SHOWN_LINES = 100  # unusable rows listed in an error


@dataclass(frozen=True)
class PairData:
    """`held_out`: the pairs that are judged, and the dataset whose rows they are."""

    train: EncodedPairs
    held_out: tuple[Dataset, EncodedPairs] | None
    facts: list[DataUsed]
    sentences: list[str]
    names: Names


def read_pairs(context: RunContext, config: RewardConfig | DPOConfig, encoder: Encoder) -> PairData:
    """Encode training and held-out pairs. Raises DataError with the rows that cannot be used, unless told to drop."""
    dataset = open_dataset(context.workspace, config.data.train)
    rows = choose_rows(len(dataset), config.data.max_rows, config.run.seed)
    encode = partial(_encode, context, config, encoder)
    if config.data.validation is not None:
        other = open_dataset(context.workspace, config.data.validation)
        train, judged = encode(dataset, rows), encode(other, np.arange(len(other)))
        return _data(config, train, (other, judged), [(dataset, [train]), (other, [judged])])
    kept, out = split_rows(len(rows), config.data.validation_split, config.run.seed)
    train = encode(dataset, rows[kept])
    if not len(out):
        return _data(config, train, None, [(dataset, [train])])
    judged = encode(dataset, rows[out])
    return _data(config, train, (dataset, judged), [(dataset, [train, judged])])


def _data(
    config: RewardConfig | DPOConfig,
    train: EncodedPairs,
    held_out: tuple[Dataset, EncodedPairs] | None,
    parts: list[tuple[Dataset, list[EncodedPairs]]],
) -> PairData:
    facts, sentences = [], []
    for dataset, encoded in parts:
        left_out = sorted(index for pairs in encoded for index in pairs.unusable)
        facts.append(data_used(dataset, sum(map(len, encoded)), left_out))
        shortened = sum(pairs.shortened for pairs in encoded)
        sentences.append(
            f"{dataset.ref}: {facts[-1].rows_used} pairs, {shortened} of them shortened to {config.data.max_length} "
            f"tokens, {facts[-1].rows_dropped} left out"
        )
    own = parts[0][0]
    return PairData(train, held_out, facts, sentences, lambda pairs: row_names(own, train.rows[list(pairs)].tolist()))


def _encode(
    context: RunContext, config: RewardConfig | DPOConfig, encoder: Encoder, dataset: Dataset, rows: np.ndarray
) -> EncodedPairs:
    report = context.report
    report.phase("tokenising", total=len(rows), unit="row")
    encoded = encode_pairs(
        dataset,
        encoder,
        context.workspace.encoded_dir,
        rows=rows.tolist(),
        on_progress=lambda done, total: report.progress(done),
        check_stop=report.check_stop,
    )
    if encoded.unusable and config.data.bad_rows == "stop":
        listed = problems(dataset, encoded.unusable, SHOWN_LINES)
        raise DataError("reward.unusable_pairs", ref=dataset.ref, count=len(encoded.unusable), problems=listed)
    return encoded
