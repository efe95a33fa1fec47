"""The one encoder: the only place where a conversation becomes token ids and labels.

    encoder = Encoder(tokenizer, max_length=512)
    encoded = encoder.encode([{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}])
    prompt = encoder.prompt_ids([{"role": "user", "content": "…"}])

`encode.templates` finds the answers in the template's text; here they are carried over to tokens, by batches of the
Rust tokenizer. Three promises beyond that:

1. A control token that somebody typed stays text: such rows go through a twin of the tokenizer in which the control
   tokens have other names, and only those that the template wrote bear these names.
2. A training row begins with exactly the ids that inference would see as its prompt: where a token would run over the
   border between prompt and answer, the two are encoded apart.
3. A row that is too long loses whole oldest rounds (a question and its answer), never the system message; a newest
   round whose question alone is too long goes, too; what is left is cut at the right. Nothing stands after the last
   end-of-turn token.

A whole dataset is encoded by `encode_dataset`, from `core.data.encode.encoded`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import orjson

from core.data.dialogue import Message
from core.data.encode.encoded import EncodedRows, Refusal, encode_dataset
from core.data.encode.marks import Span
from core.data.encode.templates import ChatTemplate, RefusedError, Rendered
from core.data.encode.twin import Twin, backend_of, definition_of, unswitch
from core.data.encode.window import Tokens, Window
from core.errors import ModelError

IGNORED = -100
ENCODING_VERSION = 1  # goes into the cache's key: to be raised when the same rows would give other ids or labels

__all__ = ["Encoded", "EncodedRows", "Encoder", "Refusal", "encode_dataset"]


@dataclass(frozen=True)
class Encoded:
    """`labels` has an entry for each of `input_ids`: the id itself where it is to be learnt, else -100."""

    input_ids: list[int]
    labels: list[int]
    truncated: bool


class Encoder:
    """Raises ModelError where the tokenizer or its template cannot serve (see `core.data.encode.templates`).

    max_length: tokens a row may have; None: no limit. train_on: the assistant's turns, or every token.
    template: the name of a template to use instead of the tokenizer's own.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        train_on: Literal["assistant", "all"] = "assistant",
        template: str | None = None,
    ) -> None:
        self._backend = backend = backend_of(tokenizer)
        self.template = ChatTemplate(tokenizer, template)
        if self.template.last_only and train_on == "all":
            raise ModelError("model.learns_last_only", model=self.template.model)
        self.max_length = max_length
        self.train_on = train_on
        self.eos_id: int | None = tokenizer.eos_token_id
        self._control_ids = {backend.token_to_id(token) for token in self.template.control}
        self.stop_ids: list[int] = sorted({backend.token_to_id(stop) for stop in self.template.stops} - {None})

    @property
    def template_name(self) -> str:
        return self.template.name

    @property
    def template_text(self) -> str:
        """The template itself, in Jinja: what a tokenizer delivered with the model is to carry as `chat_template`."""
        return self.template.source

    @property
    def template_sha256(self) -> str:
        return self.template.sha256

    @cached_property
    def tokenizer_sha256(self) -> str:
        """Of the tokenizer's own JSON, without the padding and truncation that the last caller had set."""
        return hashlib.sha256(orjson.dumps(self._definition)).hexdigest()

    @cached_property
    def settings_sha256(self) -> str:
        """Of everything but the rows that decides the ids: encoder, tokenizer, template, length, what is learnt."""
        names = sorted(self.template.variables.items())
        tokenizer = (self.tokenizer_sha256, self.template_sha256, names, self.stop_ids)
        settings = (ENCODING_VERSION, self.max_length, self.train_on)
        return hashlib.sha256(repr((tokenizer, settings)).encode()).hexdigest()

    # -- one conversation ---------------------------------------------------------------------------------------------
    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Raises ModelError `model.template_refuses` where the template takes no such conversation."""
        [(result, truncated)] = self.encode_batch([messages])
        if isinstance(result, Refusal):
            raise ModelError("model.template_refuses", model=self.template.model, detail=result.reason)
        return Encoded(result[0].tolist(), result[1].tolist(), truncated)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids up to where the model is to answer. Never cut. Raises ModelError as `encode`."""
        try:
            rendered = self.template.prompt(messages)
        except RefusedError as error:
            raise ModelError("model.template_refuses", model=self.template.model, detail=str(error)) from error
        return self._tokenise([rendered])[0].ids

    # -- batches ------------------------------------------------------------------------------------------------------
    def encode_batch(self, batch: Iterable[Sequence[Message]]) -> list[tuple[tuple[Any, Any] | Refusal, bool]]:
        """For each conversation ((input_ids, labels) as int32 arrays, truncated), or (Refusal, False)."""
        return [
            (window, False) if isinstance(window, Refusal) else self._finish(window)
            for window in self.windows(batch, self.max_length)
        ]

    def windows(self, batch: Iterable[Sequence[Message]], limit: int | None) -> list[Window | Refusal]:
        """The rounds that each conversation keeps within `limit` tokens, with their tokens before the cut at the right,
        or why the template takes no such conversation."""
        found: list[Window | Refusal] = [Window.of(messages) for messages in batch]
        self._fill(found, range(len(found)))
        return self.narrowed(found, limit)

    def narrowed(self, windows: Iterable[Window | Refusal], limit: int | None) -> list[Window | Refusal]:
        """Windows within `limit`, from wider ones that went through the tokenizer and stay as they are."""
        found = [replace(one) if isinstance(one, Window) else one for one in windows]
        while narrower := [at for at, one in enumerate(found) if isinstance(one, Window) and one.narrow(limit)]:
            self._fill(found, narrower)
        return found

    def _fill(self, windows: list[Window | Refusal], places: Iterable[int]) -> None:
        """Render and tokenise the windows at `places`; where the template refuses, the reason takes the place."""
        rendered: list[tuple[Window, Rendered]] = []
        for place in places:
            window = windows[place]
            assert isinstance(window, Window)
            try:
                rendered.append((window, self.template.conversation(window.messages)))
            except RefusedError as error:
                windows[place] = Refusal(str(error))
        for (window, _), tokens in zip(rendered, self._tokenise([text for _, text in rendered]), strict=True):
            window.tokens = tokens

    def learnt(self, answers: Sequence[Span]) -> Sequence[Span]:
        """Which answers of a row the template leaves to be learnt: all of them, or the last."""
        return answers[-1:] if self.template.last_only else answers

    def _finish(self, window: Window) -> tuple[tuple[Any, Any], bool]:
        tokens = window.encoded
        ids = np.array(tokens.ids[: self.max_length], dtype=np.int32)
        labels = ids.copy() if self.train_on == "all" else np.full_like(ids, IGNORED)
        for start, end in self.learnt(tokens.spans):
            labels[start:end] = ids[start:end]
        return (ids, labels), window.shortened or len(tokens.ids) > len(ids)

    # -- text to tokens -----------------------------------------------------------------------------------------------
    def _tokenise(self, rendered: Sequence[Rendered]) -> list[Tokens]:
        self.prepare()
        plain = [one for one in rendered if not one.typed]
        typed = [self._twin.disguise(one) for one in rendered if one.typed]
        done = {
            True: iter(self._tokens(self._twin.backend, typed) if typed else []),
            False: iter(self._tokens(self._backend, plain)),
        }
        return [next(done[bool(one.typed)]) for one in rendered]

    def _tokens(self, backend: Any, rendered: Sequence[Rendered]) -> list[Tokens]:
        encodings = backend.encode_batch([one.text for one in rendered], add_special_tokens=False)
        return [self._spans(backend, one, encoding) for one, encoding in zip(rendered, encodings, strict=True)]

    def _spans(self, backend: Any, rendered: Rendered, encoding: Any) -> Tokens:
        ids: list[int] = encoding.ids
        spans = []
        torn = False
        for (start, end), exact in zip(rendered.answers, rendered.exact, strict=True):
            first = _token_at(encoding, start, end, len(ids))
            if first < len(ids) and encoding.token_to_chars(first)[0] < start:
                if ids[first] in self._control_ids:  # it swallows the blanks behind it (`rstrip`)
                    first += 1
                else:
                    torn |= exact
            spans.append((first, _token_after(encoding, end, first, len(ids))))
        if torn and all(rendered.exact):
            apart = self._apart(backend, rendered)
            if backend.decode(apart.ids, skip_special_tokens=False) == backend.decode(ids, skip_special_tokens=False):
                ids, spans = apart.ids, apart.spans
        return self._closed(rendered, ids, spans)

    def _apart(self, backend: Any, rendered: Rendered) -> Tokens:
        """Encode each answer, with what follows it, by itself (promise 2)."""
        edges = [0, *(start for start, _ in rendered.answers), len(rendered.text)]
        parts = [rendered.text[start:end] for start, end in itertools.pairwise(edges)]
        head, *rest = backend.encode_batch(parts, add_special_tokens=False)
        ids: list[int] = head.ids
        spans = []
        for (start, end), encoding in zip(rendered.answers, rest, strict=True):
            spans.append((len(ids), len(ids) + _token_after(encoding, end - start, 0, len(encoding.ids))))
            ids = ids + encoding.ids
        return Tokens(ids, spans)

    def _closed(self, rendered: Rendered, ids: list[int], spans: list[Span]) -> Tokens:
        """Cut what the template writes after the last answer, and end it where the template does not."""
        if not spans:
            return Tokens(ids, spans)
        start, end = spans[-1]
        ids = ids[:end]
        if not rendered.closed and self.eos_id is not None:
            ids = [*ids, self.eos_id]
        return Tokens(ids, [*spans[:-1], (start, len(ids))])

    @cached_property
    def _definition(self) -> dict[str, Any]:
        return definition_of(self._backend)

    @cached_property
    def _twin(self) -> Twin:
        return Twin(self._definition, self._backend, self.template.control)

    def prepare(self) -> None:
        """Threads may encode side by side after it: a tokenizer at work cannot be switched."""
        unswitch(self._backend)


def _token_at(encoding: Any, place: int, end: int, count: int) -> int:
    """The first token that covers character `place` or, where it was dropped, the next one before `end`."""
    for char in range(place, end):
        token = encoding.char_to_token(char)
        if token is not None:
            return int(token)
    return count


def _token_after(encoding: Any, end: int, first: int, count: int) -> int:
    """The token behind the last one that begins before character `end`."""
    token = None
    char = end
    while token is None and char > 0:
        char -= 1
        token = encoding.char_to_token(char)
    after = first if token is None else int(token) + 1
    while after < count and encoding.token_to_chars(after)[0] < end:
        after += 1
    return max(after, first)
