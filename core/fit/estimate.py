"""Whether a run fits where it is to be started: its memory against each device, its time, its disk, and what to change.

    fit = estimate(resolve("sft", preset="starter-cpu", …), workspace)
    fit.verdict, fit.parts, fit.rungs

Nothing is loaded, hashed or imported. The first look at a dataset or a model tokenises a few rows; later ones take
milliseconds. An estimate: on runs that were measured it lay within a quarter of the peak (docs/lab.md).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from core.configs.stages import (
    EvaluateConfig,
    MergeConfig,
    PerplexityConfig,
    ScoreConfig,
    StageConfig,
    VocabularyConfig,
)
from core.errors import InputError, Problem
from core.fit import duration, memory
from core.fit.ladder import rungs
from core.fit.sharding import main_memory as held_aside
from core.fit.sharding import splits_weights
from core.fit.weighing import Rung, Verdict, available, parts_of, place_of, verdict_of, verdict_on, work_for
from core.fit.work import Place, Sized, Work, looking
from core.hardware import Device, expand, find
from core.hardware import memory as main_memory
from core.models.anatomy import anatomy
from core.models.parents import Parent, resolve_parent
from core.workspace import Workspace

BUSY_SHARE = 0.7  # with less of a GPU's memory free, somebody else has it, who may be gone when the run starts
DISK_SPARE = 1.1
MERGED_ROWS = 200_000_000  # bytes: the rows that a merge works on at once, and the factors of their layer (`lab.md`)


@dataclass(frozen=True)
class DeviceFit:
    """One device: bytes free now and in all (several processes on the CPU share them), and what becomes of the run."""

    id: str
    free: int
    total: int
    verdict: Verdict


@dataclass(frozen=True)
class Fit:
    """Bytes of one process in `parts` and `total`. `verdict` is that of the worst device.

    `seconds`, `steps` are None where the rows of the data are not known, and where nothing trains. `rungs`: what would
    make it fit, each on top of the ones before it; or, where there is room to spare, what could be larger, each by
    itself.
    """

    parts: dict[str, int]
    total: int
    devices: list[DeviceFit]
    verdict: Verdict
    seconds: float | None
    disk: int
    disk_free: int
    rows_per_step: int
    tokens_per_step: float
    steps: int | None
    rungs: list[Rung]
    notes: list[Problem]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "notes": [note.as_dict() for note in self.notes]}


def estimate(config: StageConfig, workspace: Workspace, devices: Sequence[Device] | None = None) -> Fit:
    """Of a config, on the devices that it names, or on `devices`.

    Raises InputError `fit.no_estimate` for a stage that loads no model; ModelError, DataError, DeviceError for what the
    config names and does not exist.
    """
    found = list(devices) if devices is not None else find(expand(config.devices.use))
    if not isinstance(config, get_args(Sized)):
        return _looking(config, workspace, found)
    place = place_of(found)
    work = work_for(config, workspace, place)
    fit = _weighed(work, workspace, found, place)
    return replace(fit, rungs=rungs(config, workspace, found, fit.total, fit.verdict, work))


def _weighed(work: Work, workspace: Workspace, devices: Sequence[Device], place: Place) -> Fit:
    parts = parts_of(work)
    total = sum(parts.values())
    disk, disk_free = work.kept * work.saved + work.delivered, _disk_free(workspace)
    notes = [*work.notes, *_memory_notes(total, devices), *_main_memory_note(work, place), *_disk_note(disk, disk_free)]
    if work.context is not None and work.longest > work.context:
        notes.append(Problem("fit.over_context", {"length": work.longest, "context": work.context}))
    return Fit(
        parts=parts,
        total=total,
        devices=_devices(total, devices),
        verdict=verdict_on(total, devices),
        seconds=duration.seconds(work, workspace, place, devices[0].name),
        disk=disk,
        disk_free=disk_free,
        rows_per_step=work.rows_per_step,
        tokens_per_step=work.tokens_per_step,
        steps=work.steps,
        rungs=[],
        notes=notes,
    )


def _devices(total: int, devices: Sequence[Device]) -> list[DeviceFit]:
    frees = [available(device, devices) for device in devices]
    return [
        DeviceFit(device.id, free, device.memory_total, verdict_of(total, free))
        for device, free in zip(devices, frees, strict=True)
    ]


# -- notes ------------------------------------------------------------------------------------------------------------
def _memory_notes(total: int, devices: Sequence[Device]) -> list[Problem]:
    """Where a GPU is too full now, and would have room if it were not."""
    busy = [
        device
        for device in devices
        if device.is_gpu
        and device.memory_free < BUSY_SHARE * device.memory_total
        and verdict_of(total, device.memory_free) != "fits"
        and verdict_of(total, device.memory_total) == "fits"
    ]
    return [Problem("fit.busy", {"device": device.id, "free": gigabytes(device.memory_free)}) for device in busy]


def _main_memory_note(work: Work, place: Place) -> list[Problem]:
    """A chain and quantised weights are put together in main memory, also for a GPU. Every process of this host reads
    there what is to be split, and what is moved there stays."""
    demand = work.demand
    if place.kind == "cpu":
        return []
    need, (_, free) = 0, main_memory()
    if demand.merged or demand.quantisation != "none":
        need = memory.loading(work.body, replace(demand, device="cpu"))
    if splits_weights(demand) or demand.offload != "none":
        need = max(need, held_aside(memory.training_parts(work.body, demand), work.body, demand, place.ranks))
    if need <= free:
        return []
    return [Problem("fit.main_memory", {"need": gigabytes(need), "free": gigabytes(free)})]


def _disk_note(disk: int, free: int) -> list[Problem]:
    return [Problem("fit.disk", {"need": gigabytes(disk), "free": gigabytes(free)})] if disk * DISK_SPARE > free else []


def _disk_free(workspace: Workspace) -> int:
    return shutil.disk_usage(workspace.path).free


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


# -- stages that train nothing ----------------------------------------------------------------------------------------
def _looking(config: StageConfig, workspace: Workspace, devices: Sequence[Device]) -> Fit:
    place, disk = place_of(devices), 0
    if isinstance(config, PerplexityConfig | ScoreConfig | EvaluateConfig):
        parts = _largest_look(config, workspace, place)
    elif isinstance(config, MergeConfig | VocabularyConfig):
        devices = find(["cpu:0"])  # both compute there, whatever there is
        parts, disk = _rewriting(config, workspace)
    else:
        raise InputError("fit.no_estimate", stage=type(config).__name__.removesuffix("Config").lower())
    total, disk_free = sum(parts.values()), _disk_free(workspace)
    return Fit(
        parts={name: size for name, size in parts.items() if size},
        total=total,
        devices=_devices(total, devices),
        verdict=verdict_on(total, devices),
        seconds=None, disk=disk, disk_free=disk_free, rows_per_step=0, tokens_per_step=0.0, steps=None, rungs=[],
        notes=[*_memory_notes(total, devices), *_disk_note(disk, disk_free)],
    )  # fmt: skip


def _largest_look(
    config: PerplexityConfig | ScoreConfig | EvaluateConfig, workspace: Workspace, place: Place
) -> dict[str, int]:
    """Models are looked at one after the other: the largest counts."""
    names = config.models.runs if isinstance(config, EvaluateConfig) else [config.model.base]
    dtype = config.models.dtype if isinstance(config, EvaluateConfig) else config.model.dtype
    found = []
    for name in names:
        parent = resolve_parent(workspace, name, hashed=False)
        body, demand = looking(
            parent.folder, place, dtype=dtype, tokens=config.data.tokens, longest=config.data.max_length,
            labels=not isinstance(config, ScoreConfig), merged=bool(parent.adapters),
        )  # fmt: skip
        found.append(memory.forward_parts(body, demand))
    return max(found, key=lambda parts: sum(parts.values()))


def _rewriting(config: MergeConfig | VocabularyConfig, workspace: Workspace) -> tuple[dict[str, int], int]:
    """(parts, bytes written) of a stage that makes a model folder of another. A merge goes through its files a few rows
    at a time, and asks the whole model only where that has room; otherwise it is in memory whole."""
    parent: Parent = resolve_parent(workspace, config.model.base, hashed=False)
    body = anatomy(Path(parent.folder))
    held = memory.ITEMSIZE.get(body.dtype, memory.FP32)
    wanted = config.model.dtype if isinstance(config, MergeConfig) else "auto"
    written = body.parameters * memory.ITEMSIZE.get(wanted, held)
    if isinstance(config, MergeConfig):
        return {"loading": MERGED_ROWS, "runtime": memory.RUNTIME["cpu"]}, written
    return {
        "weights": max(body.parameters * held, written),
        "loading": written,
        "runtime": memory.RUNTIME["cpu"],
    }, written
