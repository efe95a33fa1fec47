"""`python -m core chat base_model=… lora_model=…`: a conversation in the terminal, in the article's own words.

It talks to the same server as the page and starts one where none runs. `/reset` forgets the conversation, `/system …`
sets the system message, `/quit` (or Ctrl-D) ends; Ctrl-C stops the answer. `single_turn=true` forgets after every
answer. With several runs in lora_model (`base` may be one of them) every one answers. Questions piped in are answered
one a line, within one conversation. What the server does not do (another tokenizer, a text that is gone on with, an
adapter as PEFT wrote it in the days of `.bin`) is done by a model in this process (`core.cli.talk`).
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from core.cli.follow import plain
from core.cli.output import fail, print_json
from core.cli.serve import base_of
from core.configs.files import read_settings
from core.errors import GalenError, InputError
from core.models.answering import check_template, check_tokenizer, find_answerer
from core.models.library import STARTER
from core.models.runs import find_run
from core.models.weights import ADAPTER, ADAPTER_BIN
from core.serving.client import Answer, ServerHandle, stream_chat
from core.serving.options import ChatOptions
from core.serving.session import ensure_server
from core.workspace import Workspace

# The settings of a prediction that mean something in a conversation, and what they are called there.
NAMES = {
    "model.base": "base_model", "model.lora": "lora_model", "model.tokenizer": "tokenizer_path",
    "model.model_type": "model_type", "model.dtype": "dtype", "model.template": "template",
    "model.trust_remote_code": "trust_remote_code", "data.with_prompt": "with_prompt", "data.system": "system",
    "generation.max_new_tokens": "max_new_tokens", "generation.temperature": "temperature",
    "generation.top_p": "top_p", "generation.top_k": "top_k",
    "generation.repetition_penalty": "repetition_penalty", "run.seed": "seed", "devices.use": "device",
}  # fmt: skip

Message = dict[str, str]
Ask = Callable[[str, list[Message], threading.Event], Iterator[str | Answer]]


def add(subparsers: Any) -> None:
    about = "chat with a base model or a run in the terminal"
    parser = subparsers.add_parser("chat", help=about, description=f"{about}. /reset forgets, /quit ends.")
    names = ", ".join(ChatOptions.model_fields)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=f"any of {names}")
    parser.set_defaults(handler=lambda args: run(args, args.settings))


def run(args: argparse.Namespace, words: Iterable[str]) -> int:
    """Hold a conversation as `words` (key=value) say. Raises ConfigError, and what keeps a model from answering."""
    options = read_settings(ChatOptions, words)
    workspace = Workspace(args.workspace)
    interactive = sys.stdin.isatty() and not args.json
    names = options.lora_model or ["base"]
    if options.with_prompt and options.template is None and len(names) == 1:
        options = options.model_copy(update={"template": _asked_for(workspace, options, interactive)})
    ask, device = (_by_ourselves if _apart(options) else _by_server)(workspace, options)
    conversation = Conversation(ask, names, options)
    if interactive:
        print(f"{', '.join(names)} on {device}. /reset forgets the conversation, /system … sets the system message, "
              "/quit ends.")  # fmt: skip
    status = conversation.hold(interactive)
    if args.json:
        print_json({"turns": conversation.turns})
    return status


def _asked_for(workspace: Workspace, options: ChatOptions, interactive: bool) -> str | None:
    """The template of a model that has none: somebody at a terminal is asked. Raises ModelError `predict.no_template`.

    None: the model's own, or that of a model which cannot be used, as whoever loads it will say.
    """
    lora = next((name for name in options.lora_model if name != "base"), "")
    base = options.base_model or ("" if lora else STARTER)
    try:
        found = find_answerer(workspace, "" if find_run(workspace, lora) else base, lora, hashed=False)
        check_template(found, None, check_tokenizer(options.tokenizer_path) if options.tokenizer_path else None)
        return None
    except GalenError as error:
        if error.code != "predict.no_template":
            return None
        if not interactive:
            raise
        print(f"{error.message} There are {error.params['known']}.", file=sys.stderr)
        return input(f"template [{error.params['suggested']}]: ").strip() or str(error.params["suggested"])


# -- who is asked -----------------------------------------------------------------------------------------------------
def _apart(options: ChatOptions) -> bool:
    """Whether something is wanted that the server does not do."""
    folders = [Path(name).expanduser() for name in options.lora_model]
    old = any((folder / ADAPTER_BIN).is_file() and not (folder / ADAPTER).is_file() for folder in folders)
    return old or bool(options.tokenizer_path) or not options.with_prompt


def _by_server(workspace: Workspace, options: ChatOptions) -> tuple[Ask, str]:
    server = ensure_server(
        workspace,
        base_of(workspace, options),
        [name for name in options.lora_model if name != "base"],
        device=options.place,
        dtype=options.dtype,
        trust_remote_code=options.trust_remote_code,
        on_progress=lambda phase: print(f"{phase} …", file=sys.stderr) if phase != "ready" else None,
    )
    return partial(_ask_server, server, options), server.device


def _ask_server(
    server: ServerHandle, options: ChatOptions, name: str, history: list[Message], cancel: threading.Event
) -> Iterator[str | Answer]:
    return stream_chat(
        server,
        name,
        history,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        repetition_penalty=options.repetition_penalty,
        max_tokens=options.max_new_tokens,
        seed=options.seed,
        template=options.template,
        cancel=cancel,
    )


def _by_ourselves(workspace: Workspace, options: ChatOptions) -> tuple[Ask, str]:
    from core.cli.talk import Talker

    talker = Talker(workspace, options, on_progress=lambda phase: print(f"{phase} …", file=sys.stderr))
    return talker.ask, talker.device


class Conversation:
    """One history for each model that answers."""

    def __init__(self, ask: Ask, names: list[str], options: ChatOptions) -> None:
        self.ask, self.names, self.options = ask, names, options
        self.system = options.system
        self.turns: list[dict[str, Any]] = []
        self.histories: dict[str, list[Message]] = {}
        self.reset()

    def reset(self) -> None:
        head = [{"role": "system", "content": self.system}] if self.system else []
        self.histories = {name: list(head) for name in self.names}

    def hold(self, interactive: bool) -> int:
        """Read questions until there are no more. Exit status: 2 if a question could not be answered, else 0."""
        status = 0
        for question in _questions(interactive):
            if question == "/reset" or question.split(maxsplit=1)[0] == "/system":
                if question != "/reset":
                    self.system = question.removeprefix("/system").strip()
                self.reset()
                print("(forgotten)")
                continue
            for name in self.names:
                try:
                    self._answer(name, question)
                except InputError as error:  # too long, say: the conversation goes on
                    status = fail(error)
            if self.options.single_turn:
                self.reset()
        return 0 if interactive else status

    def _answer(self, name: str, question: str) -> None:
        history = [*self.histories[name], {"role": "user", "content": question}]
        if len(self.names) > 1:
            print(f"[{name}]")
        text, end = "", None
        with _ctrl_c_sets(threading.Event()) as cancel:
            for piece in self.ask(name, history, cancel):
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
