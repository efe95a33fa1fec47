"""A model that two ranks share by FSDP2 learns what one process learns, is delivered whole, and is resumed.

All stages, four ranks and ZeRO: `python -m tests.distributed_long`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from core.configs.files import resolve
from core.configs.stages import SFTConfig
from core.jobs import store
from core.models.weights import weight_files
from core.report import Report, RunContext
from core.rundir import RunDir, State, read_jsonl
from core.training.kernels import FrozenMatrix
from core.training.sharding import deepspeed_config
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.jobs_tools import drills, logs, orphans, reaches

__all__ = ["drills"]


def train(workspace: Workspace, model: Path, data: Path, *words: str, stage: str = "sft") -> RunDir:
    steps = [
        "schedule.max_steps=4", "schedule.batch_size=2", "data.validation_split=0.2", "optim.learning_rate=1e-3",
        "evaluation.prompts=[ba]", "evaluation.max_new_tokens=4", "evaluation.steps=2", "evaluation.keep_best=false",
        "evaluation.batch_size=1",  # ranks have rows for different numbers of batches to evaluate
    ]  # fmt: skip
    given = [f"model.base={model}", f"data.train={data}", "model.dtype=fp32", *steps, *words]
    run = store.submit(workspace, stage, resolve(stage, overrides=given))
    assert reaches(run, seconds=240) is State.SUCCEEDED, logs(run)
    return run


def figures(run: RunDir) -> list[float]:
    rows, _ = read_jsonl(run.metrics_file)
    return [row[name] for row in rows for name in ("loss", "grad_norm", "eval_loss") if name in row]


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    return {name: tensor for file in weight_files(run.output / "model") for name, tensor in load_file(file).items()}


@pytest.mark.slow
def test_shards_learn_what_one_process_learns_and_go_on_where_they_were(
    workspace: Workspace, tiny_model: Path, chat_file: Path
) -> None:
    full = ("tuning.method=full", "data.max_length=64")
    alone = train(workspace, tiny_model, chat_file, *full, "schedule.gradient_accumulation=4")
    shared = ("devices.use=[cpu,cpu]", "distributed.strategy=fsdp", "schedule.gradient_accumulation=2")
    together = train(workspace, tiny_model, chat_file, *full, *shared)
    assert figures(together) == pytest.approx(figures(alone), abs=1e-3)
    assert "fast path: on" in together.log_file(0).read_text()
    answers = [[row["answer"] for row in read_jsonl(run.samples_file)[0]] for run in (alone, together)]
    assert answers[0] == answers[1]
    mine, other = weights(together), weights(alone)
    assert mine.keys() == other.keys()
    for name, tensor in other.items():
        torch.testing.assert_close(mine[name], tensor, rtol=1e-3, atol=1e-4)
    again = cut_back(together, step=2)
    store.resume(workspace, again.id)
    assert reaches(again, seconds=240) is State.SUCCEEDED, logs(again)
    assert figures(again) == pytest.approx(figures(together), abs=1e-5)
    for name, tensor in weights(again).items():
        torch.testing.assert_close(tensor, mine[name])
    assert orphans(again) == []


@pytest.mark.long
def test_a_rank_that_has_nothing_to_evaluate_goes_along(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    """Pretraining evaluates before its first step, past the forward of the model's root; one block is held out."""
    rows = [{"text": " ".join(turn["value"] for turn in row["conversations"])} for row in conversations(64)]
    text, whole = write_jsonl(tmp_path / "text.jsonl", rows), "evaluation.prompts=[]"
    alone = train(workspace, tiny_model, text, whole, stage="pretrain")
    shared = ("devices.use=[cpu,cpu]", "distributed.strategy=fsdp", "schedule.batch_size=1", whole)
    together = train(workspace, tiny_model, text, *shared, stage="pretrain")
    assert figures(together) == pytest.approx(figures(alone), abs=1e-3)


def cut_back(run: RunDir, step: int) -> RunDir:
    """A copy of a finished run, as it would be had it been killed after the checkpoint of `step`."""
    copy = RunDir(run.path.with_name(f"{run.id[:-4]}{'0123' if run.id[-4:] != '0123' else '4567'}"))
    shutil.copytree(run.path, copy.path)
    shutil.rmtree(copy.output)
    copy.result_file.unlink()
    for checkpoint in copy.complete_checkpoints():
        if checkpoint.step > step:
            shutil.rmtree(copy.checkpoints / checkpoint.path.name)
    return copy


def test_a_frozen_matrix_looks_its_weight_up_at_every_call() -> None:
    """FSDP gathers a weight and lets it go: what was seen at first is not there any more."""
    layer = nn.Linear(4, 3)
    frozen, x = FrozenMatrix.of(layer), torch.randn(2, 4)
    layer.weight.data = torch.ones(3, 4)
    torch.testing.assert_close(frozen.times(x), layer(x))
    torch.testing.assert_close(frozen.times_transposed(torch.ones(2, 3)), torch.full((2, 4), 3.0))


@pytest.mark.parametrize(
    ("strategy", "offload", "stage", "moved"),
    [("zero2", "none", 2, set()), ("zero2", "optimizer", 2, {"offload_optimizer"}),
     ("zero3", "all", 3, {"offload_optimizer", "offload_param"})],
)  # fmt: skip
def test_what_deepspeed_is_told(tmp_path: Path, strategy: str, offload: str, stage: int, moved: set[str]) -> None:
    words = [f"distributed.strategy={strategy}", f"distributed.offload={offload}", "devices.use=[cuda:0,cuda:1]"]
    config = resolve("sft", overrides=["model.base=m", "data.train=d", "optim.max_grad_norm=0.5", *words])
    assert isinstance(config, SFTConfig)
    run = RunDir(tmp_path)
    told = deepspeed_config(config, RunContext(run, Workspace(tmp_path), config, Report(run), device="cuda:0"))
    assert told is not None
    zero = told["zero_optimization"]
    assert (zero["stage"], told["gradient_clipping"], told["gradient_accumulation_steps"]) == (stage, 0.5, 1)
    assert {name for name in zero if name.startswith("offload")} == moved
    assert all(zero[name] == {"device": "cpu", "pin_memory": True} for name in moved)
    plain = resolve("sft", overrides=["model.base=m", "data.train=d"])
    assert deepspeed_config(plain, RunContext(run, Workspace(tmp_path), plain, Report(run))) is None
