"""What this machine computes with: GPUs (by NVML) and the CPU, their memory, and whether they compute in bf16.

Torch-free: the page asks every two seconds. Device ids are those of torch (`cuda:0` is the first GPU that
`CUDA_VISIBLE_DEVICES` leaves visible); `cpu:0`, `cpu:1` are processes on the CPU. Apple's and AMD's GPUs are left out.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
import pynvml

from core.errors import DeviceError

# x86 and (the last) ARM. Without them bf16 on a CPU is emulated, slower than fp32.
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a huge number


@dataclass(frozen=True)
class Device:
    """`memory_total` and `memory_free` in bytes; 0 where the driver does not tell. `uuid` names a GPU for good."""

    id: str
    name: str
    uuid: str
    memory_total: int
    memory_free: int
    bf16: bool

    @property
    def is_gpu(self) -> bool:
        return self.id.startswith("cuda:")


def devices(cpu_processes: int = 1) -> list[Device]:
    """GPUs first, then the CPU, `cpu_processes` times (`cpu:0`, `cpu:1`, …: several start one process each)."""
    return [*_gpus(), *(_cpu(index) for index in range(cpu_processes))]


def expand(use: Iterable[str]) -> list[str]:
    """Device ids for `devices.use`: `auto` is the first GPU, else the CPU.

    Raises DeviceError `device.unknown` (naming what there is), `device.mixed` for GPUs beside CPUs, and
    `device.twice`.
    """
    wanted = list(use)
    found = devices()
    if wanted == ["auto"]:
        return [found[0].id]
    known = {device.id for device in found} | {f"cpu:{index}" for index in range(max(2, cores()))}
    wanted = ["cpu:0" if name == "cpu" else "cuda:0" if name == "cuda" else name for name in wanted]
    for name in wanted:
        if name not in known:
            raise DeviceError("device.unknown", device=name, known=_listed(found))
    if len({name.split(":")[0] for name in wanted}) > 1:
        raise DeviceError("device.mixed", devices=", ".join(wanted))
    if len(set(wanted)) != len(wanted):
        raise DeviceError("device.twice", devices=", ".join(wanted))
    return wanted


def find(ids: Iterable[str]) -> list[Device]:
    """The devices with these ids. Raises DeviceError `device.unknown`."""
    found = devices(max(2, cores()))
    by_id = {device.id: device for device in found}
    missing = [name for name in ids if name not in by_id]
    if missing:
        raise DeviceError("device.unknown", device=missing[0], known=_listed(devices()))
    return [by_id[name] for name in ids]


def _listed(found: Iterable[Device]) -> str:
    return ", ".join(f"{device.id} ({device.name})" for device in found)


# -- CPU --------------------------------------------------------------------------------------------------------------
def cores() -> int:
    """CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _cpu(index: int) -> Device:
    total, free = memory()
    name, flags = _cpu_facts()
    return Device(f"cpu:{index}", name, "cpu", total, free, bool(flags & BF16_FLAGS))


@lru_cache(maxsize=1)
def _cpu_facts() -> tuple[str, frozenset[str]]:
    """Model name and feature flags (`flags` on x86, `Features` on ARM)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine() or "CPU", frozenset()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return (
        name.group(1).strip() if name else platform.machine(),
        frozenset(flags.group(1).split()) if flags else frozenset(),
    )


def memory() -> tuple[int, int]:
    """Total and free bytes of main memory, within the limits of the containers around us."""
    system = psutil.virtual_memory()
    total, free = system.total, system.available
    for limit, used in _cgroup_limits():
        total, free = min(total, limit), min(free, max(0, limit - used))
    return total, free


def _cgroup_limits(
    proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> list[tuple[int, int]]:
    """(limit, used) bytes of every control group around us that has a limit; cache that can be dropped is not used."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if controllers == "":
            top, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = top / inside.lstrip("/")
        # A container sees its own group as the top of the mount, while /proc may still show the outer path.
        for place in dict.fromkeys((folder, *folder.parents, top)):
            if place.is_relative_to(top):
                found.extend(_cgroup(place, *names))
    return found


def _cgroup(folder: Path, limit_file: str, used_file: str, droppable: str) -> list[tuple[int, int]]:
    try:
        limit = int((folder / limit_file).read_text())
        used = int((folder / used_file).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max"
        return []
    return [(limit, max(0, used - int(stat.get(droppable, 0))))] if limit < UNLIMITED else []


# -- GPUs -------------------------------------------------------------------------------------------------------------
@lru_cache(maxsize=1)
def _nvml_ready() -> bool:
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, OSError):
        return False
    return True


def _gpus() -> list[Device]:
    if not _nvml_ready():
        return []
    return [_gpu(index, handle) for index, handle in enumerate(_visible_handles())]


def _visible_handles() -> list[Any]:
    """NVML handles in torch's order. As CUDA does, `CUDA_VISIBLE_DEVICES` is read up to its first bad entry."""
    try:
        every = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return every
    handles: list[Any] = []
    for entry in filter(None, (part.strip() for part in chosen.split(","))):
        handle = _handle(entry, every)
        if handle is None:
            break
        handles.append(handle)
    return handles


def _handle(entry: str, every: list[Any]) -> Any | None:
    """The GPU that one word of `CUDA_VISIBLE_DEVICES` means: an index, a UUID or its beginning, or a MIG UUID."""
    if entry.isdigit():
        return every[int(entry)] if int(entry) < len(every) else None
    for handle in every:
        if _uuid(handle).startswith(entry):
            return handle
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(entry.encode())
    except pynvml.NVMLError:
        return None


def _uuid(handle: Any) -> str:
    return _text(pynvml.nvmlDeviceGetUUID(handle))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _gpu(index: int, handle: Any) -> Device:
    total = free = 0
    try:
        memory_info = pynvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = int(memory_info.total), int(memory_info.free)
    except pynvml.NVMLError:
        pass  # unified memory: the driver has no number of its own
    bf16 = _capability(handle) >= (8, 0)
    return Device(f"cuda:{index}", _text(pynvml.nvmlDeviceGetName(handle)), _uuid(handle), total, free, bf16)


def _capability(handle: Any) -> tuple[int, ...]:
    """The compute capability of a GPU, or for a MIG instance, which has none of its own, that of its GPU."""
    try:
        return tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    except pynvml.NVMLError:
        pass
    try:
        parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        return tuple(pynvml.nvmlDeviceGetCudaComputeCapability(parent))
    except pynvml.NVMLError:
        return ()
