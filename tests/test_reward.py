"""The reward and score recipes, run in this process on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.configs.files import resolve
from core.data.store.library import resolve as resolve_data
from core.errors import ConfigError, DataError, ModelError, StopRequested
from core.models.parents import check_start
from core.models.weights import ADAPTER
from core.recipes import reward, score, sft
from core.records_reward import PairReport
from core.report import Report, RunContext
from core.rundir import PAIRS, RunDir, read_jsonl, read_record
from core.training.judges import load_judge
from core.training.trainer import StageTrainer
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.test_reward_pairs import pair_rows

LEARN = ("optim.learning_rate=2e-2", "schedule.epochs=4", "data.validation_split=0.25")


def start(
    stage: Any, workspace: Workspace, base: str | Path, data: Path, *words: str, run: RunDir | None = None
) -> RunDir:
    name = stage.__name__.rpartition(".")[2]
    key = "rows" if name == "score" else "train"
    dataset = resolve_data(workspace, str(data))
    overrides = [f"model.base={base}", f"data.{key}={dataset.ref}", "model.dtype=fp32", "devices.use=[cpu]", *words]
    config = resolve(name, overrides=overrides)
    run = run or RunDir.create(workspace.runs_dir, name)
    run.config_json.write_text(json.dumps(config.model_dump(mode="json")))
    stage.main(RunContext(run, workspace, config, Report(run)))
    return run


def logged(run: RunDir, key: str) -> list[float]:
    rows, _ = read_jsonl(run.metrics_file)
    return [row[key] for row in rows if key in row]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "pairs.jsonl", pair_rows(96))


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    return ["ba be", "fu fo fa", "发烧 ba"]


def plain_scores(model: Any, tokenizer: Any, prompts: list[str], answer: str = "da de di") -> torch.Tensor:
    """By Transformers' own forward, one text at a time, up to the end-of-turn token."""
    found = []
    for prompt in prompts:
        said = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        ids = tokenizer.apply_chat_template(said)["input_ids"]
        last = len(ids) - ids[::-1].index(tokenizer.eos_token_id)
        with torch.no_grad():
            found.append(model(input_ids=torch.tensor([ids[:last]])).logits[0, 0])
    return torch.stack(found)


def our_scores(workspace: Workspace, name: str, prompts: list[str], answer: str = "da de di") -> torch.Tensor:
    from core.data.encode.pairs import encode_batch

    judge = load_judge(workspace, name, device="cpu", dtype=torch.float32, max_length=512)
    asked = [([{"role": "user", "content": prompt}], [answer, "du"]) for prompt in prompts]
    trees = [found[0] for found in encode_batch(judge.encoder, asked)]
    assert judge.warm_up(trees) is None
    return torch.tensor([scores[0] for scores in judge.score(trees, tokens=64)])


