"""The DPO recipe, run in this process on the tiny model: TRL's loss, and everything round it this project's."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from core.configs.files import resolve
from core.data.store.library import resolve as resolve_data
from core.errors import ConfigError, ModelError, StopRequested
from core.models.weights import ADAPTER
from core.recipes import dpo, sft
from core.report import Report
from core.rundir import RunDir, read_jsonl
from core.training.direct import PairTrainer
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.test_reward import logged, start
from tests.test_reward_pairs import pair_rows

LEARN = ("optim.learning_rate=2e-3", "schedule.epochs=3", "data.validation_split=0.25", "evaluation.prompts=[]")
SHORT = ("schedule.max_steps=3", "evaluation.prompts=[]", "optim.learning_rate=2e-3")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "pairs.jsonl", pair_rows(64))


def answer_logprobs(model: Any, tokenizer: Any, prompt: list[dict[str, str]], answer: str) -> torch.Tensor:
    """log π of an answer with its end, by Transformers' own forward."""
    said = [*prompt, {"role": "assistant", "content": answer}]
    ids = torch.tensor([tokenizer.apply_chat_template(said)["input_ids"]])
    begins = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"])
    ends = ids.shape[1] - ids[0].tolist()[::-1].index(tokenizer.eos_token_id)
    with torch.no_grad():
        found = model(input_ids=ids).logits[0].log_softmax(-1)
    return found[begins - 1 : ends - 1].gather(1, ids[0, begins:ends, None]).sum()


def test_the_chosen_answer_becomes_the_likelier_one(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    run = start(dpo, workspace, tiny_model, data, *LEARN)
    assert logged(run, "loss")[0] == pytest.approx(np.log(2), abs=1e-4)  # policy and reference are one at the start
    assert logged(run, "eval_accuracy")[-1] > 0.9
    assert logged(run, "eval_loss")[-1] < 0.65
    row = read_jsonl(run.metrics_file)[0][-2]
    assert {"accuracy", "margin", "chosen", "rejected", "tokens", "tokens_per_second", "mfu"} <= set(row)
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.stage, manifest.kind, manifest.adapter_stage) == ("dpo", "adapter", "adapter")
    assert not (run.complete_checkpoints()[-1].path / "ref").exists()


