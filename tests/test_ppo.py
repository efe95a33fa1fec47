"""The PPO recipe, run in this process on the tiny model: it learns, resumes, stops, delivers, and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.configs.ppo import PolicyLora
from core.data.encode.encoding import Encoder
from core.errors import DataError, GalenError, RunError, StopRequested
from core.models.backbone import load_backbone
from core.models.loading import load_model
from core.models.parents import resolve_parent
from core.ppo import loop
from core.ppo.casting import cast, reward_lines
from core.ppo.learning import Learner
from core.ppo.prompts import demonstrations
from core.ppo.rewards import of_adapter, of_model
from core.ppo.rollout import Prompt
from core.recipes import reward
from core.records_ppo import Episode
from core.rundir import RunDir, read_jsonl
from core.training.judges import load_judge
from core.workspace import Workspace
from tests.chain_tools import backbone_logits, check_chain, logits, peft_logits, train
from tests.conftest import write_jsonl
from tests.ppo_tools import encoder_of, lettered_rule, logged, prompt_file, start
from tests.test_reward import start as start_stage
from tests.test_reward_pairs import pair_rows

pytestmark = pytest.mark.usefixtures("lettered_rule")
LETTERS = "rewards.rules=lettered letter=a"
QUICK = ("rewards.missing_end=", "ppo.episodes=16")

__all__ = ["lettered_rule"]  # a fixture


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return prompt_file(tmp_path)


def episodes(run: RunDir, name: str) -> list[Episode]:
    return [Episode.model_validate(row) for row in read_jsonl(run.rollouts / f"{name}.jsonl")[0]]


def figures(run: RunDir) -> list[dict[str, float]]:
    """The metrics without what depends on the clock."""
    timed = ("time", "seconds", "per_second")
    return [{k: v for k, v in row.items() if not k.endswith(timed)} for row in read_jsonl(run.metrics_file)[0]]


# -- learning ---------------------------------------------------------------------------------------------------------
def test_the_reward_rises_and_beta_keeps_the_kl_near_its_target(
    workspace: Workspace, tiny_model: Path, prompts: Path
) -> None:
    """A task like a bandit: the share of one letter in the answer. A temperature of 0.1 makes up for the random model,
    whose logits can hardly move."""
    words = (
        LETTERS, "rewards.missing_end=", "ppo.episodes=512", "rollout.prompts=32", "rollout.temperature=0.1",
        "ppo.epochs=4", "optim.learning_rate=5e-3", "evaluation.steps=16",
    )  # fmt: skip
    free = start(workspace, tiny_model, prompts, *words, "ppo.kl_coefficient=0")
    assert logged(free, "reward")[0] < 0.1
    assert np.mean(logged(free, "reward")[-3:]) > 0.3
    assert logged(free, "eval_reward")[-1] > logged(free, "eval_reward")[0] + 0.2
    held = start(workspace, tiny_model, prompts, *words, "ppo.kl_target=2", "ppo.kl_horizon=32")
    assert np.mean(logged(free, "kl")[-3:]) > 4
    assert np.mean(logged(held, "kl")[-3:]) < 3
    assert max(logged(held, "kl_coefficient")) > 0.1  # raised while the KL was above its target, from 0.05


def test_what_a_run_says_and_delivers(workspace: Workspace, tiny_model: Path, prompts: Path) -> None:
    run = start(workspace, tiny_model, prompts, LETTERS, *QUICK, "data.validation_split=0.2")
    rows = read_jsonl(run.metrics_file)[0]
    assert [row["step"] for row in rows] == [0, 1, 1, 2, 2]
    told = rows[1]
    assert {"reward.lettered", "kl", "entropy", "no_end", "explained_variance", "sampling_tokens_per_second"} <= set(
        told
    )
    assert told["ratio_off"] <= 1e-5  # rule 11
    assert told["kl"] == pytest.approx(0, abs=1e-5)  # the policy begins as its reference
    assert {"eval_reward", "eval_reward_error", "eval_kl"} <= set(rows[0])
    one = episodes(run, "step-1")[0]
    assert len(episodes(run, "step-1")) == 8
    assert len(one.pieces) == len(one.kl) > 0
    assert one.scores["lettered"] == pytest.approx(one.reward)
    held = [episodes(run, f"held-out-{step}") for step in range(3)]
    assert [[each.line for each in few] for few in held[:1]] * 3 == [[each.line for each in few] for few in held]
    assert not {each.line for each in held[0]} & {each.line for each in episodes(run, "step-1")}
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.kind, manifest.stage, manifest.adapter_root) == ("adapter", "ppo", "adapter")
    assert {"eval_reward", "reward", "kl"} <= set(manifest.final_metrics)
    assert not torch.allclose(
        peft_logits(tiny_model, run.output / "adapter"), backbone_logits(workspace, str(tiny_model))
    )


def test_a_policy_on_an_sft_run_is_a_link_of_its_chain(
    workspace: Workspace, tiny_model: Path, chat_file: Path, prompts: Path
) -> None:
    first = train(workspace, tiny_model, chat_file)
    run = start(workspace, first.id, prompts, LETTERS, *QUICK)
    manifest = run.manifest()
    assert manifest is not None
    assert [link.run for link in manifest.chain] == [first.id]
    check_chain(workspace, run)


# -- rewards ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def chained(workspace: Workspace, tiny_model: Path, chat_file: Path, tmp_path: Path) -> tuple[RunDir, RunDir]:
    """An SFT run, and a reward run on top of it."""
    first = train(workspace, tiny_model, chat_file)
    pairs = write_jsonl(tmp_path / "pairs.jsonl", pair_rows(32))
    return first, start_stage(reward, workspace, first.id, pairs, "optim.learning_rate=2e-2")


def test_rule_20_a_reward_run_on_the_same_backbone_is_shared_and_begins_the_critic(
    workspace: Workspace, chained: tuple[RunDir, RunDir], prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, judge = chained
    seen = {}
    begin = Learner.__init__

    def keep(self, roles, *args, **settings):
        begin(self, roles, *args, **settings)
        seen["critic"] = roles.critic.weight.detach().clone()
        seen["judge"] = roles.judges["reward-0"].weight.detach().clone()
        weights = {name: p.detach().clone() for name, p in roles.backbone.named_parameters() if "lora_" in name}
        seen["pairs"] = [
            (weights[name], weights[name.replace(".critic.", ".reward-0.")]) for name in weights if ".critic." in name
        ]

    monkeypatch.setattr(Learner, "__init__", keep)
    run = start(workspace, first.id, prompts, f"rewards.models=[{judge.id}]", *QUICK)
    assert torch.equal(seen["critic"], seen["judge"])
    assert seen["critic"].abs().sum() > 0
    assert len(seen["pairs"]) > 0
    assert all(torch.equal(mine, other) for mine, other in seen["pairs"])
    assert f"reward.{judge.id}" in read_jsonl(run.metrics_file)[0][1]


def test_a_shared_reward_model_says_what_one_loaded_apart_says(
    workspace: Workspace, chained: tuple[RunDir, RunDir], tmp_path: Path
) -> None:
    """On answers whose tokens are those of their text: the one reads tokens, the other text."""
    first, judge = chained
    parent = resolve_parent(workspace, first.id)
    _, encoder = encoder_of(parent.tokenizer)
    [line] = reward_lines(workspace, [judge.id], parent, encoder.template_sha256)
    asked = [{"role": "user", "content": text} for text in ("ba be", "fu 发烧 da", "do")]
    ids = [np.array(encoder.prompt_ids([each]), np.int32) for each in asked]
    prompts = [Prompt(at, [asked[at]], ids[at], reference) for at, reference in enumerate(("da de", "fa fi fo", "bu"))]
    samples = demonstrations(encoder, prompts, 9, longest=99)
    texts = [prompt.reference or "" for prompt in prompts]
    backbone = load_backbone(parent, dtype=torch.float32, device="cpu").requires_grad_(False)
    assert line.adapter is not None
    shared = of_adapter(cast(backbone, PolicyLora(), [line.adapter]), "reward-0", 500, lambda: None)(samples, texts)
    loaded = load_judge(workspace, judge.id, device="cpu", dtype=torch.float32, max_length=128)
    apart = of_model(loaded, 500, lambda: None)(samples, texts)
    assert np.std(shared) > 1e-3
    np.testing.assert_allclose(shared, apart, atol=1e-4)


def test_a_reward_run_on_another_backbone_is_loaded_apart(
    workspace: Workspace, tiny_model: Path, chained: tuple[RunDir, RunDir], prompts: Path
) -> None:
    first, judge = chained
    template = encoder_of(tiny_model)[1].template_sha256
    shared = reward_lines(workspace, [judge.id], resolve_parent(workspace, first.id), template)
    apart = reward_lines(workspace, [f"{judge.id}: 0.5"], resolve_parent(workspace, str(tiny_model)), template)
    assert reward_lines(workspace, [judge.id], resolve_parent(workspace, first.id), "another")[0].adapter is None
    assert shared[0].adapter is not None
    assert (apart[0].adapter, apart[0].weight) == (None, 0.5)
    run = start(workspace, tiny_model, prompts, f"rewards.models=[{judge.id}]", LETTERS, *QUICK)
    assert {f"reward.{judge.id}", "reward.lettered"} <= set(read_jsonl(run.metrics_file)[0][1])


def test_rule_21_rewards_are_measured_by_the_rows_own_answers(
    workspace: Workspace, tiny_model: Path, tmp_path: Path
) -> None:
    data = prompt_file(tmp_path, answers=True)
    run = start(workspace, tiny_model, data, LETTERS, *QUICK, "rewards.normalise=true")
    plain = start(workspace, tiny_model, data, LETTERS, *QUICK)
    shifted, scores = logged(run, "reward")[0], logged(plain, "reward")[0]
    assert shifted < scores  # the references hold more of the letter than a random model writes
    assert logged(run, "reward.lettered")[0] == pytest.approx(scores)


def test_a_source_that_gives_no_number_ends_the_run(
    workspace: Workspace, chained: tuple[RunDir, RunDir], prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.rules.BoundRule.score", lambda self, answer: float("nan"))
    with pytest.raises(RunError) as caught:
        start(workspace, chained[0].id, prompts, LETTERS, *QUICK)
    assert caught.value.code == "ppo.reward_nan"
    assert caught.value.params["source"] == "lettered"


# -- methods ----------------------------------------------------------------------------------------------------------
def test_the_whole_policy_learns(workspace: Workspace, tiny_model: Path, prompts: Path) -> None:
    run = start(workspace, tiny_model, prompts, LETTERS, *QUICK, "tuning.method=full", "optim.learning_rate=1e-3")
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.kind, manifest.model_folder) == ("model", "model")
    whole = load_model(run.output / "model", dtype=torch.float32, device="cpu")
    assert not torch.allclose(logits(whole), backbone_logits(workspace, str(tiny_model)), atol=1e-4)
    assert logged(run, "ratio_off")[0] <= 1e-5


def test_a_backbone_in_four_bits(workspace: Workspace, tiny_model: Path, prompts: Path) -> None:
    run = start(workspace, tiny_model, prompts, LETTERS, *QUICK, "quantization.kind=nf4")
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.quantisation == "nf4 double"
    assert logged(run, "ratio_off")[0] <= 0.05


def test_demonstrations_can_be_mixed_in(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    data = prompt_file(tmp_path, answers=True)
    words = ("ppo.sft_coefficient=5", "ppo.episodes=96", "evaluation.steps=20")
    run = start(workspace, tiny_model, data, LETTERS, "rewards.missing_end=", *words)
    losses = logged(run, "sft_loss")
    assert losses[-1] < losses[0] - 0.3


# -- resume and ends --------------------------------------------------------------------------------------------------
class Killed(BaseException):
    pass


def test_a_resumed_run_equals_an_uninterrupted_one(
    workspace: Workspace, tiny_model: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        LETTERS,
        "rewards.missing_end=",
        "ppo.episodes=32",
        "ppo.kl_target=1",
        "ppo.kl_horizon=50",
        "ppo.minibatches=2",
    )
    whole = start(workspace, tiny_model, prompts, *words)
    learn = Learner.learn

    def die(self, lessons, step):
        if step == 2:
            raise Killed
        return learn(self, lessons, step)

    monkeypatch.setattr(Learner, "learn", die)
    run = RunDir.create(workspace.runs_dir, "ppo")
    with pytest.raises(Killed):
        start(workspace, tiny_model, prompts, *words, run=run)
    monkeypatch.setattr(Learner, "learn", learn)
    start(workspace, tiny_model, prompts, *words, run=run)
    for expected, found in zip(figures(whole), figures(run), strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    mine, other = (torch.load(each.checkpoints / "step-4" / "optimizer.pt") for each in (run, whole))
    for key, state in other["state"].items():
        torch.testing.assert_close(mine["state"][key]["exp_avg"], state["exp_avg"], rtol=1e-4, atol=1e-7)
    assert json.loads((run.checkpoints / "step-4" / "state.json").read_text())["beta"] != 0.05


def test_a_stop_is_seen_while_answers_are_sampled_and_loses_no_rollout(
    workspace: Workspace, tiny_model: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (LETTERS, "rewards.missing_end=", "ppo.episodes=32", "saving.steps=100", "evaluation.steps=100")
    run = RunDir.create(workspace.runs_dir, "ppo")
    learn = Learner.learn

    def stop_after(self, lessons, step):
        told = learn(self, lessons, step)
        if step == 1:
            run.stop_file.touch()
        return told

    monkeypatch.setattr(Learner, "learn", stop_after)
    with pytest.raises(StopRequested):
        start(workspace, tiny_model, prompts, *words, run=run)
    assert [checkpoint.step for checkpoint in run.complete_checkpoints()] == [2]
    run.stop_file.unlink()
    monkeypatch.setattr(Learner, "learn", learn)
    start(workspace, tiny_model, prompts, *words, run=run)
    assert [row["step"] for row in read_jsonl(run.metrics_file)[0] if "reward" in row] == [1, 2, 3, 4]


def test_a_run_ends_where_the_kl_runs_away(workspace: Workspace, tiny_model: Path, prompts: Path, capsys) -> None:
    words = ("rewards.missing_end=", "ppo.episodes=320", "ppo.max_kl=0.5", "ppo.kl_coefficient=0")
    run = start(workspace, tiny_model, prompts, LETTERS, *words)
    assert 0 < logged(run, "episodes")[-1] < 320
    assert logged(run, "kl")[-1] > 0.5
    assert run.manifest() is not None
    assert "0.5" in capsys.readouterr().out


def test_the_best_checkpoint_has_the_best_reward_within_the_kl(
    workspace: Workspace, tiny_model: Path, prompts: Path
) -> None:
    run = start(workspace, tiny_model, prompts, LETTERS, "rewards.missing_end=", "ppo.episodes=40", "saving.limit=9")
    found = {checkpoint.step: checkpoint for checkpoint in run.complete_checkpoints()}
    rewards = {row["step"]: row["eval_reward"] for row in read_jsonl(run.metrics_file)[0] if "eval_reward" in row}
    best = max(found, key=lambda step: (rewards[step], -step))
    assert run.manifest().final_metrics["step"] == best
    assert found[best].best_by == pytest.approx(-rewards[best])


def test_a_checkpoint_beyond_the_kl_bound_is_not_the_best(
    workspace: Workspace, tiny_model: Path, prompts: Path
) -> None:
    run = start(workspace, tiny_model, prompts, LETTERS, *QUICK, "evaluation.best_max_kl=1e-6", "saving.limit=9")
    assert {checkpoint.best_by for checkpoint in run.complete_checkpoints()} == {loop.TOO_FAR}


# -- what cannot be used ----------------------------------------------------------------------------------------------
def test_fewer_prompts_than_a_rollout_come_again(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    data = prompt_file(tmp_path, 3)
    run = start(workspace, tiny_model, data, LETTERS, *QUICK, "data.validation_split=0")
    found = episodes(run, "step-1")
    assert sorted(each.line for each in found[:3]) == [1, 2, 3]
    assert len(found) == 8
    assert len({(each.line, each.answer) for each in found}) > 3  # another draw each time


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("data.max_length=8",), "ppo.unusable_prompts"),
        (("rollout.max_new_tokens=600",), "ppo.no_room"),
        (("ppo.sft_coefficient=1",), "ppo.no_references"),
        (("rewards.normalise=true",), "ppo.no_references"),
        (("rewards.judge_url=http://127.0.0.1:9/v1", "rewards.judge_model=m"), "ppo.judge_down"),
    ],
)
def test_what_is_refused(
    workspace: Workspace, tiny_model: Path, prompts: Path, words: tuple[str, ...], code: str
) -> None:
    with pytest.raises(GalenError) as caught:
        start(workspace, tiny_model, prompts, LETTERS, *QUICK, *words)
    assert caught.value.code == code


def test_long_prompts_can_be_dropped(workspace: Workspace, tiny_model: Path, prompts: Path) -> None:
    run = start(workspace, tiny_model, prompts, LETTERS, *QUICK, "data.max_length=12", "data.bad_rows=drop")
    assert run.manifest().data[0].rows_dropped > 0


def test_a_text_dataset_asks_nothing(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "texts.jsonl", [{"text": f"ba be {at}"} for at in range(9)])
    with pytest.raises(DataError) as caught:
        start(workspace, tiny_model, data, LETTERS, *QUICK)
    assert caught.value.code == "data.wrong_kind"


def test_a_model_whose_answers_have_no_end_is_refused(
    workspace: Workspace, tiny_model: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Encoder.__init__

    def endless(self, *args, **settings):
        begin(self, *args, **settings)
        self.stop_ids = []

    monkeypatch.setattr(Encoder, "__init__", endless)
    with pytest.raises(GalenError) as caught:
        start(workspace, tiny_model, prompts, LETTERS, *QUICK)
    assert caught.value.code == "ppo.no_stop"
