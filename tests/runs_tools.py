"""Runs that are over, made of files alone: with settings, metrics, checkpoints and a result, in no time at all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from core.configs.files import dump_yaml, resolve
from core.jobs.failures import make
from core.records import Manifest, RootBase, Status
from core.rundir import MARK, WHEN, RunDir, append_jsonl, write_json, write_record
from core.workspace import Workspace

START = 1_790_000_000.0  # seconds since the epoch: when the first of them was made


def made(
    workspace: Workspace,
    stage: str,
    name: str,
    *,
    number: int = 0,
    settings: dict[str, Any] | None = None,
    rows: Sequence[dict[str, Any]] = (),
    checkpoints: Sequence[int] = (),
    outcome: str = "succeeded",
    parent: str | None = None,
) -> RunDir:
    """A run that is over. number: its place in time, and in its id. outcome: of its result; "" for none at all."""
    when = START + 3600 * number
    run = RunDir(workspace.runs_dir / f"{stage}-{time.strftime(WHEN, time.localtime(when))}-{number:04x}")
    for folder in (run.log_dir, run.checkpoints, run.attempts, run.output):
        folder.mkdir(parents=True)
    values = {"run.name": name, "model.base": "tiny", "data.train": "chat@1", "devices.use": ["cpu:0"]}
    config = resolve(stage, values={**values, **(settings or {})}).model_dump(mode="json")
    run.config_json.write_bytes(orjson.dumps(config))
    run.config_yaml.write_text(dump_yaml(config))
    run.log_file(0).write_text(f"{name} has ended\n")
    append_jsonl(run.metrics_file, *rows)
    status = Status(supervisor_pid=1, supervisor_started=when, submitted_at=when, started_at=when + 1,
                    ended_at=when + 601, devices=["cpu:0"])  # fmt: skip
    write_record(run.status_file, status)
    for step in checkpoints:
        checkpoint(run, step)
    if outcome:
        write_record(run.result_file, make(outcome))
    if outcome == "succeeded":
        manifest(run, config, parent)
    return run


def manifest(run: RunDir, config: dict[str, Any], parent: str | None) -> None:
    (run.output / "adapter").mkdir()
    (run.output / "adapter" / "adapter_model.safetensors").write_bytes(b"\0" * 20_000)
    said = Manifest(
        run=run.id, name=config["run"]["name"], stage=run.stage, kind="adapter",
        root_base=RootBase(source="tiny", path="/gone/tiny"), parent=parent, backbone_id="b", adapter_root="adapter",
        adapter_stage="adapter", method="lora", dtype="fp32", final_metrics={"loss": 1.5},
    )  # fmt: skip
    write_record(run.manifest_file, said)


def checkpoint(run: RunDir, step: int, loss: float | None = None, size: int = 30_000) -> Path:
    folder = run.checkpoints / f"step-{step}"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(bytes(size))
    (folder / "optimizer.pt").write_bytes(bytes(2 * size))
    write_json(folder / MARK, {"step": step, "saved_at": START + step, "eval_loss": loss or 3.0 - step / 1000})
    return folder


def falling(steps: int, slope: float = 1.0, start: float = START, every: int = 1) -> list[dict[str, Any]]:
    """Rows of a training: the loss falls from 3; an evaluation after each tenth row has no tokens."""
    rows: list[dict[str, Any]] = []
    for step in range(every, steps + 1, every):
        loss = 3.0 * (1 + step * slope) ** -0.25
        rows.append({"step": step, "epoch": step / steps, "time": start + 2 * step, "tokens": 512 * step, "loss": loss})
        if step % (10 * every) == 0:
            rows.append({"step": step, "time": start + 2 * step + 1, "eval_loss": loss + 0.1})
    return rows
