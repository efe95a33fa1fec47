"""A real server of the page for tests: its own process, an own port, killed with SIGKILL at the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.workspace import Workspace

ROOT = Path(__file__).parents[1]


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
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return server
        except urllib.error.HTTPError:
            return server
        except OSError:
            assert server.poll() is None, (workspace.path / "webui.log").read_text()
            time.sleep(0.05)
    server.kill()
    raise AssertionError("the page does not answer")


@contextmanager
def serve(workspace: Workspace, *words: str, **environment: str) -> Iterator[str]:
    """The address of a page, for the time of a `with`."""
    port = free_port()
    server = start(workspace, port, *words, **environment)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.kill()
        server.wait()
