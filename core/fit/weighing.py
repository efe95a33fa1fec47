"""A config's memory against its devices: what estimate and ladder share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.configs.stages import PPOConfig
from core.fit import memory
from core.fit.policy import policy_parts, policy_work
from core.fit.sharding import shared_out
from core.fit.work import Place, Sized, Work, work_of
from core.hardware import Device
from core.workspace import Workspace

Verdict = Literal["fits", "tight", "no"]

FITS_SHARE = 0.85  # of the free memory; above it, an estimate that is a little low would be an out-of-memory


@dataclass(frozen=True)
class Rung:
    """A change of settings: dotted keys and values, the bytes with them, and what becomes of it. `code`: what it is."""

    changes: dict[str, Any]
    total: int
    verdict: Verdict
    code: str


def place_of(devices: Sequence[Device]) -> Place:
    """What a run's memory depends on, of the devices that it has."""
    first = devices[0]
    free = min(available(device, devices) for device in devices)
    return Place("cuda" if first.is_gpu else "cpu", all(device.bf16 for device in devices), len(devices), free)


def available(device: Device, devices: Sequence[Device]) -> int:
    """Bytes free for one process: those on the CPU share what there is."""
    if device.is_gpu:
        return device.memory_free
    return device.memory_free // sum(1 for other in devices if not other.is_gpu)


def weigh(config: Sized, workspace: Workspace, devices: Sequence[Device]) -> tuple[int, Verdict]:
    """(bytes, verdict) of a config, and nothing else of its estimate."""
    total = sum(parts_of(work_for(config, workspace, place_of(devices))).values())
    return total, verdict_on(total, devices)


def work_for(config: Sized, workspace: Workspace, place: Place) -> Work:
    """Raises ModelError and DataError where what the config names cannot be used."""
    if isinstance(config, PPOConfig):
        return policy_work(config, workspace, place)
    return work_of(config, workspace, place)


def parts_of(work: Work) -> dict[str, int]:
    """Bytes by part, without those that there are none of."""
    if work.rollouts is None:
        parts = shared_out(memory.training_parts(work.body, work.demand), work.body, work.demand)
    else:
        parts = policy_parts(work)
    return {name: size for name, size in parts.items() if size}


def verdict_on(total: int, devices: Sequence[Device]) -> Verdict:
    """What becomes of so many bytes on the device where it is worst."""
    return worst([verdict_of(total, available(device, devices)) for device in devices])


def verdict_of(total: int, free: int) -> Verdict:
    if total <= FITS_SHARE * free:
        return "fits"
    return "tight" if total <= free else "no"


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("no", "tight", "fits")
    return next(verdict for verdict in order if verdict in verdicts)
