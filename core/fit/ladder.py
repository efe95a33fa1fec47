"""What to change so that a run fits: the cheapest first. And what could be larger where there is room.

    1  batch size 1, the effective batch kept by accumulation
    2  512 tokens a row or block
    3  gradient checkpointing
    4  several GPUs: weights, gradients and optimizer split over them
    5  full tuning: the optimizer's state in 8 bits (on a GPU), then LoRA instead
    6  the frozen weights in 8, then in 4 bits

For PPO 1 and 2 are: one answer learnt from at a time, few sampled at once, shorter answers.
Each rung stands on those before it; the ladder ends with the first that fits. After a run has died of memory, the same
ladder is climbed as far as something is clearly smaller, whatever was estimated (`after_memory_failure`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from core.configs.stages import PPOConfig, PretrainConfig, StageConfig, TrainingConfig
from core.fit.weighing import Rung, Verdict, available, weigh
from core.fit.work import Sized, Work
from core.hardware import Device, expand, find
from core.workspace import Workspace

SHORT = 512  # tokens
FEW, SHORT_ANSWER = 4, 64  # answers sampled at once; tokens that an answer is not asked to do with less than
C = TypeVar("C", bound=StageConfig)
NOTHING: Mapping[str, Any] = MappingProxyType({})
SPARE_SHARE = 0.5  # of the free memory: with less than this taken, there is room to spare
MOST_ROWS = 64  # an effective batch is not made larger than this for the sake of the memory
SMALLER = 0.75  # of what died of memory, by the estimate: what may live


def rungs(
    config: Sized, workspace: Workspace, devices: Sequence[Device], total: int, verdict: Verdict, work: Work
) -> list[Rung]:
    """For a config that takes `total` bytes: the ladder down until something fits, or up where there is room."""
    if verdict != "fits":
        return _until_it_fits(config, workspace, devices, work.context)
    if total > SPARE_SHARE * min(available(device, devices) for device in devices):
        return []
    if isinstance(config, PPOConfig):
        larger = (
            _larger(config, workspace, devices, "ppo.batch_size"),
            _larger(config, workspace, devices, "rollout.batch_size"),
        )
    else:
        larger = _larger_batch(config, workspace, devices), _longer(config, workspace, devices, work)
    return [rung for rung in larger if rung is not None]


def after_memory_failure(config: Sized, workspace: Workspace) -> list[Rung]:
    """What a run that died of memory could be started again with: everything that is clearly smaller than it was."""
    devices = find(expand(config.devices.use))
    before, _ = weigh(config, workspace, devices)
    found = [rung for rung in _down(config, workspace, devices) if rung.total <= SMALLER * before]
    fitting = [rung for rung in found if rung.verdict == "fits"]
    return fitting or found[-1:]


def changed(config: C, changes: dict[str, Any]) -> C:
    """`config` with other values for some dotted keys."""
    data = config.model_dump()
    for key, value in changes.items():
        section, name = key.split(".")
        data[section][name] = value
    return type(config).model_validate(data)


def _until_it_fits(config: Sized, workspace: Workspace, devices: Sequence[Device], context: int | None) -> list[Rung]:
    """`context`: tokens that the model can read; rows that may be longer are no way to start, whatever else changes."""
    found = []
    for rung in _down(config, workspace, devices, _within(config, context)):
        found.append(rung)
        if rung.verdict == "fits":
            break
    return found


def _within(config: Sized, context: int | None) -> Mapping[str, Any]:
    """What must change for rows to fit into the context."""
    if context is None:
        return NOTHING
    if isinstance(config, PPOConfig):
        room, new = context - config.data.max_length, config.rollout.max_new_tokens
        return NOTHING if room < 1 or new is None or new <= room else {"rollout.max_new_tokens": room}
    return {_length_key(config): context} if _length(config) > context else NOTHING


def _down(
    config: Sized, workspace: Workspace, devices: Sequence[Device], first: Mapping[str, Any] = NOTHING
) -> Iterator[Rung]:
    changes: dict[str, Any] = dict(first)
    steps = _policy_steps(config) if isinstance(config, PPOConfig) else _steps(config, devices)
    for code, more in steps:
        try:
            asked = changed(config, {**changes, **more})
        except ValidationError:  # it does not go with the strategy, which stays
            continue
        changes = {**changes, **more}
        total, verdict = weigh(asked, workspace, devices)
        yield Rung(dict(changes), total, verdict, code)


def _steps(config: TrainingConfig, devices: Sequence[Device]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(code, settings) of every rung that changes something."""
    schedule = config.schedule
    if schedule.batch_size > 1:
        rows = schedule.batch_size * schedule.gradient_accumulation
        yield "fit.rung_batch", {"schedule.batch_size": 1, "schedule.gradient_accumulation": min(rows, 4096)}
    if _length(config) > SHORT:
        yield "fit.rung_length", {_length_key(config): SHORT}
    if not config.tuning.gradient_checkpointing:
        yield "fit.rung_checkpointing", {"tuning.gradient_checkpointing": True}
    if len(devices) > 1 and config.distributed.strategy == "ddp" and devices[0].is_gpu:
        yield "fit.rung_shard", {"distributed.strategy": "fsdp"}
    if config.tuning.method != "lora":
        if devices[0].is_gpu and config.optim.optimizer == "adamw":
            yield "fit.rung_optimizer", {"optim.optimizer": "adamw_8bit"}
        yield "fit.rung_lora", {"tuning.method": "lora"}
    yield from _fewer_bits(config)


