"""Supervised fine-tuning: a base model learns the assistant's turns of conversations.

    1  read the tokenizer and encode the rows (cached); hold some out for evaluation
    2  load the base, make adapters, every weight or the last layers trainable
    3  take the fast path, if it agrees with the model's own forward
    4  train, evaluate, save; or continue from the last whole checkpoint
    5  deliver the best or last weights and the manifest

Run it with `python -m core sft …`; a rank is started by the supervisor. The result loads with plain Transformers and
PEFT. Left out: reward models, preference losses and PPO, which are stages of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
from accelerate import PartialState
from transformers import set_seed

from core.configs.stages import SFTConfig
from core.data.encode.encoding import EncodedRows, Encoder, encode_dataset
from core.data.encode.tokenizer import load_tokenizer
from core.data.store.library import Dataset, open_dataset
from core.errors import DataError, Problem, StopRequested
from core.models.library import resolve_base
from core.models.lineage import weight_hashes
from core.models.loading import load_model, resolve_dtype
from core.records import DataUsed, RootBase
from core.report import RunContext
from core.training.answering import answer
from core.training.batching import Pack
from core.training.delivery import data_used, deliver
from core.training.fastpath import FusedCausalLM
from core.training.trainer import StageTrainer, split_rows
from core.training.tuning import loading_dtype, make_trainable, trainable_count

RANK_PATIENCE = timedelta(hours=12)
SHOWN_LINES = 100  # unusable rows listed in an error


def main(context: RunContext) -> None:
    """One rank of an SFT run, from the first phase to the manifest."""
    config = SFTConfig.model_validate(context.config.model_dump())
    report = context.report
    state = join_ranks(context)

    # 1
    folder = resolve_base(context.workspace, config.model.base)
    root = RootBase(source=config.model.base, path=str(folder), weights=weight_hashes(folder, context.workspace))
    tokenizer = load_tokenizer(folder, trust_remote_code=config.model.trust_remote_code)
    encoder = Encoder(
        tokenizer,
        max_length=config.data.max_length,
        train_on=config.data.train_on,
        template=config.model.template,
    )
    tokenizer.chat_template = encoder.template_text  # goes wherever the trained weights go
    with state.main_process_first():
        data = read_data(context, config, encoder)
    for part in data.parts:
        print(part.sentence(config.data.max_length))

    # 2
    report.phase("loading")
    dtype = resolve_dtype(config.model.dtype, context.device)
    model = load_model(
        folder,
        dtype=loading_dtype(config.tuning.method, dtype),
        device=context.device,
        attention=config.model.attention,
        trust_remote_code=config.model.trust_remote_code,
    )
    report.check_stop()
    set_seed(config.run.seed)
    trainable, autocast = make_trainable(model, config.tuning, config.lora, dtype)
    learning, total = trainable_count(trainable)
    print(f"{config.tuning.method}: {learning:,} of {total:,} parameters learn ({learning / total:.2%}), in {dtype}")

    # 3
    set_seed(config.run.seed + context.rank)  # dropout must differ between ranks
    fused = FusedCausalLM(trainable, autocast=autocast, neftune_alpha=config.optim.neftune_alpha)
    if config.model.attention == "auto":
        reason = fused.speed_up(sample_pack(data.train).to(model.device))
    else:
        reason = f"model.attention={config.model.attention} was asked for"
    print("fast path: on" if reason is None else f"fast path: off, because {reason}")

    # 4
    reply = partial(answer, trainable, encoder, tokenizer, max_new_tokens=config.evaluation.max_new_tokens)
    trainer = StageTrainer(fused, context, config, data.train, data.validation, tokenizer, reply)
    trainer.continue_or_start()
    if trainer.stopped:
        raise StopRequested

    # 5
    if context.rank == 0:
        report.phase("delivering")
        deliver(context, config, trainable, dtype, root, encoder, tokenizer, [part.facts for part in data.parts])


def join_ranks(context: RunContext) -> PartialState:
    """The process group, where there are several ranks. It waits long: rank 0 may tokenise millions of rows alone."""
    patience = {"timeout": RANK_PATIENCE} if context.world_size > 1 else {}
    return PartialState(cpu=context.device == "cpu", **patience)


# -- data -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Part:
    """What became of one dataset: the facts for the manifest, and how many rows were shortened."""

    facts: DataUsed
    truncated: int

    def sentence(self, max_length: int) -> str:
        return (
            f"{self.facts.dataset}: {self.facts.rows_used} rows, {self.truncated} of them shortened to {max_length} "
            f"tokens, {self.facts.rows_dropped} left out"
        )


@dataclass(frozen=True)
class SFTData:
    train: EncodedRows
    validation: EncodedRows | None
    parts: list[Part]


def read_data(context: RunContext, config: SFTConfig, encoder: Encoder) -> SFTData:
    """Encode training and validation rows. Raises DataError with the rows that cannot be used, unless told to drop."""
    dataset = open_dataset(context.workspace, config.data.train)
    chosen = choose_rows(len(dataset), config.data.max_rows, config.run.seed)
    train_rows, held_out = chosen, np.empty(0, dtype=np.int64)
    if config.data.validation is None:
        kept, out = split_rows(len(chosen), config.data.validation_split, config.run.seed)
        train_rows, held_out = chosen[kept], chosen[out]
    encode = partial(_encode, context, config, encoder)
    train = encode(dataset, train_rows)
    if config.data.validation is not None:
        other = open_dataset(context.workspace, config.data.validation)
        validation = encode(other, np.arange(len(other)))
        return SFTData(train, validation, [_part(dataset, train), _part(other, validation)])
    if not len(held_out):
        return SFTData(train, None, [_part(dataset, train)])
    validation = encode(dataset, held_out)
    return SFTData(train, validation, [_part(dataset, train, validation)])


def _part(dataset: Dataset, *encoded: EncodedRows) -> Part:
    left_out = sorted(index for rows in encoded for index in rows.unlabelled)
    return Part(data_used(dataset, sum(map(len, encoded)), left_out), sum(rows.truncated for rows in encoded))


def choose_rows(count: int, limit: int | None, seed: int) -> np.ndarray:
    """All row numbers, or `limit` of them drawn by the seed, ascending."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng((seed, 1_000_033)).permutation(count)[:limit])


