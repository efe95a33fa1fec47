"""Two gloo ranks on the CPU: their parameters stay bit-equal, and their gradients are those of one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.configs.files import resolve
from core.data.store.library import resolve as resolve_data
from core.rundir import RunDir, read_jsonl
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.ppo_tools import prompt_file
from tests.test_reward_pairs import pair_rows


def train(
    workspace: Workspace, model: Path, data: Path, folder: Path, ranks: int, *words: str, stage: str = "sft"
) -> Path:
    folder.mkdir()
    dataset = resolve_data(workspace, str(data))
    steps = ["schedule.max_steps=3", "schedule.batch_size=2", f"schedule.gradient_accumulation={4 // ranks}",
             "data.validation_split=0.2", "optim.learning_rate=1e-2"]  # fmt: skip
    quiet = ["evaluation.prompts=[]"] if stage != "reward" else []
    own = [] if stage == "ppo" else [*steps, *quiet]
    base = [f"model.base={model}", f"data.train={dataset.ref}", "model.dtype=fp32"]
    config = resolve(stage, overrides=[*base, *own, *words])
    run = RunDir.create(workspace.runs_dir, stage)
    run.config_json.write_text(json.dumps(config.model_dump(mode="json")))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(ranks):
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        if ranks > 1:
            env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-m", "tests.rank_probe", str(run.path), str(folder)]
        started.append(subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-3000:]
    return folder


@pytest.mark.parametrize("method", ["lora", pytest.param("full", marks=pytest.mark.long)])
def test_two_ranks_equal_each_other_and_one_process(
    workspace: Workspace, tiny_model: Path, chat_file: Path, tmp_path: Path, method: str
) -> None:
    words = (f"tuning.method={method}",)
    one = train(workspace, tiny_model, chat_file, tmp_path / "one", 1, *words)
    two = train(workspace, tiny_model, chat_file, tmp_path / "two", 2, *words)
    for mine, other in zip(*(torch.load(two / f"parameters-{rank}.pt") for rank in (0, 1)), strict=True):
        assert torch.equal(mine, other)
    alone, together = (torch.load(folder / "gradients-0.pt") for folder in (one, two))
    assert len(alone) > 0
    for expected, found in zip(alone, together, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    ended = (torch.load(folder / "parameters-0.pt") for folder in (one, two))
    for expected, found in zip(*ended, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stage", [pytest.param("reward", marks=pytest.mark.long), "dpo"])
def test_what_learns_from_pairs_on_two_ranks_is_that_of_one_process(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, stage: str
) -> None:
    pairs = write_jsonl(tmp_path / "pairs.jsonl", pair_rows(47))
    one = train(workspace, tiny_model, pairs, tmp_path / "one", 1, stage=stage)
    two = train(workspace, tiny_model, pairs, tmp_path / "two", 2, stage=stage)
    for mine, other in zip(*(torch.load(two / f"parameters-{rank}.pt") for rank in (0, 1)), strict=True):
        assert torch.equal(mine, other)
    for expected, found in zip(*(torch.load(folder / "parameters-0.pt") for folder in (one, two)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    figures = [
        [{key: row[key] for key in row if key.startswith("eval_") or key in ("accuracy", "margin")} for row in rows]
        for rows, _ in (read_jsonl(run.metrics_file) for run in workspace.runs())
    ]
    for mine, other in zip(*figures, strict=True):
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_ppo_on_two_ranks_samples_and_learns_as_one_process(
    workspace: Workspace, tiny_model: Path, tmp_path: Path
) -> None:
    """The same answers, figures and parameters with the same global batch, an odd one out among them."""
    prompts = prompt_file(tmp_path)
    words = (
        "rewards.rules=length low=2 high=9", "rewards.missing_end=", "rollout.prompts=7", "rollout.max_new_tokens=9",
        "ppo.episodes=14", "ppo.minibatches=2", "ppo.epochs=2", "optim.learning_rate=1e-2", "data.max_length=64",
        "evaluation.prompts=3", "evaluation.steps=1",
    )  # fmt: skip
    one = train(workspace, tiny_model, prompts, tmp_path / "one", 1, *words, stage="ppo")
    two = train(workspace, tiny_model, prompts, tmp_path / "two", 2, *words, stage="ppo")
    for mine, other in zip(*(torch.load(two / f"parameters-{rank}.pt") for rank in (0, 1)), strict=True):
        assert torch.equal(mine, other)
    for expected, found in zip(*(torch.load(folder / "parameters-0.pt") for folder in (one, two)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)
    alone, together = workspace.runs()
    for name in ("held-out-0", "step-1", "step-2"):
        said = [read_jsonl(run.rollouts / f"{name}.jsonl")[0] for run in (alone, together)]
        mine, other = ([(row["number"], row["answer"]) for row in rows] for rows in said)
        assert mine == other
    names = ("reward", "kl", "policy_loss", "value_loss", "eval_reward")
    told = [read_jsonl(run.metrics_file)[0] for run in (alone, together)]
    figures = [[{name: row[name] for name in names if name in row} for row in rows] for rows in told]
    for mine, other in zip(*figures, strict=True):
        assert mine == pytest.approx(other, rel=1e-2, abs=1e-3)
