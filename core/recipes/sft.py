"""Supervised fine-tuning: a base model learns the assistant's turns of conversations.

    1  read the tokenizer and encode the rows of all datasets (cached); hold some out for evaluation, by source
    2  load the base, make adapters, every weight or the last layers trainable
    3  take the fast path, if it agrees with the model's own forward
    4  settle the order of the rows: a permutation, a mixture by weight, or from easy to hard
    5  train, evaluate, save; or continue from the last whole checkpoint
    6  deliver the best or last weights and the manifest

Run it with `python -m core sft …`; a rank is started by the supervisor. The result loads with plain Transformers and
PEFT. Left out: reward models, preference losses and PPO, which are stages of their own.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from transformers import set_seed

from core.configs.stages import SFTConfig
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.errors import StopRequested
from core.models.backbone import load_backbone
from core.models.context import check_context
from core.models.loading import resolve_dtype
from core.models.parents import resolve_parent
from core.report import RunContext
from core.training.answering import answer
from core.training.batching import Pack, Rows
from core.training.conversations import curriculum_of, read_conversations
from core.training.delivery import deliver
from core.training.difficulty import difficulties
from core.training.evaluating import TokenLoss
from core.training.fastpath import FusedCausalLM
from core.training.preparing import join_ranks
from core.training.sharding import Turn, own_path, splits_weights, stop_of
from core.training.trainer import StageTrainer
from core.training.tuning import loading_dtype, make_trainable, trainable_count


def main(context: RunContext) -> None:
    """One rank of an SFT run, from the first phase to the manifest."""
    config = SFTConfig.model_validate(context.config.model_dump())
    report = context.report
    state = join_ranks(context)

    # 1
    parent = resolve_parent(context.workspace, config.model.base, go_on=config.lora.start == "continue")
    check_context(parent.folder, {"data.max_length": config.data.max_length})
    tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=config.model.trust_remote_code)
    encoder = Encoder(
        tokenizer,
        max_length=config.data.max_length,
        train_on=config.data.train_on,
        template=config.model.template or parent.template,
    )
    tokenizer.chat_template = encoder.template_text  # goes wherever the trained weights go
    with state.main_process_first():
        data = read_conversations(context, config, encoder)
    for part in data.parts:
        print(part.sentence(config.data.max_length))

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
    if fused.fast and config.optim.label_smoothing:
        print("fused loss: off, because optim.label_smoothing needs the whole vocabulary's probabilities")

    # 4
    order = curriculum_of(config, data, difficulties(context, config, data, fused), context.world_size)
    if order is not None:
        print(order.sentence())

    # 5
    stop, new = stop_of(report, config), config.evaluation.max_new_tokens
    reply = partial(answer, trainable, encoder, tokenizer, stop, max_new_tokens=new)
    held_out = TokenLoss(data.held_out) if data.held_out else None
    trainer = StageTrainer(
        turn.shard(fused), context, config, data.train, held_out, tokenizer, reply,
        max_length=config.data.max_length, order=order, names=data.train.names,
    )  # fmt: skip
    trainer.continue_or_start()
    if trainer.stopped:
        raise StopRequested

    # 6
    if context.rank == 0:
        report.phase("delivering")
        deliver(context, config, trainable, dtype, parent, encoder, tokenizer, [part.facts for part in data.parts])


def sample_pack(rows: Rows) -> Pack:
    """Two short rows of the training data, to compare the two paths on: a border between rows, and their labels.

    Of the shorter quarter the longest and the one with most labels: the fewer labels, the noisier the comparison.
    """
    short = np.argsort(rows.lengths, kind="stable")[: max(2, len(rows) // 4)]
    longest = int(short[-1])
    others = short[:-1] if len(short) > 1 else short
    richest = int(others[rows.label_counts[others].argmax()])
    return Pack.of([rows[longest], rows[richest]])
