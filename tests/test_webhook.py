"""`run.webhook`: a real server is told how a real run ended; nothing that goes wrong with it touches the run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from core.configs.files import resolve
from core.errors import ConfigError
from core.jobs import store
from core.jobs.webhook import tell
from core.rundir import State, state_of
from core.workspace import Workspace
from tests import jobs_tools
from tests.drill import Drill, DrillConfig
from tests.runs_tools import made

drills = jobs_tools.drills  # a fixture of every test here


class Hook:
    """What was said to it; `answers`: with which status."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.answers = 204
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                return

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.said.append((self.path, body))
                self.send_response(hook.answers)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made_one = Hook()
    yield made_one
    made_one.server.shutdown()
    made_one.server.server_close()


def test_the_supervisor_tells_how_a_run_ended(
    workspace: Workspace, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s3cr3t")
    run_settings = {"webhook": f"{hook.url}/$HOOK_SECRET", "name": "told"}
    runs = [
        store.submit(workspace, "drill", DrillConfig.model_validate(
            {"devices": {"use": "cpu:0"}, "run": run_settings, "drill": Drill(fails=fails)}
        ))
        for fails in ("", "data")
    ]  # fmt: skip
    for run in runs:
        jobs_tools.reaches(run)
    logs = [run.supervisor_log for run in runs]
    assert jobs_tools.eventually(lambda: all("the webhook was told" in log.read_text() for log in logs), 20)
    told = {said["run"]: (path, said) for path, said in hook.said}
    assert [told[run.id][1]["state"] for run in runs] == ["succeeded", "failed"]
    path, said = told[runs[0].id]
    assert (path, said["name"], said["stage"]) == ("/s3cr3t", "told", "drill")
    assert said["final_metrics"]["loss"] == jobs_tools.expected()[-1][1]
    assert told[runs[1].id][1]["reason"]
    for run in runs:
        written = [file for file in run.path.rglob("*") if file.is_file() and b"s3cr3t" in file.read_bytes()]
        assert written == []


def test_whatever_becomes_of_it_is_one_line(workspace: Workspace, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(webhook: str, number: int = [0]) -> str:
        number[0] += 1
        run = made(workspace, "sft", "x", number=number[0], settings={"run.webhook": webhook})
        sentence = tell(run)
        assert state_of(run) is State.SUCCEEDED
        return sentence

    assert said("") == ""
    assert said(hook.url) == "the webhook was told"
    monkeypatch.delenv("NO_SUCH_THING", raising=False)
    assert (
        said("https://host/${NO_SUCH_THING}/x")
        == "the webhook was not told: there is no NO_SUCH_THING in the environment"
    )
    monkeypatch.setenv("HOOK", "file:///etc/passwd")
    assert said("$HOOK") == "the webhook was not told: UnsupportedProtocol"
    assert said("http://127.0.0.1:1/token") == "the webhook was not told: ConnectError"
    hook.answers = 302
    assert said(hook.url) == "the webhook answered 302"
    assert [path for path, _ in hook.said] == ["/", "/"]


def test_an_address_that_is_none_is_refused_before_the_start() -> None:
    for wrong in ("ftp://host/x", "host/x", "javascript:alert(1)"):
        with pytest.raises(ConfigError) as caught:
            resolve("sft", values={"model.base": "b", "data.train": "d", "run.webhook": wrong})
        assert [problem.key for problem in caught.value.problems] == ["run.webhook"]
