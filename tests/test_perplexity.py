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
from core.evaluation import worth
from core.models.loading import load_model
from core.records import WorthIt
from core.rundir import read_record
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


def test_pairs_are_refused(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_file(workspace, write_jsonl(tmp_path / "pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}]))
    words = [f"model.base={tiny_model}", "data.rows=pairs", "devices.use=cpu"]
    assert main(["--workspace", str(workspace.path), "perplexity", *words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["why"]["code"] == "data.wrong_kind"
    assert open_dataset(workspace, "pairs").card.kind == "preference"


def test_documents_get_a_verdict(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    """A random model needs about the logarithm of its vocabulary a token, whatever it reads."""
    rows = [{"text": " ".join(["ba be bi", "fo fu", "di da du"][: 1 + n % 3] * (2 + n % 7))} for n in range(60)]
    dataset = import_file(workspace, write_jsonl(tmp_path / "texts.jsonl", rows))
    words = [f"model.base={tiny_model}", "data.rows=texts", "data.max_rows=40", "devices.use=cpu", "model.dtype=fp32"]
    assert main(["--workspace", str(workspace.path), "perplexity", *words]) == 0
    [run] = workspace.runs()
    found = read_record(run.verdict_file, WorthIt)
    assert found is not None
    assert (found.dataset, found.rows) == (dataset.ref, 40)
    assert found.bytes < sum(len(row["text"]) for row in rows)
    assert sum(bucket.rows for bucket in found.buckets) == 40
    assert sum(bucket.bytes for bucket in found.buckets) == found.bytes
    assert 200 < found.perplexity < 1200  # 512 tokens
    assert math.isclose(found.bits_per_byte * found.bytes, math.log2(found.perplexity) * found.tokens, rel_tol=1e-6)
    assert found.code == "worth.little"
    assert found.best[0].bits_per_byte <= found.best[-1].bits_per_byte < found.worst[0].bits_per_byte
    assert found.best[0].excerpt == dataset.rows(found.best[0].line - 1, 1)[0]["text"]
    assert len(read_losses(workspace, run.id)) == 40


def test_conversations_are_measured_whole_on_request(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    import_file(workspace, write_jsonl(tmp_path / "chat.jsonl", conversations(10)))
    words = [f"model.base={tiny_model}", "data.rows=chat", "data.as_text=true", "devices.use=cpu"]
    assert main(["--workspace", str(workspace.path), "perplexity", *words]) == 0
    [run] = workspace.runs()
    found = read_record(run.verdict_file, WorthIt)
    assert found is not None
    assert found.rows == 10


@pytest.mark.parametrize(
    ("bits", "code"),
    [
        ([0.3, 0.4, 0.5, 1.5], "worth.known"),
        ([0.3, 1.2, 1.3, 1.5], "worth.partly"),
        ([0.9, 1.2, 1.3, 1.5], "worth.new"),
        ([2.8, 3.2, 4.0, 0.1], "worth.noise"),
    ],
)
def test_the_verdict_follows_the_shares_of_the_text(bits: list[float], code: str) -> None:
    sizes = np.full(4, 5000)
    assert worth.verdict(np.array(bits), sizes, 7_000_000_000)[0] == code
    assert worth.verdict(np.array(bits), sizes // 100, 7_000_000_000)[0] == "worth.little"
    counted = worth.buckets(np.array(bits), sizes)
    assert sum(rows for *_, rows, _ in counted) == 4
    for low, high, rows, _ in counted:
        assert rows == sum(low <= one < (high or math.inf) for one in bits)


def test_a_small_model_needs_more_bits_for_what_it_knows() -> None:
    assert worth.known_below(135_000_000) > worth.known_below(1_000_000_000) > worth.known_below(7_000_000_000) == 0.6
    bits, sizes = np.full(4, 0.7), np.full(4, 5000)
    assert worth.verdict(bits, sizes, 135_000_000)[0] == "worth.known"
    assert worth.verdict(bits, sizes, 7_000_000_000)[0] == "worth.new"
