"""A chat template as text: rendering a conversation, and finding in it the answers to be learnt.

Most published templates do not mark what the model itself writes, and many print a turn differently once others
follow it, so rendering prefixes and comparing lengths goes wrong. Here a conversation is rendered once more with marks
set into its texts (around each answer, after each other message, around each control token that somebody typed); the
marks are then taken out again, and what is left must equal the unmarked text to the letter, or the template is
refused. Where the template has `{% generation %}` blocks, they decide instead.

An answer to be learnt begins where the generation prompt ends (so training sees what inference will see) and ends with
the token that closes the turn. The marks are Unicode noncharacters, which no text may hold; one found in a text is
replaced by U+FFFD before anything else.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.dialogue import Message
from core.data.encode.marks import (
    ANSWER_END,
    ANSWER_START,
    TURN_END,
    TYPED_END,
    TYPED_START,
    Span,
    any_of,
    clean,
    outside,
    pairs,
    unmark,
)
from core.data.encode.named import NAMED, template_text
from core.data.encode.tokenizer import stop_ids_of
from core.errors import ModelError

OWN = re.compile("think|thought|reason|tool", re.IGNORECASE)  # tokens that an answer may well hold
GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
STOPS = re.compile(r"\{#-?\s*stops:(.*?)-?#\}")  # further tokens that end an answer, in a comment of the template
LAST_ONLY = re.compile(r"\{#-?\s*learnt: the last answer\s*-?#\}")  # the others are context (`named`)
KNOWN = ", ".join(NAMED)


class RefusedError(Exception):
    """A template does not take a conversation, or its answers cannot be found; the reason is the text."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as text. Positions are characters of `text`.

    `answers`: what is to be learnt. `exact`: for each, whether the generation prompt ends right before it. `typed`:
    control tokens that somebody wrote in a message. `closed`: whether the last answer ends with a stop token.
    """

    text: str
    answers: tuple[Span, ...]
    exact: tuple[bool, ...]
    typed: tuple[Span, ...]
    closed: bool


class ChatTemplate:
    """The chat template of a tokenizer, or a named one. Raises ModelError where answers cannot be found in it.

    `method` says how they are found: "generation marks" or "sentinels". `last_only`: of a conversation only the last
    answer is there to be learnt; the others are found all the same.
    """

    def __init__(self, tokenizer: Any, name: str | None = None) -> None:
        self.model = str(getattr(tokenizer, "name_or_path", "") or "this model")
        self.variables: dict[str, Any] = dict(tokenizer.special_tokens_map)
        self.source, self.name = self._choose(tokenizer, name)
        self.sha256 = hashlib.sha256(self.source.encode()).hexdigest()
        self.last_only = LAST_ONLY.search(self.source) is not None
        self.method = "generation marks" if GENERATION.search(self.source) else "sentinels"
        self._learn_tokens(tokenizer)
        self._learn_prompt()
        self._probe()

    def _choose(self, tokenizer: Any, name: str | None) -> tuple[str, str]:
        if name is not None:
            if name not in NAMED:
                raise ModelError("model.unknown_template", template=name, known=KNOWN)
            try:
                return template_text(name, tokenizer), name
            except LookupError as error:
                raise ModelError("model.no_stop_token", model=self.model) from error
        template = tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if not template:
            raise ModelError("model.no_template", model=self.model, known=KNOWN)
        return template, "tokenizer"

    # -- rendering ----------------------------------------------------------------------------------------------------
    def render(self, messages: Sequence[Message], *, generation_prompt: bool = False) -> str:
        """The template's own text. Raises RefusedError where it takes no such conversation."""
        return self._render(messages, generation_prompt)[0]

    def _render(self, messages: Sequence[Message], generation_prompt: bool = False) -> tuple[str, list[Span]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        marked = self.method == "generation marks" and not generation_prompt
        try:
            texts, spans = render_jinja_template(
                [list(messages)],
                chat_template=self.source,
                add_generation_prompt=generation_prompt,
                return_assistant_tokens_mask=marked,
                **self.variables,
            )
        except Exception as error:  # a template is a program of its own: anything may come out of it
            raise RefusedError(str(error).strip().split("\n")[0] or type(error).__name__) from error
        return texts[0], list(spans[0]) if marked else []

    def prompt(self, messages: Sequence[Message]) -> Rendered:
        """The conversation up to where the model is to answer."""
        messages = clean(messages)
        marked, _ = self._render([self._mark_typed(message) for message in messages], generation_prompt=True)
        text, found, _ = unmark(marked)
        if text != self.render(messages, generation_prompt=True):
            raise RefusedError("it changes a message that holds a control token")
        return Rendered(text, (), (), pairs(found), closed=False)

    def conversation(self, messages: Sequence[Message]) -> Rendered:
        """The conversation with its answers found. Raises RefusedError."""
        messages = clean(messages)
        marked, generated = self._render([self._mark(message) for message in messages])
        text, found, places = unmark(marked)
        if text != self.render(messages):
            raise RefusedError("it treats a message differently when a mark stands in it")
        answers = self._answers(messages, text, found)
        if generated:
            shifted = [(a - bisect.bisect_left(places, a), b - bisect.bisect_left(places, b)) for a, b in generated]
            answers = _matched(shifted, answers)
        closed = [self._close(text, answer, last=index == len(answers) - 1) for index, answer in enumerate(answers)]
        return Rendered(
            text,
            tuple(span for span, _ in closed),
            # what is no answer any more but context is encoded with it, as in a prompt
            tuple(answer.exact and (answer is answers[-1] or not self.last_only) for answer in answers),
            pairs(found),
            bool(closed) and closed[-1][1],
        )

    def _mark(self, message: Message) -> Message:
        """Marks stand inside the message's blank edges, which some templates trim."""
        content = self._mark_typed(message)["content"]
        core = content.strip()
        lead = content[: len(content) - len(content.lstrip())]
        trail = content[len(lead) + len(core) :]
        if message["role"] == "assistant":
            return {**message, "content": f"{lead}{ANSWER_START}{core}{ANSWER_END}{trail}"}
        return {**message, "content": f"{lead}{core}{TURN_END}{trail}"}

    def _mark_typed(self, message: Message) -> Message:
        pattern = self._answer_pattern if message["role"] == "assistant" else self.control_pattern
        content = message["content"]
        if not pattern.search(content):
            return message
        return {**message, "content": pattern.sub(rf"{TYPED_START}\g<0>{TYPED_END}", content)}

    # -- finding answers ----------------------------------------------------------------------------------------------
    def _answers(self, messages: Sequence[Message], text: str, found: list[tuple[str, int]]) -> list[_Answer]:
        """Where each answer lies by its marks: from the end of the generation prompt to the end of its text."""
        asking = [message["content"] for message in messages if message["role"] != "assistant"]
        trails = [content[len(content.rstrip()) :] for content in asking]
        answers: list[_Answer] = []
        asked: int | None = None
        started: int | None = None
        turns = 0
        for mark, place in found:
            if mark == TURN_END:
                asked, turns = place, turns + 1
            elif mark == ANSWER_START:
                started = place
            elif mark == ANSWER_END:
                trail = trails[turns - 1] if 0 < turns <= len(trails) else ""
                answers.append(self._answer(text, asked, started, place, trail))
                asked = started = None
        wanted = sum(message["role"] == "assistant" for message in messages)
        if len(answers) != wanted:
            raise RefusedError(f"{len(answers)} of {wanted} answers are in its text")
        return answers

    def _answer(self, text: str, asked: int | None, started: int | None, end: int, trail: str) -> _Answer:
        openings = [trail + self.opening, self.opening] if trail else [self.opening]
        if asked is not None:
            for opening in openings:
                start = asked + len(opening)
                if text.startswith(opening, asked) and start <= end:
                    return _Answer(start, end, end, exact=True)
            # Some prompts begin the answer, too (`<think>`), and this answer has none: it begins where the two part.
            for opening in openings:
                both = zip(opening, text[asked:end], strict=False)
                common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], both))
                tokens = self._added.finditer(opening)
                edges = [token.start() if OWN.search(token.group()) else token.end() for token in tokens]
                edges = [edge for edge in edges if 0 < edge <= common]
                if edges:
                    return _Answer(asked + edges[-1], end, end, exact=False)
        if started is None:
            raise RefusedError("an answer's beginning is not in its text")
        return _Answer(started, end, end, exact=False)

    def _close(self, text: str, answer: _Answer, *, last: bool) -> tuple[Span, bool]:
        """The answer up to the token that ends its turn, and whether there is one."""
        marked = text[answer.end : answer.limit]
        stop = self._stop_at_end.search(marked)
        if stop is not None:
            return (answer.start, answer.end + stop.end(1)), True
        follows = (self._stop if last else self._closer).match(text, answer.limit)
        if follows is not None:
            return (answer.start, follows.end()), True
        if last and not self.eos:
            raise ModelError("model.no_stop_token", model=self.model)
        return (answer.start, answer.limit), False

    # -- learning what the template writes ----------------------------------------------------------------------------
    def _learn_tokens(self, tokenizer: Any) -> None:
        """Which tokens end an answer, and which must not be forged by somebody who types them."""
        added = {token_id: token for token_id, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
        contents = {token.content for token in added.values()}
        self._added = any_of(contents)
        self.eos: str | None = tokenizer.eos_token
        configured = {added[token_id].content for token_id in stop_ids_of(Path(self.model)) if token_id in added}
        named = {stop for comment in STOPS.findall(self.source) for stop in comment.split()} & contents
        self.stops = configured | named | ({self.eos} if self.eos else set())
        self._closers: set[str] = set()
        special = {token.content for token in added.values() if token.special}
        self._protect(special | {content for content in contents if content in self.source}, special | self.stops)

    def _protect(self, control: set[str], in_answers: set[str]) -> None:
        """`control` cannot be typed into a message, `in_answers` not even into the model's own."""
        self.control = control
        self.control_pattern = any_of(control)
        self._in_answers = {token for token in in_answers if not OWN.search(token)}
        self._answer_pattern = any_of(self._in_answers)
        self._stop = re.compile(r"\s*" + any_of(self.stops).pattern)
        self._stop_at_end = re.compile(f"({any_of(self.stops).pattern})" + r"\s*\Z")
        self._closer = re.compile(r"\s*" + any_of(self.stops | self._closers).pattern)

    def _learn_prompt(self) -> None:
        """What stands between a question and the answer that the model is to give."""
        try:
            marked, _ = self._render([self._mark(_PROBE[0])], generation_prompt=True)
        except RefusedError as error:
            raise self._unfit("model.template_broken", error) from error
        self.opening = marked.rpartition(TURN_END)[2]

    def _unfit(self, code: str, error: RefusedError) -> ModelError:
        return ModelError(code, model=self.model, detail=str(error), known=KNOWN)

    def _probe(self) -> None:
        """Render one turn and two; learn from them what ends a turn and which tokens mark turns."""
        try:
            self._probe_once()
        except RefusedError as error:
            if self.method == "sentinels":
                raise self._unfit("model.template_unmarkable", error) from error
            self.method = "sentinels"  # its generation marks are wrong
            self._probe()

    def _probe_once(self) -> None:
        marked, _ = self._render([self._mark(message) for message in _PROBE])
        middle, _, end = marked.rpartition(ANSWER_END)
        last = re.match(r"\s*" + self._added.pattern, end)
        first = self._added.match(middle.partition(ANSWER_END)[2])
        if last is not None:
            self.stops.add(last.group().strip())
            if first is not None:  # gpt-oss closes earlier turns with another token than the last one
                self._closers.add(first.group())
        self._protect(self.control, self._in_answers | self.stops)
        self.conversation(_PROBE[:2])
        probe = self.conversation(_PROBE)
        markup = {found for text in outside(probe.text, probe.answers) for found in self._added.findall(text)}
        self._protect(self.control | markup, self._in_answers | markup)


@dataclass(frozen=True)
class _Answer:
    """`end` is where its own text ends, `limit` where the template's marks end, which may take in the stop token."""

    start: int
    end: int
    limit: int
    exact: bool


_PROBE: list[Message] = [
    {"role": "user", "content": "First question?"},
    {"role": "assistant", "content": "First answer."},
    {"role": "user", "content": "Second question?"},
    {"role": "assistant", "content": "Second answer."},
]


def _matched(spans: list[Span], answers: list[_Answer]) -> list[_Answer]:
    """The template's own spans, one for each answer and around its end."""
    if len(spans) != len(answers) or not all(
        start <= answer.end <= end for (start, end), answer in zip(spans, answers, strict=True)
    ):
        raise RefusedError("its generation marks do not stand around the answers")
    return [_Answer(start, answer.end, end, exact=True) for (start, end), answer in zip(spans, answers, strict=True)]
