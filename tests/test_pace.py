"""Tokens, TFLOP/s and MFU of a training: counted as the book says, from models with and without adapters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from core.configs import sections
from core.data.encode.blocks import blocks_of
from core.models.anatomy import anatomy
from core.training import pace
from core.training.batching import squares_of
from core.training.fastpath import FusedCausalLM
from core.training.pace import Pace, peak_of, shape_of
from core.training.tuning import make_trainable

LENGTHS = np.array([10, 20, 30])


def objective(folder: Path, method: str) -> FusedCausalLM:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tuning = sections.Tuning.model_validate({"method": method, "trainable_layers": 1})
    trainable, autocast = make_trainable(model, tuning, sections.Lora(rank=4), torch.float32)
    return FusedCausalLM(trainable, autocast=autocast)


def test_a_loaded_model_has_the_anatomy_of_its_folder(tiny_model: Path) -> None:
    body, adapter = shape_of(objective(tiny_model, "lora").model)
    on_disk = anatomy(tiny_model)
    assert (body.parameters, body.per_token, body.head_size) == (
        on_disk.parameters, on_disk.per_token, on_disk.head_size,
    )  # fmt: skip
    assert adapter == on_disk.adapter_size(4, ["all-linear"])
    assert shape_of(objective(tiny_model, "full").model)[1] == 0


def test_speed_is_work_over_time_and_ranks(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0, 102.0])
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(clock))
    meter = Pace(objective(tiny_model, "full"), "full", LENGTHS, LENGTHS**2, world_size=2)
    meter.step(60, 40)
    meter.step(60, 40)
    found = meter.figures()
    body = anatomy(tiny_model)
    squares = 120 * (100 + 400 + 900) / 60
    work = 6 * body.per_token * 120 + 6 * body.head_size * 80 + 6 * 2 * 64 * squares
    assert found["tokens_per_second"] == 60
    assert found["tflops"] == pytest.approx(work / 2.0 / 2 / 1e12)
    assert found["mfu"] == pytest.approx(found["tflops"] * 1e12 / meter.peak)


def test_what_does_not_see_each_other_is_no_attention() -> None:
    plan = blocks_of([5, 3, 9], 8, "isolated")
    assert plan.squares.sum() == sum(int((plan.block(block)[1] ** 2).sum()) for block in range(len(plan)))
    assert plan.squares.sum() < (plan.block_lengths**2).sum()

    class Rows:
        lengths = LENGTHS

    assert squares_of(Rows()).tolist() == (LENGTHS**2).tolist()


def test_what_has_no_vocabulary_head_is_not_credited_with_one(tiny_model: Path) -> None:
    lora = objective(tiny_model, "lora")
    assert Pace(lora, "lora", LENGTHS, LENGTHS**2, writes_text=False).costs.label == 0
    assert Pace(lora, "lora", LENGTHS, LENGTHS**2).costs.label == 4 * anatomy(tiny_model).head_size


def test_a_peak_is_measured_once() -> None:
    first = peak_of("cpu", torch.float32)
    assert first > 1e8
    assert peak_of("cpu", torch.float32) == first
