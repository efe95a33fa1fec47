"""The stage merge: what is written says what the chain said, is checked, and stands on its own."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from core.configs.files import resolve
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.disk import SPARE
from core.errors import InputError, ModelError, RunError, StopRequested
from core.models.library import find_model, resolve_base
from core.models.parents import check_start, offers, resolve_parent
from core.models.weights import inspect
from core.recipes import merge
from core.records_merge import Verification, verification_file
from core.report import Report, RunContext
from core.rundir import RunDir, read_record, write_text
from core.training.heads import new_head, read_head, save_head
from core.workspace import Workspace
from tests.chain_tools import IDS, OTHER, backbone_logits, logits, train
from tests.conftest import conversations, write_jsonl
from tests.families_tools import build_hrm


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "chat.jsonl", conversations(24))


def merged(workspace: Workspace, base: str, *words: str, report: type[Report] = Report) -> RunDir:
    config = resolve("merge", overrides=[f"model.base={base}", "devices.use=[cpu]", *words])
    run = RunDir.create(workspace.runs_dir, "merge")
    write_text(run.config_json, orjson.dumps(config.model_dump(mode="json")).decode())
    merge.main(RunContext(run, workspace, config, report(run)))
    return run


def only_merge(workspace: Workspace) -> RunDir:
    return next(run for run in workspace.runs() if run.stage == "merge")


def nothing_is_left(run: RunDir) -> bool:
    """No manifest, and no weights under any name."""
    return run.manifest() is None and not [path for path in run.path.rglob("*") if "safetensors" in path.name]


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
    assert found.weights is not None
    assert (found.weights.passed, found.weights.places) == (True, 0.0)
    assert 0 < found.weights.changed < found.weights.tensors
    assert found.merging is None  # nothing was merged in memory
    assert found.difference < 1e-4
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
    assert found.weights is not None
    assert found.weights.places is not None
    assert 0.4 < found.weights.places <= 0.5 + 1e-6  # the most that rounding moves a number by
    assert found.difference > 1e-4
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


# -- what goes along --------------------------------------------------------------------------------------------------
def test_a_named_template_goes_along_also_from_a_checkpoint(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    """The base's tokenizer has another one of its own; a checkpoint has no tokenizer at all."""
    tuned = train(workspace, tiny_model, data, "model.template=vicuna", "saving.steps=1")
    asked = [{"role": "user", "content": "发烧 ba be?"}]
    taught = Encoder(load_tokenizer(tiny_model), template="vicuna")
    for text in (tuned.id, f"{tuned.id}:step-1"):
        folder = merged(workspace, text).output / "model"
        tokenizer = AutoTokenizer.from_pretrained(folder)
        said = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        assert said == taught.template.render(asked, generation_prompt=True)
        assert "<|im_start|>" not in said
        assert Encoder(load_tokenizer(folder)).prompt_ids(asked) == taught.prompt_ids(asked)