def _policy_steps(config: PPOConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same for PPO."""
    if config.ppo.batch_size > 1:
        yield "fit.rung_learning", {"ppo.batch_size": 1}
    if config.rollout.batch_size > FEW:
        yield "fit.rung_sampling", {"rollout.batch_size": FEW}
    new = config.rollout.max_new_tokens
    if new is None or new > 2 * SHORT_ANSWER:
        yield "fit.rung_answers", {"rollout.max_new_tokens": SHORT_ANSWER if new is None else new // 2}
    if config.tuning.method != "lora":
        yield "fit.rung_lora", {"tuning.method": "lora"}
    yield from _fewer_bits(config)


def _fewer_bits(config: Sized) -> Iterator[tuple[str, dict[str, Any]]]:
    if config.quantization.kind == "none":
        yield "fit.rung_8bit", {"quantization.kind": "int8"}
    if config.quantization.kind in ("none", "int8"):
        yield "fit.rung_4bit", {"quantization.kind": "nf4"}


# -- upwards ----------------------------------------------------------------------------------------------------------
def _larger_batch(config: TrainingConfig, workspace: Workspace, devices: Sequence[Device]) -> Rung | None:
    """The batch doubled as often as it fits: instead of accumulation, or where there is none, as a larger step."""
    batch, accumulation, best = config.schedule.batch_size, config.schedule.gradient_accumulation, None
    alone = accumulation == 1
    while True:
        if accumulation % 2 == 0:
            accumulation //= 2
        elif not alone or batch * len(devices) * 2 > MOST_ROWS:
            return best
        batch *= 2
        changes = {"schedule.batch_size": batch, "schedule.gradient_accumulation": accumulation}
        total, verdict = weigh(changed(config, changes), workspace, devices)
        if verdict != "fits":
            return best
        best = Rung(changes, total, verdict, "fit.rung_larger_batch")


def _larger(config: PPOConfig, workspace: Workspace, devices: Sequence[Device], key: str) -> Rung | None:
    """More answers at once, as many as fit and as a device has of a rollout: the result stays, it is quicker."""
    section, name = key.split(".")
    size, best = int(getattr(getattr(config, section), name)), None
    while size * len(devices) < config.rollout.prompts:
        size *= 2
        total, verdict = weigh(changed(config, {key: size}), workspace, devices)
        if verdict != "fits":
            return best
        best = Rung({key: size}, total, verdict, "fit.rung_larger_packs")
    return best


def _longer(config: TrainingConfig, workspace: Workspace, devices: Sequence[Device], work: Work) -> Rung | None:
    """Longer rows, up to the longest there is and to the model's context, where some are cut now."""
    length, best = _length(config), None
    if work.context is None or not work.cut:
        return None
    while length < min(work.context, work.needed):
        length = min(2 * length, work.context)
        changes = {_length_key(config): length}
        total, verdict = weigh(changed(config, changes), workspace, devices)
        if verdict != "fits":
            return best
        best = Rung(changes, total, verdict, "fit.rung_longer")
    return best


def _length_key(config: TrainingConfig) -> str:
    return "data.block_size" if isinstance(config, PretrainConfig) else "data.max_length"


def _length(config: TrainingConfig) -> int:
    return config.data.block_size if isinstance(config, PretrainConfig) else config.data.max_length
