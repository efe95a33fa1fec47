"""Fixtures: a workspace of its own, and a tiny Llama with a tokenizer, both built in code (`core.models.tiny`)."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from core.models.tiny import CHATML, SYLLABLES, build_model, build_tokenizer, conversations
from core.workspace import Workspace
from tests.browser_tools import browser, opened, ready
from tests.endpoint_tools import endpoint

__all__ = ["CHATML", "SYLLABLES", "browser", "build_tokenizer", "conversations", "endpoint", "opened", "ready"]

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tiny models, and two files of tests at a time


@pytest.fixture(scope="session", autouse=True)
def _own_device_locks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests queue among themselves, never behind the runs of whoever uses this machine."""
    os.environ["GALEN_LOCK_DIR"] = str(tmp_path_factory.mktemp("devices"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def chat_file(tmp_path: Path) -> Path:
    """64 one-turn conversations."""
    return write_jsonl(tmp_path / "chat.jsonl", conversations(64))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model of `core.models.tiny`."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    build_model(folder)
    return folder


SECONDS = 20  # of a slow test, for one of any other


# -- what takes long ---------------------------------------------------------------------------------------------------
def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also the tests that are marked `long`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes half a minute or more; --long runs it"))
    # The longest files first, so that all workers end at the same time.
    length: Counter[Path] = Counter()
    for item in items:
        length[item.path] += SECONDS if any(map(item.get_closest_marker, ("slow", "browser"))) else 1
    items.sort(key=lambda item: -length[item.path])
