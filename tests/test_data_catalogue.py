"""The catalogue: complete in both languages, importable as it stands, searchable."""

from __future__ import annotations

import re

import pytest

from core.configs.stages import STAGES, ImportConfig
from core.data.catalogue import Entry, catalogue, entries, entry_named
from core.data.formats import STAGES_OF, shape_named
from core.data.hub import is_data
from core.workspace import check_name

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
