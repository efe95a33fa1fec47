"""The words of a chat: settings read, both conversations told, streams followed. What the Chat tab does without gradio.

A turn is `{"question": str, "base": Reply, "run": Reply}`; a reply grows where it lies while its stream is read.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from core.configs.files import read_settings
from core.errors import ConfigError
from core.serving.client import Answer
from core.serving.options import Sampling
from webui import views_chat
from webui.messages import error_text, join, problem_text
from webui.text import t

FRAME = 0.12  # seconds between two updates of the panes while text arrives
SAMPLING: dict[str, Any] = {name: field.get_default() for name, field in Sampling.model_fields.items()}


def read_sampling(values: Sequence[str], lang: str) -> tuple[dict[str, Any], str]:
    """The settings as `stream_chat` takes them, and what is wrong with the first that is not one.

    An empty field means the default.
    """
    words = [f"{name}={text}" for name, text in zip(SAMPLING, values, strict=True) if str(text or "").strip()]
    try:
        settings = read_settings(Sampling, words).model_dump()
    except ConfigError as error:
        first = error.problems[0]
        return {}, f"{t(f'chat.{first.key}', lang)}: {problem_text(first, lang)}"
    settings["max_tokens"] = settings.pop("max_new_tokens")
    return settings, ""


def messages(turns: list[dict[str, Any]], side: str, system: str) -> list[dict[str, str]]:
    """The conversation as one side has seen it: its own answers, and only turns that it answered."""
    told = [{"role": "system", "content": system.strip()}] if (system or "").strip() else []
    for turn in turns[:-1]:
        said = (turn.get(side) or {}).get("text")
        if said:
            told += [{"role": "user", "content": turn["question"]}, {"role": "assistant", "content": said}]
    return [*told, {"role": "user", "content": turns[-1]["question"]}]


def follow(
    streams: Mapping[str, Callable[[], Iterator[str | Answer]]],
    turn: dict[str, Any],
    cancel: threading.Event,
    lang: str,
) -> Iterator[None]:
    """Write what all streams bring into `turn`, and yield whenever the panes are worth drawing again."""
    arrived: queue.Queue[tuple[str, Any]] = queue.Queue()

    def read(side: str) -> None:
        try:
            for piece in streams[side]():
                arrived.put((side, piece))
            arrived.put((side, None))
        except BaseException as error:
            arrived.put((side, error))

    for side in streams:
        threading.Thread(target=read, args=(side,), daemon=True, name=f"chat {side}").start()
    running, drawn, changed = set(streams), 0.0, False
    while running:
        try:
            side, piece = arrived.get(timeout=FRAME)
        except queue.Empty:
            side, piece = "", None
        if side:
            changed = True
            if take(turn[side], piece, cancel, lang):
                running.discard(side)
        if changed and (time.monotonic() - drawn >= FRAME or not running):
            drawn, changed = time.monotonic(), False
            yield


def take(reply: dict[str, Any], piece: Any, cancel: threading.Event, lang: str) -> bool:
    """Add one event of a stream to its reply; whether the stream has ended."""
    if isinstance(piece, str):
        reply["text"] += piece
        return False
    if isinstance(piece, Answer):
        reply["facts"] = views_chat.facts(piece)
        return False
    reply.pop("live", None)
    if isinstance(piece, BaseException):
        reply["error"] = join(*error_text(piece, lang))
    elif cancel.is_set() and "facts" not in reply:
        reply["stopped"] = True
    return True
