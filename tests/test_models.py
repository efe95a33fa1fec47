"""The model library: what a typed text resolves to, whole and broken folders, hashes, lineage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import InputError, ModelError
from core.models import again, families, library, lineage
from core.models.hashes import weight_hashes
from core.models.library import describe, write_card
from core.models.parents import find_root, resolve_parent
from core.models.weights import inspect, weight_files
from core.records import ChainLink, RootBase
from core.references import RunRef
from core.rundir import RunDir, read_json, write_text
from core.workspace import Workspace
from tests.models_tools import make_adapter, make_run, make_whole_run


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


@pytest.fixture
def named(workspace: Workspace, tiny_model: Path) -> library.ModelCard:
    """The tiny model in the workspace, called tiny."""
    folder = workspace.models_dir / "tiny"
    shutil.copytree(tiny_model, folder)
    weights = lineage.weight_hashes(folder)
    card = library.describe(folder, "tiny", "hub", "own/tiny", weights=weights, licence="mit", origin="own/tiny")
    library.write_card(folder, card)
    return card


def code(error: pytest.ExceptionInfo[ModelError]) -> str:
    assert "{" not in str(error.value), "a placeholder was left open"
    assert error.value.exit_status == 2
    return error.value.code


def test_torch_stays_out() -> None:
    modules = "core.models.library, core.models.lineage, core.models.families, core.models.starter, core.models.hub"
    more = "core.recipes.fetch, core.serving.client, core.serving.session, core.serving.options, core.cli.chat"
    check = f"import sys, {modules}, {more}; assert not {{'torch', 'transformers'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


# -- resolving --------------------------------------------------------------------------------------------------------
def test_resolves_names_sources_and_folders(workspace: Workspace, named: library.ModelCard, tiny_model: Path) -> None:
    folder = workspace.models_dir / "tiny"
    assert library.resolve_base(workspace, "tiny") == folder
    assert library.resolve_base(workspace, "own/tiny") == folder
    assert library.resolve_base(workspace, str(tiny_model)) == tiny_model.resolve()
    assert [card.name for card in library.list_models(workspace)] == ["tiny"]
    assert (named.parameters, named.dtype, named.context) == (inspect(tiny_model).parameters, "fp32", 512)


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("starter", "model.no_starter", "model starter"),
        ("tinny", "model.unknown", "Did you mean 'tiny'?"),
        ("zzz", "model.unknown", "model import"),
        ("Qwen/Qwen3-0.6B", "model.not_fetched", "model import Qwen/Qwen3-0.6B"),
        ("/no/such/folder", "model.unknown", "/no/such/folder"),
    ],
)
def test_unknown_names_say_what_to_do(
    workspace: Workspace, named: library.ModelCard, text: str, expected: str, shown: str
) -> None:
    with pytest.raises(ModelError) as error:
        library.resolve_base(workspace, text)
    assert code(error) == expected
    assert shown in str(error.value)
    assert "''" not in str(error.value)


def test_a_run_as_base(workspace: Workspace, tiny_model: Path) -> None:
    """By id and by shown name, its output and its checkpoints; an adapter run names the base to choose instead."""
    whole = make_whole_run(workspace, tiny_model, name="all weights", steps=(2, 4))
    for name in (whole.id, "all weights"):
        assert library.resolve_base(workspace, name) == whole.output / "model"
        assert library.resolve_base(workspace, f"{name}:step-4") == whole.checkpoints / "step-4"
        assert library.resolve_base(workspace, f"{name}:best") == whole.checkpoints / "step-4"
        assert library.resolve_base(workspace, f"{name}:last") == whole.checkpoints / "step-4"
    assert lineage.base_weights(workspace, "all weights").model == whole.output / "model"
    with pytest.raises(ModelError, match="step-2, step-4"):
        library.resolve_base(workspace, "all weights:step-9")
    with pytest.raises(InputError):
        library.resolve_base(workspace, "all weights:first")
    adapter = make_run(workspace, tiny_model, name="fever", steps=(3,))
    for text in (adapter.id, "fever", "fever:last"):
        with pytest.raises(ModelError) as error:
            library.resolve_base(workspace, text)
        assert code(error) == "model.run_is_adapter"
        assert f"Choose its base, {tiny_model}," in str(error.value)
    empty = RunDir.create(workspace.runs_dir, "sft")
    write_text(empty.config_json, json.dumps({"run": {"name": "young"}}))
    with pytest.raises(ModelError) as error:
        library.resolve_base(workspace, "young")
    assert code(error) == "model.run_no_weights"


def test_folders_that_are_no_model(workspace: Workspace, model: Path, tmp_path: Path) -> None:
    import torch

    from core.models.loading import load_model

    def refused(folder: Path) -> str:
        with pytest.raises(ModelError) as error:
            library.resolve_base(workspace, str(folder))
        return code(error)

    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty") == "model.not_a_model"
    assert refused(make_adapter(model, tmp_path / "adapter")) == "model.is_adapter"
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert refused(tmp_path / "model.gguf") == "model.gguf_not_fetched"
    (model / "tokenizer.json").rename(model / "away.json")
    assert refused(model) == "model.no_tokenizer_files"
    (model / "away.json").rename(model / "tokenizer.json")
    config = read_json(model / "config.json")
    write_text(model / "config.json", json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    assert refused(model) == "model.not_causal"
    write_text(model / "config.json", "{torn")
    assert refused(model) == "model.bad_config"
    write_text(model / "config.json", json.dumps(config))
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[:-100])
    assert refused(model) == "model.torn_weights"
    (model / "model.safetensors").write_bytes(whole[:50])
    assert refused(model) == "model.torn_weights"
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert refused(model) == "model.bin_only"
    with pytest.raises(ModelError):  # nor does loading rewrite it in the user's own folder
        load_model(model, dtype=torch.float32, device="cpu")
    assert not list(model.glob("*.safetensors"))
    (model / "pytorch_model.bin").unlink()
    assert refused(model) == "model.no_weights"
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    write_text(model / "model.safetensors.index.json", json.dumps(index))
    assert refused(model) == "model.torn_weights"


def test_delete(workspace: Workspace, named: library.ModelCard, tiny_model: Path) -> None:
    with pytest.raises(ModelError) as error:
        library.delete_model(workspace, "tinx")
    assert error.value.params["nearest"] == "tiny"
    library.delete_model(workspace, "tiny")
    assert library.list_models(workspace) == []
    assert list(workspace.models_dir.iterdir()) == []
    with pytest.raises(ModelError):
        library.delete_model(workspace, "../models")


def test_config_facts(tiny_model: Path) -> None:
    config = families.read_config(tiny_model)
    assert families.writes_text(config)
    assert families.architecture(config) == "LlamaForCausalLM"
    assert families.context_length({"text_config": {"max_position_embeddings": 9}}) == 9


# -- hashes and lineage -----------------------------------------------------------------------------------------------
def test_hashes_are_cached_and_noticed_when_files_change(workspace: Workspace, model: Path) -> None:
    [first] = lineage.weight_hashes(model, workspace)
    assert lineage.weight_hashes(model) == [first]
    [entry] = (workspace.cache_dir / "hashes").iterdir()
    write_text(entry, entry.read_text().replace(first.sha256, "0" * 64))
    assert lineage.weight_hashes(model, workspace)[0].sha256 == "0" * 64, "the cache was used"
    os.utime(model / "model.safetensors")
    assert lineage.weight_hashes(model, workspace) == [first]


def test_backbone_id_depends_on_weights_chain_and_vocabulary(model: Path) -> None:
    root = lineage.weight_hashes(model)
    link = ChainLink(run="r", adapter_sha256="a", scaling=2.0)
    other = ChainLink(run="r", adapter_sha256="b", scaling=2.0)
    ids = {
        lineage.backbone_id(root),
        lineage.backbone_id(root, [link]),
        lineage.backbone_id(root, [link, other]),
        lineage.backbone_id(root, [other, link]),
        lineage.backbone_id(root, vocabulary="grown"),
    }
    assert len(ids) == 5
    assert lineage.backbone_id(root, [link.model_copy(update={"run": "elsewhere"})]) == lineage.backbone_id(
        root, [link]
    )


def test_run_weights(workspace: Workspace, model: Path) -> None:
    run = make_run(workspace, model, name="fever", steps=(2, 4))
    output = lineage.run_weights(workspace, RunRef.parse(run.id))
    assert output.adapter == run.output / "adapter"
    assert output.base == model
    assert output.sha256 == lineage.file_sha256(weight_files(output.adapter)[0])
    found = {
        which: lineage.run_weights(workspace, RunRef.parse(f"{run.id}:{which}")) for which in ("best", "last", "step-2")
    }
    assert found["last"].adapter == found["best"].adapter == run.checkpoints / "step-4"
    assert found["step-2"].sha256 not in (found["best"].sha256, output.sha256)
    assert lineage.lora_weights(workspace, "fever:best").label == f"{run.id}:best"
    with pytest.raises(ModelError) as error:
        lineage.run_weights(workspace, RunRef.parse(f"{run.id}:step-3"))
    assert code(error) == "model.no_checkpoint"
    assert "step-2, step-4" in str(error.value)
    with pytest.raises(InputError):
        lineage.lora_weights(workspace, "no-such-run")


def test_a_changed_or_missing_base_is_refused(workspace: Workspace, model: Path, tmp_path: Path) -> None:
    run = make_run(workspace, model)
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-1] ^= 1
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError) as error:
        lineage.run_weights(workspace, RunRef.parse(run.id))
    assert code(error) == "model.base_changed"
    (model / "model.safetensors").write_bytes(whole)
    model.rename(tmp_path / "moved")
    with pytest.raises(ModelError) as error:
        lineage.run_weights(workspace, RunRef.parse(run.id))
    assert code(error) == "model.base_lost"  # nothing says where the same is to be had


def test_a_base_that_is_gone_says_what_brings_it_back(workspace: Workspace, model: Path, tmp_path: Path) -> None:
    def registered(name: str, folder: Path) -> None:
        (workspace.models_dir / name).mkdir()
        card = describe(folder, name, "folder", str(model), weights=weight_hashes(folder), points_to=str(folder))
        write_card(workspace.models_dir / name, card)

    registered("mine", model)
    root = resolve_parent(workspace, "mine").root
    assert root.imported_from == str(model)
    copy = Path(shutil.copytree(model, tmp_path / "second"))
    altered = root.model_copy(update={"path": str(tmp_path / "altered")})
    shutil.copytree(model, altered.path)
    data = bytearray((tmp_path / "altered" / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "altered" / "model.safetensors").write_bytes(data)
    shutil.rmtree(workspace.models_dir / "mine")
    with pytest.raises(ModelError) as error:
        find_root(workspace, "run", altered)
    assert code(error) == "model.base_changed"
    assert f"import {model} name=NAME" in error.value.remedy
    with pytest.raises(ModelError) as error:
        find_root(workspace, "run", root.model_copy(update={"path": str(tmp_path / "gone")}))
    assert f"import {model}`" in error.value.remedy
    registered("again", copy)  # what the remedy says to do
    assert find_root(workspace, "run", altered).path == str(copy)
    starter = RootBase(source="SmolLM2-135M-Instruct", path=str(tmp_path / "gone"))  # as earlier versions wrote it
    assert "import starter`" in again.gone(workspace, "run", starter, tmp_path / "gone").remedy


def test_a_plain_adapter_folder_needs_its_own_base(workspace: Workspace, model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(model, tmp_path / "adapter")
    assert lineage.lora_weights(workspace, str(adapter), model).adapter == adapter
    other = Path(shutil.copytree(model, tmp_path / "other"))
    with pytest.raises(ModelError) as error:
        lineage.lora_weights(workspace, str(adapter), other)
    assert code(error) == "model.adapter_other_base"
    with pytest.raises(ModelError) as error:
        lineage.lora_weights(workspace, str(other), model)
    assert code(error) == "model.no_adapter"


# -- loading ----------------------------------------------------------------------------------------------------------
def test_number_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from core.hardware import Device
    from core.models import loading

    def machine(bf16: bool) -> None:
        found = [Device("cuda:0", "GPU", "uuid", 1, 1, not bf16), Device("cpu:0", "CPU", "cpu", 1, 1, bf16)]
        monkeypatch.setattr(loading, "devices", lambda: found)

    machine(bf16=True)
    assert {loading.resolve_dtype("auto", device) for device in ("cpu", "cpu:0", "cpu:1")} == {torch.bfloat16}
    assert loading.resolve_dtype("auto", "cuda:0") == torch.float32
    assert loading.resolve_dtype("fp16", "cuda:0") == torch.float16
    machine(bf16=False)
    assert loading.resolve_dtype("auto", "cpu:1") == torch.float32
    for name, device, expected in (("fp16", "cpu:0", "model.fp16_cpu"), ("bf16", "cpu", "model.bf16_device")):
        with pytest.raises(ModelError) as error:
            loading.resolve_dtype(name, device)
        assert code(error) == expected


def test_what_cannot_be_loaded_says_why(model: Path) -> None:
    import torch

    from core.models.loading import load_model

    config = read_json(model / "config.json")
    changes = {
        "model.missing_weights": {"num_hidden_layers": 3},
        "model.unknown_kind": {"model_type": "from_the_future"},
        "model.needs_code_alone": {
            "model_type": "own",
            "auto_map": {"AutoModelForCausalLM": "m.M", "AutoConfig": "m.C"},
        },
        "model.not_causal": {"architectures": ["BertModel"]},
        "model.load_failed": {"hidden_size": 32},
    }
    for expected, change in changes.items():
        write_text(model / "config.json", json.dumps({**config, **change}))
        with pytest.raises(ModelError) as error:
            load_model(model, dtype=torch.float32, device="cpu")
        assert code(error) == expected
