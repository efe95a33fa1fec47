"""The pretrain recipe, run in this process on the tiny model."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from core.configs.files import resolve
from core.data.store.library import resolve as resolve_data
from core.errors import ConfigError, DataError, StopRequested
from core.recipes import pretrain
from core.report import Report, RunContext
from core.rundir import RunDir, read_jsonl
from core.training.trainer import StageTrainer
from core.workspace import Workspace
from tests.conftest import SYLLABLES, conversations, write_jsonl


def documents(count: int, seed: int = 0) -> list[dict]:
    """Texts whose every second word can be predicted: it is the first one's reverse."""
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        words = rng.choices(SYLLABLES, k=rng.randint(2, 30))
        texts.append({"text": " ".join(f"{word} {word[::-1]}" for word in words)})
    return texts


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", documents(80))


def start(workspace: Workspace, model: Path, data: Path, *words: str, run: RunDir | None = None) -> RunDir:
    dataset = resolve_data(workspace, str(data))
    config = resolve(
        "pretrain",
        overrides=[f"model.base={model}", f"data.train={dataset.ref}", "model.dtype=fp32", "evaluation.prompts=[ba]",
                   "evaluation.max_new_tokens=8", "devices.use=[cpu]", "data.block_size=64", *words],
    )  # fmt: skip
    run = run or RunDir.create(workspace.runs_dir, "pretrain")
    pretrain.main(RunContext(run, workspace, config, Report(run)))
    return run


def logged(run: RunDir, name: str) -> list[float]:
    return [row[name] for row in read_jsonl(run.metrics_file)[0] if name in row]