def test_held_out_figures_are_those_of_the_formula(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    """By plain Transformers and PEFT, from the texts: the mean loss, accuracy and margin over all held-out pairs."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = pair_rows(21)
    held_out = resolve_data(workspace, str(write_jsonl(data.parent / "held.jsonl", rows)))
    words = ["dpo.beta=0.3", f"data.validation={held_out.ref}", "evaluation.keep_best=false"]
    run = start(dpo, workspace, tiny_model, data, *SHORT, *words)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(run.output / "adapter")
    tuned = PeftModel.from_pretrained(base, run.output / "adapter").eval()
    apart = []
    for row in held_out.take(range(len(rows))):
        scores = []
        for name in ("chosen", "rejected"):
            said = row[name][-1]["content"]
            now = answer_logprobs(tuned, tokenizer, row["prompt"], said)
            with tuned.disable_adapter():
                scores.append(0.3 * (now - answer_logprobs(tuned, tokenizer, row["prompt"], said)))
        apart.append(scores[0] - scores[1])
    margins = torch.stack(apart)
    assert logged(run, "eval_margin")[-1] == pytest.approx(margins.mean().item(), rel=1e-3)
    assert logged(run, "eval_loss")[-1] == pytest.approx(-F.logsigmoid(margins).mean().item(), rel=1e-4)
    assert logged(run, "eval_accuracy")[-1] == pytest.approx((margins > 0).float().mean().item())


@pytest.mark.parametrize(
    "words",
    [("tuning.method=full",), ("tuning.method=freeze", "tuning.trainable_layers=1"), ("lora.embeddings=yes",),
     ("tuning.method=full", "model.dtype=bf16")],
)  # fmt: skip
def test_where_more_than_an_adapter_learns_the_reference_is_a_second_model(
    workspace: Workspace, tiny_model: Path, data: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(dpo, workspace, tiny_model, data, *SHORT, *words)
    assert "reference: a second model" in capsys.readouterr().out
    assert logged(run, "loss")[0] == pytest.approx(np.log(2), abs=1e-5)  # to the bit what the policy is at the start
    assert logged(run, "loss")[-1] < np.log(2) - 0.01
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.kind == "model"


def test_a_resumed_run_equals_an_uninterrupted_one(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["schedule.epochs=2", "data.validation_split=0.2", "evaluation.prompts=[]", "optim.learning_rate=2e-3"]
    whole = start(dpo, workspace, tiny_model, data, *words)
    run = RunDir.create(workspace.runs_dir, "dpo")
    monkeypatch.setattr(PairTrainer, "agreed_to_stop", lambda self: self.state.global_step == 10)
    with pytest.raises(StopRequested):
        start(dpo, workspace, tiny_model, data, *words, run=run)
    monkeypatch.undo()
    start(dpo, workspace, tiny_model, data, *words, run=run)
    assert logged(run, "loss") == logged(whole, "loss")
    assert logged(run, "eval_margin") == logged(whole, "eval_margin")


@pytest.mark.parametrize(
    "words", [(), ("lora.embeddings=yes",), ("quantization.kind=nf4",)], ids=["plain", "embeddings", "nf4"]
)
def test_a_continued_adapter_is_its_own_reference(
    workspace: Workspace, tiny_model: Path, data: Path, words: tuple[str, ...]
) -> None:
    """The first loss is log 2 where the policy starts as what it is compared with."""
    rows = write_jsonl(data.parent / "chat.jsonl", conversations(24))
    parent = start(sft, workspace, tiny_model, rows, "schedule.max_steps=4", "optim.learning_rate=1e-2")
    run = start(dpo, workspace, parent.id, data, *SHORT, *words, "lora.start=continue", "evaluation.keep_best=false")
    assert logged(run, "loss")[0] == pytest.approx(np.log(2), abs=1e-5)
    before, after = (load_file(each.output / "adapter" / ADAPTER) for each in (parent, run))
    learnt = [key for key in before if "lora_" in key]
    assert any(not torch.equal(before[key], after[key]) for key in learnt)
    assert all((before[key].float() - after[key].float()).abs().max() < 0.02 for key in learnt)  # three steps of 2e-3


def test_checkpointing_changes_nothing_and_leaves_no_hooks(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks: list[int] = []
    step = PairTrainer.training_step

    def count(self: PairTrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = step(self, *args, **kwargs)
        hooks.append(len(self.model.get_input_embeddings()._forward_hooks))
        return loss

    monkeypatch.setattr(PairTrainer, "training_step", count)
    losses = [
        logged(start(dpo, workspace, tiny_model, data, *SHORT, f"tuning.gradient_checkpointing={on}"), "loss")
        for on in ("false", "true")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert hooks[-1] == hooks[len(hooks) // 2]  # of the second run, its first step and its last


@pytest.mark.parametrize(
    ("words", "first"),
    [(("dpo.loss=robust", "optim.label_smoothing=0.1"), np.log(2)), (("dpo.loss=hinge",), 1.0),
     (("dpo.loss=ipo",), 25.0)],
    ids=["robust", "hinge", "ipo"],
)  # fmt: skip
def test_the_other_losses_begin_where_their_formulas_do(
    workspace: Workspace, tiny_model: Path, data: Path, words: tuple[str, ...], first: float
) -> None:
    run = start(dpo, workspace, tiny_model, data, *SHORT, *words)
    assert logged(run, "loss")[0] == pytest.approx(first, rel=1e-4)
    assert logged(run, "loss")[-1] < first


def test_a_stop_in_an_evaluation_is_made_up_for(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*LEARN[:1], "schedule.max_steps=4", "data.validation_split=0.25", "evaluation.prompts=[]"]
    whole = start(dpo, workspace, tiny_model, data, *words)
    run = RunDir.create(workspace.runs_dir, "dpo")
    asked: list[int] = []

    def within(self: PairTrainer) -> bool:
        asked.append(self.state.global_step)
        return asked.count(4) > 2  # after the last step, and a batch of its evaluation

    monkeypatch.setattr(PairTrainer, "agreed_to_stop", within)
    with contextlib.suppress(StopRequested):
        start(dpo, workspace, tiny_model, data, *words, run=run)
    assert logged(run, "eval_loss") == []
    monkeypatch.undo()
    start(dpo, workspace, tiny_model, data, *words, run=run)
    assert logged(run, "eval_loss") == pytest.approx(logged(whole, "eval_loss"), rel=1e-5)


def test_answers_that_a_stop_cut_off_are_made_up_for(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = ["ba be", "du di", "bo bu"]
    words = [*LEARN[:1], "schedule.max_steps=2", f"evaluation.prompts=[{', '.join(prompts)}]"]
    words += ["evaluation.max_new_tokens=4"]
    run = RunDir.create(workspace.runs_dir, "dpo")
    said = Report.sample

    def ask_to_stop(self: Report, step: int, prompt: str, answer: str) -> None:
        said(self, step, prompt, answer)
        run.stop_file.touch()

    monkeypatch.setattr(Report, "sample", ask_to_stop)
    with contextlib.suppress(StopRequested):
        start(dpo, workspace, tiny_model, data, *words, run=run)
    assert [row["prompt"] for row in read_jsonl(run.samples_file)[0]] == prompts[:1]
    monkeypatch.undo()
    run.stop_file.unlink()
    start(dpo, workspace, tiny_model, data, *words, run=run)
    rows = read_jsonl(run.samples_file)[0]
    assert [(row["step"], row["prompt"]) for row in rows] == [(2, prompt) for prompt in prompts]


def test_dropout_rests_wherever_a_family_keeps_it(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    """The first loss is log 2 only where policy and reference compute the same."""
    folder = data.parent / "dropping"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.5}))
    run = start(dpo, workspace, folder, data, *SHORT)
    assert logged(run, "loss")[0] == pytest.approx(np.log(2), abs=1e-5)


def test_a_question_of_one_token_is_no_reason_to_refuse(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    """The plain template asks with next to nothing, so the head is compared on the answer, too."""
    rows = [{"prompt": "ba", "chosen": f"be bi {at}", "rejected": "fu"} for at in range(8)]
    data = write_jsonl(tmp_path / "short.jsonl", rows)
    run = start(dpo, workspace, tiny_model, data, *SHORT, "model.template=plain", "data.validation_split=0")
    assert logged(run, "loss")[0] == pytest.approx(np.log(2), abs=1e-4)


def test_a_head_that_is_not_the_models_own_is_refused(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    own = LlamaForCausalLM.forward

    def scaled(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = own(self, *args, **kwargs)
        output.logits = output.logits * 0.5
        return output

    monkeypatch.setattr(LlamaForCausalLM, "forward", scaled)
    with pytest.raises(ModelError) as caught:
        start(dpo, workspace, tiny_model, data, *SHORT)
    assert caught.value.code == "dpo.own_logits"


def test_the_prompts_are_answered_and_the_sft_loss_may_be_added(
    workspace: Workspace, tiny_model: Path, data: Path
) -> None:
    words = ["schedule.max_steps=1", "evaluation.prompts=[ba be]", "evaluation.max_new_tokens=4", "dpo.sft_weight=1"]
    run = start(dpo, workspace, tiny_model, data, *words)
    assert [row["prompt"] for row in read_jsonl(run.samples_file)[0]] == ["ba be"]
    assert logged(run, "loss")[0] > 1  # a random model's −log p of a token is beside log 2


@pytest.mark.parametrize(
    ("word", "code"),
    [("optim.neftune_alpha=5", "dpo.no_noise"), ("lora.dropout=0.1", "dpo.no_dropout"),
     ("optim.label_smoothing=0.1", "dpo.smoothing"), ("dpo.loss=robust", "dpo.smoothing"),
     ("lora.targets=q_proj, lm_head", "dpo.no_head")],
)  # fmt: skip
def test_what_goes_with_nothing_is_refused(word: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("dpo", overrides=["model.base=m", "data.train=d", word])
    assert [problem.code for problem in caught.value.problems] == [code]
