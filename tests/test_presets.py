"""Every shipped preset resolves, says what it needs, and fits there; those for a CPU run."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.configs.files import Preset, list_presets, resolve
from core.data.store.library import import_file
from core.fit.estimate import estimate
from core.hardware import Device
from core.jobs import store
from core.rundir import State
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.fit_tools import gpu, hollow_model
from tests.jobs_tools import logs, reaches

STAGES = ("pretrain", "sft", "reward", "ppo", "dpo")
PRESETS = [(stage, preset) for stage in STAGES for preset in list_presets(stage)]
MORE: dict[str, set[str]] = {
    "ppo": {"8-devices"},
    "dpo": set(),
    "reward": {"13b-lora-article", "full-8gpu", "13b-full-8gpu", "70b-lora-8gpu"},
    **{
        stage: {"13b-lora-article", "full-8gpu", "samples-cpu", "13b-full-8gpu", "70b-lora-8gpu", "70b-full-64gpu"}
        for stage in ("pretrain", "sft")
    },
}
SIZES = {"7b": "7b", "13b": "13b", "70b": "70b", "full": "3b", "8": "13b"}


def dataset(workspace: Workspace, folder: Path, stage: str, words: int = 1) -> str:
    """64 rows for a stage, imported; `words` makes them longer."""
    turns = [[turn["value"] + " ba" * (words - 1) for turn in row["conversations"]] for row in conversations(64)]
    if stage == "pretrain":
        made = [{"text": " ".join(texts)} for texts in turns]
    elif stage == "sft":
        made = [{"instruction": asked, "output": said} for asked, said in turns]
    elif stage == "ppo":
        made = [{"prompt": asked} for asked, _ in turns]
    else:
        made = [{"prompt": asked, "chosen": said, "rejected": asked} for asked, said in turns]
    return import_file(workspace, write_jsonl(folder / f"{stage}.jsonl", made)).ref


def test_each_stage_has_its_presets() -> None:
    names = {"starter-cpu", "7b-qlora-24gb", "7b-lora-80gb"}
    for stage in STAGES:
        assert {preset.name for preset in list_presets(stage)} == names | MORE[stage]


@pytest.mark.parametrize(("stage", "preset"), PRESETS, ids=lambda value: getattr(value, "name", value))
def test_a_preset_resolves_and_says_how_to_start_it(stage: str, preset: Preset) -> None:
    config = resolve(stage, preset=preset.name, values={"model.base": "m", "data.train": "d"})
    about = preset.about.splitlines()
    assert about[-1].startswith(f"python -m core {stage} --preset {preset.name} ")
    assert "GB" in preset.about
    given = {(section, key) for section, values in preset.read().items() for key in values}
    assert all(key in type(getattr(config, section)).model_fields for section, key in given)


def test_the_articles_arguments_are_its_own() -> None:
    config = resolve("sft", preset="13b-lora-article", values={"model.base": "m", "data.train": "d"})
    found = config.model_dump()
    expected = {
        "optim.learning_rate": 2e-5, "schedule.batch_size": 8, "schedule.gradient_accumulation": 1,
        "schedule.epochs": 10, "schedule.scheduler": "linear", "schedule.warmup_steps": 50, "logging.steps": 50,
        "evaluation.steps": 50, "saving.steps": 50, "saving.limit": 3, "evaluation.keep_best": True,
        "model.dtype": "fp16", "logging.tensorboard": True, "tuning.method": "lora", "optim.adam_epsilon": 1e-8,
        "optim.max_grad_norm": 1, "optim.weight_decay": 0, "run.seed": 42,
    }  # fmt: skip
    for key, value in expected.items():
        section, name = key.split(".")
        assert found[section][name] == value, key


@pytest.mark.parametrize(
    ("stage", "preset"),
    [(stage, preset) for stage, preset in PRESETS if "cpu" not in preset.name],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_preset_fits_the_machine_that_it_names(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, stage: str, preset: Preset
) -> None:
    model = hollow_model(tmp_path / "model", SIZES[preset.name.split("-")[0]], tiny_model)
    devices: list[Device] = [gpu(index, 24 if "24gb" in preset.name else 80) for index in range(8)]
    longest = dataset(workspace, tmp_path, stage, words=2000)  # every row is cut: as much as the preset allows
    config = resolve(stage, preset=preset.name, values={"model.base": str(model), "data.train": longest})
    fit = estimate(config, workspace, devices[: len(config.devices.use)])
    assert fit.verdict == "fits", fit.parts


@pytest.mark.parametrize("preset", list_presets("annotate"), ids=lambda preset: preset.name)
def test_a_preset_for_annotating_resolves(preset: Preset) -> None:
    resolve("annotate", preset=preset.name, values={"data.rows": "d"})
    assert preset.about.splitlines()[-1].startswith(f"python -m core annotate --preset {preset.name} ")
    assert "GB" in preset.about


@pytest.mark.parametrize("stage", STAGES)
def test_the_presets_for_a_cpu_run(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALEN_LOCK_DIR", str(tmp_path / "locks"))
    values = {
        "model.base": str(tiny_model), "data.train": dataset(workspace, tmp_path, stage),
        "data.block_size" if stage == "pretrain" else "data.max_length": 64,
    }  # fmt: skip
    if stage == "ppo":
        values |= {"ppo.episodes": 32, "rollout.max_new_tokens": 8, "evaluation.prompts": 4}
    else:
        values["schedule.max_steps"] = 2
    if stage in ("pretrain", "sft", "dpo"):
        values["evaluation.max_new_tokens"] = 4
    run = store.submit(workspace, stage, resolve(stage, preset="starter-cpu", values=values, workspace=workspace))
    assert reaches(run, seconds=300) is State.SUCCEEDED, logs(run)
