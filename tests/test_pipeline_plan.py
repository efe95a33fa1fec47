"""A chain is read, handed over from step to step, and checked as a whole before anything of it is queued."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.__main__ import main
from core.configs.starts import named_starts, renamed
from core.data.bring.samples import SAMPLES
from core.errors import ConfigError, InputError, ModelError
from core.models.awaited import Awaited, check_start
from core.pipeline.plan import Wanted, handed, plan
from core.pipeline.reading import read_chain, read_words
from core.workspace import Workspace

SFT, PAIRS, PROMPTS = (SAMPLES / stage / "en.jsonl" for stage in ("sft", "reward", "ppo"))


def sft(*words: str) -> Wanted:
    return Wanted("sft", "sft", words=(f"data.train={SFT}", *words))


def test_words_and_files_of_a_chain(tmp_path: Path) -> None:
    own = tmp_path / "reward.yaml"
    own.write_text("model: {base: elsewhere}\ndata: {train: pairs}\n")
    words = ["model.base=tiny", "sft=starter-cpu", f"sft.data.train={SFT}", "evaluate"]
    steps, base = read_words(words, [f"reward={own}"])
    assert base == "tiny"
    assert [(step.name, step.preset, step.file, step.words) for step in steps] == [
        ("sft", "starter-cpu", None, (f"data.train={SFT}",)), ("evaluate", None, None, ()), ("reward", None, own, ()),
    ]  # fmt: skip

    chain = tmp_path / "chain.yaml"
    chain.write_text(
        "base: tiny\nsft: {preset: starter-cpu, data: {train: rows}}\nreward: {config: reward.yaml}\n"
        'test: {stage: evaluate, models: {runs: ["{sft}"]}}\n'
    )
    steps, base = read_chain(chain)
    assert (base, [step.name for step in steps]) == ("tiny", ["sft", "reward", "test"])
    assert (steps[0].preset, dict(steps[0].values)) == ("starter-cpu", {"data.train": "rows"})
    assert (steps[1].file, steps[2].stage, dict(steps[2].values)) == (own, "evaluate", {"models.runs": ["{sft}"]})

    for bad, code in (
        (["no.data.train=x"], "pipeline.bad_word"), (["sftt"], "config.unknown_stage"),
        (["sft=nothing.yaml"], "config.no_file"),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            read_words(bad)
        assert code in (caught.value.code, *(problem.code for problem in caught.value.problems))
    chain.write_text("sft: [1]\nbase: 3\n")
    with pytest.raises(ConfigError) as caught:
        read_chain(chain)
    assert {problem.params["name"] for problem in caught.value.problems} == {"base", "sft"}


def test_what_is_handed_over() -> None:
    stages = ["pretrain", "sft", "reward", "ppo", "dpo", "merge", "evaluate"]
    steps = [Wanted(stage, stage) for stage in stages]
    given = {stage: handed(stage, steps[:at], "tiny") for at, stage in enumerate(stages)}
    assert given == {
        "pretrain": {"model.base": "tiny"},
        "sft": {"model.base": "{pretrain}"},
        "reward": {"model.base": "{sft}"},
        "ppo": {"model.base": "{sft}", "rewards.models": ["{reward}"]},
        "dpo": {"model.base": "{sft}"},
        "merge": {"model.base": "{dpo}"},
        "evaluate": {"models.chain": "{dpo}"},
    }
    assert handed("sft", [], None) == {}, "its own config says what it starts from"


def test_names_of_starts_are_found_and_changed() -> None:
    config = {"model": {"base": "{sft}"}, "rewards": {"models": ["{reward}: 0.5", "other"]}, "run": {"name": "{sft}"}}
    assert named_starts(config) == ["{sft}", "{reward}", "other"]
    now = renamed(config, lambda text: text.replace("{reward}", "r").replace("{sft}", "s"))
    assert now == {"model": {"base": "s"}, "rewards": {"models": ["r: 0.5", "other"]}, "run": {"name": "{sft}"}}


def test_what_can_never_be_a_start_is_told_before_it_is_there(workspace: Workspace) -> None:
    full = {"tuning": {"method": "full"}}
    awaiting = {"{s}": Awaited("sft", {}), "{f}": Awaited("sft", full), "{r}": Awaited("reward", {}),
                "{e}": Awaited("evaluate", {})}  # fmt: skip
    assert check_start(workspace, awaiting, "reward", "{s}:last") == "{s}:last"
    assert check_start(workspace, awaiting, "score", "{r}") == "{r}"
    for stage, text, go_on, code in (
        ("sft", "{r}", False, "parent.scores_only"), ("score", "{s}", False, "parent.scores_nothing"),
        ("ppo", "{e}", False, "pipeline.no_start"), ("merge", "{f}", False, "parent.nothing_to_merge"),
        ("sft", "{f}", True, "parent.nothing_to_continue"),
    ):  # fmt: skip
        with pytest.raises(ModelError) as caught:
            check_start(workspace, awaiting, stage, text, go_on=go_on)
        assert caught.value.code == code


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_queued(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [
        sft("optim.learning_rate=-1"),
        Wanted("ppo", "ppo", words=("data.train=nowhere.jsonl",)),
        Wanted("sft", "sft"),
    ]
    with pytest.raises(ConfigError) as caught:
        plan(workspace, wanted, "nothing")
    found = {(problem.key, problem.code) for problem in caught.value.problems}
    assert {("sft.optim.learning_rate", "config.out_of_bounds"), ("sft", "pipeline.twice")} <= found
    assert ("ppo.rewards.models", "ppo.no_reward") in found
    with pytest.raises(ConfigError) as caught:
        plan(workspace, [sft(), Wanted("reward", "reward", words=(f"data.train={SFT}", "data.max_length=99999"))], "no")
    assert ("sft.model.base", "model.unknown") in {(problem.key, problem.code) for problem in caught.value.problems}
    with pytest.raises(ConfigError):
        plan(workspace, [])
    words = ["--workspace", str(workspace.path), "sft", f"sft.data.train={SFT}", "model.base=nothing"]
    assert main(["pipeline", *words]) == 2
    assert "sft.model.base" in capsys.readouterr().err
    assert workspace.runs() == []


def test_a_chain_is_resolved_with_its_names(
    workspace: Workspace, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"model.base={tiny_model}", "sft=starter-cpu", f"sft.data.train={SFT}", "sft.data.max_length=256",
             "reward=starter-cpu", f"reward.data.train={PAIRS}", "ppo=starter-cpu", f"ppo.data.train={PROMPTS}",
             "ppo.rewards.models=['{reward}: 0.5']", "evaluate", f"evaluate.data.rows=[{SFT}]"]  # fmt: skip
    place = ["--workspace", str(workspace.path), "--json", "--dry-run"]
    assert main(["pipeline", *place, *words]) == 0
    chain = json.loads(capsys.readouterr().out)
    assert chain["sft"]["model"]["base"] == str(tiny_model)
    assert chain["reward"]["model"]["base"] == chain["ppo"]["model"]["base"] == "{sft}"
    assert chain["ppo"]["rewards"]["models"] == ["{reward}: 0.5"]
    assert chain["evaluate"]["models"] == {**chain["evaluate"]["models"], "chain": "{ppo}", "runs": []}
    assert chain["reward"]["optim"]["learning_rate"] == 5e-4, "the preset's"

    beyond = [word.replace("sft.data.max_length=256", "sft.data.max_length=99999") for word in words]
    assert main(["pipeline", *place, *beyond, "reward.data.max_length=88888"]) == 2
    told = {problem["key"]: problem["code"] for problem in json.loads(capsys.readouterr().out)["error"]["problems"]}
    assert told == dict.fromkeys(("sft.data.max_length", "reward.data.max_length"), "model.beyond_context")

    hosts = ["reward.distributed.hosts=2", "reward.distributed.rendezvous=127.0.0.1:29500"]
    assert main(["pipeline", *place, *words, *hosts]) == 2
    told = {problem["key"]: problem["code"] for problem in json.loads(capsys.readouterr().out)["error"]["problems"]}
    assert told == {"reward.distributed.hosts": "distributed.no_waiting"}, "nobody is there to start it"

    assert main(["rehearse", *place, *words]) == 0
    trial = json.loads(capsys.readouterr().out)
    assert trial["sft"]["schedule"] == {**chain["sft"]["schedule"], "max_steps": 2}, (
        "batches stay: memory depends on it"
    )
    assert trial["sft"]["data"]["max_length"] == 256
    assert trial["sft"]["data"]["max_rows"] == 32
    assert trial["ppo"]["ppo"]["episodes"] == 2 * chain["ppo"]["rollout"]["prompts"]
    assert trial["ppo"]["rollout"] == chain["ppo"]["rollout"]
    assert trial["evaluate"]["data"]["max_rows"] == 12
    assert workspace.runs() == []
