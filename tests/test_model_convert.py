"""`model convert`: a published folder as a native one, and an adapter of such a one for the published checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from core.__main__ import main
from core.models.architectures import register
from core.models.chain import PREFIX, read_adapter
from core.models.families import OWN_CLASSES
from core.models.library import find_model
from core.models.weights import ADAPTER
from core.workspace import Workspace
from tests.models_tools import make_adapter
from tests.test_conversions import IDS, baichuan, baichuan_logits, publish
from tests.test_imports import bring, change


def test_a_published_folder_becomes_a_native_one(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, weights = baichuan(False)
    source, target = publish(tmp_path / "published", config, weights), tmp_path / "native"
    words = ["--workspace", str(tmp_path / "none"), "model", "convert"]
    assert main([*words, str(source), str(target)]) == 0
    assert "2 of 2 files" in capsys.readouterr().err
    with torch.no_grad():
        found = AutoModelForCausalLM.from_pretrained(target)(IDS[None]).logits[0]
    torch.testing.assert_close(found, baichuan_logits(config, weights, IDS), rtol=1e-5, atol=3e-5)

    before = sorted(tmp_path.iterdir())
    assert main([*words, str(source), str(target)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*words, str(tiny_model), str(tmp_path / "other")]) == 2  # nothing to convert
    assert main([*words, str(tmp_path), str(tmp_path / "other")]) == 2  # no model at all
    assert sorted(tmp_path.iterdir()) == before  # nothing half made is left
    assert not (tmp_path / "none").exists()


def test_an_adapter_goes_back_to_the_published_names(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, weights = baichuan(False)
    bring(workspace, publish(tmp_path / "Baichuan-7B", config, weights))
    native = find_model(workspace, "Baichuan-7B").folder(workspace)
    adapter = make_adapter(native, tmp_path / "adapter")
    change(adapter, base_model_name_or_path="Baichuan-7B")
    run = bring(workspace, adapter)
    words = ["--workspace", str(workspace.path), "model", "convert", "--published"]
    assert main([*words, run.id, str(tmp_path / "back")]) == 0
    made = load_file(tmp_path / "back" / ADAPTER)
    parts = read_adapter(run.output / "adapter")
    layer = "model.layers.0.self_attn."
    joined = made[f"{PREFIX}{layer}W_pack.lora_B.weight"] @ made[f"{PREFIX}{layer}W_pack.lora_A.weight"]
    each = [parts[f"{layer}{name}"] for name in ("q_proj", "k_proj", "v_proj")]
    torch.testing.assert_close(joined, torch.cat([part.scaling * part.b @ part.a for part in each]))

    assert main([*words, "Baichuan-7B", str(tmp_path / "other")]) == 2  # it has no adapter
    assert "published" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_the_classes_that_are_ours_are_the_ones_that_are_registered() -> None:
    register()
    own = {kind for kind, made in CONFIG_MAPPING._extra_content.items() if made.__module__.startswith("core.")}
    assert own == set(OWN_CLASSES)
