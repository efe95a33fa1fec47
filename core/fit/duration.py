"""How long a training takes: what it computes, divided by what the devices do in a second.

That is known best from earlier runs of this workspace on the same kind of device (their `tflops`); without any, it is a
usual share of a GPU's data sheet, or of a small product timed here on the CPU.
"""

from __future__ import annotations

import socket
import statistics
import time
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from core.fit.policy import policy_seconds
from core.fit.work import Place, Work
from core.models.flops import gpu_peak, training_costs
from core.records import Status
from core.rundir import read_jsonl, read_record
from core.workspace import Workspace

SHARE = {"cpu": 0.5, "cuda": 0.35}  # of the peak that a training reaches, where nothing is known
BF16_ON_CPU = 4.0  # times as quick as fp32, where the CPU computes in it
START_SECONDS = 15.0  # importing, loading, the comparison of the two paths
RUNS_LOOKED_AT = 30
TAIL_BYTES = 8192
WIDTH = 768  # of the matrices whose product is timed


def seconds(work: Work, workspace: Workspace, place: Place, device_name: str) -> float | None:
    """From the start to the last step, evaluations left out; None where the number of steps is not known."""
    if work.steps is None:
        return None
    demand = work.demand
    speed = measured_speed(workspace, place.kind) or guessed_speed(place.kind, device_name, demand.dtype)
    if work.rollouts is not None:
        return START_SECONDS + policy_seconds(work, speed, place.kind)
    adapter = work.body.adapter_size(demand.rank, demand.targets) if demand.method == "lora" else 0
    costs = training_costs(work.body, demand.method, adapter, demand.trainable_layers)
    if demand.reference != "none":
        costs += training_costs(work.body, "none")
    tokens = work.steps * work.tokens_per_step
    flops = costs.total(tokens, tokens * work.learnt, tokens * work.squares)
    if demand.checkpointing:
        flops += 2.0 * work.body.per_token * tokens  # the layers' forward once more
    return START_SECONDS + flops / (speed * demand.ranks)


def measured_speed(workspace: Workspace, kind: Literal["cpu", "cuda"]) -> float | None:
    """FLOP/s of one device in the newest runs made here on devices of this kind; None without any. Rehearsals, whose
    few steps are of a tiny model, say nothing of others."""
    found = []
    for run in workspace.runs()[:RUNS_LOOKED_AT]:
        if run.metrics_file.is_file() and not (run.config().get("run") or {}).get("rehearsal"):
            stat = run.metrics_file.stat()
            speed = _speed_of(run.metrics_file, run.status_file, kind, stat.st_size, stat.st_mtime_ns)
            found += [] if speed is None else [speed]
    return statistics.median(found[:5]) if found else None


@lru_cache(maxsize=256)
def _speed_of(metrics: Path, status_file: Path, kind: str, size: int, changed: int) -> float | None:
    """The median of the last rows of one run."""
    status = read_record(status_file, Status)
    if status is None or status.host != socket.gethostname() or not all(d.startswith(kind) for d in status.devices):
        return None
    rows, _ = read_jsonl(metrics, max(0, size - TAIL_BYTES))
    speeds = [row["tflops"] for row in rows if isinstance(row.get("tflops"), float)]
    return 1e12 * statistics.median(speeds) if speeds else None


def guessed_speed(kind: Literal["cpu", "cuda"], device_name: str, dtype: str) -> float:
    """FLOP/s of a device that nothing is known of but its name."""
    if kind == "cuda":
        return SHARE[kind] * (gpu_peak(device_name, dtype) or 100e12)
    return SHARE[kind] * _cpu_product() * (BF16_ON_CPU if dtype == "bf16" else 1.0)


@lru_cache(maxsize=1)
def _cpu_product() -> float:
    """FLOP/s of a product in fp32, once a process: a few milliseconds."""
    matrix = np.ones((WIDTH, WIDTH), dtype=np.float32)
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - started)
    return 2.0 * WIDTH**3 / best
