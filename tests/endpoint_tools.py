"""An OpenAI-compatible server in a thread, for tests: it says what a function says, slowly, wrongly or not at all."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Behaviour = Callable[[str, int], Any]  # (prompt, how often it came) → what is said, or (status, headers)


class Endpoint:
    """An OpenAI-compatible server. `behaves` may be exchanged at any time; `asked` are the requests that came.

    It counts a token a character."""

    def __init__(self) -> None:
        self.behaves: Behaviour = lambda prompt, times: "7"
        self.models = 200
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.at_once = self.most_at_once = 0
        lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                return

            def do_GET(self) -> None:
                endpoint.keys.add(self.headers.get("Authorization"))
                self._send(endpoint.models if self.path == "/v1/models" else 404, b"{}")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][0]["content"]
                with lock:
                    times = sum(one["messages"][0]["content"] == prompt for one in endpoint.asked)
                    endpoint.asked.append(body)
                    endpoint.keys.add(self.headers.get("Authorization"))
                    endpoint.at_once += 1
                    endpoint.most_at_once = max(endpoint.at_once, endpoint.most_at_once)
                said = endpoint.behaves(prompt, times)
                with lock:
                    endpoint.at_once -= 1
                if isinstance(said, bytes):
                    self._send(200, said)
                elif isinstance(said, str):
                    usage = {"prompt_tokens": len(prompt), "completion_tokens": len(said)}
                    choices = [{"message": {"content": said}}]
                    self._send(200, json.dumps({"choices": choices, "usage": usage}).encode())
                else:
                    self._send(said[0], said[2] if len(said) > 2 else b"", said[1])

            def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    for start in range(0, len(data), 64):
                        self.wfile.write(data[start : start + 64])
                        if b"drip" in data:
                            time.sleep(0.1)
                except OSError:
                    pass  # hung up on

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [one["messages"][0]["content"] for one in self.asked]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint()
    thread = threading.Thread(target=served.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()


def unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
