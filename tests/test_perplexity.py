"""A model's verdict on rows: the loss it has on their answers, whichever way it is computed, and what quality makes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from core.__main__ import main
from core.configs.files import resolve
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.data.normal import row_key
from core.data.recipe.losses import Losses, losses_file, read_losses
from core.data.recipe.prepare import prepare
from core.data.store.library import import_file, open_dataset
from core.errors import ConfigError
from core.models.loading import load_model
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.test_prepare import recipe


def test_a_run_measures_every_row_as_the_models_own_forward_does(
    workspace: Workspace, tmp_path: Path, tiny_model: Path
) -> None:
    dataset = import_file(workspace, write_jsonl(tmp_path / "chat.jsonl", conversations(40, turns=2)))
    words = [f"model.base={tiny_model}", "data.rows=chat", "data.tokens=256", "devices.use=cpu", "model.dtype=fp32"]
    assert main(["--workspace", str(workspace.path), "perplexity", *words]) == 0
    [run] = workspace.runs()
    assert run.config()["data"]["rows"] == dataset.ref
    losses = read_losses(workspace, run.id)
    assert len(losses) == len({row_key("messages", row) for row in dataset.rows()}) == 40
    model = load_model(tiny_model, dtype=torch.float32, device="cpu")
    encoder = Encoder(load_tokenizer(tiny_model), max_length=1024)
    for row in dataset.rows(0, 10):
        [((ids, labels), _)] = encoder.encode_batch([row["messages"]])
        with torch.no_grad():
            logits = model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0, :-1]
        wanted = torch.from_numpy(labels[1:].astype(np.int64))
        own = torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100).item()
        place = int(np.searchsorted(losses.key, np.uint64(row_key("messages", row))))
        assert math.isclose(losses.loss[place], own, abs_tol=2e-3)
    [made] = prepare(workspace, recipe({"do": "quality", "run": run.id}, inputs="chat"))
    [plain] = prepare(workspace, recipe("quality", inputs="chat", output="plain"))
    with_run, without = ([meta.score for meta in d.meta(range(40))] for d in (made, plain))
    assert with_run != without
    assert made.version != plain.version


def test_surprise_is_a_sign_from_the_median_down() -> None:
    keys = np.arange(1, 101, dtype=np.uint64) * np.uint64(2**57)
    losses = Losses(keys, np.linspace(1, 10, 100).astype(np.float32), np.ones(100, dtype=np.int32))
    signs = [losses.sign(int(key)) for key in keys]
    assert signs[:50] == [1.0] * 50
    assert signs[50:] == sorted(signs[50:], reverse=True)
    assert signs[-1] == 0
    assert losses.sign(3) is None


def test_a_run_without_losses_is_told_at_its_place(workspace: Workspace, tmp_path: Path) -> None:
    import_file(workspace, write_jsonl(tmp_path / "chat.jsonl", conversations(3)))
    with pytest.raises(ConfigError) as caught:
        prepare(workspace, recipe({"do": "quality", "run": "perplexity-x"}, inputs="chat"))
    assert [(p.code, p.key) for p in caught.value.problems] == [("run.not_found", "recipe.steps[0].run")]
    assert main(["--workspace", str(workspace.path), "data", "clean", "chat", "--step", "exact"]) == 0
    words = ["recipe.inputs=chat", "recipe.steps=[exact]", "recipe.output=x"]
    assert main(["--workspace", str(workspace.path), "prepare", *words]) == 0
    [run] = workspace.runs()
    with pytest.raises(Exception, match="no perplexities"):
        losses_file(workspace, run.id)


def test_it_computes_on_one_device() -> None:
    words = ["model.base=m", "data.rows=d", "devices.use=[cpu, cpu]"]
    with pytest.raises(ConfigError) as caught:
        resolve("perplexity", overrides=words)
    assert [problem.key for problem in caught.value.problems] == ["devices"]


def test_rows_that_are_no_dialogues_are_refused(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_file(workspace, write_jsonl(tmp_path / "texts.jsonl", [{"text": "a"}]))
    words = [f"model.base={tiny_model}", "data.rows=texts", "devices.use=cpu"]
    assert main(["--workspace", str(workspace.path), "perplexity", *words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["why"]["code"] == "data.wrong_kind"
    assert open_dataset(workspace, "texts").card.kind == "text"
