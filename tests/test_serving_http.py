"""The server as a process: found, used, cancelled, refused, stopped; and `chat` and `serve` in a terminal."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from starlette.testclient import TestClient

from core.errors import DeviceError, InputError, ModelError, RunError
from core.hardware import Device
from core.rundir import read_record
from core.serving import client, process, session
from core.serving.client import Answer, ServerHandle
from core.serving.engine import Engine
from core.serving.options import Sampling
from core.serving.process import ServerSpec, ServerState
from core.serving.protocol import ChatRequest
from core.serving.server import Service, build_app
from core.workspace import Workspace
from tests.models_tools import make_run

QUESTION = [{"role": "user", "content": "发烧 ba be bi?"}]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Workspace]:
    """A workspace with two runs; whatever servers the tests start in it end with them."""
    workspace = Workspace(tmp_path_factory.mktemp("http") / "workspace")
    for number, name in enumerate(("one", "two"), start=1):
        make_run(workspace, tiny_model, seed=number, name=name, steps=(3,))
    yield workspace
    session.stop_server(workspace)


def serve(place: Workspace, model: Path, *runs: str, **options: Any) -> ServerHandle:
    return session.ensure_server(place, str(model), list(runs), device="cpu", dtype="fp32", **options)


@pytest.fixture
def server(place: Workspace, tiny_model: Path) -> ServerHandle:
    """One server with run `one`; the same process for every test that has not ended it."""
    return serve(place, tiny_model, "one")


def ask(server: ServerHandle, model: str = "base", **sampling: Any) -> tuple[str, Answer]:
    *pieces, end = client.stream_chat(server, model, QUESTION, **{"max_tokens": 12, "temperature": 0.0, **sampling})
    assert isinstance(end, Answer)
    return "".join(map(str, pieces)), end


def state(place: Workspace) -> ServerState:
    [folder] = (place.path / "serving").iterdir()
    found = read_record(folder / "server.json", ServerState)
    assert found is not None
    return found


def test_phases_reuse_and_more_runs(place: Workspace, tiny_model: Path) -> None:
    phases: list[str] = []
    first = serve(place, tiny_model, "one", on_progress=phases.append)
    assert [phase for phase in phases if phase in ("importing", "ready")] == ["importing", "ready"]
    pid = state(place).pid
    phases.clear()
    second = serve(place, tiny_model, "one", "two:best", on_progress=phases.append)
    assert (second, state(place).pid) == (first, pid)
    assert "importing" not in phases
    listed = {one["id"]: one["galen"] for one in client.models(second)}
    assert len(listed) == 3
    text, end = ask(second, "two:best")
    assert end.adapter is not None
    assert end.adapter.endswith(":best")
    assert listed[end.adapter]["adapter_sha256"] == end.adapter_sha256
    assert text != ask(second, "base")[0]
    assert session.running_servers(place) == [first]


def test_the_key_is_private(place: Workspace, server: ServerHandle) -> None:
    [folder] = (place.path / "serving").iterdir()
    assert (folder / "server.json").stat().st_mode & 0o077 == 0
    assert httpx.get(f"{server.url}/v1/models").status_code == 401
    assert httpx.get(f"{server.url}/health").status_code == 200
    bad = {**server.headers, "Host": "evil.example"}
    assert httpx.get(f"{server.url}/v1/models", headers=bad).status_code == 400
    form = {**server.headers, "Content-Type": "text/plain"}
    assert httpx.post(f"{server.url}/v1/chat/completions", headers=form, content=b"{}").status_code == 400


def post(server: ServerHandle, **body: Any) -> httpx.Response:
    data = {"messages": QUESTION, "max_tokens": 6, "temperature": 0, **body}
    return httpx.post(f"{server.url}/v1/chat/completions", json=data, headers=server.headers, timeout=30)


def test_openai_shapes(server: ServerHandle) -> None:
    whole = post(server, model="one").json()
    assert whole["choices"][0]["message"]["content"] == ask(server, "one", max_tokens=6)[0]
    assert whole["usage"]["completion_tokens"] == whole["galen"]["tokens"]
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
    assert post(server, messages=parts).json()["choices"] == post(server).json()["choices"]
    streamed = post(server, stream=True, stream_options={"include_usage": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    last = json.loads(lines[-2].removeprefix("data: "))
    assert last["choices"][0]["finish_reason"] in ("stop", "length")
    assert {"base_sha256", "adapter_sha256", "seed", "tokens", "finish_reason"} <= set(last["galen"])
    assert last["usage"]["prompt_tokens"] == last["galen"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "nobody"}, 404, "serve.unknown_model"),
        ({"messages": []}, 400, "serve.bad_request"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "serve.bad_request"),
        ({"temperature": -1}, 400, "serve.bad_request"),
        ({"temperature": "warm"}, 400, "serve.bad_request"),
        ({"temperature": 2.1}, 400, "serve.bad_request"),
        ({"tools": [{"type": "function"}]}, 400, "serve.unsupported"),
        ({"n": 2}, 400, "serve.unsupported"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "serve.unsupported"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]}, 400, "serve.bad_request"),
        ({"messages": [{"role": "user", "content": "发烧 " * 600}]}, 400, "serve.context"),
        ({"max_completion_tokens": "x"}, 400, "serve.bad_request"),
        ({"stream_options": "x"}, 400, "serve.bad_request"),
        ({"stream_options": {"include_usage": []}}, 400, "serve.bad_request"),
    ],
)
def test_refusals(server: ServerHandle, body: dict, status: int, code: str) -> None:
    answer = post(server, **body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "{" not in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"{", b"[1]", b"{}", b'{"model": 3}', b"\xff", b'{"model": NaN}', b'{"model": "\\ud800"}']
)
def test_a_load_that_cannot_be_read(server: ServerHandle, body: bytes) -> None:
    headers = {**server.headers, "Content-Type": "application/json"}
    answer = httpx.post(f"{server.url}/galen/models", headers=headers, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "serve.bad_request")


def test_the_request_s_defaults_and_bounds_are_those_of_the_options() -> None:
    asked = ChatRequest.read(json.dumps({"messages": [{"role": "user", "content": " x "}]}).encode())
    assert asked.model_dump(include=set(Sampling.model_fields), exclude={"seed"}) == Sampling().model_dump(
        exclude={"seed"}
    )
    assert asked.messages[0]["content"] == " x "
    for name in ("max_tokens", "max_completion_tokens", "max_new_tokens"):
        assert ChatRequest.read(json.dumps({"messages": QUESTION, name: 7}).encode()).max_new_tokens == 7


def test_the_client_raises_what_the_server_said(server: ServerHandle) -> None:
    with pytest.raises(InputError) as error:
        ask(server, "nobody")
    assert error.value.code == "serve.unknown_model"
    long = [{"role": "user", "content": "发烧 " * 600}]
    with pytest.raises(InputError) as error:
        list(client.stream_chat(server, "base", long))
    assert error.value.params["allowed"] == 512
    with pytest.raises(InputError) as error:
        list(client.stream_chat(server, "base", [{"role": "user", "content": "half \ud83d"}]))
    assert error.value.code == "serve.bad_request"
    with pytest.raises(RunError) as gone:
        ask(ServerHandle(url="http://127.0.0.1:9"))
    assert gone.value.code == "serve.gone"


def test_what_breaks_is_told_and_is_no_end_of_the_server(
    server: ServerHandle, tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine()

    def load(text: str) -> Any:
        engine._last_use -= 1000  # a large model
        assert (engine.active, engine.idle_seconds) == (1, 0)
        raise MemoryError(text)

    app = build_app(Service(None, engine, load, stop=print), ["testserver"])
    broken = TestClient(app).post("/galen/models", json={"model": "no room\nfor it"})
    assert (broken.status_code, broken.json()["error"]["code"]) == (500, "serve.failed")
    assert "The chat server failed: no room." in broken.json()["error"]["message"]
    assert "Traceback" in caplog.text
    assert (engine.active, engine.idle_seconds < 100) == (0, True), "to load a model is a use"
    engine.close()
    with pytest.raises(RunError) as error:
        client.models(ServerHandle(url=f"{server.url}/elsewhere"))
    assert (error.value.code, error.value.params) == ("serve.failed", {"detail": "HTTP 404"})


def test_hanging_up_ends_the_answer(server: ServerHandle) -> None:
    """By closing the generator, by the event, and by a client that vanishes."""
    endless = {"max_tokens": 480, "temperature": 2.0, "top_p": 1.0}
    for way in ("close", "event"):
        cancel = threading.Event()
        stream = client.stream_chat(server, "base", QUESTION, cancel=cancel, **endless)
        next(stream)
        if way == "close":
            stream.close()
        else:
            cancel.set()
            assert not any(isinstance(piece, Answer) for piece in stream)
        deadline = time.monotonic() + 30
        while client.health(server)["active"]:
            assert time.monotonic() < deadline, way
            time.sleep(0.02)


def test_both_panes_stream_at_the_same_time(server: ServerHandle) -> None:
    spans: dict[str, tuple[float, float]] = {}

    def pane(model: str) -> None:
        begun = 0.0
        for _ in client.stream_chat(server, model, QUESTION, max_tokens=300, temperature=2.0, top_p=1.0, seed=1):
            begun = begun or time.monotonic()
        spans[model] = (begun, time.monotonic())

    threads = [threading.Thread(target=pane, args=(model,)) for model in ("base", "one")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(start for start, _ in spans.values()) < min(end for _, end in spans.values())


def test_bad_input_is_told_before_anything_starts(place: Workspace, tiny_model: Path) -> None:
    with pytest.raises(ModelError):
        serve(place, Path("/no/such/model"))
    with pytest.raises(InputError):
        serve(place, tiny_model, "no-such-run")
    with pytest.raises(ModelError) as error:
        serve(place, tiny_model, "one:step-99")
    assert "step-3" in str(error.value)
    with pytest.raises(DeviceError):
        session.ensure_server(place, str(tiny_model), device="cuda:7")


def test_a_place_or_a_key_that_cannot_be_is_told_before_torch_is_loaded(
    place: Workspace, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(**how: Any) -> str:
        spec = ServerSpec(workspace=str(place.path), base=str(tiny_model), **how)
        with pytest.raises(InputError) as error:
            process.serve(spec)
        return error.value.code

    announce = process.Announcer(ServerSpec(workspace="", base="", host="::1"), "")
    announce("ready", port=8000)
    assert "http://[::1]:8000/v1" in capsys.readouterr().out
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert refused(port=taken.getsockname()[1]) == "serve.port_taken"
    monkeypatch.setenv("GALEN_API_KEY", "k")
    assert refused(host="192.0.2.1") == "serve.no_address"  # kept for documents: no machine's own
    for key in ("密钥", "two words", "k\n"):
        monkeypatch.setenv("GALEN_API_KEY", key)
        assert refused() == "serve.bad_key", key


def test_a_busy_gpu_is_named(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [Device(f"cuda:{index}", "GPU", f"uuid-{index}", 1, 1, True) for index in range(2)]
    monkeypatch.setattr(session, "devices", lambda: gpus)
    held = {"cuda:0": "sft-x, chat server"}
    monkeypatch.setattr(session, "holders", lambda workspace: held)
    assert session.choose_device("auto", place) == "cuda:1"
    held["cuda:1"] = "sft-y"
    with pytest.raises(DeviceError) as error:
        session.choose_device("auto", place)
    assert "cuda:0 is in use by sft-x. Use the CPU instead?" in str(error.value)


def test_a_model_that_cannot_be_loaded(place: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ModelError) as error:
        serve(place, broken)
    assert error.value.code == "model.missing_weights"


# -- ending -----------------------------------------------------------------------------------------------------------
def test_stop_frees_the_process_and_a_killed_one_is_replaced(tmp_path: Path, tiny_model: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    handle = serve(workspace, tiny_model)
    psutil.Process(state(workspace).pid).kill()
    deadline = time.monotonic() + 30
    while session.running_servers(workspace):
        assert time.monotonic() < deadline
    with pytest.raises(RunError):
        ask(handle)
    again = serve(workspace, tiny_model, idle_minutes=0.01)
    pid = state(workspace).pid
    text, _ = ask(again)
    assert text
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid):  # nobody asks any more: it ends by itself
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert state(workspace).phase == "ended"


def test_stop_server(place: Workspace, server: ServerHandle) -> None:
    pid = state(place).pid if len(list((place.path / "serving").iterdir())) == 1 else None
    session.stop_server(place, server)
    assert session.running_servers(place) == []
    assert pid is None or not psutil.pid_exists(pid)
    session.stop_server(place)  # nothing to stop: no error


# -- terminal ---------------------------------------------------------------------------------------------------------
def core(*words: str, workspace: Workspace, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "core", "--workspace", str(workspace.path), *words]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=120, check=False)


def test_chat_by_pipe(place: Workspace, tiny_model: Path, server: ServerHandle) -> None:
    words = ["chat", f"base_model={tiny_model}", "lora_model=one", "device=cpu", "dtype=fp32", "temperature=0"]
    words += ["max_new_tokens=12", "--json"]
    done = core(*words, workspace=place, stdin=f"{QUESTION[0]['content']}\n/reset\n{QUESTION[0]['content']}\nmore\n")
    assert done.returncode == 0, done.stderr
    turns = json.loads(done.stdout.splitlines()[-1])["turns"]
    assert [turn["model"] for turn in turns] == ["one"] * 3
    assert turns[0]["answer"] == turns[1]["answer"] == ask(server, "one")[0]
    assert turns[2]["galen"]["prompt_tokens"] > turns[1]["galen"]["prompt_tokens"]
    assert turns[0]["galen"]["adapter_sha256"]


def test_chat_mistakes(place: Workspace, tiny_model: Path) -> None:
    done = core("chat", "base_modle=x", "temperature=hot", "top_p=7", "--json", workspace=place)
    assert done.returncode == 2
    told = json.loads(done.stdout.splitlines()[-1])["error"]
    assert {problem["key"] for problem in told["problems"]} == {"base_modle", "temperature", "top_p"}
    assert "Did you mean 'base_model'?" in done.stderr
    assert "Traceback" not in done.stderr
    done = core("chat", "lora_model=nothing", workspace=place)
    assert done.returncode == 2
    assert "nothing" in done.stderr


def test_serve_in_a_terminal(place: Workspace, tiny_model: Path) -> None:
    argv = [sys.executable, "-u", "-m", "core", "--workspace", str(place.path), "serve", f"base_model={tiny_model}"]
    argv += ["lora_model=two", "device=cpu", "port=0"]
    environment = {**os.environ, "GALEN_API_KEY": "secret"}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        url = next(line.split()[-1] for line in process.stdout if line.startswith("ready"))
        server = ServerHandle(url=url.removesuffix("/v1"), key="secret")
        assert len(client.models(server)) == 2
        assert ask(server, "two")[1].adapter
        with pytest.raises(RunError):
            ask(ServerHandle(url="http://127.0.0.1:9"))
    finally:
        process.terminate()
        process.wait(20)
    taken = core("serve", f"base_model={tiny_model}", "host=0.0.0.0", workspace=place)
    assert taken.returncode == 2
    assert "GALEN_API_KEY" in taken.stderr
