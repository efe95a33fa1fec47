"""Multiple choice beside lm-eval: fifty questions, the same choice of each, and log-likelihoods that agree in fp32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from core.data.store.library import import_file
from core.records_evaluation import Cell, Item, items_file
from core.rundir import read_jsonl
from core.workspace import Workspace
from tests.conftest import build_tokenizer, write_jsonl
from tests.test_evaluate import evaluate

DATA = Path(__file__).resolve().parents[1] / "data" / "evaluate"
TASKS = Path(__file__).with_name("lm_eval_tasks")
SHOTS, QUESTIONS = 5, 50


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama that reads 4096 tokens: the small tokenizer cuts six questions into two thousand."""
    folder = tmp_path_factory.mktemp("models") / "reader"
    tokenizer = build_tokenizer(folder)
    torch.manual_seed(3)
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096, initializer_range=0.2,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def write_questions(folder: Path, language: str) -> None:
    rows = [json.loads(line) for line in (DATA / f"{language}.jsonl").read_text("utf-8").splitlines()]
    chosen = [
        {key: row[key] for key in ("question", *"ABCD", "answer")} | {"chinese": language == "zh"}
        for row in rows[: SHOTS + QUESTIONS]
    ]
    write_jsonl(folder / "dev.jsonl", chosen[:SHOTS])
    write_jsonl(folder / "test.jsonl", chosen[SHOTS:])


def ours(workspace: Workspace, folder: Path, model: Path, by: str) -> tuple[Cell, list[Item]]:
    import_file(workspace, folder / "test.jsonl")
    import_file(workspace, folder / "dev.jsonl")
    words = [f"models.runs=[{model}]", "data.rows=[test]", "data.dev=dev", f"data.shots={SHOTS}"]
    run, found = evaluate(workspace, *words, f"data.choice_by={by}")
    return found.cells[0], [Item.model_validate(row) for row in read_jsonl(items_file(run.output))[0]]


def theirs(model: Path, task: str) -> dict[str, Any]:
    """In the folder of the two files, which the task names by themselves."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    language_model = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=8)
    return simple_evaluate(
        model=language_model, tasks=[task], num_fewshot=SHOTS, task_manager=manager, log_samples=True,
        bootstrap_iters=0,
    )  # fmt: skip


@pytest.mark.parametrize(("language", "by"), [("en", "letters"), ("en", "texts"), ("zh", "letters"), ("zh", "texts")])
def test_choices_and_likelihoods_are_those_of_lm_eval(
    workspace: Workspace,
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    language: str,
    by: str,
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_questions(tmp_path, language)
    cell, items = ours(workspace, tmp_path, model, by)
    assert "examples computed once: on" in capsys.readouterr().out
    found = theirs(model, f"galen_{by}")
    samples = sorted(found["samples"][f"galen_{by}"], key=lambda sample: sample["doc_id"])
    assert len(items) == len(samples) == QUESTIONS
    for item, sample in zip(items, samples, strict=True):
        scores = [float(answer[0][0]) for answer in sample["resps"]]
        assert torch.allclose(
            torch.tensor([item.figures[letter] for letter in "ABCD"]), torch.tensor(scores), atol=1e-4, rtol=0
        ), (item.number, item.figures, scores)
        assert item.said == "ABCD"[scores.index(max(scores))]
        assert (item.figures["correct"], item.figures["correct_norm"]) == (sample["acc"], sample["acc_norm"])
    results = found["results"][f"galen_{by}"]
    assert cell.figures["accuracy"] == pytest.approx(results["acc,none"])
    assert cell.figures["accuracy_norm"] == pytest.approx(results["acc_norm,none"])
    assert cell.figures["accuracy_bytes"] == pytest.approx(results["acc_bytes,none"])
    assert len({item.said for item in items}) > 1
