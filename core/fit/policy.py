"""What a PPO run asks for, and what of it takes memory and time. Numbers only.

    work = policy_work(config, workspace, place)
    policy_parts(work), policy_seconds(work, speed, "cpu")

One backbone serves the reference, and with adapters policy, critic and a reward model that was trained on it; another
reward model is a whole model beside it, and so is the policy where every weight learns. Sampling (a cache) and learning
(the activations of a pack) take turns, policy and critic too: the part `sampling` is what it takes beyond the others.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from core.configs.ppo import LONG_ANSWER
from core.configs.sections import weighted
from core.configs.stages import PPOConfig
from core.errors import Problem
from core.fit import memory
from core.fit.memory import FP32, SLACK, Demand, Pack
from core.fit.rows import Lengths, lengths_of
from core.fit.work import (
    Place,
    Rollouts,
    Work,
    capacity_of,
    dtype_of,
    kept_at_once,
    largest_pack,
    looking,
    takes_fast_path,
)
from core.models.anatomy import Anatomy, anatomy
from core.models.flops import training_costs
from core.models.parents import Parent, beneath, resolve_parent
from core.models.runs import weights_folder
from core.models.weights import inspect
from core.references import RunRef
from core.workspace import Workspace

NO_CONTEXT = 4096  # tokens, where a model does not say how many it reads
DRAWN = 24  # bytes that a draw takes of each logit: copies in fp32, probabilities, their sum in fp64
TOKEN_BYTES, PROMPT_BYTES = 32, 8  # that a rollout's file has for a token of an answer, and of a prompt
# Sampling a token: the weights are read once for all answers of a batch, and each layer costs its calls.
BYTES_A_SECOND = {"cpu": 1e10, "cuda": 1e12}
SECONDS_A_LAYER = {"cpu": 1.5e-3, "cuda": 1e-3}


# -- what is asked for ------------------------------------------------------------------------------------------------
def policy_work(config: PPOConfig, workspace: Workspace, place: Place) -> Work:
    """Raises ModelError and DataError where what the config names cannot be used."""
    parent = resolve_parent(workspace, config.model.base, hashed=False)
    body = anatomy(parent.folder)
    place = replace(place, ranks=place.ranks * config.distributed.hosts)
    found, notes = _prompts(config, workspace, parent)
    demand = Demand(
        method="lora", dtype=dtype_of(config, place), device=place.kind, pack=Pack(()), rank=config.lora.rank,
        targets=tuple(config.lora.targets), quantisation=config.quantization.kind, double=config.quantization.double,
        fast=takes_fast_path(config, parent.folder), ranks=place.ranks, merged=bool(parent.adapters),
    )  # fmt: skip
    demand = replace(demand, repacks=memory.worth_repacking(body, demand, place.free))
    rollouts = _rollouts(config, workspace, place, parent, body, demand, found)
    limit = config.data.max_length + rollouts.new
    rows = np.minimum(np.minimum(found.asked, config.data.max_length) + rollouts.new, body.context or limit)
    granted = config.ppo.batch_size * (config.data.max_length + (config.rollout.max_new_tokens or LONG_ANSWER))
    share = math.ceil(rollouts.answers / config.ppo.minibatches)
    pack = largest_pack(
        body, demand, rows, share, capacity_of(body, demand, granted), np.random.default_rng(config.run.seed)
    )
    steps = math.ceil(config.ppo.episodes / config.rollout.prompts)
    saved, delivered = _sizes(body, demand, rollouts)
    answers = config.ppo.episodes + rollouts.evaluations * rollouts.watched * place.ranks
    return Work(
        body=body,
        demand=replace(demand, pack=pack),
        rows_per_step=config.rollout.prompts,
        tokens_per_step=config.rollout.prompts * rollouts.read,
        steps=steps,
        squares=rollouts.read,
        learnt=rollouts.written / rollouts.read,
        saved=saved,
        kept=kept_at_once(config.saving.limit, steps, config.saving.steps or config.evaluation.steps),
        delivered=delivered + round(answers * (TOKEN_BYTES * rollouts.written + PROMPT_BYTES * rollouts.asked)),
        longest=config.data.max_length + (config.rollout.max_new_tokens or 1),
        cut=0.0,
        needed=int(found.asked.max()),
        context=body.context,
        notes=tuple(notes),
        rollouts=rollouts,
    )


def _prompts(config: PPOConfig, workspace: Workspace, parent: Parent) -> tuple[Lengths, list[Problem]]:
    found = lengths_of(workspace, config.data.train, parent.tokenizer)
    if len(found.tokens):
        notes = [Problem("fit.sampled_file", {"file": config.data.train})] if found.sampled else []
        if long := found.beyond(found.asked, limit := config.data.max_length):
            notes.append(Problem("ppo.long_prompts", {"count": long, "rows": found.rows, "max_length": limit}))
        return found, notes
    full = np.full(1, config.data.max_length, dtype=np.int64)
    return replace(found, tokens=full, asked=full), [Problem("fit.rows_unknown", {"file": config.data.train})]


def _rollouts(
    config: PPOConfig,
    workspace: Workspace,
    place: Place,
    parent: Parent,
    body: Anatomy,
    demand: Demand,
    found: Lengths,
) -> Rollouts:
    asked = np.minimum(found.asked, config.data.max_length)
    longest, context = int(asked.max()), body.context or NO_CONTEXT
    new = max(1, min(config.rollout.max_new_tokens or context, context - longest))
    adapter, full = memory.adapters(body, demand), config.tuning.method == "full"
    shared, judges = _reward_models(config, workspace, place, parent, new)
    held_out = config.data.validation is not None or config.data.validation_split > 0
    watched = math.ceil(config.evaluation.prompts / place.ranks) if held_out else 0
    answers = math.ceil(config.rollout.prompts / place.ranks)
    steps = math.ceil(config.ppo.episodes / config.rollout.prompts)
    return Rollouts(
        full=full,
        answers=answers,
        batch=min(config.rollout.batch_size, max(answers, watched)),
        prompt=longest,
        asked=float(asked.mean()),
        new=new,
        written=new if config.rollout.max_new_tokens else min(new, LONG_ANSWER),
        epochs=config.ppo.epochs,
        watched=watched,
        evaluations=1 + math.ceil(steps / config.evaluation.steps) if held_out else 0,
        policy=body.parameters if full else adapter,
        critic=(shared[0] if shared else adapter) + body.width,
        shared=tuple(shared),
        judges=tuple(judges),
    )


# -- reward models ----------------------------------------------------------------------------------------------------
def _reward_models(
    config: PPOConfig, workspace: Workspace, place: Place, parent: Parent, new: int
) -> tuple[list[int], list[tuple[Anatomy, Demand]]]:
    """(weights of the adapters that share the backbone, the models that are loaded apart)."""
    shared, apart = [], []
    for text, _ in map(weighted, config.rewards.models):
        judge = resolve_parent(workspace, text, hashed=False, scoring=True)
        own = _shared_adapter(workspace, text, judge, parent)
        if own is not None:
            shared.append(own)
            continue
        longest = config.data.max_length + new
        apart.append(
            looking(judge.folder, place, dtype=config.model.dtype, tokens=config.ppo.batch_size * longest,
                    longest=longest, labels=False, merged=bool(judge.adapters))
        )  # fmt: skip
    return shared, apart


def _shared_adapter(workspace: Workspace, text: str, judge: Parent, parent: Parent) -> int | None:
    """Weights of a reward run's own adapter, where what lies beneath it is the very backbone of the policy."""
    if judge.run is None:
        return None
    run, ref = workspace.run(judge.run), RunRef.parse(text)
    manifest = run.manifest()
    if manifest is None or manifest.kind != "reward" or not manifest.adapter_stage:
        return None
    below = beneath(workspace, run, hashed=False)
    if below.root.path != parent.root.path or _links(below) != _links(parent):
        return None
    folder = run.output / manifest.adapter_stage if ref.which == "output" else weights_folder(run, ref.which)
    return inspect(folder).parameters


