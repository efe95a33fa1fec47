"""What a config asks for, as memory and time see it: the model's anatomy, the largest pack, rows, steps, checkpoints.

    work = work_of(config, workspace, place)

It repeats, in numbers, what the recipes do: rows held out and cut, steps dealt to ranks, packs of the capacity that the
trainer would choose. Where rows cannot be counted beforehand, each is taken to be as long as it may be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from core.configs.schedule import total_steps
from core.configs.sections import weighted
from core.configs.stages import DPOConfig, PPOConfig, PretrainConfig, RewardConfig, SFTConfig, TrainingConfig
from core.data.encode.packing import pack, roomier
from core.errors import Problem
from core.fit import memory
from core.fit.memory import Demand, Pack
from core.fit.rows import Lengths, Numbers, lengths_of
from core.fit.sharding import splits_weights
from core.models import families
from core.models.anatomy import Anatomy, anatomy
from core.models.parents import Parent, resolve_parent
from core.workspace import Workspace

Sized = TrainingConfig | PPOConfig  # what trains
LOOKED_AT = 1024  # rows of so many steps that are put into packs, to find the largest
LONGER = 0.6  # of the tokens of a pair's answers belong to the longer one
MOST_ROWS = 256  # of one step that are put together: more fill every pack anyway
# Attention that the fast path does not compute, by model type (it finds out by itself, at the start of the run).
OWN_ATTENTION = ("bloom", "baichuan_alibi", "gemma2", "gpt_oss", "chatglm", "chatglm_6b")


@dataclass(frozen=True)
class Place:
    """The devices that a run would have, as far as its memory depends on them. `free`: bytes of the tightest one."""

    kind: Literal["cpu", "cuda"]
    bf16: bool
    ranks: int
    free: int


@dataclass(frozen=True)
class Rollouts:
    """What PPO has beside a training, for one process. `full`: the policy is a second model.

    A rollout has `answers`, of which `batch` are sampled at once: `prompt` tokens are asked at most and `asked` on
    average, `new` written at most and `written` as far as time goes. `epochs` passes learn from it. `evaluations` have
    `watched` answers each. Weights: of `policy` and `critic` what learns, `shared` of each reward adapter on the same
    backbone; `judges` are reward models with one of their own.
    """

    full: bool
    answers: int
    batch: int
    prompt: int
    asked: float
    new: int
    written: int
    epochs: int
    watched: int
    evaluations: int
    policy: int
    critic: int
    shared: tuple[int, ...]
    judges: tuple[tuple[Anatomy, Demand], ...] = ()

    @property
    def read(self) -> float:
        """Tokens of an answer with its prompt."""
        return self.asked + self.written


@dataclass(frozen=True)
class Work:
    """`rows`, `steps` and `tokens` of the whole training are None where the dataset's rows are not known.

    `rows_per_step` over all ranks; `squares`: Σ length² a token; `saved` bytes of a checkpoint, `kept` of them at once,
    `delivered` bytes of the output. `longest` tokens a row may have, `cut` the share of the rows that have more,
    `needed` those of the longest.
    """

    body: Anatomy
    demand: Demand
    rows_per_step: int
    tokens_per_step: float
    steps: int | None
    squares: float
    learnt: float
    saved: int
    kept: int
    delivered: int
    longest: int
    cut: float
    needed: int
    context: int | None
    notes: tuple[Problem, ...] = ()
    rollouts: Rollouts | None = None


def work_of(config: TrainingConfig, workspace: Workspace, place: Place) -> Work:
    """Raises ModelError and DataError where what the config names cannot be used."""
    parent = resolve_parent(
        workspace, config.model.base, go_on=config.lora.start == "continue" and config.tuning.method == "lora",
        hashed=False,
    )  # fmt: skip
    body = anatomy(parent.folder)
    rows = _rows(config, workspace, parent)
    demand = _demand(config, body, parent, place)
    repacks = not splits_weights(demand) and memory.worth_repacking(body, demand, place.free)
    demand = replace(demand, repacks=repacks)
    demand = replace(demand, pack=_largest(config, body, demand, rows), labels=rows.labels)
    rows_per_step = config.schedule.batch_size * config.schedule.gradient_accumulation * demand.ranks
    steps = None
    if rows.count is not None:
        in_epoch = max(1, math.ceil(rows.count / rows_per_step))
        steps = total_steps(config.schedule, in_epoch, max(1, round(rows.count * rows.mean)))
    elif config.schedule.max_steps is not None:
        steps = config.schedule.max_steps
    saved, delivered = _sizes(config, body, demand)
    return Work(
        body=body,
        demand=demand,
        rows_per_step=rows_per_step,
        tokens_per_step=rows_per_step * rows.mean,
        steps=steps,
        squares=rows.squares,
        learnt=rows.labels or 0.0,
        saved=saved,
        kept=_kept(config, steps, rows, rows_per_step),
        delivered=delivered,
        longest=rows.longest,
        cut=rows.cut,
        needed=rows.needed,
        context=body.context,
        notes=tuple(rows.notes),
    )


# -- rows -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Rows:
    """The training rows: `sample` [n] their tokens, `count` of an epoch or None, `pieces` [m] that attention sees,
    `labels` the share of tokens that are predicted (None: by no vocabulary head)."""

    sample: Numbers
    count: float | None
    pieces: Numbers
    labels: float | None
    longest: int
    cut: float
    needed: int
    notes: Sequence[Problem] = ()

    @property
    def mean(self) -> float:
        return float(self.sample.mean())

    @property
    def squares(self) -> float:
        return float((self.pieces.astype(float) ** 2).sum() / self.pieces.sum())


def _rows(config: TrainingConfig, workspace: Workspace, parent: Parent) -> Rows:
    found = lengths_of(workspace, config.data.train, parent.tokenizer)
    notes = [Problem("fit.sampled_file", {"file": config.data.train})] if found.sampled else []
    longest = config.data.block_size if isinstance(config, PretrainConfig) else config.data.max_length
    longest *= 2 if isinstance(config, RewardConfig) else 1  # both answers of a pair are a row
    if not len(found.tokens):
        notes = [Problem("fit.rows_unknown", {"file": config.data.train})]
        full = np.full(1, longest, dtype=np.int64)
        found = replace(found, tokens=full, asked=full // 2)
    count = _used(config, found)
    cut, needed = float((found.tokens > longest).mean()), int(found.tokens.max())
    whole = np.minimum(found.tokens, longest)
    if isinstance(config, PretrainConfig):
        return _blocks(config, found, count, cut, notes)
    limit = config.data.max_length
    if crowded := found.beyond(found.kept, limit - 1):
        notes.append(Problem("fit.no_room", {"count": crowded, "rows": found.rows, "max_length": limit}))
    if isinstance(config, DPOConfig):
        return _sides(config, found, count, notes)
    if isinstance(config, SFTConfig):
        mixed = [weighted(line) for line in config.data.mix]
        others = [(weight, lengths_of(workspace, name, parent.tokenizer)) for name, weight in mixed]
        if count is not None:
            count += sum(weight * (other.rows or 0) for weight, other in others)
        whole = np.concatenate([whole, *(np.minimum(other.tokens, longest) for _, other in others)])
        learnt = 1.0 if config.data.train_on == "all" else found.learnt
        return Rows(whole, count, whole, learnt, longest, cut, needed, notes)
    return Rows(whole, count, np.maximum(2, whole * 2 // 3), None, longest, cut, needed, notes)


def _used(config: TrainingConfig, found: Lengths) -> float | None:
    """Rows that are trained on, of the first dataset."""
    if found.rows is None:
        return None
    rows = float(min(found.rows, config.data.max_rows or found.rows))
    return rows if config.data.validation is not None else max(1.0, rows * (1 - config.data.validation_split))


def _blocks(config: PretrainConfig, found: Lengths, count: float | None, cut: float, notes: Sequence[Problem]) -> Rows:
    """Documents become blocks that are full, so a row is a block; attention sees the documents, or the whole block."""
    size = config.data.block_size
    blocks = None if count is None else max(1.0, count * found.mean / size)
    if blocks is not None and config.data.general is not None:
        blocks /= 1 - config.data.general_share
    full = np.full(1, size if blocks is None or blocks > 1 else int(found.mean * (count or 1)), dtype=np.int64)
    pieces = np.minimum(found.tokens, size) if config.data.packing == "isolated" else full
    return Rows(full, blocks, pieces, 1.0, size, cut, int(found.tokens.max()), notes)


def _sides(config: DPOConfig, found: Lengths, count: float | None, notes: Sequence[Problem]) -> Rows:
    """A pair is two rows, each the prompt and an answer; attention sees one of them. `pieces` are the longer ones."""
    asked = np.minimum(found.asked, found.tokens // 2) if found.sampled else found.asked  # a file tells only how long
    answers, longest = found.tokens - asked, config.data.max_length
    longer = asked + np.ceil(LONGER * answers).astype(np.int64)
    both = np.minimum(2 * asked + answers, 2 * longest)
    learnt, cut = float(answers.sum() / (answers.sum() + 2 * asked.sum())), float((longer > longest).mean())
    return Rows(both, count, np.minimum(longer, longest), learnt, longest, cut, int(longer.max()), notes)


# -- memory -----------------------------------------------------------------------------------------------------------
def _demand(config: TrainingConfig, body: Anatomy, parent: Parent, place: Place) -> Demand:
    tuning, lora = config.tuning, config.lora
    is_lora = tuning.method == "lora"
    whole = is_lora and (lora.embeddings == "yes" or (lora.embeddings == "auto" and parent.grown))
    return Demand(
        method=tuning.method,
        dtype=dtype_of(config, place),
        device=place.kind,
        pack=Pack(()),
        optimizer=config.optim.optimizer,
        rank=lora.rank,
        targets=tuple(lora.targets),
        trainable_layers=tuning.trainable_layers,
        quantisation=config.quantization.kind if is_lora else "none",
        double=config.quantization.double,
        checkpointing=tuning.gradient_checkpointing,
        dropout=is_lora and lora.dropout > 0,
        whole=whole,
        fast=takes_fast_path(config, parent.folder)
        and not isinstance(config, DPOConfig)
        and config.distributed.strategy != "zero3",
        smoothed=config.optim.label_smoothing > 0,
        labels=None if isinstance(config, RewardConfig) else 1.0,
        ranks=place.ranks * config.distributed.hosts,
        strategy=config.distributed.strategy,
        offload=config.distributed.offload,
        merged=bool(parent.adapters),
        reference=_reference(config, parent, alone=is_lora and not whole),
    )


def _reference(
    config: TrainingConfig, parent: Parent, *, alone: bool
) -> Literal["none", "backbone", "resting", "model"]:
    """`alone`: nothing but an adapter learns."""
    if not isinstance(config, DPOConfig):
        return "none"
    return "model" if not alone else "backbone" if parent.start is None else "resting"


def dtype_of(config: Sized, place: Place) -> str:
    """Of the frozen weights, and of the products."""
    return config.model.dtype if config.model.dtype != "auto" else "bf16" if place.bf16 else "fp32"


def takes_fast_path(config: Sized, folder: Path) -> bool:
    return config.model.attention == "auto" and _model_type(folder) not in OWN_ATTENTION


def _model_type(folder: Path) -> str:
    return str(families.text_config(families.read_config(folder)).get("model_type", ""))


def _largest(config: TrainingConfig, body: Anatomy, demand: Demand, rows: Rows) -> Pack:
    if isinstance(config, DPOConfig):
        return _largest_batch(body, demand, rows.pieces, 2 * config.schedule.batch_size)
    granted = config.schedule.batch_size * rows.longest
    capacity = granted if isinstance(config, RewardConfig) else capacity_of(body, demand, granted)
    share = config.schedule.batch_size * config.schedule.gradient_accumulation
    rng = np.random.default_rng(config.run.seed)
    best = largest_pack(body, demand, rows.sample, share, capacity, rng)
    if isinstance(config, PretrainConfig):
        return _of_pieces(best.tokens, rows.pieces, rng)
    return best


def _largest_batch(body: Anatomy, demand: Demand, sample: Numbers, size: int) -> Pack:
    """Of batches of `size` rows as they come, the one that takes most, padded."""
    rng = np.random.default_rng(0)
    made = [Pack(tuple(rng.choice(sample, size=min(size, MOST_ROWS)).tolist())) for _ in range(LOOKED_AT // 8)]
    return max(made, key=lambda pack: memory.layer(body, replace(demand, pack=pack)))


def largest_pack(
    body: Anatomy, demand: Demand, sample: Numbers, share: int, capacity: int, rng: np.random.Generator
) -> Pack:
    """Of the packs of some steps of one rank the one that takes most, by the trainer's own rules.

    `share`: rows of a step. `capacity`: tokens of a pack.
    """
    share = min(MOST_ROWS, share)
    padded = not demand.fast or demand.device != "cpu"
    best, most = Pack(()), -1.0
    for _ in range(min(40, max(4, LOOKED_AT // share)) if len(sample) > 1 else 1):
        lengths = rng.choice(sample, size=share).tolist()
        for places in pack(lengths, capacity, padded=padded):
            made = Pack(tuple(lengths[place] for place in places))
            takes = memory.layer(body, replace(demand, pack=made))
            if takes > most:
                best, most = made, takes
    return best


def capacity_of(body: Anatomy, demand: Demand, granted: int) -> int:
    """Tokens of a pack for the memory of `granted` tokens in a padded batch."""
    if not demand.fast or not body.inner:
        return granted
    return roomier(
        granted, layers=body.layers, width=body.width, inner=body.inner, vocabulary=body.vocabulary,
        itemsize=memory.FP32 if demand.method == "full" or demand.whole else demand.itemsize,
    )  # fmt: skip


def _of_pieces(tokens: int, pieces: Numbers, rng: np.random.Generator) -> Pack:
    """A pack of blocks, as the documents that they hold: so many pieces as make up its tokens."""
    lengths: list[int] = []
    while sum(lengths) < tokens and len(lengths) < 4096:
        lengths.append(min(int(rng.choice(pieces)), tokens - sum(lengths)))
    return Pack(tuple(lengths))


# -- disk -------------------------------------------------------------------------------------------------------------
def _sizes(config: TrainingConfig, body: Anatomy, demand: Demand) -> tuple[int, int]:
    """(bytes of a checkpoint, bytes of the output)."""
    learning = memory.trainable(body, demand)
    state = round(memory.STATE[demand.optimizer] * learning)
    if demand.method == "lora":
        return memory.FP32 * learning + state, 2 * memory.FP32 * learning
    return memory.weights(body, demand) + state, demand.itemsize * body.parameters


def _kept(config: TrainingConfig, steps: int | None, rows: Rows, rows_per_step: int) -> int:
    in_epoch = math.ceil((rows.count or rows_per_step) / rows_per_step)
    return kept_at_once(config.saving.limit, steps, config.saving.steps or config.evaluation.steps or in_epoch)


def kept_at_once(limit: int, steps: int | None, every: int) -> int:
    """Checkpoints that lie on the disk at once: the newest, the best, and the one being written."""
    most = limit + 2
    return most if steps is None else min(most, math.ceil(steps / every) + 1)


# -- stages that only look --------------------------------------------------------------------------------------------
def looking(
    folder: Path, place: Place, *, dtype: str, tokens: int, longest: int, labels: bool, merged: bool
) -> tuple[Anatomy, Demand]:
    """Of perplexity, score and evaluate: rows of at most `longest`, `tokens` computed at a time."""
    held = dtype if dtype != "auto" else "bf16" if place.bf16 else "fp32"
    body = anatomy(folder)
    lengths = (longest,) * max(1, tokens // max(1, longest))
    demand = Demand(
        method="none", dtype=held, device=place.kind, pack=Pack(lengths), labels=1.0 if labels else None, merged=merged,
        fast=_model_type(folder) not in OWN_ATTENTION,
    )  # fmt: skip
    return body, replace(demand, repacks=memory.worth_repacking(body, demand, place.free))
