"""A reward model: from pairs of answers, of which people preferred one, a score for any answer.

    1  read the tokenizer, encode the pairs (cached): the prompt they share, and what each answer adds
    2  load the backbone with its chain merged, make adapters, every weight or the last layers trainable
    3  put a head beside it, and take the fast path if it agrees with the model's own forward
    4  train, judge held-out pairs, save; or continue from the last whole checkpoint
    5  deliver the best or last weights with their head, what the held-out pairs say of them, and the manifest

Run it with `python -m core reward …`. The result is an adapter that plain PEFT lays on Transformers' own
sequence-classification model, or with tuning.method=full such a model itself. `python -m core score` uses either.
Left out: rewards for single steps of an answer, and regression on ratings.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, set_seed

from core.configs.stages import RewardConfig
from core.data.encode.encoding import Encoder
from core.data.encode.pairs import EncodedPairs
from core.data.encode.tokenizer import load_tokenizer
from core.errors import StopRequested
from core.messages import sentence
from core.models.backbone import load_backbone
from core.models.context import check_context
from core.models.loading import load_model, resolve_dtype
from core.models.parents import resolve_parent
from core.models.weights import ADAPTER_CONFIG, SCORE_HEAD
from core.records_reward import PairReport
from core.report import RunContext
from core.rundir import PAIRS, Checkpoint, read_record, write_record
from core.training.delivery import chosen_checkpoint, deliver
from core.training.heads import check_classifier, load_head, save_classifier, save_head
from core.training.judges import head_of
from core.training.judging import PairJudge, gate
from core.training.pairs import read_pairs
from core.training.preparing import join_ranks
from core.training.reward import PairLoss
from core.training.scoring import RewardModel
from core.training.sharding import Turn, own_path, splits_weights
from core.training.trainer import StageTrainer
from core.training.trees import TreePack
from core.training.tuning import loading_dtype, make_trainable, trainable_count


def main(context: RunContext) -> None:
    """One rank of a reward run, from the first phase to the manifest."""
    config = RewardConfig.model_validate(context.config.model_dump())
    report = context.report
    state = join_ranks(context)

    # 1
    parent = resolve_parent(context.workspace, config.model.base, go_on=config.lora.start == "continue")
    check_context(parent.folder, {"data.max_length": config.data.max_length})
    tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=config.model.trust_remote_code)
    encoder = Encoder(tokenizer, max_length=config.data.max_length, template=config.model.template or parent.template)
    tokenizer.chat_template = encoder.template_text  # goes wherever the trained weights go
    with state.main_process_first():
        data = read_pairs(context, config, encoder)
    print("\n".join(data.sentences))

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
    if config.tuning.method != "lora":
        check_classifier(model)
    report.check_stop()
    set_seed(config.run.seed)
    trainable, autocast = make_trainable(model, config.tuning, config.lora, dtype, parent=parent)
    rest_vocabulary_head(model)

    # 3
    reward = RewardModel(trainable, autocast=autocast)
    if parent.start is not None and parent.head is not None:  # a reward run goes on: its adapter and its head
        load_head(reward.head, parent.head)
    learning, total = trainable_count(reward)
    print(f"{config.tuning.method}: {learning:,} of {total:,} parameters learn ({learning / total:.2%}), in {dtype}")
    set_seed(config.run.seed + context.rank)  # dropout must differ between ranks
    reason = own_path(config) or reward.speed_up(
        sample_pack(data.train).to(model.device), copies=not splits_weights(config)
    )
    print("fast path: on" if reason is None else f"fast path: off, because {reason}")

    # 4
    judge = None if data.held_out is None else PairJudge(context, *data.held_out)
    objective = PairLoss(reward, config.preference, label_smoothing=config.optim.label_smoothing)
    # A pair takes the room of two rows.
    trainer = StageTrainer(
        turn.shard(objective), context, config, data.train, judge, tokenizer,
        max_length=2 * config.data.max_length, names=data.names,
    )  # fmt: skip
    trainer.continue_or_start()
    if trainer.stopped:
        raise StopRequested

    # 5
    if context.rank == 0:
        report.phase("delivering")
        chosen = chosen_checkpoint(config, context.run.complete_checkpoints())
        print("\n".join(verdict(context, chosen)))
        head: dict[str, Any] = dict(SCORE_HEAD)
        finish = partial(add_head, head, chosen, tokenizer, dtype, config.model.trust_remote_code)
        deliver(
            context, config, trainable, dtype, parent, encoder, tokenizer, data.facts,
            kind="reward", head=head, save=finish,
        )  # fmt: skip


# -- model ------------------------------------------------------------------------------------------------------------
def sample_pack(pairs: EncodedPairs) -> TreePack:
    """Two of the shorter pairs, the shortest and one of middling length among them, to compare the two paths on."""
    short = np.argsort(pairs.lengths, kind="stable")[: max(2, len(pairs) // 4)]
    return TreePack.of([pairs[int(short[0])], pairs[int(short[-1])]])


def rest_vocabulary_head(model: PreTrainedModel) -> None:
    """Scores need no logits: a head that is not the embeddings' own would wait for a gradient that never comes."""
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        head.requires_grad_(False)


def add_head(
    head: dict[str, Any],
    chosen: Checkpoint,
    tokenizer: Any,
    dtype: torch.dtype,
    trusted: bool,
    folder: Path,
) -> None:
    """Give what was delivered in `folder` the head of the chosen checkpoint; `head` is told which file holds it."""
    scores = head_of(chosen.path)
    if (folder / ADAPTER_CONFIG).is_file():
        head.setdefault("file", save_head(scores, folder))
        return
    whole = load_model(folder, dtype=dtype, device="cpu", trust_remote_code=trusted)
    head["file"] = save_classifier(whole, scores, tokenizer, folder, dtype)


# -- what to say ------------------------------------------------------------------------------------------------------
def verdict(context: RunContext, chosen: Checkpoint) -> list[str]:
    """What held-out pairs say of the delivered weights, in sentences; pairs.json is that of these weights from now."""
    found = read_record(chosen.path / PAIRS, PairReport)
    if found is None:
        found = PairReport(step=chosen.step)
        found.gate = gate(found)
    write_record(context.run.pairs_file, found)
    lines = []
    if found.pairs:
        lines.append(f"{found.pairs} held-out pairs: {found.accuracy:.1%} in order, mean margin {found.margin:.3f}")
    lines.append("fit for PPO" if found.gate.fit else "not fit for PPO:")
    return lines + [f"  {sentence(reason.code, reason.params)[0]}" for reason in found.gate.reasons]