def _links(parent: Parent) -> list[tuple[str, float]]:
    return [(link.run, link.scaling) for link in parent.chain]


# -- memory -----------------------------------------------------------------------------------------------------------
def policy_parts(work: Work) -> dict[str, int]:
    """Bytes by part: those of a training, the policy as a model of its own, reward models apart, and sampling."""
    body, demand, rollouts = work.body, work.demand, _of(work)
    policy = replace(demand, method="full", quantisation="none") if rollouts.full else demand
    learning = rollouts.policy + rollouts.critic
    adapters = rollouts.critic + sum(rollouts.shared) + (0 if rollouts.full else rollouts.policy)
    judges = [memory.forward_parts(*judge) for judge in rollouts.judges]
    parts = {
        "weights": memory.weights(body, demand),
        "policy": FP32 * body.parameters if rollouts.full else 0,
        "rewards": sum(judge["weights"] + judge["copies"] for judge in judges),
        "copies": memory.copies(body, demand),
        "adapters": FP32 * adapters,
        # Ranks add up the gradients of one role at a time, in one piece.
        "gradients": FP32 * (learning + (max(rollouts.policy, rollouts.critic) if demand.ranks > 1 else 0)),
        "optimizer": memory.state(demand, learning),
        "activations": round(max(memory.activations(body, each) for each in (policy, demand))),
        "logits": round(memory.logits(body, replace(policy, fast=True))),
        "runtime": memory.RUNTIME[demand.device],
    }
    turns = parts["activations"] + parts["logits"]
    parts["sampling"] = max(0, round(max([sampling(body, demand, rollouts), *map(_judging, judges)])) - turns)
    return {**parts, "loading": max(0, memory.loading(body, demand) - sum(parts.values()))}