def test_what_ends_an_answer_licence_and_code_go_along(
    workspace: Workspace, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    (base / "LICENSE.txt").write_text("to be passed on")
    (base / "Model_License.pdf").write_bytes(b"%PDF")
    (base / "README.md").write_text("about the base only")
    settings = base / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": 7, "max_new_tokens": 5}))
    run = merged(workspace, train(workspace, base, data).id)
    folder = run.output / "model"
    assert {"LICENSE.txt", "Model_License.pdf"} <= {path.name for path in folder.iterdir()}
    assert not (folder / "README.md").exists()
    kept = AutoModelForCausalLM.from_pretrained(folder).generation_config
    stop = load_tokenizer(tiny_model).convert_tokens_to_ids("<|im_end|>")
    assert (kept.eos_token_id, kept.max_new_tokens) == ([7, stop], 5)
    text = "".join(path.read_text(errors="replace") for path in folder.glob("*.json"))
    assert str(tmp_path) not in text  # no path of this machine


# -- the whole chain, and what cannot be streamed ----------------------------------------------------------------------
def test_a_checkpoint_with_embeddings_of_its_own(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    """Its run delivers a whole model; the checkpoint is a link that was trained whole, on another link."""
    first = train(workspace, tiny_model, data)
    second = train(workspace, first.id, data, "lora.embeddings=yes", "saving.steps=3", *OTHER)
    run = merged(workspace, f"{second.id}:last")
    found = checked(run)
    assert found.passed
    assert found.difference < 1e-4
    one, other = (load_file(r.output / "model" / "model.safetensors") for r in (run, second))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_joined_when_loaded_is_merged_in_memory(
    workspace: Workspace, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = build_hrm(tmp_path / "base")
    tuned = train(workspace, base, data)
    run = merged(workspace, tuned.id, "model.verify=weights", "model.dtype=bf16")
    assert "whole model in memory" in capsys.readouterr().out
    found = checked(run)
    assert (found.weights, found.passed, found.unasked) == (None, True, "")
    assert found.merging < 1e-4 < found.difference
    plain = AutoModelForCausalLM.from_pretrained(run.output / "model", dtype=torch.float32)
    assert (logits(plain) - backbone_logits(workspace, tuned.id)).abs().max() < 0.1
    assert load_file(run.output / "model" / "model.safetensors").keys() == load_file(base / "model.safetensors").keys()


# -- the proof --------------------------------------------------------------------------------------------------------
def test_weights_alone_are_compared_where_it_is_asked(
    workspace: Workspace, tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = train(workspace, tiny_model, data)
    run = merged(workspace, tuned.id, "model.verify=weights", "model.dtype=bf16")
    found = checked(run)
    assert found.passed
    assert found.weights is not None
    assert (found.computed_in, found.unasked, found.positions, found.probes) == (None, "config", 0, [])
    assert "its answers were not compared: model.verify=weights" in capsys.readouterr().out
    assert run.manifest() is not None


def test_where_there_is_no_room_the_answers_are_not_compared(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = train(workspace, tiny_model, data)
    monkeypatch.setattr("core.training.verifying.memory", lambda: (10**9, 4 * inspect(tiny_model).parameters))
    found = checked(merged(workspace, tuned.id))
    assert (found.passed, found.computed_in, found.unasked) == (True, None, "memory")
    found = checked(merged(workspace, tuned.id, "model.dtype=bf16"))  # half of it fits, but not with room to spare
    assert (found.passed, found.computed_in) == (True, None)


class Spoiling(Report):
    """The disk loses a bit of a weight between writing and reading it back."""

    def phase(self, name: str, **fields: Any) -> None:
        super().phase(name, **fields)
        for path in self.run.output.rglob("*.safetensors") if name == "verifying" else ():
            tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
            tensors["model.layers.0.mlp.up_proj.weight"][3, 5] *= -1
            save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("words", [(), ("model.verify=weights",), ("model.dtype=bf16",)])
def test_what_disagrees_is_not_delivered(
    workspace: Workspace, tiny_model: Path, data: Path, words: tuple[str, ...]
) -> None:
    tuned = train(workspace, tiny_model, data)
    with pytest.raises(RunError, match="do not hold the sums"):
        merged(workspace, tuned.id, "model.folder=spoiled", *words, report=Spoiling)
    run = only_merge(workspace)
    found = checked(run)
    assert not found.passed
    assert found.weights is not None
    assert not found.weights.passed
    assert nothing_is_left(run)
    assert not (workspace.models_dir / "spoiled").exists()


def test_what_a_format_cannot_hold_is_not_delivered(
    workspace: Workspace, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    tensors = load_file(base / "model.safetensors")
    tensors["model.norm.weight"][0] = 1e6  # the largest number in fp16 is 65 504
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    tuned = train(workspace, base, data)
    with pytest.raises(RunError, match="no number in float16"):
        merged(workspace, tuned.id, "model.dtype=fp16")
    assert nothing_is_left(only_merge(workspace))
    assert checked(merged(workspace, tuned.id, "model.dtype=bf16")).passed


# -- stopped, full ----------------------------------------------------------------------------------------------------
class Stopping(Report):
    """Somebody presses Stop when a third has been written, or read back."""

    at = "merging"

    def progress(self, step: int, **fields: Any) -> None:
        super().progress(step, **fields)
        if self.current_phase == self.at and step > self._progress.total / 3:
            self.run.stop_file.touch()


class StoppingLater(Stopping):
    at = "verifying"


@pytest.mark.parametrize("report", [Stopping, StoppingLater])
def test_a_stop_leaves_nothing(workspace: Workspace, tiny_model: Path, data: Path, report: type[Stopping]) -> None:
    tuned = train(workspace, tiny_model, data)
    with pytest.raises(StopRequested):
        merged(workspace, tuned.id, "model.shard_size=100KB", report=report)
    run = only_merge(workspace)
    assert nothing_is_left(run)
    progress = run.progress()
    assert progress is not None
    assert (progress.phase, progress.unit) == (report.at, "byte")


def test_a_disk_that_fills_leaves_nothing(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    """A limit on the size of a file stands for it: the write fails in the middle all the same."""
    tuned = train(workspace, tiny_model, data)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        with pytest.raises(OSError, match=r"model\.safetensors"):
            merged(workspace, tuned.id)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert nothing_is_left(only_merge(workspace))


def test_a_disk_without_room_is_told_before_anything_is_written(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = train(workspace, tiny_model, data)
    free = inspect(tiny_model).size + SPARE - 10_000
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(InputError) as error:
        merged(workspace, tuned.id)
    assert error.value.code == "disk.no_space"
    run = only_merge(workspace)
    assert not run.output.exists() or not any(run.output.iterdir())
    merged(workspace, tuned.id, "model.dtype=bf16")  # half as large


def test_only_runs_are_merged(workspace: Workspace, tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="no adapter"):
        merged(workspace, str(tiny_model))
    with pytest.raises(ModelError, match="no adapter"):  # said before anything starts
        check_start(workspace, "merge", str(tiny_model))
