"""A real server of the page for tests: its own process, an own port, killed with SIGKILL at the end.

`start` runs the command that people run. `serve`, which most tests use, forks a process that has imported the page
already, once for each process of tests: that saves three seconds a test.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import run_webui
from core.workspace import Workspace

ROOT = Path(__file__).parents[1]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["run_webui", "webui.app", "webui.alone"])


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
    return port


def start(workspace: Workspace, port: int, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start `run_webui.py` and return once it answers."""
    log = open(workspace.path / "webui.log", "ab")  # noqa: SIM115 - the child keeps it
    server = subprocess.Popen(
        [sys.executable, "run_webui.py", "--workspace", str(workspace.path), "--port", str(port), *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=log,
        stderr=log,
    )
    await_answer(port, lambda: server.poll() is None, workspace)
    return server


def await_answer(port: int, alive: Callable[[], bool], workspace: Workspace) -> None:
    """Return once the page answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert alive(), (workspace.path / "webui.log").read_text()
            time.sleep(0.05)
    raise AssertionError("the page does not answer")


def _main(words: list[str], environment: dict[str, str], log: Path) -> None:
    """The page in a process forked from one that was started for other tests."""
    os.environ.clear()
    os.environ.update(environment)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(run_webui.main(words))


@contextmanager
def serve(workspace: Workspace, *words: str, **environment: str) -> Iterator[str]:
    """The address of a page, for the time of a `with`."""
    port = free_port()
    arguments = ["--workspace", str(workspace.path), "--port", str(port), *words]
    log = workspace.path / "webui.log"
    server = FORKS.Process(target=_main, args=(arguments, {**os.environ, **environment}, log))
    server.start()
    try:
        await_answer(port, server.is_alive, workspace)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.kill()
        server.join()
