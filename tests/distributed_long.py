"""Every stage on 1, 2 and 4 processes, by every strategy that it knows, and one rank killed: `python -m
tests.distributed_long [STAGE…] [lora|full] [equal|killed]`.

The short form is in the suite: `test_ranks.py`, `test_sharding.py`, `test_hosts.py`. This prints a table for
docs/lab.md: the largest difference of a logged loss from that of one process with the same global batch, and
for a killed rank how soon the run has failed, what it says, and whether a process was left. ZeRO is tried where
DeepSpeed is installed. About ten minutes on two cores.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from core.configs.files import resolve
from core.data.store.library import resolve as resolve_data
from core.jobs import store
from core.jobs.failures import explain
from core.models.tiny import build_model, conversations
from core.rundir import RunDir, State, read_jsonl, state_of
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.jobs_tools import eventually, orphans
from tests.ppo_tools import prompt_file
from tests.test_reward_pairs import pair_rows

ROWS, STEPS = 8, 4  # rows of a step over all processes; steps
METHODS = ("lora", "full")
PARTS = ("equal", "killed")
SHARDED = ("pretrain", "sft", "reward")
POLICY = (
    "rewards.rules=length low=2 high=9", "rewards.missing_end=", "rollout.prompts=8", "rollout.max_new_tokens=9",
    "ppo.minibatches=2", "ppo.epochs=2", "optim.learning_rate=1e-3", "data.max_length=64",
)  # fmt: skip
START_SECONDS, FAILED_SECONDS = 300, 30  # until a run trains; until it has failed, once a rank is gone
TOLD = {"ppo": ("policy_loss", "value_loss", "reward", "kl")}


def rows_of(stage: str, folder: Path) -> Path:
    if stage == "ppo":
        return prompt_file(folder)
    if stage in ("reward", "dpo"):
        return write_jsonl(folder / "pairs.jsonl", pair_rows(64))
    made = conversations(64)
    if stage == "pretrain":
        return write_jsonl(
            folder / "text.jsonl", [{"text": " ".join(turn["value"] for turn in row["conversations"])} for row in made]
        )
    return write_jsonl(folder / "chat.jsonl", made)


def words_of(stage: str, ranks: int, steps: int) -> list[str]:
    if stage == "ppo":
        return [*POLICY, f"ppo.episodes={8 * steps}", "evaluation.prompts=4"]
    quiet = [] if stage == "reward" else ["evaluation.prompts=[]"]
    batch = ROWS // ranks
    return [
        f"schedule.max_steps={steps}", f"schedule.batch_size={batch}", "schedule.gradient_accumulation=1",
        "schedule.epochs=1000", "data.validation_split=0.2", "optim.learning_rate=1e-3", *quiet,
    ]  # fmt: skip


def trained(workspace: Workspace, model: Path, stage: str, ref: str, strategy: str, ranks: int, method: str) -> RunDir:
    """A run whose ranks are started as the supervisor starts them, however few cores there are."""
    words = [
        f"model.base={model}", f"data.train={ref}", "model.dtype=fp32", f"distributed.strategy={strategy}",
        f"devices.use=[{','.join(['cpu'] * ranks)}]", f"tuning.method={method}", *words_of(stage, ranks, STEPS),
    ]  # fmt: skip
    run = RunDir.create(workspace.runs_dir, stage)
    run.config_json.write_text(json.dumps(resolve(stage, overrides=words).model_dump(mode="json")))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(ranks):
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        if ranks > 1:
            env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_PORT": str(port)}
            env |= {"LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1"}
        with open(run.log_file(rank), "wb") as log:
            command = [sys.executable, "-m", "core.jobs.worker", str(run.path)]
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
    codes = [process.wait(600) for process in started]
    assert codes == [0] * ranks, f"{stage} {strategy} on {ranks}: {codes}\n{run.log_file(0).read_text()[-3000:]}"
    return run


def figures(run: RunDir) -> list[float]:
    names = TOLD.get(run.stage, ("loss", "eval_loss"))
    rows, _ = read_jsonl(run.metrics_file)
    return [row[name] for row in rows for name in names if row.get(name) is not None]


def strategies(stage: str) -> list[str]:
    if stage not in SHARDED:
        return ["ddp"]
    return ["ddp", "fsdp", *(["zero2", "zero3"] if importlib.util.find_spec("deepspeed") else [])]


def equal(stage: str, methods: list[str], folder: Path, model: Path) -> Iterator[str]:
    """Rows of the first table."""
    workspace = Workspace(folder / "workspace")
    ref = resolve_data(workspace, str(rows_of(stage, folder))).ref
    for method in methods:
        alone = figures(trained(workspace, model, stage, ref, "ddp", 1, method))
        for strategy in strategies(stage):
            apart = []
            for ranks in (2, 4):
                found = figures(trained(workspace, model, stage, ref, strategy, ranks, method))
                assert len(found) == len(alone) > 0
                apart.append(max(abs(mine - other) for mine, other in zip(found, alone, strict=True)))
                assert apart[-1] < 1e-3, (stage, strategy, ranks, found, alone)
            yield f"| {stage} | {method} | {strategy} | {alone[0]:.4f} | {apart[0]:.1e} | {apart[1]:.1e} |"


def trains(run: RunDir) -> bool:
    progress = run.progress()
    return progress is not None and progress.trained >= 2


def killed(stage: str, folder: Path, model: Path) -> str:
    """A row of the second table: two ranks under the supervisor, one of them killed while it trains."""
    os.environ["GALEN_LOCK_DIR"] = str(folder / "locks")
    workspace = Workspace(folder / "killed")
    words = [
        f"model.base={model}", f"data.train={rows_of(stage, folder)}", "model.dtype=fp32", "devices.use=[cpu,cpu]",
        *words_of(stage, 2, 100_000), "evaluation.steps=100000", "saving.steps=100000",
    ]  # fmt: skip
    run = store.submit(workspace, stage, resolve(stage, overrides=words))
    try:
        assert eventually(lambda: trains(run) or not state_of(run).live, START_SECONDS), f"{stage} does not start"
        assert state_of(run).live, f"{stage} is over before anybody was killed: {explain(run)}"
        time.sleep(2)
        began = time.monotonic()
        os.kill(run.status().rank_pids[1], signal.SIGKILL)
        assert eventually(lambda: not state_of(run).live, FAILED_SECONDS), f"{stage} is still {state_of(run)}"
        seconds, why = time.monotonic() - began, explain(run)
    finally:
        if state_of(run).live:
            store.kill(run)
    assert state_of(run) is State.FAILED
    assert why.params["rank"] == 1
    assert not orphans(run)
    return f"| {stage} | {seconds:.1f} s | {why.reason} | none |"


def main(words: list[str]) -> None:
    """`words`: stages, methods, parts; all of what is not named."""
    stages, methods, parts = (
        [word for word in words if word in those] or list(those)
        for those in (("pretrain", "sft", "reward", "ppo", "dpo"), METHODS, PARTS)
    )
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "tiny"
        build_model(model)
        for stage in stages:
            (Path(place) / stage).mkdir()
        if "equal" in parts:
            print("| stage | method | strategy | first loss | 2 processes | 4 processes |\n|---|---|---|---|---|---|")
            for stage in stages:
                for row in equal(stage, methods, Path(place) / stage, model):
                    print(row, flush=True)
        if "killed" in parts:
            print("\n| stage | failed after | what it says | left behind |\n|---|---|---|---|")
            for stage in stages:
                print(killed(stage, Path(place) / stage, model), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
