"""The HTTP side of a server: OpenAI's endpoints over an engine and its models. Started by `core.serving.process`.

    GET  /health                  state, load and idle time
    GET  /v1/models               `base` and every loaded run, with the hashes of their weights
    POST /v1/chat/completions     one answer, whole or streamed as server-sent events
    POST /v1/score                what a loaded reward model thinks of conversations
    POST /galen/models            {"model": TEXT}: load another run of this base
    POST /galen/stop              end the server

With a key set, every request but /health must bring it. The Host header is checked and bodies must say that they are
JSON, so that no web page that the user visits can talk to a server on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from core.errors import GalenError, InputError
from core.serving import protocol
from core.serving.answer import Answer
from core.serving.engine import Engine
from core.serving.failure import explained
from core.serving.protocol import ChatRequest, ScoreRequest
from core.serving.registry import Registry, Served
from core.serving.sampling import Sampling
from core.serving.scoring import Scorer, Scoring

MAX_BODY = 8_000_000  # bytes
HEARTBEAT = 0.5  # seconds of silence after which a stream says that it lives (and notices that nobody listens)
NAP = 0.2  # seconds between two looks at whether the asker of a whole answer has gone

Event = tuple[str, Any]  # ("text", str), ("end", facts) or ("error", GalenError)


@dataclass(frozen=True)
class Service:
    """What the endpoints work on. `load` brings in another run by name; `stop` ends the server."""

    registry: Registry
    engine: Engine
    load: Callable[[str], Served | Scorer]
    stop: Callable[[], None]
    key: str | None = None
    loads_more: bool = True


def build_app(service: Service, hosts: Sequence[str]) -> Starlette:
    """The application; `hosts` are the Host headers it answers to."""
    routes = [
        Route("/health", _health, methods=["GET"]),
        Route("/v1/models", _guarded(_models), methods=["GET"]),
        Route("/v1/chat/completions", _guarded(_chat), methods=["POST"]),
        Route("/v1/score", _guarded(_score), methods=["POST"]),
        Route("/galen/models", _guarded(_load), methods=["POST"]),
        Route("/galen/stop", _guarded(_stop), methods=["POST"]),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])
    app.state.service = service
    return app


def _guarded(handler: Callable[[Request, Service], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Check key and content type; turn every error into OpenAI's error object."""

    async def guarded(request: Request) -> Response:
        service: Service = request.app.state.service
        try:
            _check(request, service)
            return await handler(request, service)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            told = explained(error)
            return JSONResponse(protocol.error_body(told), protocol.error_status(told))

    return guarded


def _check(request: Request, service: Service) -> None:
    sent = request.headers.get("authorization", "").removeprefix("Bearer ")
    if service.key and not secrets.compare_digest(sent.encode(), service.key.encode()):
        raise InputError("serve.unauthorised")
    if request.method == "POST" and not request.headers.get("content-type", "").startswith("application/json"):
        raise InputError("serve.bad_request", detail="its Content-Type is not application/json")


async def _body(request: Request) -> bytes:
    received = bytearray()
    async for piece in request.stream():
        received += piece
        if len(received) > MAX_BODY:
            raise InputError("serve.bad_request", detail=f"it is longer than {MAX_BODY} bytes")
    return bytes(received)


# -- endpoints --------------------------------------------------------------------------------------------------------
async def _health(request: Request) -> Response:
    service: Service = request.app.state.service
    engine = service.engine
    return JSONResponse({"status": "ok", "active": engine.active, "idle_seconds": round(engine.idle_seconds, 1)})


async def _models(request: Request, service: Service) -> Response:
    data = [
        {"id": served.name, "object": "model", "owned_by": "galen", "galen": _facts(served)}
        for served in service.registry
    ]
    return JSONResponse({"object": "list", "data": data})


def _facts(served: Served | Scorer) -> dict[str, Any]:
    kind = "reward" if isinstance(served, Scorer) else "language"
    return {**served.provenance, "context": served.context, "kind": kind}


async def _load(request: Request, service: Service) -> Response:
    body = protocol.json_object(await _body(request))
    if not service.loads_more:
        raise InputError("serve.unsupported", field="loading another model")
    if not isinstance(body.get("model"), str):
        raise InputError("serve.bad_request", detail="it names no model")

    def load() -> Served | Scorer:
        with service.engine.in_use():  # for as long as it takes: a server that is idle makes room for a training
            return service.load(body["model"])

    served = await run_in_threadpool(load)
    return JSONResponse({"id": served.name, "galen": _facts(served)})


