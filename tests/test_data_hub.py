"""Datasets of a hub: which files are data, what is downloaded, and what stands in the way."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from core.data.bring.hub import choose_files, facts, fetch, is_data
from core.errors import DataError, StopRequested
from core.hubs import HubFile
from tests.models_tools import Hub, local_hub

ROWS = "".join(json.dumps({"instruction": f"q{n}", "output": f"a{n}"}) + "\n" for n in range(20))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A set with two parts, a card and a script, served by a hub of this machine."""
    folder = tmp_path / "set"
    (folder / "finetune").mkdir(parents=True)
    (folder / "reward").mkdir()
    (folder / "finetune" / "train zh.json").write_text(ROWS)
    (folder / "finetune" / "test.jsonl.gz").write_bytes(b"\x1f\x8b")
    (folder / "reward" / "train.json").write_text(ROWS * 2)
    (folder / "README.md").write_text("card")
    (folder / "dataset_infos.json").write_text("{}")
    (folder / "tiny.py").write_text("raise SystemExit")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with local_hub(folder, "dataset") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def get(
    folder: Path,
    repo: str = "own/tiny",
    *,
    hub: str = "huggingface",
    files: Sequence[str] = (),
    check_stop: Callable[[], None] = lambda: None,
) -> list[Path]:
    return fetch(repo, hub=hub, files=files, folder=folder, on_bytes=lambda done, total: None, check_stop=check_stop)


def names(*files: str) -> list[HubFile]:
    return [HubFile(name, 1) for name in files]


def test_data_files_are_told_from_the_rest() -> None:
    for name in ("train.json", "a/b.JSONL", "x.csv.gz", "data/train-00000-of-00003.parquet", "corpus.txt", "a.tsv"):
        assert is_data(name), name
    for name in ("README.md", "set.py", "dataset_infos.json", "a/.x.json", "pic.png", "LICENSE.txt", "x.zip", "x.gz"):
        assert not is_data(name), name


def test_a_pattern_chooses_and_what_there_is_is_told() -> None:
    files = names("finetune/train_zh_0.json", "finetune/test_zh_0.json", "reward/train.json", "medical.py")
    chosen = choose_files("a/medical", files, ["finetune/train*.json"])
    assert [file.name for file in chosen] == ["finetune/train_zh_0.json"]
    assert len(choose_files("a/medical", files, [])) == 3
    with pytest.raises(DataError) as error:
        choose_files("a/medical", files, ["sft/*"])
    assert error.value.code == "data.hub_no_files"
    assert "reward/train.json" in str(error.value)


def test_a_set_that_only_a_script_can_load_is_refused() -> None:
    with pytest.raises(DataError) as error:
        choose_files("a/medical", names("medical.py", "README.md"), [])
    assert error.value.code == "data.hub_script"
    assert "refs/convert/parquet" in str(error.value)


def test_the_wanted_files_come_with_the_licence(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    seen: list[tuple[int, int | None]] = []
    [path] = fetch(
        "own/tiny", files=["finetune/*.json"], folder=tmp_path / "got", check_stop=lambda: None,
        on_bytes=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert path == tmp_path / "got" / "finetune" / "train zh.json"
    assert path.read_text() == ROWS
    assert seen[-1] == (len(ROWS), len(ROWS))
    told = facts(tmp_path / "got")
    assert told is not None
    assert (told.repo, told.commit, told.licence) == ("own/tiny", "c" * 40, "mit")
    assert hub.tokens == {"Bearer hf_secret"}
    assert not any(b"hf_secret" in file.read_bytes() for file in (tmp_path / "got").rglob("*") if file.is_file())


def test_all_data_files_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    found = {path.relative_to(tmp_path).as_posix() for path in get(tmp_path / "got")}
    assert found == {"got/finetune/train zh.json", "got/finetune/test.jsonl.gz", "got/reward/train.json"}


def test_a_stopped_download_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.files["reward/train.json"] = ROWS.encode() * 40_000
    size = len(hub.files["reward/train.json"])
    hub.stall["reward/train.json"] = size - 3_000_000
    stop = threading.Event()
    threading.Thread(target=lambda: (hub.stalled.wait(), stop.wait(0.5), stop.set())).start()

    def check_stop() -> None:
        if stop.is_set():
            raise StopRequested

    with pytest.raises(StopRequested):
        get(tmp_path / "got", files=["reward/*"], check_stop=check_stop)
    assert facts(tmp_path / "got") is None
    [path] = get(tmp_path / "got", files=["reward/*"])
    assert path.stat().st_size == size
    [asked] = hub.ranges
    assert int(asked.removeprefix("bytes=").rstrip("-")) > size - 8_000_000


def test_what_stands_in_the_way_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError) as error:
        get(tmp_path / "got", "own/missing")
    assert error.value.code == "hub.missing"
    hub.files["../outside.json"] = b"{}"
    with pytest.raises(DataError) as error:
        get(tmp_path / "got")
    assert error.value.code == "hub.failed"
    assert not (tmp_path / "outside.json").exists()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError) as error:
        get(tmp_path / "other")
    assert error.value.code == "hub.no_network"
    assert "mirror" in error.value.remedy
    assert "by hand" in error.value.remedy


def test_modelscope_that_is_not_installed(tmp_path: Path) -> None:
    if importlib.util.find_spec("modelscope"):
        pytest.skip("modelscope is installed here")
    with pytest.raises(DataError) as error:
        get(tmp_path / "got", hub="modelscope")
    assert error.value.code == "hub.no_modelscope"
