"""What is refused before a run starts: rows of another kind, reward models without a score, no room for an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.__main__ import main
from core.configs.files import resolve
from core.configs.stages import STAGES, PPOConfig
from core.data.kinds import STAGES_OF, Kind, kinds_for
from core.data.store.library import import_file, list_datasets
from core.errors import ConfigError, ModelError, Problem, RunError
from core.jobs import store
from core.jobs.locks import take_run
from core.jobs.pinning import pin
from core.models.library import delete_model, register
from core.models.parents import check_start, offers
from core.rundir import RunDir, write_text
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.models_tools import make_run

TRAINING = ("pretrain", "sft", "reward", "ppo")
ROWS: dict[Kind, dict[str, Any]] = {
    "text": {"text": "ba be bi bo bu. " * 4},
    "messages": {"messages": [{"role": "user", "content": "ba?"}, {"role": "assistant", "content": "be bi"}]},
    "prompt": {"prompt": "ba be?"},
    "preference": {"prompt": "ba?", "chosen": "be bi", "rejected": "bo bu"},
    "choice": {"question": "ba?", "A": "be", "B": "bi", "C": "bo", "D": "bu", "answer": "A"},
}
# The same error as the recipe's own: what it says is needed.
NEEDED = {"pretrain": "text | messages", "sft": "messages", "reward": "preference",
          "ppo": "messages | prompt | preference"}  # fmt: skip


@pytest.fixture
def data(workspace: Workspace, tmp_path: Path) -> dict[Kind, str]:
    """A dataset of every kind."""
    return {kind: import_file(workspace, rows_of(kind, tmp_path)).ref for kind in ROWS}


def rows_of(kind: Kind, folder: Path) -> Path:
    made = [json.loads(json.dumps(ROWS[kind]).replace("ba", f"ba {number}")) for number in range(8)]
    return write_jsonl(folder / f"{kind}.jsonl", made)


def pinned(workspace: Workspace, stage: str, model: Path | str, **values: Any) -> Any:
    given = {"model.base": str(model), "devices.use": ["cpu"], **{k.replace("__", "."): v for k, v in values.items()}}
    if stage == "ppo":
        given = {"rewards.rules": ["repetition"], "rollout.max_new_tokens": 64, **given}
    return pin(workspace, STAGES[stage], resolve(stage, values=given))


def refused(workspace: Workspace, stage: str, model: Path | str, **values: Any) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        pinned(workspace, stage, model, **values)
    return list(caught.value.problems)


# -- rows of a kind that the stage cannot use -------------------------------------------------------------------------
@pytest.mark.parametrize("stage", TRAINING)
def test_rows_of_another_kind_are_refused_at_once(
    workspace: Workspace, tiny_model: Path, data: dict[Kind, str], stage: str
) -> None:
    taken = kinds_for(stage)
    for kind, ref in data.items():
        if kind in taken:
            assert pinned(workspace, stage, tiny_model, data__train=ref).data.train == ref
            continue
        [problem] = refused(workspace, stage, tiny_model, data__train=ref)
        assert (problem.code, problem.key) == ("data.wrong_kind", "data.train")
        assert problem.params == {"ref": ref, "kind": kind, "needed": NEEDED[stage]}


def test_every_setting_that_names_data_is_looked_at(
    workspace: Workspace, tiny_model: Path, data: dict[Kind, str]
) -> None:
    pairs, chat = data["preference"], data["messages"]
    for stage, field, value in (
        ("pretrain", "general", pairs), ("pretrain", "validation", pairs), ("sft", "mix", [f"{pairs}: 0.5"]),
        ("sft", "validation", pairs), ("reward", "validation", chat), ("ppo", "validation", data["text"]),
    ):  # fmt: skip
        good = {"pretrain": data["text"], "reward": pairs}.get(stage, chat)
        [problem] = refused(workspace, stage, tiny_model, **{"data.train": good, f"data.{field}": value})
        assert (problem.code, problem.key) == ("data.wrong_kind", f"data.{field}")


def test_a_file_is_told_right_after_it_was_read(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    chat, text = rows_of("messages", tmp_path), rows_of("text", tmp_path)
    [problem] = refused(workspace, "reward", tiny_model, data__train=str(chat))
    assert (problem.code, problem.key, problem.params["needed"]) == ("data.wrong_kind", "data.train", "preference")
    [problem] = refused(workspace, "sft", tiny_model, data__train=str(chat), data__validation=str(text))
    assert (problem.key, problem.params["kind"]) == ("data.validation", "text")
    assert {dataset.card.kind for dataset in list_datasets(workspace)} == {"messages", "text"}
    assert not workspace.runs()


def test_the_terminal_says_it_before_anything_starts(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"model.base={tiny_model}", f"data.train={rows_of('messages', tmp_path)}", "devices.use=[cpu]"]
    assert main(["--workspace", str(workspace.path), "reward", *words]) == 2
    assert "data.train: " in (told := capsys.readouterr().err)
    assert "this needs 'preference'" in told
    assert not workspace.runs()


def test_kinds_are_those_of_the_table() -> None:
    assert {stage: kinds_for(stage) for stage in TRAINING} == {
        stage: [kind for kind, stages in STAGES_OF.items() if stage in stages] for stage in TRAINING
    }
    assert {stage: " | ".join(kinds_for(stage)) for stage in TRAINING} == NEEDED


# -- what rewards a policy --------------------------------------------------------------------------------------------
def make_judge(workspace: Workspace, base: Path, name: str = "judge") -> RunDir:
    """A finished reward run, as far as anybody looks before a start."""
    run = make_run(workspace, base, name=name)
    made = json.loads(run.manifest_file.read_text())
    write_text(run.manifest_file, json.dumps({**made, "kind": "reward", "adapter_stage": "adapter"}))
    return run


def make_classifier(folder: Path, base: Path, labels: int) -> Path:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def test_reward_models_get_their_lasting_names_and_keep_their_weights(
    workspace: Workspace, tiny_model: Path, data: dict[Kind, str], tmp_path: Path
) -> None:
    judge = make_judge(workspace, tiny_model)
    plain = make_classifier(tmp_path / "plain", tiny_model, 1)
    config = pinned(
        workspace, "ppo", tiny_model, data__train=data["prompt"], rewards__models=["judge: 0.5", str(plain)]
    )
    assert isinstance(config, PPOConfig)
    assert config.rewards.models == [f"{judge.id}: 0.5", f"{plain}: 1"]
    assert pinned(workspace, "ppo", tiny_model, data__train=data["prompt"]).rewards.models == []
    assert config.run.name == "tiny-llama ppo prompt"


def test_what_gives_no_score_is_named_with_the_setting(
    workspace: Workspace, tiny_model: Path, data: dict[Kind, str], tmp_path: Path
) -> None:
    writer, judge = make_run(workspace, tiny_model, name="writer"), make_judge(workspace, tiny_model)
    three = make_classifier(tmp_path / "three", tiny_model, 3)
    problems = refused(
        workspace, "ppo", tiny_model, data__train=data["prompt"],
        rewards__models=["writer", str(tiny_model), f"{three}: 2", "nobody", judge.id, "judge: 0.5"],
    )  # fmt: skip
    assert [problem.code for problem in problems] == [
        "parent.scores_nothing", "parent.scores_nothing", "reward.not_one_score", "reward.unknown", "ppo.reward_twice",
    ]  # fmt: skip
    assert {problem.key for problem in problems} == {"rewards.models"}
    assert problems[0].params["run"] == writer.id
    assert problems[4].params["run"] == judge.id


def test_a_policy_starts_from_what_writes(workspace: Workspace, tiny_model: Path, data: dict[Kind, str]) -> None:
    writer, judge = make_run(workspace, tiny_model), make_judge(workspace, tiny_model)
    assert pinned(workspace, "ppo", writer.id, data__train=data["prompt"]).model.base == writer.id
    [problem] = refused(workspace, "ppo", judge.id, data__train=data["prompt"])
    assert (problem.code, problem.key) == ("parent.scores_only", "model.base")
    legal = {offer.value: offer.legal for offer in offers(workspace, "ppo")}
    assert legal == {writer.id: True, judge.id: False}


@pytest.mark.parametrize("stage", ["pretrain", "sft", "reward", "ppo", "merge", "evaluate"])
def test_what_ppo_made_goes_on_like_any_adapter(workspace: Workspace, tiny_model: Path, stage: str) -> None:
    made = make_run(workspace, tiny_model)
    run = RunDir(made.path.rename(workspace.runs_dir / made.id.replace("sft", "ppo")))
    text = run.manifest_file.read_text().replace(made.id, run.id).replace('"stage": "sft"', '"stage": "ppo"')
    write_text(run.manifest_file, text)
    [offer] = offers(workspace, stage)
    assert (offer.value, offer.legal, offer.stage) == (run.id, True, "ppo")
    assert check_start(workspace, stage, run.id) == run.id
    with pytest.raises(ModelError, match="no reward model"):
        check_start(workspace, "score", run.id)


def test_what_rewards_a_live_policy_is_not_deleted(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    judge = make_judge(workspace, tiny_model)
    card = register(workspace, make_classifier(tmp_path / "plain", tiny_model, 1), "plain", source="own/plain",
                    weights=[])  # fmt: skip
    policy = RunDir.create(workspace.runs_dir, "ppo")
    rewards = {"models": [f"{judge.id}:best: 0.5", f"{card.name}: 1"]}
    write_text(policy.config_json, json.dumps({"model": {"base": str(tiny_model)}, "rewards": rewards}))
    lock = take_run(policy)
    assert lock is not None
    with pytest.raises(RunError, match=policy.id):
        store.delete(workspace, judge)
    with pytest.raises(ModelError, match=policy.id):
        delete_model(workspace, "plain")


# -- room for an answer -----------------------------------------------------------------------------------------------
def test_prompts_must_leave_room_for_an_answer(workspace: Workspace, tiny_model: Path, data: dict[Kind, str]) -> None:
    """The tiny model reads 512 tokens."""

    def problems(prompt: int, new: int | None) -> list[tuple[str, str | None]]:
        found = refused(
            workspace, "ppo", tiny_model, data__train=data["prompt"], data__max_length=prompt,
            rollout__max_new_tokens=new,
        )  # fmt: skip
        return [(problem.code, problem.key) for problem in found]

    assert problems(400, 113) == [("ppo.no_room", "rollout.max_new_tokens")]
    assert problems(512, None) == [("ppo.no_room", "rollout.max_new_tokens")]
    assert problems(513, None) == [("model.beyond_context", "data.max_length")]
    for new in (112, None):
        made = pinned(
            workspace, "ppo", tiny_model, data__train=data["prompt"], data__max_length=400, rollout__max_new_tokens=new
        )
        assert made.rollout.max_new_tokens == new
