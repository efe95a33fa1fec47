"""Resuming with changed settings: what may change does, what must stay is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.__main__ import main
from core.configs.changes import changes, refused, rows_in_step
from core.configs.files import resolve
from core.errors import ConfigError
from core.jobs import store
from core.rundir import State
from core.workspace import Workspace
from tests.jobs_tools import drills, finished_whole, go, in_phase, reaches, submit

__all__ = ["drills"]


def config(*words: str, stage: str = "sft") -> dict:
    return resolve(stage, overrides=["model.base=m", "data.train=d", *words]).model_dump(mode="json")


@pytest.mark.parametrize(
    "word",
    [
        "run.name=x", "run.retries=3", "evaluation.steps=5", "evaluation.prompts=[hello]", "saving.limit=9",
        "logging.steps=10", "model.attention=eager", "tuning.gradient_checkpointing=true", "devices.use=[cuda:0]",
    ],
)  # fmt: skip
def test_what_watches_and_saves_a_run_may_change(word: str) -> None:
    assert len(changes(config(), config(word))) == 1
    assert refused(config(), config(word), "r") == []


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("optim.learning_rate=1e-5", "resume.schedule"),
        ("optim.optimizer=sgd", "resume.schedule"),
        ("schedule.scheduler=linear", "resume.schedule"),
        ("schedule.epochs=9", "resume.schedule"),
        ("data.mix=[a]", "resume.order"),
        ("run.seed=1", "resume.order"),
        ("lora.rank=4", "resume.weights"),
        ("model.dtype=fp32", "resume.weights"),
        ("schedule.batch_size=1", "resume.step"),
        ("devices.use=[cpu, cpu]", "resume.step"),
    ],
)
def test_what_a_checkpoint_was_made_with_must_stay(word: str, code: str) -> None:
    [problem] = refused(config(), config(word), "sft-1")
    assert (problem.key, problem.code) == (word.partition("=")[0], code)
    assert "sft-1:last" in problem.remedy


def policy(*words: str) -> dict:
    return config("rewards.rules=[repetition]", *words, stage="ppo")


@pytest.mark.parametrize(
    "word",
    [
        "run.name=x", "evaluation.steps=2", "evaluation.prompts=8", "evaluation.best_max_kl=5", "saving.steps=1",
        "logging.tensorboard=true", "ppo.batch_size=1", "rollout.batch_size=4", "ppo.max_kl=20",
        "ppo.stop_on_alarm=true", "devices.use=[cuda:0, cuda:1]", "rewards.judge_timeout=60", "rewards.judge_limit=9",
    ],
)  # fmt: skip
def test_of_a_policy_may_change_what_its_answers_do_not_depend_on(word: str) -> None:
    assert len(changes(policy(), policy(word))) == 1
    assert refused(policy(), policy(word), "r") == []


@pytest.mark.parametrize(
    "word",
    [
        "ppo.episodes=1024", "ppo.epochs=2", "ppo.minibatches=2", "ppo.kl_coefficient=0.1", "ppo.kl_target=6",
        "ppo.clip=0.1", "ppo.sft_coefficient=0.1", "rollout.prompts=8", "rollout.max_new_tokens=64",
        "rollout.temperature=0.7", "rewards.rules=[length]", "rewards.models=[r]", "rewards.missing_end=0",
        "rewards.judge_url=http://here/v1", "optim.learning_rate=1e-5", "data.max_length=64", "run.seed=1",
        "lora.rank=4",
    ],
)  # fmt: skip
def test_of_a_policy_must_stay_what_it_learns_from(word: str) -> None:
    [problem] = refused(policy(), policy(word), "ppo-1")
    assert (problem.key, problem.code) == (word.partition("=")[0], "resume.weights")
    assert "lora.start" not in problem.remedy  # which PPO does not have


def test_a_judge_may_move_and_not_vanish() -> None:
    here, there = policy("rewards.judge_url=http://here/v1"), policy("rewards.judge_url=http://there/v1")
    assert len(changes(here, there)) == 1
    assert refused(here, there, "r") == []
    assert [problem.key for problem in refused(here, policy(), "r")] == ["rewards.judge_url"]


def test_a_step_may_be_split_otherwise() -> None:
    before = config("schedule.batch_size=8", "schedule.gradient_accumulation=2")
    now = config("schedule.batch_size=1", "schedule.gradient_accumulation=8", "devices.use=[cuda:0, cuda:1]")
    assert rows_in_step(before) == rows_in_step(now) == 16
    assert refused(before, now, "r") == []


def test_a_setting_that_an_older_checkpoint_does_not_know_is_no_change() -> None:
    before = config()
    del before["data"]["mix"], before["quantization"]
    assert changes(before, config("data.mix=[a]", "quantization.kind=nf4")) == []


def test_a_run_goes_on_with_another_name_and_keeps_the_config_it_had(workspace: Workspace) -> None:
    run = submit(workspace, pause_in="training")
    in_phase(run, "training")
    store.stop(run)
    assert reaches(run) is State.STOPPED
    before = run.config()
    with pytest.raises(ConfigError) as caught:
        store.resume(workspace, run.id, ["drill.steps=99", "run.seed=1", "run.name=again"])
    assert [problem.key for problem in caught.value.problems] == ["run.seed", "drill.steps"]
    with pytest.raises(ConfigError):
        store.resume(workspace, run.id, ["run.nome=again"])
    assert run.config() == before
    assert not list(run.attempts.iterdir())

    go(run)
    store.resume(workspace, run.id, ["run.name=again"])
    finished_whole(run)
    assert run.config() == {**before, "run": {**before["run"], "name": "again"}}
    assert "name: again" in run.config_yaml.read_text(encoding="utf-8")
    assert json.loads((run.attempts / "1" / "config.json").read_text(encoding="utf-8")) == before


def test_the_command_line_resumes_with_changes(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = submit(workspace, pause_in="training")
    in_phase(run, "training")
    store.stop(run)
    reaches(run)
    go(run)
    at = ["--workspace", str(workspace.path), "jobs", "resume", run.id]
    assert main([*at, "run.seed=7"]) == 2
    assert "run.seed: It was 42 and cannot become 7 now" in capsys.readouterr().err
    assert main([*at, "--follow", "run.name=again"]) == 0
    finished_whole(run)
    assert run.config()["run"]["name"] == "again"


def test_before_the_first_checkpoint_everything_may_change(workspace: Workspace) -> None:
    run = submit(workspace, pause_in="loading")
    in_phase(run, "loading")
    store.kill(run)
    reaches(run)
    go(run)
    store.resume(workspace, run.id, ["drill.steps=3"])
    assert reaches(run) is State.SUCCEEDED
    assert len(run.metrics_file.read_text().splitlines()) == 3
