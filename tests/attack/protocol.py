"""A browser without a screen: speaks the protocol of Gradio's front end with a page, event by event.

session = Session("http://127.0.0.1:7860/")
answer = session.send(session.events[3], ["value of the first input", …])
"""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 60.0  # seconds that an answer may take


@dataclass(frozen=True)
class Event:
    """One of the page's events: what it is called with, what it changes, and what sets it off."""

    number: int
    inputs: list[int]
    outputs: list[int]
    triggers: list[tuple[int | None, str]]
    name: str


@dataclass
class Answer:
    """`data` has a value for each output; `error` is what went wrong, where something did."""

    data: list[Any] = field(default_factory=list)
    error: str = ""
    text: str = ""  # as it came


class Session:
    """One open page. `components` by id, as the page's config has them."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.hash = secrets.token_hex(6)
        config = json.loads(self.get("/config"))
        self.components: dict[int, dict[str, Any]] = {each["id"]: each for each in config["components"]}
        self.events = [
            Event(each["id"], each["inputs"], each["outputs"], [tuple(target) for target in each["targets"]],
                  str(each.get("api_name")))
            for each in config["dependencies"]
            if each["backend_fn"]
        ]  # fmt: skip

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    def kind(self, component: int) -> str:
        return str(self.components[component]["type"])

    def value(self, component: int) -> Any:
        """What the component holds when the page is opened; a State is the server's own."""
        return None if self.kind(component) == "state" else self.components[component]["props"].get("value")

    def timers(self) -> list[tuple[Event, float]]:
        """The events of timers that tick from the start, and their seconds."""
        found = []
        for event in self.events:
            for component, what in event.triggers:
                props = self.components.get(component or 0, {"props": {}})["props"]
                if what == "tick" and props.get("active", True):
                    found.append((event, float(props.get("value") or 1)))
        return found

    def send(self, event: Event, data: Sequence[Any], event_data: Any = None) -> Answer:
        """Set off an event, and wait for its last answer."""
        body = {"data": list(data), "fn_index": event.number, "session_hash": self.hash, "event_data": event_data,
                "trigger_id": event.triggers[0][0] if event.triggers else None}  # fmt: skip
        request = urllib.request.Request(
            f"{self.url}/gradio_api/queue/join", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as told:
            event_id = json.loads(told.read())["event_id"]
        seen: list[str] = []
        answer = Answer(error="the stream ended")
        with urllib.request.urlopen(
            f"{self.url}/gradio_api/queue/data?session_hash={self.hash}", timeout=PATIENCE
        ) as stream:
            for line in stream:
                if not line.startswith(b"data:"):
                    continue
                seen.append(line.decode())
                message = json.loads(line[5:])
                if message.get("msg") == "process_completed" and message.get("event_id") == event_id:
                    output = message.get("output") or {}
                    error = "" if message.get("success") else str(output.get("error") or "it failed")
                    answer = Answer(output.get("data") or [], error, "".join(seen))
                elif message.get("msg") in ("unexpected_error", "server_stopped"):
                    return Answer(error=str(message), text="".join(seen))
                elif message.get("msg") == "close_stream":  # as a browser does, which reads to the end
                    break
        return answer