async def _stop(request: Request, service: Service) -> Response:
    service.stop()
    return JSONResponse({"stopping": True})


async def _chat(request: Request, service: Service) -> Response:
    asked = ChatRequest.read(await _body(request))
    served = service.registry[asked.model].with_template(asked.template)
    prompt = await run_in_threadpool(served.encoder.prompt_ids, asked.messages)
    events: asyncio.Queue[Event] = asyncio.Queue()
    answer = _answer(asked, served, prompt, events)
    service.engine.submit(answer)
    answer_id = protocol.new_id()
    if asked.stream:
        # Not cached and not gathered by a proxy: a stream that arrives at once is none.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        content = _stream(answer_id, asked, answer, events)
        return StreamingResponse(content, media_type="text/event-stream", headers=headers)
    text, facts = await _whole(request, answer, events)
    return JSONResponse(protocol.completion(answer_id, asked.model, text, facts))


async def _score(request: Request, service: Service) -> Response:
    asked = ScoreRequest.read(await _body(request))
    scorer = service.registry.scorer(asked.model)
    rows = await run_in_threadpool(lambda: [scorer.ids(conversation) for conversation in asked.conversations])
    ended: asyncio.Queue[Event] = asyncio.Queue()
    send = _sender(ended)
    job = Scoring(scorer, rows, lambda scores, error: send(("error", error) if error else ("end", scores)))
    service.engine.run(job)
    _, scores = await _whole(request, job, ended)
    return JSONResponse(protocol.scores(asked.model, scores, scorer.provenance))


def _sender(events: asyncio.Queue[Event]) -> Callable[[Event], None]:
    """Puts events of the engine's thread into a queue of this loop."""
    loop = asyncio.get_running_loop()

    def send(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens
            loop.call_soon_threadsafe(events.put_nowait, event)

    return send


def _answer(asked: ChatRequest, served: Served, prompt: Sequence[int], events: asyncio.Queue[Event]) -> Answer:
    """An answer whose events come over from the engine's thread into this loop."""
    send = _sender(events)
    sampling = Sampling(
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        repetition_penalty=asked.repetition_penalty,
        max_tokens=asked.max_new_tokens,
        seed=asked.seed,
        stop=tuple(asked.stop),
    )
    return Answer(
        served,
        prompt,
        sampling,
        on_text=lambda text: send(("text", text)),
        on_end=lambda facts, error: send(("error", error) if error else ("end", facts)),
    )


async def _stream(
    answer_id: str, asked: ChatRequest, answer: Answer, events: asyncio.Queue[Event]
) -> AsyncIterator[str]:
    """Server-sent events. Leaving it in any way, by the last event or by a disconnect, cancels the answer."""
    try:
        yield _event(protocol.chunk(answer_id, asked.model, first=True))
        while True:
            try:
                kind, value = await asyncio.wait_for(events.get(), HEARTBEAT)
            except TimeoutError:
                yield ": waiting\n\n"
                continue
            if kind == "text":
                yield _event(protocol.chunk(answer_id, asked.model, value))
                continue
            if kind == "error":
                yield _event(protocol.error_body(value))
            else:
                yield _event(
                    protocol.last_chunk(answer_id, asked.model, value, usage=bool(asked.stream_options.include_usage))
                )
            yield "data: [DONE]\n\n"
            return
    finally:
        answer.cancel()


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


async def _whole(request: Request, work: Answer | Scoring, events: asyncio.Queue[Event]) -> tuple[str, Any]:
    """The whole text and what came at its end; the work is cancelled when the asker goes away."""
    text, looked = "", time.monotonic()
    try:
        while True:
            if time.monotonic() - looked > NAP:
                looked = time.monotonic()
                if await request.is_disconnected():
                    raise ClientDisconnect
            try:
                kind, value = await asyncio.wait_for(events.get(), NAP)
            except TimeoutError:
                continue
            if kind == "text":
                text += value
            elif kind == "error":
                assert isinstance(value, GalenError)
                raise value
            else:
                return text, value
    finally:
        work.cancel()
