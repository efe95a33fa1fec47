"""The fit estimate of PPO: one backbone with its roles, what takes turns, reward models shared or apart, the ladder."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from core.__main__ import main
from core.configs.files import fields_of, resolve
from core.configs.stages import PPOConfig
from core.data.store.library import import_file
from core.fit import policy
from core.fit.estimate import Fit, estimate
from core.fit.ladder import after_memory_failure, changed
from core.fit.relief import relief
from core.fit.rows import lengths_of
from core.messages import MESSAGES
from core.models.anatomy import anatomy
from core.rundir import RunDir, write_json, write_text
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.fit_tools import cpu, gpu, hollow_model
from tests.models_tools import make_run
from webui.messages import code_text
from webui.text import has, t
from webui.text_fields import label
from webui.views_fit import pane

RULES = ["repetition"]


@pytest.fixture
def prompts(workspace: Workspace, tmp_path: Path) -> str:
    """100 questions, some of more than 128 tokens."""
    made = [{"prompt": row["conversations"][0]["value"]} for row in conversations(80)]
    made += [{"prompt": f"{number} " + "ba be bi " * 60} for number in range(20)]
    return import_file(workspace, write_jsonl(tmp_path / "asked.jsonl", made)).ref


@pytest.fixture
def seven(tmp_path: Path, tiny_model: Path) -> Path:
    return hollow_model(tmp_path / "7b", "7b", tiny_model)


def config_of(model: Path | str, data: str, **values: object) -> PPOConfig:
    given = {key.replace("__", "."): value for key, value in values.items()}
    config = resolve("ppo", values={"model.base": str(model), "data.train": data, "rewards.rules": RULES, **given})
    assert isinstance(config, PPOConfig)
    return config


def fit_of(workspace: Workspace, model: Path | str, data: str, devices: list, **values: object) -> Fit:
    return estimate(config_of(model, data, **values), workspace, devices)


def codes(fit: Fit) -> list[str]:
    return [rung.code.removeprefix("fit.rung_") for rung in fit.rungs]


# -- memory -----------------------------------------------------------------------------------------------------------
def test_what_the_estimate_repeats_is_what_the_recipe_does() -> None:
    from core.recipes import ppo

    assert policy.LONG_ANSWER == ppo.LONG_ANSWER


def test_the_backbone_is_there_once(workspace: Workspace, seven: Path, prompts: str) -> None:
    parts = fit_of(workspace, seven, prompts, [gpu(0, 80)], model__dtype="bf16").parts
    body = anatomy(seven)
    learning = 2 * body.adapter_size(8, ["all-linear"]) + body.width  # policy, critic, and the critic's head
    assert parts["weights"] == 2 * body.parameters
    assert (parts["adapters"], parts["gradients"], parts["optimizer"]) == (4 * learning, 4 * learning, 8 * learning)
    assert not {"policy", "rewards"} & set(parts)
    four = fit_of(workspace, seven, prompts, [gpu(0, 80)], quantization__kind="nf4").parts
    assert four["weights"] < 0.3 * parts["weights"]
    two = fit_of(workspace, seven, prompts, [gpu(0, 80), gpu(1, 80)]).parts
    assert two["gradients"] == 4 * learning + 4 * (learning + body.width) // 2  # one role's more, in one piece


def test_a_policy_of_which_every_weight_learns_is_a_second_model(
    workspace: Workspace, seven: Path, prompts: str
) -> None:
    lora = fit_of(workspace, seven, prompts, [gpu(0, 80)], model__dtype="bf16")
    full = fit_of(workspace, seven, prompts, [gpu(0, 80)], model__dtype="bf16", tuning__method="full")
    body = anatomy(seven)
    critic = body.adapter_size(8, ["all-linear"]) + body.width
    assert full.parts["weights"] == lora.parts["weights"]
    assert full.parts["policy"] == 4 * body.parameters
    assert full.parts["gradients"] == 4 * (body.parameters + critic)
    assert full.parts["optimizer"] == 8 * (body.parameters + critic)
    assert full.disk > 10 * lora.disk
    assert full.verdict == "no"


def test_sampling_and_learning_take_turns(workspace: Workspace, seven: Path, prompts: str) -> None:
    def parts(**values: object) -> dict[str, int]:
        return fit_of(workspace, seven, prompts, [gpu(0, 80)], rollout__prompts=256, **values).parts

    few, many = parts(rollout__batch_size=4), parts(rollout__batch_size=256)
    assert "sampling" not in few  # learning takes more than that
    assert {name: size for name, size in many.items() if name != "sampling"} == few
    more = many["sampling"] + many["activations"] + many["logits"]
    longest = min(256, int(lengths_of(workspace, prompts, seven).asked.max())) + 128
    cache = policy.cache_bytes(anatomy(seven), 2, 256, longest)
    assert cache == 256 * longest * 32 * 32 * 128 * 2 * 2  # layers, heads, width; keys and values; bf16
    assert cache < more < 1.5 * cache
    assert parts(ppo__batch_size=32)["activations"] > 3 * parts(ppo__batch_size=1)["activations"]


def test_logits_never_outlive_a_chunk(workspace: Workspace, seven: Path, prompts: str) -> None:
    small = fit_of(workspace, seven, prompts, [gpu(0, 80)], ppo__batch_size=1)
    large = fit_of(workspace, seven, prompts, [gpu(0, 80)], ppo__batch_size=16)
    assert large.parts["logits"] < 0.1 * large.parts["activations"]
    assert large.parts["logits"] < 2 * small.parts["logits"]


def make_judge(workspace: Workspace, base: Path) -> RunDir:
    run = make_run(workspace, base)
    made = json.loads(run.manifest_file.read_text())
    write_text(run.manifest_file, json.dumps({**made, "kind": "reward", "adapter_stage": "adapter"}))
    return run


def test_a_reward_model_shares_the_backbone_or_stands_apart(
    workspace: Workspace, tiny_model: Path, prompts: str, tmp_path: Path
) -> None:
    judge, writer = make_judge(workspace, tiny_model), make_run(workspace, tiny_model, seed=3)
    values = {"model__dtype": "fp32", "rewards__models": [f"{judge.id}: 0.5"]}
    alone = fit_of(workspace, tiny_model, prompts, [cpu(16)], model__dtype="fp32")
    shared = fit_of(workspace, tiny_model, prompts, [cpu(16)], **values)
    small = anatomy(tiny_model)
    rank4 = small.adapter_size(4, ["all-linear"])  # that of the judge, and of the critic that begins as it
    assert "rewards" not in shared.parts
    policy_only = small.adapter_size(8, ["all-linear"])
    assert shared.parts["adapters"] == 4 * (policy_only + 2 * rank4 + small.width)
    assert alone.parts["adapters"] == 4 * (2 * policy_only + small.width)
    # the same judge for a policy on a chain: its backbone is another one
    apart = fit_of(workspace, writer.id, prompts, [cpu(16)], **values)
    assert apart.parts["rewards"] == 4 * small.parameters
    assert apart.parts["adapters"] == alone.parts["adapters"]
    seven = hollow_model(tmp_path / "7b", "7b", tiny_model)
    other = fit_of(workspace, seven, prompts, [gpu(0, 80)], rewards__models=[judge.id])
    assert other.parts["rewards"] == 2 * small.parameters


# -- steps, time, disk ------------------------------------------------------------------------------------------------
def test_a_step_is_a_rollout(workspace: Workspace, seven: Path, prompts: str) -> None:
    fit = fit_of(workspace, seven, prompts, [gpu(0, 80)], ppo__episodes=1000, rollout__prompts=64)
    assert (fit.steps, fit.rows_per_step) == (16, 64)
    asked = lengths_of(workspace, prompts, seven).asked.clip(max=256).mean()
    assert fit.tokens_per_step == pytest.approx(64 * (asked + 128))
    assert fit.seconds is not None
    longer = fit_of(workspace, seven, prompts, [gpu(0, 80)], ppo__episodes=1000, rollout__prompts=64, ppo__epochs=8)
    wider = fit_of(workspace, seven, prompts, [gpu(0, 80), gpu(1, 80)], ppo__episodes=1000, rollout__prompts=64)
    shorter = fit_of(
        workspace, seven, prompts, [gpu(0, 80)], ppo__episodes=1000, rollout__prompts=64, rollout__max_new_tokens=32
    )
    assert longer.seconds > 1.3 * fit.seconds
    assert wider.seconds < 0.7 * fit.seconds
    assert shorter.seconds < 0.6 * fit.seconds
    assert wider.rows_per_step == 64  # over all devices


def test_prompts_are_what_stands_before_the_answer(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    said = [{"prompt": "ba be bi", "chosen": "bo " * 100, "rejected": "bu " * 100}] * 1
    pairs = import_file(workspace, write_jsonl(tmp_path / "pairs.jsonl", said)).ref
    found = lengths_of(workspace, pairs, tiny_model)
    assert int(found.asked.max()) < 40 < 200 < int(found.tokens.max())
    turns = import_file(workspace, write_jsonl(tmp_path / "chat.jsonl", conversations(40, turns=4))).ref
    found = lengths_of(workspace, turns, tiny_model)
    assert 0.75 < found.asked.mean() / found.tokens.mean() < 0.95


def test_a_file_is_looked_at_and_not_imported(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "new.jsonl", [{"prompt": f"ba {number}"} for number in range(40)])
    fit = fit_of(workspace, tiny_model, str(file), [cpu(16)])
    assert [note.code for note in fit.notes] == ["fit.sampled_file"]
    binary = tmp_path / "rows.parquet"
    binary.write_bytes(b"PAR1\0\0\0")
    unknown = fit_of(workspace, tiny_model, str(binary), [cpu(16)])
    assert [note.code for note in unknown.notes] == ["fit.rows_unknown"]
    assert unknown.steps == 32  # episodes say it
    assert not list(workspace.datasets_dir.iterdir())


def test_without_a_limit_an_answer_may_fill_the_context(workspace: Workspace, tiny_model: Path, prompts: str) -> None:
    limited = fit_of(workspace, tiny_model, prompts, [cpu(16)])
    free = fit_of(workspace, tiny_model, prompts, [cpu(16)], rollout__max_new_tokens=None, ppo__batch_size=16)
    assert free.total > limited.total
    assert free.tokens_per_step > limited.tokens_per_step


# -- the ladder -------------------------------------------------------------------------------------------------------
def test_the_ladder_goes_down_until_it_fits(workspace: Workspace, seven: Path, prompts: str) -> None:
    values = {"ppo__batch_size": 32, "rollout__batch_size": 64, "rollout__prompts": 128, "rollout__max_new_tokens": 512}
    fits = {size: fit_of(workspace, seven, prompts, [gpu(0, size)], **values) for size in (12, 16, 24, 320)}
    assert [fit.verdict for fit in fits.values()] == ["no", "no", "no", "fits"]
    assert codes(fits[12]) == ["learning", "sampling", "answers", "8bit", "4bit"]
    assert codes(fits[24]) == ["learning", "sampling"]
    for size in (12, 16, 24):
        totals = [rung.total for rung in fits[size].rungs]
        assert totals == sorted(totals, reverse=True)
        assert [rung.verdict == "fits" for rung in fits[size].rungs] == [False] * (len(totals) - 1) + [True]
    config = config_of(seven, prompts, **values)
    for rung in fits[12].rungs:
        assert set(rung.changes) <= set(fields_of(PPOConfig))
        assert rung.code in MESSAGES
        assert estimate(changed(config, rung.changes), workspace, [gpu(0, 12)]).total == rung.total


def test_full_tuning_is_offered_lora(workspace: Workspace, seven: Path, prompts: str) -> None:
    fit = fit_of(workspace, seven, prompts, [gpu(0, 40)], tuning__method="full")
    assert codes(fit)[-1] == "lora"


def test_with_room_more_answers_are_worked_on_at_once(workspace: Workspace, seven: Path, prompts: str) -> None:
    fit = fit_of(workspace, seven, prompts, [gpu(0, 80)], rollout__prompts=64, ppo__batch_size=4)
    assert [rung.changes for rung in fit.rungs] == [{"ppo.batch_size": 32}, {"rollout.batch_size": 64}]
    assert all(rung.verdict == "fits" for rung in fit.rungs)


def test_answers_beyond_the_context_come_first(workspace: Workspace, tiny_model: Path, prompts: str) -> None:
    fit = fit_of(workspace, tiny_model, prompts, [cpu(0.5)], data__max_length=256, rollout__max_new_tokens=400)
    assert "fit.over_context" in [note.code for note in fit.notes]
    assert all(rung.changes["rollout.max_new_tokens"] <= 256 for rung in fit.rungs)


def test_a_run_that_died_of_memory_is_told_what_is_smaller(
    workspace: Workspace, tiny_model: Path, prompts: str
) -> None:
    config = config_of(tiny_model, prompts, rollout__prompts=4096, ppo__batch_size=4096, devices__use=["cpu:0"])
    rungs = after_memory_failure(config, workspace)
    assert rungs
    assert all(rung.changes["ppo.batch_size"] == 1 for rung in rungs)
    run = RunDir.create(workspace.runs_dir, "ppo")
    write_json(run.config_json, config.model_dump(mode="json"))
    assert relief(workspace, run, "run.killed_memory") == rungs


def test_the_terminal_says_it(
    workspace: Workspace, tiny_model: Path, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"model.base={tiny_model}", f"data.train={prompts}", "rewards.rules=[repetition]", "devices.use=[cpu]"]
    assert main(["--workspace", str(workspace.path), "fit", "ppo", *words]) == 0
    told = capsys.readouterr().out
    assert "cpu:0: fits" in told
    assert "16 rows" in told
    assert main(["--workspace", str(workspace.path), "--json", "fit", "ppo", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"] == sum(found["parts"].values())
    assert found["steps"] == 32


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_names_every_part_and_change(workspace: Workspace, seven: Path, prompts: str, lang: str) -> None:
    fit = fit_of(workspace, seven, prompts, [gpu(0, 40)], tuning__method="full", rollout__batch_size=256,
                 rollout__prompts=256)  # fmt: skip
    assert {"policy", "sampling"} <= set(fit.parts)
    shown = html.unescape(pane(fit, "ppo", lang))
    assert all(has(f"fit.part_{name}") for name in (*fit.parts, "rewards"))
    assert t("fit.part_policy", lang) in shown
    for rung in fit.rungs:
        assert all(label("ppo", key, lang) in shown for key in rung.changes)
        assert code_text(rung.code, {}, lang)[0] in shown