def _encode(
    context: RunContext, config: SFTConfig, encoder: Encoder, dataset: Dataset, rows: np.ndarray
) -> EncodedRows:
    report = context.report
    report.phase("tokenising", total=len(rows), unit="row")
    encoded = encode_dataset(
        dataset,
        encoder,
        context.workspace.encoded_dir,
        rows=rows.tolist(),
        on_progress=lambda done, total: report.progress(done),
        check_stop=report.check_stop,
    )
    if encoded.unlabelled and config.data.bad_rows == "stop":
        raise _left_without_label(dataset, encoded, config.data.max_length)
    return encoded


def _left_without_label(dataset: Dataset, encoded: EncodedRows, max_length: int) -> DataError:
    shown = encoded.unlabelled[:SHOWN_LINES]
    problems = []
    for index, line, row in zip(shown, dataset.lines(shown), dataset.take(shown), strict=True):
        excerpt = next((turn["content"] for turn in row["messages"] if turn["role"] == "user"), "")[:120]
        reason: dict[str, Any] = {"max_length": max_length, "detail": encoded.refused.get(index, "")}
        code = "data.template_refuses_row" if index in encoded.refused else "data.no_label_left"
        problems.append(Problem(code, reason, line=line, excerpt=excerpt))
    return DataError("data.rows_without_label", ref=dataset.ref, count=len(encoded.unlabelled), problems=problems)


def sample_pack(rows: EncodedRows) -> Pack:
    """Two short rows of the training data, to compare the two paths on: a border between rows, and their labels.

    Of the shorter quarter the longest and the one with most labels: the fewer labels, the noisier the comparison.
    """
    short = np.argsort(rows.lengths, kind="stable")[: max(2, len(rows) // 4)]
    longest = int(short[-1])
    others = short[:-1] if len(short) > 1 else short
    richest = int(others[rows.label_counts[others].argmax()])
    return Pack.of([rows[longest], rows[richest]])
