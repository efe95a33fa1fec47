"""Configs: sources, their order, and errors that name every wrong setting at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.__main__ import main
from core.configs.files import dump_yaml, fields_of, list_presets, parse_yaml, resolve, save_preset
from core.configs.stages import STAGES
from core.errors import ConfigError, InputError
from core.workspace import Workspace

NEEDED = ("model.base=m", "data.train=d")
NEEDED_BY = {
    "pretrain": NEEDED,
    "sft": NEEDED,
    "reward": NEEDED,
    "ppo": NEEDED,
    "dpo": NEEDED,
    "prepare": ("recipe.inputs=d",),
    "predict": ("model.base=m", "data.file=d"),
    "annotate": ("data.rows=d",),
}


def test_yaml_is_read_by_its_1_2_rules() -> None:
    assert parse_yaml("a: 2e-5\nb: no\nc: 012\nd: off") == {"a": 2e-5, "b": "no", "c": 12, "d": "off"}


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("optim:\n  learning_rate: 3e-5\n  weight_decay: 0.1\nmodel: {base: file}\ndata: {train: file}\n")
    config = resolve("sft", config_file=file, values={"model.base": "form"}, overrides=["optim.learning_rate=1e-5"])
    assert (config.optim.learning_rate, config.optim.weight_decay) == (1e-5, 0.1)
    assert (config.model.base, config.data.train) == ("form", "file")


def test_text_stays_text_and_lists_are_lists() -> None:
    config = resolve(
        "sft", overrides=["model.base=no", "data.train=012", "lora.targets=q_proj, v_proj", "devices.use=[cpu, cpu]"]
    )
    assert (config.model.base, config.data.train) == ("no", "012")
    assert config.lora.targets == ["q_proj", "v_proj"]
    assert config.devices.use == ["cpu:0", "cpu:1"]


def test_all_errors_come_at_once_each_with_key_and_remedy() -> None:
    words = [
        "optim.learning_rte=1",
        "optim.learning_rate=abc",
        "lora.rank=0",
        "tuning.method=lra",
        "word",
        "sched.epochs=1",
    ]
    with pytest.raises(ConfigError) as caught:
        resolve("sft", overrides=[*NEEDED, *words])
    by_key = {problem.key: problem for problem in caught.value.problems}
    assert set(by_key) == {None, "optim.learning_rte", "optim.learning_rate", "lora.rank", "tuning.method", "sched"}
    assert "optim.learning_rate" in by_key["optim.learning_rte"].remedy
    assert "≥ 1" in by_key["lora.rank"].remedy
    assert "lora, full, freeze" in by_key["tuning.method"].remedy
    assert caught.value.exit_status == 2


def test_errors_within_lists_name_the_place_and_the_nearest_setting() -> None:
    steps = "[{do: near, treshold: 0.5}, {do: nea}, {do: near, threshold: 2}, {do: contamination}, 7, {min_chars: 3}]"
    with pytest.raises(ConfigError) as caught:
        resolve("prepare", overrides=["recipe.inputs=[a, {dataset: b, weight: -1}]", f"recipe.steps={steps}"])
    by_key = {problem.key: problem for problem in caught.value.problems}
    assert set(by_key) == {
        "recipe.inputs[1].weight",
        "recipe.steps[0].treshold",
        "recipe.steps[1].do",
        "recipe.steps[2].threshold",
        "recipe.steps[3].against",
        "recipe.steps[4]",
        "recipe.steps[5].do",
    }
    assert "'threshold'" in by_key["recipe.steps[0].treshold"].remedy
    assert "'near'" in by_key["recipe.steps[1].do"].remedy
    assert "≤ 1" in by_key["recipe.steps[2].threshold"].remedy


def test_words_are_short_for_inputs_steps_and_lists() -> None:
    steps = "[exact, {do: language, keep: 'zh, en'}]"
    recipe = resolve("prepare", overrides=["recipe.inputs=medical", f"recipe.steps={steps}"]).recipe
    assert [each.dataset for each in recipe.inputs] == ["medical"]
    assert [step.do for step in recipe.steps] == ["exact", "language"]
    assert recipe.steps[1].keep == ["zh", "en"]


def test_reward_models_are_lines_with_weights() -> None:
    words = (*NEEDED, "rewards.models=[judge, ppo-1:best: 0.5, {other: 2}]")
    config = resolve("ppo", overrides=words)
    assert config.rewards.models == ["judge", "ppo-1:best: 0.5", "other: 2"]
    assert resolve("ppo", values={"model.base": "m", "data.train": "d", "rewards.models": "judge\nother: 2\n"})
    with pytest.raises(ConfigError, match="listed twice"):
        resolve("ppo", overrides=[*NEEDED, "rewards.models=[judge, judge: 2]"])
    with pytest.raises(ConfigError) as caught:
        resolve("ppo", overrides=NEEDED)
    assert [(problem.code, problem.key) for problem in caught.value.problems] == [("ppo.no_reward", "rewards.models")]


def test_missing_settings_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("sft")
    assert {problem.key for problem in caught.value.problems} == {"model.base", "data.train"}


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("optim:\n  learning_rate: [1\nmodel: x\n")
    with pytest.raises(InputError, match="line 3"):
        resolve("sft", config_file=file)


def test_unknown_stage_and_preset_name_the_nearest() -> None:
    with pytest.raises(InputError, match="sft"):
        resolve("sfd")
    with pytest.raises(InputError, match="starter-cpu"):
        resolve("sft", preset="starter-cpuu")


def test_a_dumped_config_resolves_to_itself(tmp_path: Path) -> None:
    config = resolve("sft", overrides=[*NEEDED, "optim.learning_rate=2e-5", "evaluation.prompts=[一岁宝宝, '012']"])
    file = tmp_path / "c.yaml"
    file.write_text(dump_yaml(config.model_dump(mode="json")), encoding="utf-8")
    assert resolve("sft", config_file=file) == config


@pytest.mark.parametrize("preset", [(stage, p.name) for stage in STAGES for p in list_presets(stage)])
def test_shipped_presets_resolve_and_say_what_they_need(preset: tuple[str, str]) -> None:
    stage, name = preset
    resolve(stage, preset=name, overrides=NEEDED_BY[stage])
    about = next(p for p in list_presets(stage) if p.name == name).about
    assert f"python -m core {stage} --preset {name}" in about


def test_own_preset_keeps_only_what_differs(workspace: Workspace) -> None:
    saved = save_preset(
        "sft", "夜间 1", {"optim.learning_rate": 1e-5, "lora.rank": 8, "model.base": "", "data.train": "d"}, workspace
    )
    assert saved.read() == {"data": {"train": "d"}, "optim": {"learning_rate": 1e-5}}
    config = resolve("sft", preset="夜间 1", overrides=["model.base=m"], workspace=workspace)
    assert config.optim.learning_rate == 1e-5
    with pytest.raises(InputError, match="name"):
        save_preset("sft", "../x", {}, workspace)


def test_every_setting_has_help() -> None:
    for stage in STAGES.values():
        for key, field in fields_of(stage.config).items():
            assert field.description, key
            assert key.count(".") == 1


def test_settings_may_stand_behind_options(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["sft", "model.base=m", "--preset", "starter-cpu", "data.train=d", "--dry-run", "lora.rank=3"]
    assert main(["--workspace", str(tmp_path), *words]) == 0
    assert "rank: 3" in capsys.readouterr().out


def test_a_read_only_place_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workspace", "/proc/galen", "jobs", "list"]) == 2
    told = capsys.readouterr().err
    assert "/proc/galen" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("steps", [5, True, {"do": "near"}])
def test_a_recipe_whose_steps_are_no_list_is_refused(steps: object) -> None:
    with pytest.raises(ConfigError, match="a list such as"):
        resolve("prepare", values={"recipe.inputs": ["d"], "recipe.steps": steps})


def test_a_wrong_word_in_a_list_is_told_what_the_list_takes() -> None:
    steps = [{"do": "language", "keep": ["xx"]}]
    with pytest.raises(ConfigError, match="a list of zh, en"):
        resolve("prepare", values={"recipe.inputs": ["d"], "recipe.steps": steps})


def test_a_stages_own_defaults_hold_beside_settings_that_are_given() -> None:
    words = ["model.base=m", "data.train=d", "schedule.batch_size=7", "evaluation.patience=2"]
    config = resolve("pretrain", overrides=words).model_dump()
    assert (config["schedule"]["epochs"], config["schedule"]["batch_size"]) == (1, 7)
    assert config["evaluation"]["prompts"] == resolve("pretrain", overrides=words[:2]).evaluation.prompts
    known = fields_of(STAGES["pretrain"].config)
    assert known["schedule.epochs"].get_default() == 1
    assert fields_of(STAGES["sft"].config)["schedule.epochs"].get_default() == 3
    assert fields_of(STAGES["reward"].config)["schedule.epochs"].get_default() == 1
