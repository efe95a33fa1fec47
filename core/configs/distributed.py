"""The section `distributed`: how several processes share a training, and on how many hosts they are.

What cannot work is refused here, with the reason: `faults` looks at a whole config. That a package is missing is
found at the start (`core.jobs.hosts`), since a preset must be readable without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import field_validator

from core.configs.sections import Section, setting

ENDPOINT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):(?P<port>\d{1,5})")
SHARDED = ("fsdp", "zero2", "zero3")  # something is split over the processes
SPLITS_WEIGHTS = ("fsdp", "zero3")
DEEPSPEED = ("zero2", "zero3")
PLAIN_OPTIMIZERS = ("adamw", "sgd")  # those whose state can be cut into shards


class Distributed(Section):
    """Several processes, on one host or several."""

    strategy: Literal["ddp", "fsdp", "zero2", "zero3"] = setting(
        "ddp",
        "What each device holds. ddp: everything. fsdp (PyTorch's FSDP2), zero3 (DeepSpeed): its share of weights, "
        "gradients and optimizer. zero2 (DeepSpeed): all weights, its share of gradients and optimizer.",
        advanced=True,
    )
    offload: Literal["none", "optimizer", "all"] = setting(
        "none",
        "What lies in main memory instead of the GPU's, much slower. optimizer: its state (zero2, zero3). all: "
        "weights, gradients and optimizer (fsdp, zero3).",
        advanced=True,
    )
    hosts: int = setting(
        1, "Hosts that compute together. They share this workspace's folder, and each has the devices named above.",
        ge=1, le=4096, advanced=True,
    )  # fmt: skip
    rendezvous: str = setting(
        "", "With several hosts: where they meet, HOST:PORT. The first host's address, and a free port there.",
        max_length=260, advanced=True,
    )  # fmt: skip

    @field_validator("rendezvous")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        found = ENDPOINT.fullmatch(value)
        if value and (found is None or not 0 < int(found["port"]) < 65536):
            raise ValueError("write HOST:PORT, such as 10.0.0.1:29500")
        return value


def processes(config: Any) -> int:
    """Processes of a run, over all hosts."""
    return len(config.devices.use) * getattr(config, "distributed", Distributed()).hosts


def faults(config: Any, *, can_shard: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(code, key, parameters) of what does not go together. `can_shard`: whether this stage's loop knows shards."""
    section = config.distributed
    yield from _host_faults(section)
    if section.strategy == "ddp":
        if section.offload != "none":
            yield "distributed.offload_needs_shards", "distributed.offload", {}
        return
    said = {"strategy": section.strategy}
    if not can_shard:
        yield "distributed.stage_not_sharded", "distributed.strategy", said
        return
    if processes(config) < 2:
        yield "distributed.one_process", "distributed.strategy", said
    if config.quantization.kind != "none":
        yield "distributed.quantised", "distributed.strategy", {**said, "kind": config.quantization.kind}
    if config.model.dtype == "fp16":
        yield "distributed.no_fp16", "model.dtype", said
    if config.optim.optimizer not in PLAIN_OPTIMIZERS:
        yield "distributed.optimizer", "optim.optimizer", {**said, "optimizer": config.optim.optimizer}
    by_loss = getattr(config.data, "difficulty", "") == "loss" and config.data.order != "shuffled"
    if by_loss and section.strategy in SPLITS_WEIGHTS:
        yield "distributed.no_difficulty", "data.difficulty", said
    yield from _offload_faults(section, config.devices.use)


def _host_faults(section: Distributed) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if section.hosts > 1 and not section.rendezvous:
        yield "distributed.no_rendezvous", "distributed.rendezvous", {"hosts": section.hosts}
    if section.hosts == 1 and section.rendezvous:
        yield "distributed.one_host", "distributed.rendezvous", {}


def _offload_faults(section: Distributed, devices: list[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if section.offload == "none":
        return
    wrong = {"fsdp": "optimizer", "zero2": "all"}.get(section.strategy)
    if section.offload == wrong:
        yield f"distributed.offload_{section.strategy}", "distributed.offload", {}
    if all(name.startswith("cpu") for name in devices):
        yield "distributed.offload_on_cpu", "distributed.offload", {}
