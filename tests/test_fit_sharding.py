"""The fit estimate of a training that several devices share, and the page that is made from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scaling import main as scaling
from core.configs.files import resolve
from core.data.store.library import import_file
from core.fit import memory
from core.fit.estimate import Fit, estimate
from core.fit.memory import FP32, Demand, Pack
from core.fit.sharding import BUCKET, main_memory, shared_out, traffic
from core.hardware import Device
from core.models.anatomy import Anatomy, of_shapes
from core.training import sharding
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.fit_tools import SIZES, gpu, hollow_model

ROOT = Path(__file__).parents[1]
GPUS = [gpu(index, 80) for index in range(8)]


@pytest.fixture(scope="module")
def seven() -> Anatomy:
    config, shapes = SIZES["7b"]
    return of_shapes(config, shapes.items(), "bf16")


def full(**values: object) -> Demand:
    usual = Demand(method="full", dtype="bf16", device="cuda", pack=Pack((2048,)), checkpointing=True, ranks=8)
    return replace(usual, **values)


def parts(body: Anatomy, demand: Demand) -> dict[str, int]:
    return shared_out(memory.training_parts(body, demand), body, demand)


def test_what_is_split_is_an_nth(seven: Anatomy) -> None:
    whole, shared = parts(seven, full()), parts(seven, full(strategy="fsdp"))
    assert shared["weights"] == whole["weights"] // 8
    assert shared["optimizer"] == whole["optimizer"] // 8
    assert shared["gradients"] == FP32 * seven.parameters // 8  # not twice, as DDP with its buckets has them
    assert shared["activations"] == whole["activations"]
    layer = FP32 * seven.body / seven.layers
    assert 3 * layer < shared["gathered"] < 3 * layer + FP32 * (seven.embedding + seven.head) * 1.2
    many = parts(seven, full(strategy="fsdp", ranks=64))
    assert many["gathered"] == shared["gathered"]
    two = parts(seven, full(strategy="zero2"))
    assert two["weights"] == whole["weights"]
    assert two["masters"] == FP32 * seven.parameters // 8


def test_what_is_moved_is_needed_in_main_memory(seven: Anatomy) -> None:
    one = memory.training_parts(seven, full())
    moved = parts(seven, full(strategy="fsdp", offload="all"))
    assert sum(moved[name] for name in ("weights", "gradients", "optimizer")) == 0
    assert moved["activations"] > 0
    here, there = (main_memory(one, seven, full(strategy="fsdp", offload=o), 8) for o in ("none", "all"))
    assert here < one["weights"] + 8e9  # one process at a time reads the model
    assert there - here == pytest.approx(one["weights"] + one["optimizer"] + one["gradients"], rel=0.01)
    assert main_memory(one, seven, full(strategy="zero3"), 8) > 8 * one["weights"]


def test_what_goes_over_the_network(seven: Anatomy) -> None:
    weights = FP32 * seven.parameters
    assert traffic(seven, full()) == (0.0, pytest.approx(2 * 7 / 8 * weights))
    assert traffic(seven, full(strategy="fsdp")) == (pytest.approx(3 * 7 / 8 * weights), 0.0)
    assert traffic(seven, full(ranks=1)) == (0.0, 0.0)
    assert sharding.BUCKET == BUCKET


def fit_of(workspace: Workspace, model: Path, data: str, devices: list[Device], **values: object) -> Fit:
    given = {"model.base": str(model), "data.train": data, "devices.use": [device.id for device in devices]}
    more = {key.replace("__", "."): value for key, value in values.items()}
    return estimate(resolve("sft", values={**given, **more}, workspace=workspace), workspace, devices)


@pytest.fixture
def rows(workspace: Workspace, tmp_path: Path) -> str:
    return import_file(workspace, write_jsonl(tmp_path / "chat.jsonl", conversations(64, turns=12))).ref


def test_several_gpus_are_offered_shards(workspace: Workspace, tmp_path: Path, tiny_model: Path, rows: str) -> None:
    model = hollow_model(tmp_path / "13b", "13b", tiny_model)
    fit = fit_of(workspace, model, rows, GPUS, tuning__method="full", tuning__gradient_checkpointing=True)
    assert fit.verdict == "no"
    assert fit.rungs[-1].code == "fit.rung_shard"
    assert fit.rungs[-1].verdict == "fits"
    shared = fit_of(
        workspace, model, rows, GPUS, tuning__method="full", tuning__gradient_checkpointing=True,
        distributed__strategy="fsdp",
    )  # fmt: skip
    assert shared.verdict == "fits"
    assert "gathered" in shared.parts
    small = fit_of(workspace, model, rows, GPUS[:2], tuning__method="full", distributed__strategy="fsdp")
    assert small.verdict == "no"  # and rungs that do not go with shards are passed over
    assert {rung.code for rung in small.rungs} <= {"fit.rung_batch", "fit.rung_checkpointing", "fit.rung_lora"}


def test_hosts_make_a_step_larger_and_a_run_shorter(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, rows: str
) -> None:
    model = hollow_model(tmp_path / "7b", "7b", tiny_model)
    one = fit_of(workspace, model, rows, GPUS)
    two = fit_of(workspace, model, rows, GPUS, distributed__hosts=2, distributed__rendezvous="a:1")
    assert two.rows_per_step == 2 * one.rows_per_step
    assert two.total == one.total


def test_the_scaling_page_holds_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    scaling([])
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    for table in capsys.readouterr().out.strip().split("\n\n"):
        assert table in page, "make docs/scaling.md's tables anew: python -m benchmarks.scaling"


@pytest.mark.parametrize(
    ("size", "preset", "words"),
    [
        ("70b", "7b-qlora-24gb", ["devices.use=[cuda:0]", "data.max_length=1024"]),
        ("7b", "7b-lora-80gb", ["devices.use=[cuda:0,cuda:1]"]),
        ("7b", "13b-full-8gpu", []),
        ("13b", "13b-full-8gpu", ["distributed.hosts=8", "distributed.rendezvous=a:1"]),
    ],
)
def test_the_presets_of_the_scaling_page_fit(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, size: str, preset: str, words: list[str]
) -> None:
    model = hollow_model(tmp_path / size, size, tiny_model)
    turns = [{"instruction": "ba " * 4000, "output": "be " * 4000}] * 64
    data = import_file(workspace, write_jsonl(tmp_path / "long.jsonl", turns)).ref
    config = resolve("sft", preset=preset, overrides=[f"model.base={model}", f"data.train={data}", *words])
    assert estimate(config, workspace, GPUS[: len(config.devices.use)]).verdict == "fits"
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert f"`{preset}`" in page
