"""Asking a server, from the page or a terminal. Torch-free.

    for piece in stream_chat(server, "base", messages, seed=1):
        if isinstance(piece, str): show(piece)
        else: print(piece.base_sha256, piece.finish_reason)

Closing the generator, or setting `cancel`, hangs up; the server then stops computing that answer.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
import orjson

from core.errors import GalenError, InputError, RunError
from core.records import Record
from core.serving.options import Sampling
from core.serving.protocol import MAX_SCORED

# A stream is never silent for long: the server sends a comment every half second. Loading a model may take minutes.
TIMEOUT = httpx.Timeout(30, connect=5)
LOAD_TIMEOUT = httpx.Timeout(600, connect=5)
DEFAULT = Sampling()


class ServerHandle(Record):
    """Where a server is. `url` has no trailing slash; `key` is sent as bearer token."""

    url: str
    key: str = ""
    base: str = ""
    device: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


class Answer(Record):
    """The end of an answer: which weights made it, and how. `adapter` is None for the base and for whole models."""

    base: str
    base_sha256: str
    adapter: str | None = None
    adapter_sha256: str | None = None
    dtype: str = ""
    device: str = ""
    seed: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    finish_reason: str = ""
    seconds: float = 0.0
    seconds_to_first_token: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Speed after the first token; 0 where there was no second one."""
        spent = self.seconds - self.seconds_to_first_token
        return (self.tokens - 1) / spent if spent > 0 and self.tokens > 1 else 0.0


def stream_chat(
    server: ServerHandle,
    model: str,
    messages: Sequence[Mapping[str, str]],
    *,
    temperature: float = DEFAULT.temperature,
    top_p: float = DEFAULT.top_p,
    top_k: int = DEFAULT.top_k,
    repetition_penalty: float = DEFAULT.repetition_penalty,
    max_tokens: int = DEFAULT.max_new_tokens,
    seed: int | None = None,
    template: str | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[str | Answer]:
    """Pieces of text as they are made, then one `Answer`; with `cancel` set, it just ends.

    template: a named chat template instead of the model's own.

    Raises InputError for what the server refuses (`serve.context`, `serve.unknown_model`, …), RunError `serve.gone`
    where there is no server any more and `serve.failed` where the answer broke off.
    """
    body = {
        "model": model,
        "messages": [dict(message) for message in messages],
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
        "max_tokens": max_tokens,
        "stream": True,
        **({} if seed is None else {"seed": seed}),
        **({} if template is None else {"template": template}),
    }
    url = f"{server.url}/v1/chat/completions"
    try:
        with httpx.stream("POST", url, **_sent(server, body), timeout=TIMEOUT, trust_env=False) as response:
            if response.status_code != 200:
                response.read()
                raise _error(_content(response))
            yield from _pieces(response, cancel)
    except httpx.TransportError as error:
        raise RunError("serve.gone") from error


def _pieces(response: httpx.Response, cancel: threading.Event | None) -> Iterator[str | Answer]:
    for line in response.iter_lines():
        if cancel is not None and cancel.is_set():
            return
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            raise _error(event)
        text = event["choices"][0]["delta"].get("content")
        if text:
            yield text
        if "galen" in event:
            yield Answer.model_validate(event["galen"])


def _sent(server: ServerHandle, body: Any) -> dict[str, Any]:
    """How `body` is sent, None as nothing. Raises InputError `serve.bad_request` where it is no text, as half a
    surrogate pair is not, which a torn paste or a terminal may leave."""
    if body is None:
        return {"headers": server.headers}
    try:
        content = orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InputError("serve.bad_request", detail=str(error)) from error
    return {"content": content, "headers": {**server.headers, "Content-Type": "application/json"}}


def _content(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of a response. Raises RunError `serve.failed` where it holds none, as no answer of ours does."""
    try:
        content = response.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise RunError("serve.failed", detail=f"HTTP {response.status_code}")
    return content


def _error(body: dict[str, Any]) -> GalenError:
    """The exception that the server's error object stands for."""
    error = body.get("error") or {}
    kind = InputError if error.get("type") == "invalid_request_error" else RunError
    code = error.get("code") or "serve.failed"
    params = (error.get("galen") or {}).get("params") or {"detail": error.get("message", "?")}
    return kind(code, **{name: value for name, value in params.items() if name != "code"})


def load(server: ServerHandle, model: str) -> str:
    """Have a session's server load another run; returns the name that requests use. Raises as `stream_chat`."""
    return str(_post(server, "/galen/models", {"model": model}, LOAD_TIMEOUT)["id"])


def score(server: ServerHandle, model: str, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[float]:
    """What the reward model that was loaded as `model` thinks of conversations that end with an answer, however many.

    Raises InputError for what the server refuses (`serve.scores_nothing`, `serve.no_answer`, …), RunError as
    `stream_chat`.
    """
    told = [[dict(message) for message in each] for each in conversations]
    found: list[dict[str, Any]] = []
    for start in range(0, len(told), MAX_SCORED):
        body = {"model": model, "conversations": told[start : start + MAX_SCORED]}
        found += _post(server, "/v1/score", body, LOAD_TIMEOUT)["data"]
    return [float(each["score"]) for each in found]


def models(server: ServerHandle) -> list[dict[str, Any]]:
    """What the server has: `id` and `galen` (hashes, context) of each. Raises RunError `serve.gone`."""
    return list(_get(server, "/v1/models")["data"])


def health(server: ServerHandle) -> dict[str, Any]:
    """`active` answers and `idle_seconds`. Raises RunError `serve.gone`."""
    return _get(server, "/health")


def ask_to_stop(server: ServerHandle) -> None:
    """Ask the server to end. Raises RunError `serve.gone` where it has already."""
    _post(server, "/galen/stop", {}, TIMEOUT)


def _get(server: ServerHandle, path: str) -> dict[str, Any]:
    return _call("GET", server, path, None, TIMEOUT)


def _post(server: ServerHandle, path: str, body: dict[str, Any], timeout: httpx.Timeout) -> dict[str, Any]:
    return _call("POST", server, path, body, timeout)


def _call(method: str, server: ServerHandle, path: str, body: Any, timeout: httpx.Timeout) -> dict[str, Any]:
    try:
        # trust_env off: a proxy set for the internet must not stand between us and our own machine.
        response = httpx.request(method, server.url + path, **_sent(server, body), timeout=timeout, trust_env=False)
    except httpx.TransportError as error:
        raise RunError("serve.gone") from error
    content = _content(response)
    if response.status_code != 200:
        raise _error(content)
    return content
