"""`python -m core chat base_model=… lora_model=…`: a conversation in the terminal.

It talks to the same server as the page and starts one where none runs. `/reset` forgets the conversation, `/quit` (or
Ctrl-D) ends; Ctrl-C stops the answer. With several runs in lora_model (`base` may be one of them) every one answers.
Questions piped in are answered one a line, within one conversation.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.cli.follow import plain
from core.cli.output import fail, print_json
from core.cli.serve import base_of
from core.configs.files import read_settings
from core.errors import InputError
from core.serving.client import Answer, ServerHandle, stream_chat
from core.serving.options import ChatOptions
from core.serving.session import ensure_server
from core.workspace import Workspace


def add(subparsers: Any) -> None:
    about = "chat with a base model or a run in the terminal"
    parser = subparsers.add_parser("chat", help=about, description=f"{about}. /reset forgets, /quit ends.")
    names = ", ".join(ChatOptions.model_fields)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=f"any of {names}")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    options = read_settings(ChatOptions, args.settings)
    workspace = Workspace(args.workspace)
    base = base_of(workspace, options)
    server = ensure_server(
        workspace,
        base,
        [name for name in options.lora_model if name != "base"],
        device=options.place,
        dtype=options.dtype,
        trust_remote_code=options.trust_remote_code,
        on_progress=lambda phase: print(f"{phase} …", file=sys.stderr) if phase != "ready" else None,
    )
    names = options.lora_model or ["base"]
    conversation = Conversation(server, names, options)
    interactive = sys.stdin.isatty() and not args.json
    if interactive:
        print(f"{', '.join(names)} on {server.device}. /reset forgets the conversation, /quit ends.")
    status = conversation.hold(interactive)
    if args.json:
        print_json({"turns": conversation.turns})
    return status


class Conversation:
    """One history for each model that answers."""

    def __init__(self, server: ServerHandle, names: list[str], options: ChatOptions) -> None:
        self.server, self.names, self.options = server, names, options
        self.turns: list[dict[str, Any]] = []
        self.histories: dict[str, list[dict[str, str]]] = {}
        self.reset()

    def reset(self) -> None:
        head = [{"role": "system", "content": self.options.system}] if self.options.system else []
        self.histories = {name: list(head) for name in self.names}

    def hold(self, interactive: bool) -> int:
        """Read questions until there are no more. Exit status: 2 if a question could not be answered, else 0."""
        status = 0
        for question in _questions(interactive):
            if question == "/reset":
                self.reset()
                print("(forgotten)")
                continue
            for name in self.names:
                try:
                    self._answer(name, question)
                except InputError as error:  # too long, say: the conversation goes on
                    status = fail(error)
        return 0 if interactive else status

    def _answer(self, name: str, question: str) -> None:
        history = [*self.histories[name], {"role": "user", "content": question}]
        if len(self.names) > 1:
            print(f"[{name}]")
        text, end = "", None
        with _ctrl_c_sets(threading.Event()) as cancel:
            for piece in self._ask(name, history, cancel):
                if isinstance(piece, Answer):
                    end = piece
                    continue
                text += piece
                print(plain(piece), end="", flush=True)
        print()
        self.histories[name] = [*history, {"role": "assistant", "content": text}]
        if end is None:
            print("(stopped)", file=sys.stderr)
        elif sys.stdin.isatty():
            print(f"({_about(end)})", file=sys.stderr)
        facts = end.model_dump() if end is not None else {"finish_reason": "cancelled"}
        self.turns.append({"model": name, "question": question, "answer": text, "galen": facts})

    def _ask(self, name: str, history: list[dict[str, str]], cancel: threading.Event) -> Iterator[str | Answer]:
        options = self.options
        return stream_chat(
            self.server,
            name,
            history,
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            repetition_penalty=options.repetition_penalty,
            max_tokens=options.max_new_tokens,
            seed=options.seed,
            cancel=cancel,
        )


def _about(end: Answer) -> str:
    adapter = f" + {end.adapter} {(end.adapter_sha256 or '')[:8]}" if end.adapter else ""
    pace = f"{end.tokens} tokens, {end.tokens_per_second:.0f}/s, {end.finish_reason}"
    return f"{end.base} {end.base_sha256[:8]}{adapter}, {pace}"


def _questions(interactive: bool) -> Iterator[str]:
    """Lines that are not empty, until /quit or the end of input."""
    if interactive:
        import readline  # noqa: F401  # importing it gives input() history and editing
    while True:
        try:
            line = input("> ") if interactive else sys.stdin.readline()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not interactive and not line:
            return
        line = line.strip()
        if line == "/quit":
            return
        if line:
            yield line


@contextmanager
def _ctrl_c_sets(event: threading.Event) -> Iterator[threading.Event]:
    """While an answer streams, Ctrl-C stops the answer and not the program."""
    before = signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
