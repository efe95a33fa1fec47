"""The SFT recipe, run in this process on the tiny model (the supervisor is tested elsewhere)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from core.configs.files import resolve
from core.data.store.library import resolve as resolve_data
from core.errors import ModelError, StopRequested
from core.models.library import resolve_base
from core.recipes import sft
from core.report import Report, RunContext
from core.rundir import RunDir, read_jsonl
from core.training.trainer import StageTrainer
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl


def start(workspace: Workspace, model: Path, data: Path, *words: str, run: RunDir | None = None) -> RunDir:
    dataset = resolve_data(workspace, str(data))
    config = resolve(
        "sft",
        overrides=[f"model.base={model}", f"data.train={dataset.ref}", "model.dtype=fp32", "evaluation.prompts=[ba be]",
                   "evaluation.max_new_tokens=8", "devices.use=[cpu]", *words],
    )  # fmt: skip
    run = run or RunDir.create(workspace.runs_dir, "sft")
    sft.main(RunContext(run, workspace, config, Report(run)))
    return run


def losses(run: RunDir) -> list[float]:
    rows, _ = read_jsonl(run.metrics_file)
    return [row["loss"] for row in rows if "loss" in row]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "chat.jsonl", conversations(48))


def test_lora_learns_and_loads_without_this_project(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    run = start(
        workspace, tiny_model, data, "optim.learning_rate=2e-2", "data.validation_split=0.1", "schedule.epochs=6"
    )
    assert losses(run)[-1] < losses(run)[0] - 0.2
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.kind, manifest.adapter_root, manifest.data[0].rows_used) == ("adapter", "adapter", 48)
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    tuned = PeftModel.from_pretrained(base, run.output / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(run.output / "adapter")
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "ba be"}], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        with_adapter = tuned(ids).logits
        with tuned.disable_adapter():
            without = tuned(ids).logits
    assert (with_adapter - without).abs().max() > 0.1


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_full_and_freeze_deliver_a_model(workspace: Workspace, tiny_model: Path, data: Path, method: str) -> None:
    words = [f"tuning.method={method}", "tuning.trainable_layers=1", "optim.learning_rate=2e-2", "schedule.epochs=4"]
    run = start(workspace, tiny_model, data, *words)
    assert losses(run)[-1] < losses(run)[0] - 0.2
    from transformers import AutoModelForCausalLM

    trained, base = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (run.output / "model", tiny_model))
    changed = {name for name in base if not torch.equal(base[name], trained[name])}
    if method == "full":
        assert changed == set(base)
    else:
        assert changed
        assert all(".layers.1." in name for name in changed)


def test_resume_in_the_second_epoch_equals_an_uninterrupted_run(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["schedule.epochs=3", "lora.dropout=0.1", "optim.neftune_alpha=5", "optim.learning_rate=1e-3"]
    whole = start(workspace, tiny_model, data, *words)
    run = RunDir.create(workspace.runs_dir, "sft")
    monkeypatch.setattr(StageTrainer, "agreed_to_stop", lambda self: self.state.global_step == 8)
    with pytest.raises(StopRequested):
        start(workspace, tiny_model, data, *words, run=run)
    monkeypatch.undo()
    assert run.complete_checkpoints()[-1].step == 8  # in the second epoch of 6 steps
    start(workspace, tiny_model, data, *words, run=run)
    assert losses(run) == losses(whole)


def test_patience_ends_a_run_that_no_longer_improves(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    words = ["optim.learning_rate=1e-9", "data.validation_split=0.2", "evaluation.steps=1", "evaluation.patience=2"]
    run = start(workspace, tiny_model, data, *words, "schedule.epochs=20", "schedule.scheduler=constant")
    assert len(losses(run)) < 50
    assert run.manifest() is not None


def test_limit_keeps_the_newest_and_the_best(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    words = ["optim.learning_rate=0.5", "data.validation_split=0.2", "evaluation.steps=1", "saving.limit=2"]
    run = start(workspace, tiny_model, data, *words, "schedule.max_steps=6")
    checkpoints = run.complete_checkpoints()
    rows, _ = read_jsonl(run.metrics_file)
    best = min((row["eval_loss"], row["step"]) for row in rows if "eval_loss" in row)[1]
    assert {checkpoint.step for checkpoint in checkpoints} == {5, 6, best}
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.final_metrics["step"] == best


def test_a_stop_before_the_last_evaluation_is_made_up_for(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["schedule.max_steps=4", "data.validation_split=0.2"]
    whole = start(workspace, tiny_model, data, *words)
    run = RunDir.create(workspace.runs_dir, "sft")
    monkeypatch.setattr(StageTrainer, "agreed_to_stop", lambda self: self.state.global_step == 4)
    with pytest.raises(StopRequested):
        start(workspace, tiny_model, data, *words, run=run)
    monkeypatch.undo()
    assert run.complete_checkpoints()[-1].eval_loss is None
    start(workspace, tiny_model, data, *words, run=run)
    assert run.complete_checkpoints()[-1].eval_loss == whole.complete_checkpoints()[-1].eval_loss
    assert losses(run) == losses(whole)


CHOICES = """
    model.dtype=bf16 model.attention=eager data.train_on=all saving.steps=2 logging.tensorboard=true
    schedule.scheduler=inverse_sqrt schedule.scheduler=polynomial schedule.scheduler=linear optim.optimizer=adafactor
    optim.optimizer=sgd tuning.gradient_checkpointing=true
"""


@pytest.mark.parametrize("word", CHOICES.split())
def test_every_choice_trains(workspace: Workspace, tiny_model: Path, data: Path, word: str) -> None:
    from core.models.loading import has_bf16

    if word == "model.dtype=bf16" and not has_bf16("cpu"):
        pytest.skip("this CPU does not compute in bf16")
    run = start(workspace, tiny_model, data, "schedule.max_steps=3", word)
    assert len(losses(run)) == 3
    assert run.manifest() is not None
    assert (run.path / "tensorboard").exists() is ("tensorboard" in word)


def test_fp16_on_a_cpu_is_refused(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    with pytest.raises(ModelError, match="bf16"):
        start(workspace, tiny_model, data, "model.dtype=fp16")


def test_a_base_without_a_template_takes_a_named_one(
    workspace: Workspace, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"model\.template=chatml"):
        start(workspace, bare, data)
    run = start(workspace, bare, data, "model.template=chatml", "schedule.max_steps=2")
    assert "im_start" in (run.output / "adapter" / "chat_template.jinja").read_text()


def test_a_checkpoint_of_a_full_run_can_be_the_base_of_another(
    workspace: Workspace, tiny_model: Path, data: Path
) -> None:
    run = start(workspace, tiny_model, data, "tuning.method=full", "schedule.max_steps=4", "saving.steps=2")
    run.config_json.write_text("{}")  # in a real run the submission writes it
    assert resolve_base(workspace, f"{run.id}:step-2") == run.checkpoints / "step-2"
    start(workspace, run.checkpoints / "step-2", data, "schedule.max_steps=1")
