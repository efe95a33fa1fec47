"""The estimate beside the peak of whole runs, as the system measured it (resident size, on the CPU)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.configs.files import resolve
from core.configs.stages import STAGES
from core.data.store.library import import_file
from core.fit.estimate import Fit, estimate
from core.hardware import find
from core.jobs.pinning import pin
from core.jobs.supervisor import rank_environment
from core.rundir import RunDir, write_json
from core.system import python_command
from core.workspace import Workspace
from tests.conftest import build_tokenizer, conversations, write_jsonl

NEAR = 0.25

# Runs a command and prints the bytes that it took at most. In a process of its own: Linux counts the size of whoever
# started a process into that process's peak, and after other tests pytest is larger than the runs measured here.
PEAK = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def middling_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of 11 M parameters: large enough that its activations show beside Python and torch."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "middling"
    tokenizer = build_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def measured(workspace: Workspace, model: Path, stage: str, rows: Path, *words: str) -> tuple[Fit, int]:
    """(the estimate of a run on these rows, the bytes that its process took at most)."""
    data = import_file(workspace, rows).ref
    given = [f"model.base={model}", f"data.train={data}", "devices.use=[cpu:0]", "data.max_length=512",
             "data.bad_rows=drop", *words]  # fmt: skip
    config = resolve(stage, overrides=given)
    fit = estimate(config, workspace)
    run = RunDir.create(workspace.runs_dir, stage)
    write_json(run.config_json, pin(workspace, STAGES[stage], config).model_dump(mode="json"))
    with open(run.log_file(0), "ab") as log:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *python_command("core.jobs.worker", str(run.path))],
            stdout=subprocess.PIPE, stderr=log, text=True, env=rank_environment(run, find(["cpu:0"]), 0, 1, 0),
        )  # fmt: skip
    assert done.returncode == 0, run.log_file(0).read_text()
    return fit, int(done.stdout)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="resident sizes are counted otherwise elsewhere")
@pytest.mark.parametrize(
    "words",
    [("model.dtype=fp32",), pytest.param(("model.dtype=bf16", "tuning.method=full"), marks=pytest.mark.long),
     pytest.param(("model.dtype=fp32", "tuning.gradient_checkpointing=true"), marks=pytest.mark.long)],
    ids=["lora", "full", "checkpointing"],
)  # fmt: skip
def test_the_estimate_is_near_the_measured_peak(
    workspace: Workspace, tmp_path: Path, middling_model: Path, words: tuple[str, ...]
) -> None:
    rows = write_jsonl(tmp_path / "long.jsonl", conversations(24, turns=24))
    fit, peak = measured(
        workspace, middling_model, "sft", rows, "schedule.max_steps=2", "evaluation.prompts=[]",
        "schedule.batch_size=8", "schedule.gradient_accumulation=1", *words,
    )  # fmt: skip
    assert abs(fit.total - peak) < NEAR * peak, f"{fit.total / 1e6:.0f} MB estimated, {peak / 1e6:.0f} measured: {fit}"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="resident sizes are counted otherwise elsewhere")
@pytest.mark.long
@pytest.mark.parametrize("words", [("model.dtype=fp32",), ("tuning.method=full",)], ids=["lora", "full"])
def test_the_estimate_of_dpo_is_near_the_measured_peak(
    workspace: Workspace, tmp_path: Path, middling_model: Path, words: tuple[str, ...]
) -> None:
    turns = [[turn["value"] for turn in row["conversations"]] for row in conversations(32, turns=24)]
    pairs = [
        {"prompt": " ".join(said[:12]), "chosen": " ".join(said[12:]), "rejected": " ".join(said[14:])}
        for said in turns
    ]
    fit, peak = measured(
        workspace, middling_model, "dpo", write_jsonl(tmp_path / "pairs.jsonl", pairs), "schedule.max_steps=2",
        "evaluation.prompts=[]", "schedule.batch_size=4", "schedule.gradient_accumulation=1", *words,
    )  # fmt: skip
    assert abs(fit.total - peak) < NEAR * peak, f"{fit.total / 1e6:.0f} MB estimated, {peak / 1e6:.0f} measured: {fit}"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="resident sizes are counted otherwise elsewhere")
@pytest.mark.parametrize(
    "words",
    [pytest.param(("ppo.batch_size=8", "rollout.batch_size=8"), marks=pytest.mark.long),
     pytest.param(("ppo.batch_size=1", "rollout.batch_size=32", "rollout.prompts=32"), marks=pytest.mark.long),
     pytest.param(("ppo.batch_size=4", "tuning.method=full"), marks=pytest.mark.long)],
    ids=["learning", "sampling", "full"],
)  # fmt: skip
def test_the_estimate_of_a_policy_is_near_the_measured_peak(
    workspace: Workspace, tmp_path: Path, middling_model: Path, words: tuple[str, ...]
) -> None:
    asked = [{"prompt": " ".join(turn["value"] for turn in row["conversations"])} for row in conversations(96, turns=8)]
    rows = write_jsonl(tmp_path / "long.jsonl", asked)
    fit, peak = measured(
        workspace, middling_model, "ppo", rows, "rewards.rules=[repetition]", "model.dtype=fp32", "ppo.epochs=1",
        "ppo.episodes=32", "rollout.prompts=16", "rollout.max_new_tokens=32", "evaluation.prompts=2", *words,
    )  # fmt: skip
    assert abs(fit.total - peak) < NEAR * peak, f"{fit.total / 1e6:.0f} MB estimated, {peak / 1e6:.0f} measured: {fit}"
