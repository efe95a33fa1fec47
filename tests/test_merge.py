"""The stage merge: what is written says what the chain said, is checked, and stands on its own."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from core.configs.files import resolve
from core.errors import ModelError, RunError
from core.models.library import find_model, resolve_base
from core.models.parents import check_start, offers, resolve_parent
from core.recipes import merge
from core.records_merge import Verification, verification_file
from core.report import Report, RunContext
from core.rundir import RunDir, read_record, write_text
from core.training.heads import new_head, read_head, save_head
from core.workspace import Workspace
from tests.chain_tools import IDS, OTHER, backbone_logits, logits, train
from tests.conftest import conversations, write_jsonl


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "chat.jsonl", conversations(24))


def merged(workspace: Workspace, base: str, *words: str) -> RunDir:
    config = resolve("merge", overrides=[f"model.base={base}", "devices.use=[cpu]", *words])
    run = RunDir.create(workspace.runs_dir, "merge")
    write_text(run.config_json, orjson.dumps(config.model_dump(mode="json")).decode())
    merge.main(RunContext(run, workspace, config, Report(run)))
    return run


def checked(run: RunDir) -> Verification:
    found = read_record(verification_file(run.output), Verification)
    assert found is not None
    return found


def test_a_chain_becomes_one_model(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    first = train(workspace, tiny_model, data)
    second = train(workspace, first.id, data, *OTHER)
    run = merged(workspace, second.id)
    manifest, found = run.manifest(), checked(run)
    assert manifest is not None
    assert (manifest.kind, manifest.model_folder, manifest.parent) == ("merged", "model", second.id)
    assert [link.run for link in manifest.chain] == [first.id, second.id]
    assert found.passed
    assert max(found.merging, found.difference) < 1e-4
    assert found.same == 1
    plain = AutoModelForCausalLM.from_pretrained(run.output / "model")
    assert (logits(plain) - backbone_logits(workspace, second.id)).abs().max() < 1e-4
    assert AutoTokenizer.from_pretrained(run.output / "model").chat_template
    # it is a root of its own
    parent = resolve_parent(workspace, run.id)
    assert (parent.folder, parent.chain) == (run.output / "model", ())
    assert train(workspace, run.id, data).manifest().root_base.path == str(run.output / "model")
    with pytest.raises(ModelError, match="no adapter"):
        merged(workspace, run.id)


def test_a_name_puts_it_among_the_models_without_a_second_copy(
    workspace: Workspace, tiny_model: Path, data: Path
) -> None:
    tuned = train(workspace, tiny_model, data)
    run = merged(workspace, tuned.id, "model.folder=fever doctor", "model.shard_size=100KB")
    files = sorted((run.output / "model").glob("*.safetensors"))
    assert len(files) > 1
    card = find_model(workspace, "fever doctor")
    assert [weight.name for weight in card.weights] == [file.name for file in files]
    assert all(os.path.samefile(file, card.folder(workspace) / file.name) for file in files)
    assert resolve_base(workspace, "fever doctor") == workspace.models_dir / "fever doctor"
    assert {offer.value for offer in offers(workspace, "sft") if offer.legal} == {tuned.id, run.id, "fever doctor"}
    with pytest.raises(ModelError, match="fever doctor"):
        merged(workspace, tuned.id, "model.folder=fever doctor")


def test_a_quantised_run_merges_into_the_full_precision_base(
    workspace: Workspace, tiny_model: Path, data: Path
) -> None:
    tuned = train(workspace, tiny_model, data, "quantization.kind=nf4")
    run = merged(workspace, tuned.id)
    assert checked(run).difference < 1e-4
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_model, run.output / "model"))
    untouched = {name for name in before if torch.equal(before[name], after[name])}
    assert {"model.embed_tokens.weight", "model.norm.weight"} <= untouched
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}


def test_sixteen_bits_are_rounded_once(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    tuned = train(workspace, tiny_model, data)
    run = merged(workspace, tuned.id, "model.dtype=bf16")
    found = checked(run)
    assert (found.computed_in, found.dtype) == ("float32", "bfloat16")
    assert found.merging < 1e-4 < found.difference
    assert found.kl is not None
    assert 0 < found.kl < 0.01
    exact, rounded = (
        load_file(merged(workspace, tuned.id, f"model.dtype={dtype}").output / "model" / "model.safetensors")
        for dtype in ("fp32", "bf16")
    )
    assert all(torch.equal(exact[name].bfloat16(), rounded[name]) for name in exact)


def test_a_checkpoint_in_a_chain_is_merged(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    first = train(workspace, tiny_model, data)
    second = train(workspace, first.id, data, "saving.steps=1", *OTHER)
    run = merged(workspace, f"{second.id}:step-1")
    plain = AutoModelForCausalLM.from_pretrained(run.output / "model")
    assert (logits(plain) - backbone_logits(workspace, f"{second.id}:step-1")).abs().max() < 1e-4


def test_a_reward_model_keeps_its_head(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    first = train(workspace, tiny_model, data)
    judge = train(workspace, first.id, data, *OTHER)
    head = new_head(64)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(1))
    for name in ("adapter", "adapter-root"):
        save_head(head, judge.output / name)
    manifest = judge.manifest()
    assert manifest is not None
    write_text(judge.manifest_file, manifest.model_copy(update={"kind": "reward"}).model_dump_json())
    run = merged(workspace, judge.id)
    written, found = run.manifest(), checked(run)
    assert written is not None
    assert (written.kind, written.head and written.head["type"]) == ("reward", "linear")
    assert found.passed
    assert (found.kl, found.same) == (None, None)
    assert found.difference < 1e-4
    classifier = AutoModelForSequenceClassification.from_pretrained(run.output / "model").eval()
    parent = resolve_parent(workspace, judge.id)
    assert parent.head is not None
    from core.models.backbone import load_backbone

    backbone = load_backbone(parent, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        score = classifier(input_ids=IDS).logits[0, 0]
        hidden = backbone.model(input_ids=IDS).last_hidden_state[0, -1]
    assert score == pytest.approx(float(hidden @ read_head(parent.head)[0]), abs=1e-4)


def test_what_disagrees_is_not_delivered(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that does not hold what was merged: the check reads it back."""
    tuned = train(workspace, tiny_model, data)
    write = merge._write

    def spoiled(model, head, tokenizer, parent, folder, shard):
        write(model, head, tokenizer, parent, folder, shard)
        path = folder / "model.safetensors"
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        tensors["model.layers.0.mlp.up_proj.weight"] *= 0.5
        save_file(tensors, path, metadata={"format": "pt"})

    monkeypatch.setattr(merge, "_write", spoiled)
    with pytest.raises(RunError, match="more than rounding"):
        merged(workspace, tuned.id, "model.folder=spoiled")
    run = next(run for run in workspace.runs() if run.stage == "merge")
    assert not checked(run).passed
    assert run.manifest() is None
    assert not (run.output / "model").exists()
    assert not (workspace.models_dir / "spoiled").exists()


def test_only_runs_are_merged(workspace: Workspace, tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="no adapter"):
        merged(workspace, str(tiny_model))
    with pytest.raises(ModelError, match="no adapter"):  # said before anything starts
        check_start(workspace, "merge", str(tiny_model))
