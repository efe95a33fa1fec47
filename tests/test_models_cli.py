"""`python -m core model …` in a terminal, through the real supervisor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from core.jobs import store
from core.models import library
from core.rundir import State, state_of
from core.workspace import Workspace


def core(workspace: Workspace, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "core", "--workspace", str(workspace.path), *words]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=120, check=False)


def last(done: subprocess.CompletedProcess[str]) -> dict:
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_get_list_show_rm(workspace: Workspace, tiny_model: Path) -> None:
    assert "model starter" in core(workspace, "model", "list").stdout
    done = core(workspace, "model", "get", str(tiny_model), "--name", "mine", "--json")
    assert (done.returncode, last(done)["state"]) == (0, "succeeded"), done.stderr
    assert [model["name"] for model in last(core(workspace, "model", "list", "--json"))["models"]] == ["mine"]
    assert last(core(workspace, "model", "show", "mine", "--json"))["folder"] == str(tiny_model)
    assert "LlamaForCausalLM" in core(workspace, "model", "show", "mine").stdout
    assert "kept" in core(workspace, "model", "rm", "mine", stdin="n\n").stdout
    assert core(workspace, "model", "rm", "mine", "--yes").returncode == 0
    assert library.list_models(workspace) == []
    assert (tiny_model / "model.safetensors").is_file()


def test_mistakes_never_become_runs(workspace: Workspace) -> None:
    for words in (["get", "no such thing"], ["show", "nothing"], ["rm", "nothing"], ["get", "a/b", "--name", "../x"]):
        done = core(workspace, "model", *words)
        assert done.returncode == 2, words
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr
    assert workspace.runs() == []


def test_a_fetch_run_is_stopped_while_it_downloads(workspace: Workspace, monkeypatch) -> None:
    """A hub that takes the connection and never answers: the run ends within seconds and leaves nothing behind."""
    import socket

    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
    run = workspace.run(core(workspace, "model", "get", "own/tiny", "--detach").stdout.strip())
    deadline = time.monotonic() + 30
    while (progress := run.progress()) is None or progress.phase != "downloading":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    asked = time.monotonic()
    store.stop(run)
    while state_of(run).live:
        assert time.monotonic() < asked + 30
        time.sleep(0.05)
    assert state_of(run) is State.STOPPED
    assert list(workspace.models_dir.iterdir()) == []
    assert not list((workspace.cache_dir / "models").iterdir())
    silent.close()


def test_a_failure_is_told_once_and_under_the_name_that_was_given(workspace: Workspace, tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"hello" * 100)
    done = core(workspace, "model", "import", str(junk), "name=old2")
    assert done.returncode == 2
    assert (done.stdout + done.stderr).count("cannot be read as a GGUF file") == 1
    assert "cannot be read as a GGUF file" in done.stderr
    assert "jobs resume" not in done.stderr  # the same file would be as bad once more
    [run] = workspace.runs()
    assert run.config()["run"]["name"] == "old2"
    assert "cannot be read" in run.log_file(0).read_text()


def test_what_is_no_gguf_file_says_what_it_is(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    done = core(workspace, "model", "import", str(tmp_path / "model.bin"))
    assert (done.returncode, workspace.runs()) == (2, [])
    assert "is a file; a model is a folder" in done.stderr