def cache_bytes(body: Anatomy, itemsize: int, answers: int, length: int) -> int:
    """Keys and values of every layer for so many answers of `length` tokens with their prompts."""
    return 2 * itemsize * answers * length * body.layers * body.kv_heads * body.head_width


def sampling(body: Anatomy, demand: Demand, rollouts: Rollouts) -> float:
    """What a batch of answers takes: the cache, of which one layer is there twice while it grows, the draw, and the
    layer that reads the prompts."""
    cache = cache_bytes(body, demand.itemsize, rollouts.batch, rollouts.prompt + rollouts.new)
    prompts = replace(demand, method="none", pack=Pack((rollouts.prompt,) * rollouts.batch))
    reading, drawing = memory.layer(body, prompts), DRAWN * rollouts.batch * body.vocabulary
    return SLACK[demand.device] * (cache * (1 + 1 / max(1, body.layers)) + max(reading, drawing))


def _judging(parts: dict[str, int]) -> int:
    return parts["activations"] + parts["logits"]


def _sizes(body: Anatomy, demand: Demand, rollouts: Rollouts) -> tuple[int, int]:
    """(bytes of a checkpoint, bytes of the output)."""
    learning = rollouts.policy + rollouts.critic
    delivered = demand.itemsize * rollouts.policy if rollouts.full else 2 * FP32 * rollouts.policy
    return FP32 * learning + round(memory.STATE["adamw"] * learning), delivered


# -- time -------------------------------------------------------------------------------------------------------------
def policy_seconds(work: Work, speed: float, kind: Literal["cpu", "cuda"]) -> float:
    """All rollouts, at `speed` FLOP/s of one device; evaluations and a judge's endpoint left out. Every answer is taken
    to be as long as it may be."""
    rollouts = _of(work)
    computed = rollouts.answers * (_scoring(work) + _learning(work)) / speed
    return (work.steps or 0) * (sampling_seconds(work, speed, kind) + computed)


def sampling_seconds(work: Work, speed: float, kind: Literal["cpu", "cuda"]) -> float:
    """Of the answers of a rollout."""
    body, rollouts = work.body, _of(work)
    forward, at_once = training_costs(body, "none"), min(rollouts.batch, rollouts.answers)
    token = max(
        at_once * (forward.token + forward.label) / speed, memory.weights(body, work.demand) / BYTES_A_SECOND[kind]
    )
    reading = rollouts.answers * forward.total(rollouts.asked, 1, rollouts.asked**2) / speed
    batches = math.ceil(rollouts.answers / at_once)
    return reading + batches * rollouts.written * (token + body.layers * SECONDS_A_LAYER[kind])


def _scoring(work: Work) -> float:
    """FLOPs of an answer: policy and reference say every token's probability, critic and reward models read it."""
    forward, rollouts = training_costs(work.body, "none"), _of(work)
    tokens, read = rollouts.written, rollouts.read
    alone = sum(training_costs(body, "none").total(read, 0, read**2) for body, _ in rollouts.judges)
    readers = 1 + len(rollouts.shared)
    return 2 * forward.total(read, tokens, read**2) + readers * forward.total(read, 0, read**2) + alone


def _learning(work: Work) -> float:
    """FLOPs of an answer in all epochs: forward and backward of the policy, then of the critic."""
    rollouts, body = _of(work), work.body
    tokens, read = rollouts.written, rollouts.read
    policy = training_costs(body, "full") if rollouts.full else training_costs(body, "lora", rollouts.policy)
    critic = training_costs(body, "lora", rollouts.critic)
    return rollouts.epochs * (policy.total(read, tokens, read**2) + critic.total(read, 0, read**2))


def _of(work: Work) -> Rollouts:
    assert work.rollouts is not None
    return work.rollouts
