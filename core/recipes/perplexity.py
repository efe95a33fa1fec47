"""perplexity: how surprising a model finds the answers of every row.

    1  read the tokenizer, encode the rows as SFT does (cached): labels on the assistant's turns only
    2  load the model, take the fast path if it agrees with the model's own forward
    3  stretch by stretch of the dataset: pack the rows, sum each row's loss over its labels
    4  write the losses beside the keys of the rows, for the step `quality` (`core.data.recipe.losses`)

Run it with `python -m core perplexity model.base=M data.rows=D`. Left out: several devices, and rows other than
dialogues. A stop keeps nothing.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from core.configs.stages import PerplexityConfig
from core.data.encode.encoding import EncodedRows, Encoder, encode_dataset
from core.data.encode.packing import pack
from core.data.encode.tokenizer import load_tokenizer
from core.data.normal import row_key
from core.data.recipe.losses import Losses
from core.data.store.library import Dataset, open_dataset
from core.models.library import resolve_base
from core.models.loading import load_model, resolve_dtype
from core.report import RunContext
from core.training.batching import Pack
from core.training.fastpath import FusedCausalLM

STRETCH = 32  # rows between two looks at the stop request


def main(context: RunContext) -> None:
    """Measure every row of `data.rows`. Raises DataError for rows that are no dialogues, ModelError for the model."""
    config = PerplexityConfig.model_validate(context.config.model_dump())
    report = context.report

    # 1
    folder = resolve_base(context.workspace, config.model.base)
    tokenizer = load_tokenizer(folder, trust_remote_code=config.model.trust_remote_code)
    encoder = Encoder(tokenizer, max_length=config.data.max_length, template=config.model.template)
    dataset = open_dataset(context.workspace, config.data.rows)
    report.phase("tokenising", total=len(dataset), unit="row")
    rows = encode_dataset(
        dataset,
        encoder,
        context.workspace.encoded_dir,
        on_progress=lambda done, total: report.progress(done),
        check_stop=report.check_stop,
    )

    # 2
    report.phase("loading")
    model = load_model(
        folder,
        dtype=resolve_dtype(config.model.dtype, context.device),
        device=context.device,
        attention=config.model.attention,
        trust_remote_code=config.model.trust_remote_code,
    )
    model.requires_grad_(False)
    fused = FusedCausalLM(model)
    fused.speed_up(Pack.of([rows[int(index)] for index in np.argsort(rows.lengths)[:2]]).to(model.device))
    fused.eval()

    # 3
    report.phase("measuring", total=len(rows), unit="row")
    sums = np.zeros(len(rows), dtype=np.float64)
    for start in range(0, len(rows), STRETCH):
        report.check_stop()
        measure(fused, rows, np.arange(start, min(start + STRETCH, len(rows))), sums, config.data.tokens)
        report.progress(min(start + STRETCH, len(rows)))

    # 4
    report.phase("saving")
    context.run.output.mkdir(parents=True, exist_ok=True)
    losses = Losses(keys_of(dataset, rows), (sums / rows.label_counts).astype(np.float32), rows.label_counts)
    losses.write(context.run.output)
    mean = float(sums.sum() / rows.label_counts.sum())
    middle, worst = np.exp(np.quantile(losses.loss, [0.5, 0.99]))
    print(f"{dataset.ref}: {len(rows)} rows measured, {len(dataset) - len(rows)} without an answer in reach")
    print(f"perplexity {math.exp(mean):.1f} over all tokens; of a row {middle:.1f} in the middle, {worst:.1f} at worst")
    print(f"in a recipe: - do: quality with run: {context.run.id}")


def measure(
    fused: FusedCausalLM, rows: EncodedRows, indices: NDArray[np.int64], sums: NDArray[np.float64], tokens: int
) -> None:
    """Add up the losses of the rows `indices` into `sums`, at most `tokens` tokens (or one row) at a time."""
    lengths = rows.lengths[indices].tolist()
    for places in pack(lengths, tokens, padded=not fused.fast):
        chosen = indices[places]
        packed = Pack.of([rows[int(index)] for index in chosen]).to(fused.base.device)
        losses = fused.losses(packed).double().cpu()
        row = torch.arange(len(chosen)).repeat_interleave(torch.tensor(packed.row_lengths))
        total = torch.zeros(len(chosen), dtype=torch.float64)
        sums[chosen] = total.index_add_(0, row[packed.label_positions.cpu()], losses).numpy()


def keys_of(dataset: Dataset, rows: EncodedRows) -> NDArray[np.uint64]:
    """The key of every measured row's text."""
    keys = np.zeros(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), 2000):
        indices = rows.rows[start : start + 2000].tolist()
        found = [row_key(dataset.card.kind, row) for row in dataset.take(indices)]
        keys[start : start + len(found)] = found
    return keys