def test_it_learns_and_loads_without_this_project(workspace: Workspace, tiny_model: Path, corpus: Path) -> None:
    run = start(workspace, tiny_model, corpus, "optim.learning_rate=2e-2", "schedule.epochs=4", "evaluation.steps=10")
    rows = read_jsonl(run.metrics_file)[0]
    assert rows[0]["step"] == 0  # before anything was learnt
    before, after = logged(run, "eval_loss")[0], logged(run, "eval_loss")[-1]
    assert after < before - 0.2
    assert math.isclose(rows[0]["eval_perplexity"], math.exp(before), rel_tol=1e-6)
    assert 0 < logged(run, "eval_bits_per_byte")[-1] < logged(run, "eval_bits_per_byte")[0]
    samples, _ = read_jsonl(run.samples_file)
    assert samples[0]["step"] == 0
    assert samples[0]["answer"].startswith("ba")
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.stage, manifest.kind, manifest.data[0].rows_used) == ("pretrain", "adapter", 80)
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = run.output / "adapter"
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder)
    ids = AutoTokenizer.from_pretrained(folder)("ba ab be eb", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = tuned(ids, labels=ids).loss
        with tuned.disable_adapter():
            assert loss < tuned(ids, labels=ids).loss


@pytest.mark.parametrize("packing", ["isolated", "joined"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_each_way_of_packing_and_tuning_trains(
    workspace: Workspace, tiny_model: Path, corpus: Path, packing: str, method: str
) -> None:
    words = [f"data.packing={packing}", f"tuning.method={method}", "optim.learning_rate=1e-2", "schedule.max_steps=8"]
    run = start(workspace, tiny_model, corpus, *words)
    assert logged(run, "loss")[-1] < logged(run, "loss")[0] - 0.2
    assert (run.output / ("adapter" if method == "lora" else "model")).is_dir()


def test_quantised_weights_take_adapters(workspace: Workspace, tiny_model: Path, corpus: Path) -> None:
    run = start(workspace, tiny_model, corpus, "quantization.kind=nf4", "schedule.max_steps=2")
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.quantisation


def test_conversations_are_taken_as_plain_text(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = write_jsonl(tmp_path / "chat.jsonl", conversations(40, turns=2))
    run = start(workspace, tiny_model, chat, "schedule.max_steps=2")
    assert "as plain text" in capsys.readouterr().out
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.data[0].rows_used == 40


def test_general_text_has_its_share_and_a_loss_of_its_own(
    workspace: Workspace, tiny_model: Path, corpus: Path, tmp_path: Path
) -> None:
    general = write_jsonl(tmp_path / "general.jsonl", documents(300, seed=5))
    resolve_data(workspace, str(general))
    run = start(
        workspace, tiny_model, corpus, "data.general=general", "data.general_share=0.25", "schedule.max_steps=3"
    )
    assert len(logged(run, "eval_loss.general")) == len(logged(run, "eval_loss.corpus")) == 2
    low, high = sorted([logged(run, "eval_loss.general")[0], logged(run, "eval_loss.corpus")[0]])
    assert low < logged(run, "eval_loss")[0] < high
    manifest = run.manifest()
    assert manifest is not None
    assert [used.dataset.split("@")[0] for used in manifest.data] == ["corpus", "general"]
    assert manifest.data[1].rows_used < 100  # no more was read than three steps take


def test_resume_equals_an_uninterrupted_run(
    workspace: Workspace, tiny_model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_data(workspace, str(write_jsonl(tmp_path / "general.jsonl", conversations(20, seed=5))))
    words = ["schedule.epochs=3", "data.general=general", "data.general_share=0.3", "optim.learning_rate=1e-3"]
    whole = start(workspace, tiny_model, corpus, *words)
    steps = len(logged(whole, "loss"))
    run = RunDir.create(workspace.runs_dir, "pretrain")
    monkeypatch.setattr(StageTrainer, "agreed_to_stop", lambda self: self.state.global_step == steps - 2)
    with pytest.raises(StopRequested):
        start(workspace, tiny_model, corpus, *words, run=run)
    monkeypatch.undo()
    start(workspace, tiny_model, corpus, *words, run=run)
    assert logged(run, "loss") == logged(whole, "loss")
    assert logged(run, "eval_loss") == logged(whole, "eval_loss")


def test_a_token_budget_ends_the_training(workspace: Workspace, tiny_model: Path, corpus: Path) -> None:
    words = ["schedule.max_tokens=1500", "schedule.batch_size=2", "schedule.gradient_accumulation=2"]
    run = start(workspace, tiny_model, corpus, *words)
    spent = logged(run, "tokens")[-1]
    assert 1500 <= spent < 1500 + 4 * 64


def test_a_validation_set_of_its_own_is_measured_whole(
    workspace: Workspace, tiny_model: Path, corpus: Path, tmp_path: Path
) -> None:
    other = resolve_data(workspace, str(write_jsonl(tmp_path / "other.jsonl", documents(12, seed=9))))
    run = start(workspace, tiny_model, corpus, f"data.validation={other.ref}", "schedule.max_steps=1")
    manifest = run.manifest()
    assert manifest is not None
    assert [used.rows_used for used in manifest.data] == [80, 12]


def test_blocks_beyond_the_context_are_refused(workspace: Workspace, tiny_model: Path, corpus: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        start(workspace, tiny_model, corpus, "data.block_size=1024")
    [problem] = caught.value.problems
    assert (problem.key, problem.params) == ("data.block_size", {"asked": 1024, "context": 512})


def test_preference_rows_are_refused(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    pairs = write_jsonl(tmp_path / "pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 3)
    with pytest.raises(DataError) as caught:
        start(workspace, tiny_model, pairs)
    assert (caught.value.code, caught.value.params["kind"]) == ("data.wrong_kind", "preference")


def test_figures_are_those_of_the_models_own_forward(workspace: Workspace, tiny_model: Path, corpus: Path) -> None:
    """Loss and bits per byte before training, beside a plain loop over the held-out documents."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = start(workspace, tiny_model, corpus, "schedule.max_steps=1", "data.validation_split=0.2")
    dataset = resolve_data(workspace, str(corpus))
    from core.training.preparing import split_rows

    _, out = split_rows(len(dataset), 0.2, 42)
    model, tokenizer = (kind.from_pretrained(tiny_model) for kind in (AutoModelForCausalLM, AutoTokenizer))
    nats = labels = text_nats = text_bytes = 0.0
    for row in dataset.take(np.sort(out)):
        ids = [*tokenizer(row["text"])["input_ids"], tokenizer.convert_tokens_to_ids("<|endoftext|>")]
        for at in range(0, len(ids) - 1, 63):
            part = torch.tensor([ids[at : at + 64]])
            with torch.no_grad():
                logprobs = model(part).logits[0, :-1].log_softmax(-1)
            each = -logprobs.gather(1, part[0, 1:, None])[:, 0]
            nats, labels = nats + each.sum().item(), labels + len(each)
            text = part[0, 1:] != ids[-1]
            text_nats += each[text].sum().item()
            text_bytes += len(tokenizer.decode(part[0, 1:][text]).encode())
    assert math.isclose(logged(run, "eval_loss")[0], nats / labels, rel_tol=1e-4)
    wanted = text_nats / math.log(2) / text_bytes
    assert math.isclose(logged(run, "eval_bits_per_byte")[0], wanted, rel_tol=0.02)  # torn characters decode as U+FFFD