def test_lora_learns_the_order_and_plain_peft_gives_the_same_scores(
    workspace: Workspace, tiny_model: Path, data: Path, prompts: list[str]
) -> None:
    run = start(reward, workspace, tiny_model, data, *LEARN)
    assert logged(run, "loss")[0] == pytest.approx(np.log(2), abs=1e-4)  # a new head scores everything 0
    assert logged(run, "eval_accuracy")[-1] > 0.9
    assert {"accuracy", "margin"} <= set(read_jsonl(run.metrics_file)[0][-2])
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.kind, manifest.adapter_stage, manifest.adapter_root) == ("reward", "adapter", "adapter")
    assert manifest.head == {"type": "linear", "pooling": "last_end_of_turn", "file": ADAPTER}
    assert "eval_accuracy" in manifest.final_metrics
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    tuned = PeftModel.from_pretrained(base, run.output / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(run.output / "adapter")
    expected = plain_scores(tuned, tokenizer, prompts)
    assert expected.std() > 0.01
    torch.testing.assert_close(our_scores(workspace, run.id, prompts), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_a_whole_reward_model_is_a_classifier_for_everybody(
    workspace: Workspace, tiny_model: Path, data: Path, prompts: list[str], method: str
) -> None:
    words = [f"tuning.method={method}", "tuning.trainable_layers=1"]
    run = start(reward, workspace, tiny_model, data, "optim.learning_rate=5e-3", *LEARN[1:], *words)
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.kind, manifest.model_folder) == ("reward", "model")
    assert logged(run, "eval_accuracy")[-1] > 0.8
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = run.output / "model"
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert plain.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    expected = plain_scores(plain, tokenizer, prompts)
    for name in (run.id, str(folder)):  # the run, and the folder as somebody else's
        torch.testing.assert_close(our_scores(workspace, name, prompts), expected, rtol=1e-4, atol=1e-4)
    checkpoint = our_scores(workspace, f"{run.id}:step-{manifest.final_metrics['step']:.0f}", prompts)
    torch.testing.assert_close(checkpoint, expected, rtol=1e-4, atol=1e-4)


def test_on_top_of_an_sft_run_the_whole_chain_is_scored(
    workspace: Workspace, tiny_model: Path, data: Path, tmp_path: Path, prompts: list[str]
) -> None:
    chat = write_jsonl(tmp_path / "chat.jsonl", conversations(32))
    below = start(sft, workspace, tiny_model, chat, "optim.learning_rate=2e-2", "evaluation.prompts=[]")
    run = start(reward, workspace, below.id, data, *LEARN)
    manifest = run.manifest()
    assert manifest is not None
    assert [link.run for link in manifest.chain] == [below.id]
    assert manifest.adapter_root != manifest.adapter_stage
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    root = run.output / str(manifest.adapter_root)
    expected = plain_scores(PeftModel.from_pretrained(base, root).eval(), AutoTokenizer.from_pretrained(root), prompts)
    torch.testing.assert_close(our_scores(workspace, run.id, prompts), expected, rtol=1e-4, atol=1e-4)
    found = read_record(run.pairs_file, PairReport)
    assert found is not None
    torch.testing.assert_close(
        our_scores(workspace, f"{run.id}:step-{found.step}", prompts), expected, rtol=1e-4, atol=1e-4
    )


def test_the_stage_adapter_lies_on_its_backbone_beside_others(
    workspace: Workspace, tiny_model: Path, data: Path, prompts: list[str]
) -> None:
    """What PPO does: a causal backbone, the reward adapter laid on it, the head apart."""
    from transformers import AutoModelForCausalLM

    from core.data.encode.pairs import encode_batch
    from core.training.heads import lay_adapter
    from core.training.judges import head_of
    from core.training.scoring import RewardModel
    from core.training.trees import TreePack

    run = start(reward, workspace, tiny_model, data, *LEARN)
    expected = our_scores(workspace, run.id, prompts)
    model = lay_adapter(AutoModelForCausalLM.from_pretrained(tiny_model), run.output / "adapter", "reward")
    model = lay_adapter(model, run.output / "adapter", "critic")
    model.set_adapter("reward")
    judge = load_judge(workspace, run.id, device="cpu", dtype=torch.float32, max_length=512)
    asked = [([{"role": "user", "content": prompt}], ["da de di"]) for prompt in prompts]
    pack = TreePack.of([found[0] for found in encode_batch(judge.encoder, asked)])
    beside = RewardModel(model, head_of(run.output / "adapter"))
    with torch.no_grad():
        torch.testing.assert_close(beside.scores(pack), expected, rtol=1e-4, atol=1e-4)


def test_pairs_json_is_that_of_the_delivered_weights(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    words = ["optim.learning_rate=0.3", "data.validation_split=0.25", "evaluation.steps=1", "schedule.max_steps=5"]
    run = start(reward, workspace, tiny_model, data, *words, "saving.limit=1")
    rows, _ = read_jsonl(run.metrics_file)
    best = min((row["eval_loss"], row["step"]) for row in rows if "eval_loss" in row)[1]
    manifest, found = run.manifest(), read_record(run.pairs_file, PairReport)
    assert manifest is not None
    assert found is not None
    assert manifest.final_metrics["step"] == found.step == best
    assert found.pairs == 24
    wrong = [(worst.chosen_score - worst.rejected_score) for worst in found.worst]
    assert wrong == sorted(wrong)
    assert len(wrong) == round((1 - (found.accuracy or 0)) * 24)
    assert {checkpoint.step for checkpoint in run.complete_checkpoints()} == {5, best}
    copy = read_record(run.checkpoints / f"step-{best}" / PAIRS, PairReport)
    assert copy == found


def test_the_best_may_be_the_most_accurate_one(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    words = ["optim.learning_rate=0.1", "data.validation_split=0.25", "evaluation.steps=1", "schedule.max_steps=6"]
    run = start(reward, workspace, tiny_model, data, *words, "evaluation.best_by=accuracy")
    rows, _ = read_jsonl(run.metrics_file)
    key = {row["step"]: (-row["eval_accuracy"], row["eval_loss"], row["step"]) for row in rows if "eval_loss" in row}
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.final_metrics["step"] == min(key.values())[2]


def test_a_resumed_run_equals_an_uninterrupted_one(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["schedule.epochs=2", "lora.dropout=0.1", "preference.head_learning_rate=1e-2", "data.validation_split=0.2"]
    whole = start(reward, workspace, tiny_model, data, *words)
    run = RunDir.create(workspace.runs_dir, "reward")
    monkeypatch.setattr(StageTrainer, "agreed_to_stop", lambda self: self.state.global_step == 12)
    with pytest.raises(StopRequested):
        start(reward, workspace, tiny_model, data, *words, run=run)
    monkeypatch.undo()
    start(reward, workspace, tiny_model, data, *words, run=run)
    assert logged(run, "loss") == logged(whole, "loss")
    assert logged(run, "eval_margin") == logged(whole, "eval_margin")


def test_a_continued_run_goes_on_with_adapter_and_head(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    first = start(reward, workspace, tiny_model, data, *LEARN)
    still = ("lora.start=continue", "optim.learning_rate=1e-12", "schedule.max_steps=1")
    second = start(reward, workspace, f"{first.id}:last", data, *still)
    folders = (first.complete_checkpoints()[-1].path, second.output / "adapter")
    before, after = (load_file(folder / ADAPTER) for folder in folders)
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in before)


def test_the_head_may_have_a_rate_of_its_own(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    """With Adam the first step moves every weight by its learning rate."""
    words = ["schedule.max_steps=1", "optim.learning_rate=1e-3", "preference.head_learning_rate=1e-2"]
    run = start(reward, workspace, tiny_model, data, *words, "schedule.scheduler=constant", "schedule.warmup_ratio=0")
    from core.training.heads import read_head

    assert read_head(run.output / "adapter").abs().max().item() == pytest.approx(1e-2, rel=0.01)


def test_without_held_out_pairs_the_gate_is_closed(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    run = start(reward, workspace, tiny_model, data, "data.validation_split=0", "schedule.max_steps=1")
    found = read_record(run.pairs_file, PairReport)
    assert found is not None
    assert [reason.code for reason in found.gate.reasons] == ["reward.not_measured"]


def test_rows_that_cannot_be_used_stop_the_run_or_are_dropped(
    workspace: Workspace, tiny_model: Path, tmp_path: Path
) -> None:
    rows = pair_rows(24)
    rows[3] |= {"chosen": "ba " * 60 + "be", "rejected": "ba " * 60 + "fu"}
    rows[9]["prompt"] = "ba be bi bo " * 40
    data = write_jsonl(tmp_path / "pairs.jsonl", rows)
    words = ["data.max_length=48", "schedule.max_steps=1", "data.validation_split=0"]
    with pytest.raises(DataError) as caught:
        start(reward, workspace, tiny_model, data, *words)
    assert [(problem.code, problem.line) for problem in caught.value.problems] == [
        ("reward.same_answers", 4),
        ("reward.no_answer_left", 10),
    ]
    run = start(reward, workspace, tiny_model, data, *words, "data.bad_rows=drop")
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.data[0].rows_used, manifest.data[0].dropped_lines) == (22, [4, 10])


def test_a_reward_model_is_no_base_and_a_base_no_reward_model(
    workspace: Workspace, tiny_model: Path, data: Path
) -> None:
    run = start(reward, workspace, tiny_model, data, "schedule.max_steps=1")
    with pytest.raises(ModelError) as caught:
        check_start(workspace, "sft", run.id)
    assert caught.value.code == "parent.scores_only"
    for stage in ("pretrain", "sft", "vocabulary", "perplexity"):  # nor is a checkpoint of it
        with pytest.raises(ModelError) as caught:
            check_start(workspace, stage, f"{run.id}:last")
        assert caught.value.code == "parent.scores_only"
    for stage in ("score", "evaluate", "merge"):
        assert check_start(workspace, stage, f"{run.id}:last") == f"{run.id}:last"
    with pytest.raises(ModelError) as caught:
        start(score, workspace, tiny_model, data)
    assert caught.value.code == "parent.scores_nothing"


def test_more_tokens_than_the_model_reads_are_refused(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match="at once: 512"):
        start(reward, workspace, tiny_model, data, "data.max_length=513")


# -- score ------------------------------------------------------------------------------------------------------------
def test_scores_of_pairs_are_those_of_the_training(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    run = start(
        reward, workspace, tiny_model, data, "data.validation_split=0", f"data.validation={data.stem}", *LEARN[:2]
    )
    judged = start(score, workspace, run.id, data)
    ours, theirs = (read_record(each.pairs_file, PairReport) for each in (judged, run))
    assert ours is not None
    assert theirs is not None
    assert (ours.pairs, ours.accuracy) == (theirs.pairs, theirs.accuracy) == (96, ours.accuracy)
    assert ours.margin == pytest.approx(theirs.margin, rel=1e-3)
    rows, _ = read_jsonl(judged.output / "scores.jsonl")
    assert [row["line"] for row in rows] == list(range(1, 97))
    margin = np.mean([row["chosen_score"] - row["rejected_score"] for row in rows])
    assert margin == pytest.approx(ours.margin, rel=1e-6)


def test_conversations_and_ranked_answers_are_scored_alike(
    workspace: Workspace, tiny_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(reward, workspace, tiny_model, data, *LEARN)
    pairs = pair_rows(12, seed=5)
    ranked = [
        {
            "prompt": row["prompt"],
            "answers": [{"content": row["rejected"], "score": 1}, {"content": row["chosen"], "score": 7}],
        }
        for row in pairs
    ]
    chats = [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]}]}
        for row in pairs
    ]
    chats.append({"messages": [{"role": "user", "content": "ba " * 99}, {"role": "assistant", "content": "be"}]})
    lists = start(score, workspace, run.id, write_jsonl(tmp_path / "ranked.jsonl", ranked), "data.max_length=64")
    assert "% are in order" in capsys.readouterr().out
    talks = start(score, workspace, run.id, write_jsonl(tmp_path / "chats.jsonl", chats), "data.max_length=64")
    lists_rows, _ = read_jsonl(lists.output / "scores.jsonl")
    talks_rows, _ = read_jsonl(talks.output / "scores.jsonl")
    assert [row["answers"][1]["score"] for row in lists_rows] == pytest.approx(
        [row["score"] for row in talks_rows[:-1]], abs=1e-5
    )
    assert [row["answers"][1]["given"] for row in lists_rows] == [7] * 12
    assert talks_rows[-1]["score"] is None
    assert "64 tokens" in talks_rows[-1]["reason"]


def test_texts_have_no_answers_to_score(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="messages / preference / ranked"):
        start(score, workspace, tiny_model, write_jsonl(tmp_path / "texts.jsonl", [{"text": "a b c"}]))
