"""Continue-pretraining: a base model reads plain documents and learns to predict every token of them.

    1  read the tokenizer, encode the documents (cached), hold some out, draw general ones for the mix
    2  load the backbone, make adapters, every weight or the last layers trainable
    3  take the fast path, if it agrees with the model's own forward
    4  measure the held-out documents before anything is learnt, then train; or continue from the last whole checkpoint
    5  deliver the best or last weights and the manifest

Run it with `python -m core pretrain …`. A row of a batch is a block: up to `data.block_size` tokens of one or several
documents (`core.data.encode.blocks`). Held-out documents are measured isolated from each other, however the training
ones are packed, so that the figures of two runs can be compared. Left out: chat templates (SFT's business), and making
the vocabulary larger, which is a stage of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from transformers import set_seed

from core.configs.stages import PretrainConfig
from core.data.encode.documents import Blocks, DocumentEncoder, EncodedDocuments, encode_documents
from core.data.encode.drawing import draw_for_tokens
from core.data.encode.tokenizer import load_tokenizer
from core.data.store.library import Dataset, open_dataset
from core.errors import DataError, StopRequested
from core.models.backbone import load_backbone
from core.models.context import check_context
from core.models.loading import resolve_dtype
from core.models.parents import resolve_parent
from core.records import DataUsed
from core.report import RunContext
from core.training.answering import go_on
from core.training.batching import Order, Pack, Rows
from core.training.delivery import data_used, deliver
from core.training.fastpath import FusedCausalLM
from core.training.mixing import Mixture
from core.training.naming import RowName, row_names
from core.training.perplexity import DocumentLoss
from core.training.preparing import choose_rows, join_ranks, split_rows
from core.training.sharding import Turn, own_path, splits_weights, stop_of
from core.training.trainer import StageTrainer
from core.training.tuning import loading_dtype, make_trainable, trainable_count

GENERAL = "general"  # the source's name, where training and general data bear the same
SAMPLE_TOKENS = 128  # of a document that the two paths are compared on


def main(context: RunContext) -> None:
    """One rank of a pretraining run, from the first phase to the manifest."""
    config = PretrainConfig.model_validate(context.config.model_dump())
    report = context.report
    state = join_ranks(context)

    # 1
    parent = resolve_parent(context.workspace, config.model.base, go_on=config.lora.start == "continue")
    check_context(parent.folder, {"data.block_size": config.data.block_size})
    tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=config.model.trust_remote_code)
    encoder = DocumentEncoder(tokenizer, end_mark=config.data.end_mark)
    with state.main_process_first():
        data = read_data(context, config, encoder)
    print(data.sentence(config, context.world_size))

    # 2
    report.phase("loading")
    dtype = resolve_dtype(config.model.dtype, context.device)
    turn = Turn(context, config)
    model = load_backbone(
        parent,
        dtype=loading_dtype(config.tuning.method, dtype),
        device=turn.device,
        attention=config.model.attention,
        quantization=config.quantization,
        trust_remote_code=config.model.trust_remote_code,
    )
    report.check_stop()
    set_seed(config.run.seed)
    trainable, autocast = make_trainable(model, config.tuning, config.lora, dtype, parent=parent)
    learning, total = trainable_count(trainable)
    print(f"{config.tuning.method}: {learning:,} of {total:,} parameters learn ({learning / total:.2%}), in {dtype}")

    # 3
    set_seed(config.run.seed + context.rank)  # dropout must differ between ranks
    fused = FusedCausalLM(
        trainable,
        autocast=autocast,
        neftune_alpha=config.optim.neftune_alpha,
        label_smoothing=config.optim.label_smoothing,
    )
    reason = own_path(config) or fused.speed_up(
        sample_pack(data.train).to(model.device), copies=not splits_weights(config)
    )
    print("fast path: on" if reason is None else f"fast path: off, because {reason}")

    # 4
    stop, new = stop_of(report, config), config.evaluation.max_new_tokens
    continued = partial(go_on, trainable, encoder, tokenizer, stop, max_new_tokens=new)
    held_out = DocumentLoss(data.held_out, encoder.token_bytes) if data.held_out else None
    trainer = StageTrainer(
        turn.shard(fused), context, config, data.train, held_out, tokenizer, continued,
        max_length=config.data.block_size, order=data.order, names=data.names,
    )  # fmt: skip
    if not context.run.complete_checkpoints() and not trainer.merits:
        trainer.look_first()
    trainer.continue_or_start()
    if trainer.stopped:
        raise StopRequested

    # 5
    if context.rank == 0:
        report.phase("delivering")
        deliver(context, config, trainable, dtype, parent, encoder, tokenizer, data.facts)


# -- data -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class PretrainData:
    """`held_out`: rows by source; empty where nothing is. `order`: of an epoch, where general text is mixed in. `sets`:
    what the training rows are made of, numbered through."""

    train: Rows
    order: Order | None
    held_out: dict[str, Rows]
    facts: list[DataUsed]
    sets: list[tuple[Dataset, Blocks]]

    def names(self, indices: Sequence[int]) -> list[RowName]:
        """The documents that these blocks have something of."""
        found = []
        for index in indices:
            for dataset, blocks in self.sets:
                if 0 <= index < len(blocks):
                    found += row_names(dataset, blocks.documents_in(index).tolist())
                index -= len(blocks)
        return found

    def sentence(self, config: PretrainConfig, ranks: int) -> str:
        """The effective batch in rows and tokens, and what lies behind it."""
        rows = config.schedule.batch_size * config.schedule.gradient_accumulation * ranks
        lengths = self.train.lengths
        if self.order is not None:  # of the general text, an epoch takes a share
            lengths = lengths[self.order(config.run.seed, 0)]
        tokens = float(lengths.mean())
        lines = [f"{each.dataset}: {each.rows_used} documents, {each.rows_dropped} left out" for each in self.facts]
        return "\n".join(
            [*lines, f"{len(lengths)} blocks; a step is {rows} blocks of {tokens:.0f} tokens: {rows * tokens:,.0f}"]
        )


@dataclass(frozen=True)
class Source:
    """One dataset: its documents for training, and those held out."""

    dataset: Dataset
    train: EncodedDocuments
    held_out: EncodedDocuments | None

    @property
    def facts(self) -> DataUsed:
        parts = [self.train] if self.held_out is None else [self.train, self.held_out]
        left_out = sorted(index for part in parts for index in part.unusable)
        return data_used(self.dataset, sum(map(len, parts)), left_out)


def read_data(context: RunContext, config: PretrainConfig, encoder: DocumentEncoder) -> PretrainData:
    """Documents as blocks, and those held out. Raises DataError `data.wrong_kind`, `data.no_document`."""
    settings, seed = config.data, config.run.seed
    dataset = open_dataset(context.workspace, settings.train)
    chosen = choose_rows(len(dataset), settings.max_rows, seed)
    share = 0.0 if settings.validation is not None else settings.validation_split
    if dataset.card.kind == "messages":
        print(f"{dataset.ref} holds conversations: their turns are read as plain text, without roles")
    own = _source(context, encoder, dataset, chosen, share, seed)
    facts = [own.facts]
    held_out = own.held_out
    if settings.validation is not None:
        other = open_dataset(context.workspace, settings.validation)
        held_out = _encode(context, encoder, other, np.arange(len(other)))
        facts.append(data_used(other, len(held_out), held_out.unusable))
    train = Blocks(own.train, settings.block_size, settings.packing)
    if not len(train):
        raise DataError("data.no_document", ref=dataset.ref)
    sets: dict[str, Rows] = {} if held_out is None else {dataset.name: _isolated(held_out, settings.block_size)}
    if settings.general is None:
        return PretrainData(train, None, sets, facts, [(dataset, train)])

    general = _general(context, config, encoder, own, None if held_out is None else int(held_out.offsets[-1]))
    facts.append(general.facts)
    if general.held_out is not None:
        name = general.dataset.name if general.dataset.name != dataset.name else GENERAL
        sets[name] = _isolated(general.held_out, settings.block_size)
    beside = Blocks(general.train, settings.block_size, settings.packing)
    mixture = Mixture(train, beside, settings.general_share)
    return PretrainData(mixture, mixture.order, sets, facts, [(dataset, train), (general.dataset, beside)])


def _general(
    context: RunContext, config: PretrainConfig, encoder: DocumentEncoder, own: Source, held_out: int | None
) -> Source:
    """As much general text as the whole training takes, where there is so much; the rest is not even tokenised.

    `held_out`: tokens of the documents held out; of general ones such a share is held out, too, that the evaluation
    loss is that of the same mixture.
    """
    schedule, share = config.schedule, config.data.general_share
    dataset = open_dataset(context.workspace, str(config.data.general))
    ratio = share / (1 - share)
    step = schedule.batch_size * schedule.gradient_accumulation * context.world_size * config.data.block_size
    trained = schedule.epochs * float(own.train.offsets[-1]) * ratio
    if schedule.max_tokens is not None or schedule.max_steps is not None:
        trained = share * min(schedule.max_tokens or np.inf, (schedule.max_steps or np.inf) * step)
    measured = ratio * (held_out or 0)
    rows = draw_for_tokens(dataset, encoder, trained + measured, config.run.seed)
    return _source(context, encoder, dataset, rows, measured / (trained + measured), config.run.seed)


def _source(
    context: RunContext, encoder: DocumentEncoder, dataset: Dataset, rows: np.ndarray, share: float, seed: int
) -> Source:
    """`share` of the rows held out."""
    kept, out = split_rows(len(rows), share, seed)
    train = _encode(context, encoder, dataset, rows[kept])
    return Source(dataset, train, _encode(context, encoder, dataset, rows[out]) if len(out) else None)


def _encode(context: RunContext, encoder: DocumentEncoder, dataset: Dataset, rows: np.ndarray) -> EncodedDocuments:
    report = context.report
    report.phase("tokenising", total=len(rows), unit="row")
    return encode_documents(
        dataset,
        encoder,
        context.workspace.encoded_dir,
        rows=rows,
        on_progress=lambda done, total: report.progress(done),
        check_stop=report.check_stop,
    )


def _isolated(documents: EncodedDocuments, block_size: int) -> Blocks:
    return Blocks(documents, block_size, "isolated")


def sample_pack(rows: Rows) -> Pack:
    """The beginnings of two rows, to compare the two paths on: a border between documents, and every token a label."""
    picked = [rows[index][0][: SAMPLE_TOKENS // (1 + index)] for index in range(min(2, len(rows)))]
    return Pack.of([(ids, ids) for ids in picked])
