"""The answers to one turn as they arrive: servers started, streams followed, rewards asked for. No gradio, no HTML.

    for _ in Answers(contestants, talk, at, …).follow(): draw(talk.turns[at])

A reply grows where it lies, in the turn, while its stream is read. What goes wrong with one pane is said in that pane.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

from core.configs.files import read_settings
from core.errors import ConfigError, GalenError
from core.serving import client
from core.serving.client import Answer, ServerHandle
from core.serving.options import Sampling
from core.serving.session import ensure_server
from core.talks import Made, Message, Reply, Talk, messages
from webui.contestants import BASE, Contestants, Seat
from webui.inline_work import InlineWork
from webui.messages import error_text, join, problem_text
from webui.text import t

FRAME = 0.12  # seconds between two updates of the panes while text arrives
WAITING = 0.5  # and while a model is loaded
ANONYMOUS = ("serve.context", "serve.gone")  # errors that name no model: a blind conversation may show them
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


class Servers:
    """The servers that one turn needs, one for each base: started one after the other, while the panes wait.

    models: what each pane is to ask. What cannot be asked, or has no server, is the error of its pane alone.
    """

    def __init__(
        self, contestants: Contestants, models: Mapping[str, str], serving: Mapping[str, Any], cancel: threading.Event
    ) -> None:
        self._contestants, self._models, self._serving, self._cancel = contestants, models, serving, cancel
        self._ready: dict[str, Future[tuple[ServerHandle, str]]] = {pane: Future() for pane in models}
        threading.Thread(target=self._start, daemon=True, name="start chat servers").start()

    def _start(self) -> None:
        seats: dict[str, Seat] = {}
        for pane, model in self._models.items():
            try:
                seats[pane] = self._contestants.seat(model)
            except BaseException as error:
                self._ready[pane].set_exception(error)
        bases = list(dict.fromkeys(seat.base for seat in seats.values()))
        for base in bases:
            if not self._cancel.is_set():
                self._serve(
                    base, bases, [(self._ready[pane], seat) for pane, seat in seats.items() if seat.base == base]
                )

    def _serve(self, base: str, bases: list[str], waiting: list[tuple[Future[tuple[ServerHandle, str]], Seat]]) -> None:
        try:
            handle = ensure_server(self._contestants.workspace, base, beside=bases, **self._serving)
        except BaseException as error:
            for future, _ in waiting:
                future.set_exception(error)
            return
        for future, seat in waiting:
            future.set_result((handle, seat.model))

    def wait(self, pane: str) -> tuple[ServerHandle, str] | None:
        """The server of a pane and what its model is called there; None where nobody wants the answer any more.

        Raises as `Contestants.seat` and `ensure_server`.
        """
        while not self._cancel.is_set():
            try:
                return self._ready[pane].result(timeout=0.1)
            except NotYet:
                if self._ready[pane].done():  # its own error, which happens to be of that kind
                    raise
        return None


class Answers:
    """Has every pane answer turn `at` of `talk`. `judge`: a reward run, or ""; `serving`: what `ensure_server` is told
    beyond the base. `cancel`, set by anybody, ends it."""

    def __init__(
        self, contestants: Contestants, talk: Talk, at: int, *, judge: str, serving: Mapping[str, Any],
        cancel: threading.Event, lang: str,
    ) -> None:  # fmt: skip
        self.contestants, self.talk, self.at, self.judge = contestants, talk, at, judge
        self.serving, self.cancel, self.lang = serving, cancel, lang
        self.turn = talk.turns[at]
        self.turn.replies = {
            pane.id: Reply(
                model=pane.model, name=contestants.name(pane.model, lang), live=True, waiting=True, asked=time.time()
            )
            for pane in talk.shown()
        }

    def follow(self) -> Iterator[None]:
        """Yields whenever the turn is worth drawing again; when it ends, nothing of it is under way any more."""
        models = {pane: reply.model for pane, reply in self.turn.replies.items()}
        servers = Servers(self.contestants, models, self.serving, self.cancel)
        try:
            yield from self._read(servers)
            if self.judge and not self.cancel.is_set():
                judging = Judging(
                    self.contestants, self.talk, [self.at], self.judge, serving=self.serving, cancel=self.cancel,
                    lang=self.lang,
                )  # fmt: skip
                yield from judging.follow()
        finally:
            for reply in self.turn.replies.values():
                reply.stopped = reply.stopped or reply.live
                reply.live = reply.waiting = False

    # -- one pane -----------------------------------------------------------------------------------------------------
    def _stream(self, pane: str, servers: Servers) -> Iterator[float | str | Answer]:
        """When the model was there and was asked, pieces of text, then the facts."""
        found = servers.wait(pane)
        if found is None:
            return
        handle, model = found
        if model != BASE:
            model = client.load(handle, model)
        options: dict[str, Any] = {**self.turn.sampling}
        if self.turn.template:
            options["template"] = self.turn.template
        told = messages(self.talk, self.at, pane)
        yield time.time()
        yield from client.stream_chat(handle, model, told, cancel=self.cancel, **options)

    def _read(self, servers: Servers) -> Iterator[None]:
        """Every pane in a thread of its own; what they bring is written into the turn here, in one."""
        arrived: queue.Queue[tuple[str, Any]] = queue.Queue()

        def read(pane: str) -> None:
            try:
                for piece in self._stream(pane, servers):
                    arrived.put((pane, piece))
                arrived.put((pane, None))
            except BaseException as error:
                arrived.put((pane, error))

        running, drawn, changed = set(self.turn.replies), 0.0, False
        for pane in running:
            threading.Thread(target=read, args=(pane,), daemon=True, name=f"chat {pane}").start()
        while running:
            try:
                pane, piece = arrived.get(timeout=FRAME)
            except queue.Empty:
                pane, piece = "", None
            if pane:
                changed = True
                if self._take(self.turn.replies[pane], piece):
                    running.discard(pane)
            since = time.monotonic() - drawn
            waiting = any(self.turn.replies[each].waiting for each in running)
            if (changed and (since >= FRAME or not running)) or (waiting and since >= WAITING):
                drawn, changed = time.monotonic(), False
                yield

    def _take(self, reply: Reply, piece: Any) -> bool:
        """Add one event of a stream to its reply; whether the stream has ended."""
        if isinstance(piece, float):
            reply.waiting, reply.asked = False, piece
        elif isinstance(piece, str):
            reply.text += piece
        elif isinstance(piece, Answer):
            reply.made = made_of(piece)
        else:
            reply.live = reply.waiting = False
            if isinstance(piece, BaseException):
                self._fail(reply, piece)
            elif self.cancel.is_set() and reply.made is None:
                reply.stopped = True
            return True
        return False

    def _fail(self, reply: Reply, error: BaseException) -> None:
        reply.live = reply.waiting = False
        reply.error = join(*error_text(error, self.lang))
        reply.anonymous = isinstance(error, GalenError) and error.code in ANONYMOUS


def made_of(answer: Answer) -> Made:
    return Made(
        base=answer.base,
        base_sha256=answer.base_sha256,
        adapter=answer.adapter,
        adapter_sha256=answer.adapter_sha256,
        tokens=answer.tokens,
        rate=round(answer.tokens_per_second, 1),
        finish=answer.finish_reason,
        seed=answer.seed,
        first=answer.seconds_to_first_token,
    )


# -- rewards ----------------------------------------------------------------------------------------------------------
class Judging:
    """Has the reward run `judge` score the finished answers of some turns, as far as it has not scored them yet."""

    def __init__(
        self, contestants: Contestants, talk: Talk, turns: Iterable[int], judge: str, *, serving: Mapping[str, Any],
        cancel: threading.Event, lang: str,
    ) -> None:  # fmt: skip
        self.contestants, self.judge, self.cancel, self.lang = contestants, judge, cancel, lang
        self.serving = serving
        self.models = [pane.model for pane in talk.shown()]
        self.replies: list[Reply] = []
        self.told: list[list[Message]] = []
        for at in turns:
            for pane in talk.shown():
                reply = talk.turns[at].replies.get(pane.id)
                if reply is not None and reply.finished and (reply.judge != judge or reply.score is None):
                    self.replies.append(reply)
                    answer = {"role": "assistant", "content": reply.text}
                    self.told.append([*messages(talk, at, pane.id), answer])

    def follow(self) -> Iterator[None]:
        """Yields whenever the turns are worth drawing again."""
        if not self.replies:
            return
        for reply in self.replies:
            reply.judge, reply.score, reply.judge_error = self.judge, None, ""
        yield
        work = InlineWork(lambda tell, check_stop: self._scores())
        for _ in work.follow():
            if self.cancel.is_set():
                for reply in self.replies:
                    reply.judge = ""
                return
            yield
        try:
            for reply, score in zip(self.replies, work.result() or [], strict=True):
                reply.score = score
        except Exception as error:  # said under each answer; error_text logs what is not ours
            for reply in self.replies:
                reply.judge_error = join(*error_text(error, self.lang))
        yield

    def _scores(self) -> list[float]:
        bases = self.contestants.bases(self.models)
        seat = self.contestants.judge(self.judge, bases)
        handle = ensure_server(self.contestants.workspace, seat.base, beside=bases, **self.serving)
        return client.score(handle, client.load(handle, seat.model), self.told)
