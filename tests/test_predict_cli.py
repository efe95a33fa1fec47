"""`python -m core predict` in the article's words and in ours, and the conversation that some of them lead to."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.__main__ import main
from core.cli.predict import split
from core.configs.article import from_arguments
from core.configs.files import find_preset, resolve
from core.models.weights import ADAPTER, ADAPTER_BIN
from core.rundir import State, state_of
from core.serving.options import ARTICLE
from core.serving.session import stop_server
from core.workspace import Workspace
from tests.conftest import build_tokenizer, conversations
from tests.models_tools import make_adapter, make_run
from tests.predict_tools import lines

WORDS = ["max_new_tokens=4", "use_cpu=true", "model.dtype=fp32"]


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "asked.txt"
    path.write_text("\n".join(row["conversations"][0]["value"] for row in conversations(5)) + "\n", encoding="utf-8")
    return path


def dry(capsys: pytest.CaptureFixture[str], workspace: Workspace, *words: str) -> dict[str, Any]:
    """The config that these words make."""
    assert main(["--workspace", str(workspace.path), "--json", "predict", "--dry-run", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_four_ways_to_say_the_same(workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = (
        "--model_type llama --base_model path_to_llama --lora_model path_to_lora --tokenizer_path t --data_file q.txt "
        "--predictions_file out.json --with_prompt --gpus 0,1 --temperature 0.2 --top_k 40"
    )
    (tmp_path / "infer.sh").write_text(f"python inference.py \\\n    {script}\n")
    ours = [
        "model.model_type=llama", "model.base=path_to_llama", "model.lora=path_to_lora", "model.tokenizer=t",
        "data.file=q.txt", "data.predictions=out.json", "data.with_prompt=true", "devices.use=[cuda:0,cuda:1]",
        "generation.temperature=0.2", "generation.top_k=40",
    ]  # fmt: skip
    keys = [
        "model_type=llama", "base_model=path_to_llama", "lora_model=path_to_lora", "tokenizer_path=t",
        "data_file=q.txt", "predictions_file=out.json", "with_prompt=true", "gpus=0,1", "temperature=0.2", "top_k=40",
    ]  # fmt: skip
    found = dry(capsys, workspace, *ours)
    assert found["devices"]["use"] == ["cuda:0", "cuda:1"]
    assert dry(capsys, workspace, *keys) == found
    assert dry(capsys, workspace, *script.split()) == found
    assert dry(capsys, workspace, "--arguments", script) == found
    assert dry(capsys, workspace, "--arguments", str(tmp_path / "infer.sh")) == found


def test_what_is_typed_in_our_words_wins(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    found = dry(capsys, workspace, "--base_model", "a", "model.base=b", "data_file=q", "use_cpu=true", "gpus=0")
    assert found["model"]["base"] == "b"
    assert found["devices"]["use"] == ["cpu:0"]
    assert dry(capsys, workspace, "base_model=007", "data_file=q", "use_cpu=false")["model"]["base"] == "007"
    off = dry(capsys, workspace, "base_model=a", "data_file=q", "with_prompt=false")
    assert off["data"]["with_prompt"] is False
    assert dry(capsys, workspace, "base_model=a", "data_file=q")["generation"]["temperature"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gpus=first"], "names no GPUs"),
        (["temperature=hot"], "temperature"),
        (["base_modle=a"], "no such setting"),
        ([], "data.file"),
        (["data_file=q"], "No model is named"),
    ],
)
def test_words_that_cannot_be_taken(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["--workspace", str(workspace.path), "predict", "--dry-run", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_articles_sampling_is_a_preset() -> None:
    config = resolve("predict", preset="article", values={"model.base": "m", "data.file": "q"})
    assert {name: getattr(config.generation, name) for name in ARTICLE} == ARTICLE
    assert "python -m core predict --preset article " in find_preset("predict", "article").about
    assert split(["preset=article", "base_model=m", "interactive=true"]) == (
        [], {"base_model": "m", "interactive": True}, "article",
    )  # fmt: skip


def test_of_training_these_arguments_are_told_too() -> None:
    mapped = from_arguments("sft", "--base_model m --gpus 0,1 --data_file q --interactive")
    assert mapped.values == {"model.base": "m", "devices.use": ["cuda:0", "cuda:1"]}
    assert [name for name, _, _ in mapped.dropped] == ["data_file"]
    assert mapped.unknown == ["interactive"]


@pytest.mark.slow
def test_a_file_from_the_terminal(
    workspace: Workspace, tiny_model: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(workspace, tiny_model, name="tuned")
    place = ["--workspace", str(workspace.path), "predict"]
    copy = tmp_path / "predictions.jsonl"
    words = [f"base_model={tiny_model}", "lora_model=tuned", f"data_file={asked}", f"predictions_file={copy}", *WORDS]
    assert main([*place, *words]) == 0
    said = capsys.readouterr().out
    assert "5 of 5 lines answered" in said
    assert str(copy) in said
    [run] = [each for each in workspace.runs() if each.stage == "predict"]
    assert state_of(run) is State.SUCCEEDED
    assert run.config()["run"]["name"] == "tuned predict asked"
    assert copy.read_text(encoding="utf-8") == (run.output / "predictions.jsonl").read_text(encoding="utf-8")
    assert [row["line"] for row in lines(run)] == [1, 2, 3, 4, 5]
    (tmp_path / "empty.txt").write_text("")
    runs = len(workspace.runs())
    assert main([*place, f"base_model={tiny_model}", f"data_file={tmp_path / 'empty.txt'}", *WORDS]) == 2
    assert "is empty" in capsys.readouterr().err
    assert len(workspace.runs()) == runs


# -- talking ----------------------------------------------------------------------------------------------------------
def talk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workspace: Workspace, typed: str, *words: str
) -> list[dict[str, Any]]:
    """The turns of a conversation whose questions are piped in."""
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert main(["--workspace", str(workspace.path), "--json", *words]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out.splitlines()[-1])["turns"]
    return found


TALK = ["seed=3", "temperature=1", "max_new_tokens=5", "model.dtype=fp32", "use_cpu=true"]


@pytest.mark.slow
def test_interactive_is_a_conversation_with_the_chat_server(
    workspace: Workspace, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(workspace, tiny_model, name="tuned")
    try:
        words = ["predict", f"base_model={tiny_model}", "lora_model=tuned", *TALK]
        turns = talk(monkeypatch, capsys, workspace, "ba\nba\n", *words, "interactive=true")
        assert [turn["question"] for turn in turns] == ["ba", "ba"]
        assert turns[1]["galen"]["prompt_tokens"] > turns[0]["galen"]["prompt_tokens"]
        alone = talk(monkeypatch, capsys, workspace, "ba\nba\n", *words, "single_turn=true")
        assert alone[0]["answer"] == alone[1]["answer"] == turns[0]["answer"]
        assert alone[1]["galen"]["prompt_tokens"] == alone[0]["galen"]["prompt_tokens"]
        again = talk(monkeypatch, capsys, workspace, "ba\n/reset\nba\n/system be\nba\n", *words, "--interactive")
        assert [turn["answer"] == turns[0]["answer"] for turn in again][:2] == [True, True]
        first, second, third = (turn["galen"]["prompt_tokens"] for turn in again)
        assert first == second < third  # of a system message
        lone = [word for word in TALK if not word.startswith("model.")]
        same = talk(monkeypatch, capsys, workspace, "ba\n", "chat", f"base_model={tiny_model}", "lora_model=tuned",
                    *lone, "dtype=fp32")  # fmt: skip
        assert same[0]["answer"] == turns[0]["answer"]
    finally:
        stop_server(workspace)


def test_what_the_server_does_not_do_is_done_here(
    workspace: Workspace,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No template, another tokenizer, an adapter of old: each without a server."""
    build_tokenizer(tmp_path / "own")
    lora = make_adapter(tiny_model, tmp_path / "lora")
    torch.save(load_file(lora / ADAPTER), lora / ADAPTER_BIN)
    (lora / ADAPTER).unlink()
    base = ["chat", f"base_model={tiny_model}", "dtype=fp32", "max_new_tokens=5", "temperature=0", "use_cpu=true"]
    ways = ["with_prompt=false", f"tokenizer_path={tmp_path / 'own'}", f"lora_model={lora}"]
    said = {way: talk(monkeypatch, capsys, workspace, "ba\nba\n", *base, way) for way in ways}
    tokens = [said[way][0]["galen"]["prompt_tokens"] for way in ways]
    assert tokens[0] < tokens[1] == tokens[2]
    first, second = said["with_prompt=false"]
    assert first["answer"] == second["answer"]  # there is no conversation
    assert said[f"lora_model={lora}"][0]["galen"]["adapter"] == str(lora)
    assert not list((workspace.path / "serving").glob("*"))
    monkeypatch.setattr("sys.stdin", io.StringIO("ba\n"))
    words = [*base, "lora_model=base,base", "with_prompt=false"]
    assert main(["--workspace", str(workspace.path), *words]) == 2
    assert "One model at a time" in capsys.readouterr().err


def test_a_base_without_a_template_asks_for_one_here_too(
    workspace: Workspace,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bare = Path(shutil.copytree(tiny_model, tmp_path / "bare"))
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink(missing_ok=True)
    build_tokenizer(bare, template=None)
    words = ["chat", f"base_model={bare}", "dtype=fp32", "max_new_tokens=3", "device=cpu"]
    monkeypatch.setattr("sys.stdin", io.StringIO("ba\n"))
    assert main(["--workspace", str(workspace.path), *words]) == 2
    said = capsys.readouterr().err
    assert "no chat template" in said
    assert "template=medicalgpt" in said
    try:
        [turn] = talk(monkeypatch, capsys, workspace, "ba\n", *words, "template=vicuna")
        [other] = talk(monkeypatch, capsys, workspace, "ba\n", *words, "template=medicalgpt")
    finally:
        stop_server(workspace)
    assert turn["galen"]["prompt_tokens"] != other["galen"]["prompt_tokens"]
