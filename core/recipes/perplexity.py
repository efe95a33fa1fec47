"""perplexity: how surprising a model finds the answers of every row, or every document of a corpus.

    1  read the tokenizer, encode the rows (cached): conversations as SFT does, labels on the assistant's turns only;
       documents whole, as pretraining does, without end marks
    2  load the model, take the fast path if it agrees with the model's own forward
    3  stretch by stretch of the dataset: pack the rows, sum each row's loss over its labels
    4  write the losses beside the keys of the rows, for the step `quality` (`core.data.recipe.losses`)
    5  of documents: whether they are worth pretraining on (`core.evaluation.worth`)

Run it with `python -m core perplexity model.base=M data.rows=D`; `data.max_rows=300` is sample enough for a verdict.
Left out: several devices. A stop keeps nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.configs.stages import PerplexityConfig
from core.data.encode.documents import DocumentEncoder, Heads, encode_documents, plain_text
from core.data.encode.encoding import EncodedRows, Encoder, encode_dataset
from core.data.encode.tokenizer import load_tokenizer
from core.data.files.containers import excerpt
from core.data.normal import row_key
from core.data.recipe.losses import Losses
from core.data.store.library import Dataset, open_dataset
from core.evaluation import worth
from core.evaluation.perplexity import Sums, sum_rows
from core.messages import sentence
from core.models.backbone import load_backbone
from core.models.loading import resolve_dtype
from core.models.parents import resolve_parent
from core.records import Bucket, Measured, WorthIt
from core.report import RunContext
from core.rundir import write_record
from core.training.batching import Pack
from core.training.fastpath import FusedCausalLM
from core.training.perplexity import figures, perplexity
from core.training.preparing import choose_rows


def main(context: RunContext) -> None:
    """Measure the rows. Raises DataError for rows of any other kind, ModelError for the model."""
    config = PerplexityConfig.model_validate(context.config.model_dump())
    report, run = context.report, context.run

    # 1
    parent = resolve_parent(context.workspace, config.model.base)
    tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=config.model.trust_remote_code)
    dataset = open_dataset(context.workspace, config.data.rows)
    documents = config.data.as_text or dataset.card.kind == "text"
    plain = DocumentEncoder(tokenizer, end_mark=False)
    rows: EncodedRows | Heads
    if documents:
        rows = read_documents(context, config, dataset, plain)
    else:
        template = config.model.template or parent.template
        rows = read_dialogues(
            context, config, dataset, Encoder(tokenizer, max_length=config.data.max_length, template=template)
        )

    # 2
    report.phase("loading")
    model = load_backbone(
        parent,
        dtype=resolve_dtype(config.model.dtype, context.device),
        device=context.device,
        attention=config.model.attention,
        trust_remote_code=config.model.trust_remote_code,
    )
    model.requires_grad_(False)
    fused = FusedCausalLM(model)
    typical = np.argsort(rows.lengths)[len(rows) // 4 :][:2]
    fused.speed_up(Pack.of([rows[int(index)] for index in typical]).to(model.device))
    fused.eval()

    # 3
    report.phase("measuring", total=len(rows), unit="row")
    sums = sum_rows(
        fused,
        rows,
        plain.token_bytes,
        tokens=config.data.tokens,
        check_stop=report.check_stop,
        on_progress=report.progress,
    )

    # 4
    report.phase("saving")
    run.output.mkdir(parents=True, exist_ok=True)
    losses = Losses(keys_of(dataset, rows), (sums.nats / rows.label_counts).astype(np.float32), rows.label_counts)
    losses.write(run.output)
    middle, worst = np.exp(np.quantile(losses.loss, [0.5, 0.99]))
    print(f"{dataset.ref}: {len(rows)} rows measured")
    mean, _ = figures(sums.total)
    print(
        f"perplexity {perplexity(mean):.1f} over all tokens; of a row {middle:.1f} in the middle, {worst:.1f} at worst"
    )
    print(f"in a recipe: - do: quality with run: {run.id}")

    # 5
    if documents:
        found = judge(dataset, config.model.base, model.num_parameters(), rows, sums)
        write_record(run.verdict_file, found)
        said, remedy = sentence(found.code, found.params)
        print(f"{found.bits_per_byte:.3f} bits per byte. {said} {remedy}")


def read_documents(context: RunContext, config: PerplexityConfig, dataset: Dataset, encoder: DocumentEncoder) -> Heads:
    report, chosen = context.report, choose_rows(len(dataset), config.data.max_rows, config.run.seed)
    report.phase("tokenising", total=len(chosen), unit="row")
    found = encode_documents(
        dataset,
        encoder,
        context.workspace.encoded_dir,
        rows=chosen,
        on_progress=lambda done, total: report.progress(done),
        check_stop=report.check_stop,
    )
    return Heads(found, config.data.max_length)


def read_dialogues(context: RunContext, config: PerplexityConfig, dataset: Dataset, encoder: Encoder) -> EncodedRows:
    report, chosen = context.report, choose_rows(len(dataset), config.data.max_rows, config.run.seed)
    report.phase("tokenising", total=len(chosen), unit="row")
    return encode_dataset(
        dataset,
        encoder,
        context.workspace.encoded_dir,
        rows=chosen.tolist(),
        on_progress=lambda done, total: report.progress(done),
        check_stop=report.check_stop,
    )


def keys_of(dataset: Dataset, rows: EncodedRows | Heads) -> NDArray[np.uint64]:
    """The key of every measured row's text."""
    found = (row_key(dataset.card.kind, row) for few in dataset.stream(np.asarray(rows.rows)) for row in few)
    return np.fromiter(found, dtype=np.uint64, count=len(rows))


def judge(dataset: Dataset, model: str, parameters: int, rows: EncodedRows | Heads, sums: Sums) -> WorthIt:
    """The verdict on the documents that were measured, with the best and worst predicted ones."""
    nats, sizes = sums.text
    bits = worth.bits_per_byte(nats, sizes)
    code, params = worth.verdict(bits, sizes, parameters)
    loss, overall = figures(sums.total)
    best, worst = worth.extremes(bits, sizes)

    def shown(places: list[int]) -> list[Measured]:
        indices: list[Any] = [int(rows.rows[place]) for place in places]
        texts = [excerpt(plain_text(dataset.card.kind, row)) for row in dataset.take(indices)]
        needed = [round(float(bits[place]), 3) for place in places]
        return [
            Measured(line=line, excerpt=text, bits_per_byte=figure)
            for line, text, figure in zip(dataset.lines(indices), texts, needed, strict=True)
        ]

    return WorthIt(
        dataset=dataset.ref,
        model=model,
        rows=len(rows),
        tokens=int(rows.label_counts.sum()),
        bytes=int(sizes.sum()),
        perplexity=perplexity(loss),
        bits_per_byte=overall,
        buckets=[
            Bucket(low=low, high=high, rows=count, bytes=size) for low, high, count, size in worth.buckets(bits, sizes)
        ],
        code=code,
        params=params,
        best=shown(best),
        worst=shown(worst),
    )
