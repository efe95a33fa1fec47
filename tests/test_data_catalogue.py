"""The catalogue: complete in both languages, importable as it stands, searchable."""

from __future__ import annotations

import json
import re

import pytest

from core.__main__ import main
from core.configs.stages import STAGES, ImportConfig
from core.data.bring.catalogue import Entry, catalogue, entries, entry_named
from core.data.bring.hub import is_data
from core.data.kinds import STAGES_OF
from core.data.shapes.formats import shape_named
from core.data.store.library import open_dataset
from core.workspace import check_name
from tests.conftest import conversations, write_jsonl
from tests.models_tools import local_hub

STAGE_NAMES = {stage for stages in STAGES_OF.values() for stage in stages}
HUB_ID = re.compile(r"[\w.\-]+/[\w.\-]+")


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry.name)
def test_every_entry_can_be_imported_and_read(entry: Entry) -> None:
    check_name(entry.name)
    assert HUB_ID.fullmatch(entry.repo)
    assert entry.files
    assert all(is_data(pattern.replace("*", "x")) for pattern in entry.files)
    assert entry.stages
    assert set(entry.stages) <= STAGE_NAMES
    assert set(entry.languages) <= {"zh", "en"}
    for said in (entry.title, entry.about, *([entry.warning] if entry.warning else [])):
        assert said.en.strip()
        assert re.search(r"[\u4e00-\u9fff]|^[\x20-\x7e·（）]+$", said.zh), said.zh
    if entry.format:
        shape_named(entry.format)
    config = entry.config()
    assert isinstance(config, ImportConfig)
    assert STAGES["import"].config.model_validate(config.model_dump()) == config


def test_the_sets_of_the_field_are_there() -> None:
    repos = {entry.repo for entry in catalogue()}
    assert repos >= {
        "shibing624/medical", "FreedomIntelligence/HuatuoGPT-sft-data-v1", "FreedomIntelligence/CMB",
        "BelleGroup/train_2M_CN", "shibing624/alpaca-zh", "shibing624/sharegpt_gpt4", "Anthropic/hh-rlhf",
        "hiyouga/DPO-En-Zh-20k", "ceval/ceval-exam", "haonan-li/cmmlu", "wikimedia/wikipedia",
    }  # fmt: skip
    for stage in STAGE_NAMES:
        assert entries(stage=stage), stage


def test_searching() -> None:
    assert {entry.repo for entry in entries(text="huatuo LITE")} == {"FreedomIntelligence/Huatuo26M-Lite"}
    assert {entry.name for entry in entries(text="问诊", stage="sft", language="en")} == {"shibing624-medical-sft-en"}
    assert entries(text="no such thing") == []
    assert entry_named("alpaca-zh") is not None
    assert entry_named("nothing") is None


def test_the_terminal_lists_the_catalogue_and_names_the_nearest(workspace, capsys) -> None:
    where = ["--workspace", str(workspace.path)]
    assert main([*where, "--json", "data", "catalogue", "huatuo", "--stage", "sft", "--language", "zh"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["sets"]
    assert [entry["name"] for entry in listed] == [e.name for e in entries(text="huatuo", stage="sft", language="zh")]
    assert main([*where, "data", "get", catalogue()[0].name + "x"]) == 2
    assert f"Did you mean '{catalogue()[0].name}'?" in capsys.readouterr().err


def test_the_terminal_brings_in_a_set_of_a_hub(workspace, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "hub").mkdir()
    write_jsonl(tmp_path / "hub" / "train.jsonl", conversations(5))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with local_hub(tmp_path / "hub", "dataset") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert main(["--workspace", str(workspace.path), "data", "get", "own/tiny", "--name", "mine"]) == 0
    assert len(open_dataset(workspace, "mine")) == 5
    assert [run.config()["run"]["name"] for run in workspace.runs()] == ["import mine"]
