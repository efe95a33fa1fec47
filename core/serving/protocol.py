"""What goes over the wire: OpenAI's chat completions, with an object of our own, `galen`, in the last chunk; scores.

Fields that would change the answer and are not supported are refused, never ignored; the rest of OpenAI's many fields
(user, metadata, …) have no effect here and may be sent. Torch-free.
"""

from __future__ import annotations

import secrets
import time
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import GalenError, InputError
from core.serving.options import Sampling

UNSUPPORTED = (
    "tools",
    "functions",
    "response_format",
    "logprobs",
    "logit_bias",
    "audio",
    "presence_penalty",
    "frequency_penalty",
)
LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens")  # names of one thing
MAX_SEED = 2**31
MAX_SCORED = 256  # conversations of one request


class Part(BaseModel):
    """A piece of a message's content."""

    model_config = ConfigDict(extra="ignore")

    text: str


class Message(BaseModel):
    """One turn. Content is text, or OpenAI's list of parts as long as all of them are text."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant"]
    content: str

    @classmethod
    def read(cls, raw: Any) -> dict[str, str]:
        if isinstance(raw, dict) and raw.get("role") == "developer":
            raw = {**raw, "role": "system"}
        if isinstance(raw, dict) and isinstance(raw.get("content"), list):
            parts = raw["content"]
            if any(not isinstance(part, dict) or part.get("type") != "text" for part in parts):
                raise InputError("serve.unsupported", field="a message part that is not text")
            raw = {**raw, "content": "".join(Part.model_validate(part).text for part in parts)}
        return cls.model_validate(raw).model_dump()


class StreamOptions(BaseModel):
    """Whether the last piece of a stream tells how many tokens there were."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool | None = None


class ChatRequest(Sampling):
    """The body of POST /v1/chat/completions. Defaults and bounds are those of `Sampling`, but the seed is random.

    `max_new_tokens` may be sent as OpenAI's `max_tokens` or `max_completion_tokens`; those that are sent must agree.
    """

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=False)

    model: str = "base"
    messages: list[dict[str, str]] = Field(min_length=1)
    template: str | None = None  # a named chat template instead of the model's own: no field of OpenAI's
    stop: list[str] = Field([], max_length=16)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()

    @classmethod
    def read(cls, body: bytes) -> ChatRequest:
        """Raises InputError `serve.bad_request` or `serve.unsupported`."""
        raw = json_object(body)
        for name in UNSUPPORTED:
            if raw.get(name):
                raise InputError("serve.unsupported", field=name)
        if raw.get("n") not in (None, 1):
            raise InputError("serve.unsupported", field="n")
        data = {key: value for key, value in raw.items() if value is not None}
        limits = [data.pop(name) for name in LIMITS if name in data]
        if any(limit != limits[0] for limit in limits):
            raise InputError("serve.bad_request", detail=f"{' and '.join(LIMITS[:2])} differ")
        data |= {"max_new_tokens": limits[0]} if limits else {}
        data.setdefault("seed", secrets.randbelow(MAX_SEED))
        data["stop"] = [data["stop"]] if isinstance(data.get("stop"), str) else data.get("stop", [])
        try:
            if isinstance(data.get("messages"), list):
                data["messages"] = [Message.read(message) for message in data["messages"]]
            return cls.model_validate(data)
        except ValidationError as error:
            raise _bad(error) from error


class ScoreRequest(BaseModel):
    """The body of POST /v1/score: one conversation as `messages`, or several as `conversations`."""

    model_config = ConfigDict(extra="ignore")

    model: str
    conversations: list[list[dict[str, str]]] = Field(min_length=1, max_length=MAX_SCORED)

    @classmethod
    def read(cls, body: bytes) -> ScoreRequest:
        """Raises InputError `serve.bad_request` or `serve.unsupported`."""
        raw = json_object(body)
        if "messages" in raw:
            if "conversations" in raw:
                raise InputError("serve.bad_request", detail="messages and conversations are both there")
            raw = {**raw, "conversations": [raw["messages"]]}
        try:
            if isinstance(raw.get("conversations"), list):
                raw["conversations"] = [
                    [Message.read(message) for message in each] if isinstance(each, list) else each
                    for each in raw["conversations"]
                ]
            return cls.model_validate(raw)
        except ValidationError as error:
            raise _bad(error) from error


def _bad(error: ValidationError) -> InputError:
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "message"
    return InputError("serve.bad_request", detail=f"{place}: {first['msg']}")


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; an empty body is an empty one. Raises InputError `serve.bad_request`."""
    try:
        raw = orjson.loads(body or b"{}")  # refuses NaN and half surrogates, which could not be answered as JSON
    except ValueError as error:
        raise InputError("serve.bad_request", detail="it is not JSON") from error
    if not isinstance(raw, dict):
        raise InputError("serve.bad_request", detail="it is not a JSON object")
    return raw


def new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"


def chunk(answer_id: str, model: str, text: str = "", *, first: bool = False) -> dict[str, Any]:
    """One streamed piece of text."""
    delta: dict[str, Any] = {"role": "assistant"} if first else {}
    delta["content"] = text
    return _envelope(answer_id, model, "chat.completion.chunk", {"index": 0, "delta": delta, "finish_reason": None})


def last_chunk(answer_id: str, model: str, facts: dict[str, Any], *, usage: bool) -> dict[str, Any]:
    choice = {"index": 0, "delta": {}, "finish_reason": facts["finish_reason"]}
    envelope = _envelope(answer_id, model, "chat.completion.chunk", choice)
    return {**envelope, "galen": facts, **({"usage": _usage(facts)} if usage else {})}


def completion(answer_id: str, model: str, text: str, facts: dict[str, Any]) -> dict[str, Any]:
    """The whole answer in one object."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": facts["finish_reason"]}
    return {**_envelope(answer_id, model, "chat.completion", choice), "usage": _usage(facts), "galen": facts}


def scores(model: str, found: list[float], provenance: dict[str, Any]) -> dict[str, Any]:
    """One score a conversation, in their order; scores of two reward models do not compare."""
    data = [{"index": index, "score": score} for index, score in enumerate(found)]
    return {"object": "list", "model": model, "data": data, "galen": provenance}


def _envelope(answer_id: str, model: str, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": answer_id, "object": kind, "created": int(time.time()), "model": model, "choices": [choice]}


def _usage(facts: dict[str, Any]) -> dict[str, int]:
    prompt, answer = facts["prompt_tokens"], facts["tokens"]
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def error_body(error: GalenError) -> dict[str, Any]:
    """OpenAI's error object; `galen` holds what a page needs to say it in another language."""
    kind = "invalid_request_error" if isinstance(error, InputError) else "server_error"
    message = " ".join(part for part in (error.message, error.remedy) if part)
    inner = {"message": message, "type": kind, "param": None, "code": error.code, "galen": {"params": error.params}}
    return {"error": inner}


def error_status(error: GalenError) -> int:
    """The HTTP status of an error."""
    special = {"serve.unknown_model": 404, "serve.unauthorised": 401}
    return special.get(error.code, 400 if isinstance(error, InputError) else 500)
