"""A row as the model sees it: its tokens for a tokenizer, a stage and a length, what is learnt and what is cut off.

    reader = RowReader(load_tokenizer(folder), max_length=512)
    reading, = reader.read("messages", row, "sft")
    reading.pieces, reading.tokens, reading.labels, reading.cut

The ids are those of `encode.encoding`, which training uses; here they are only given their text, and what a row
loses is shown in its place. A stage that learns nothing from tokens (a prompt for PPO, a test question) has no labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.data.dialogue import Message
from core.data.encode.encoding import Encoder, Refusal
from core.data.encode.marks import Span
from core.data.encode.twin import backend_of, unswitch
from core.data.encode.window import Window
from core.data.kinds import LETTERS, Kind, Row
from core.data.look.pieces import Mark, Piece, Spelling
from core.errors import DataError, ModelError

# The stages that rows of each kind can be shown for, the most usual first.
SHOWN_FOR: dict[Kind, tuple[str, ...]] = {
    "text": ("pretrain",),
    "messages": ("sft", "pretrain", "ppo"),
    "prompt": ("ppo",),
    "preference": ("reward", "dpo", "ppo"),
    "ranked": ("reward",),
    "choice": ("evaluate",),
}


# What is learnt of a dialogue: every token, the assistant's turns, its last one, or (of a reward model) a score at the
# last token, if that is of the answer.
Learns = Literal["all", "turns", "answer", "end"]


@dataclass(frozen=True)
class Reading:
    """One sequence of tokens. `name` tells the sequences of a row apart: row, chosen, rejected, answer.

    `tokens` are those that remain, `labels` those of them that are predicted, `cut` those that were dropped. `borders`:
    after so many tokens a block of pretraining text ends. `refused`: why there are no tokens; `score` of an answer.
    """

    name: str
    pieces: list[Piece] = field(default_factory=list)
    tokens: int = 0
    labels: int = 0
    cut: int = 0
    borders: list[int] = field(default_factory=list)
    refused: str = ""
    score: float | None = None

    @property
    def truncated(self) -> bool:
        return self.cut > 0


class RowReader:
    """Raises ModelError where the tokenizer cannot serve. A template is needed only for rows that are dialogues."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        template: str | None = None,
        train_on: Literal["assistant", "all"] = "assistant",
    ) -> None:
        backend = backend_of(tokenizer)
        self.max_length, self.template, self.train_on = max_length, template, train_on
        self._tokenizer = tokenizer
        self._backend = backend
        self._spelling = Spelling(backend)
        self._encoder: Encoder | None = None

    @property
    def encoder(self) -> Encoder:
        """Made when the first dialogue is read: a base model may have no template, and needs none for text."""
        if self._encoder is None:
            self._encoder = Encoder(
                self._tokenizer, max_length=self.max_length, train_on=self.train_on, template=self.template
            )
        return self._encoder

    def read(self, kind: Kind, row: Row, stage: str) -> list[Reading]:
        """The sequences that `stage` makes of a canonical row.

        Raises DataError `data.not_shown_for` where the stage takes no such rows, ModelError as `Encoder` does.
        """
        if stage not in SHOWN_FOR[kind]:
            raise DataError("data.not_shown_for", kind=kind, stage=stage, known=", ".join(SHOWN_FOR[kind]))
        if kind == "text":
            return [self._text(row["text"], blocks=True)]
        if kind == "choice":
            return [self._text(choice_text(row), blocks=False)]
        if stage == "sft":
            return [self._dialogue("row", row["messages"], "all" if self.train_on == "all" else "turns")]
        if stage == "pretrain":
            return [self._rendered(row["messages"])]
        if stage == "ppo":
            return [self._prompt(row["prompt"] if "prompt" in row else asked(row["messages"]))]
        return list(self._answers(kind, row, "answer" if stage == "dpo" else "end"))

    # -- dialogues ----------------------------------------------------------------------------------------------------
    def _dialogue(self, name: str, messages: Sequence[Message], learns: Learns) -> Reading:
        """What `Encoder.encode` keeps of a dialogue, with what it drops in its place."""
        whole_row = self.encoder.windows([messages], None)
        [full], [kept] = whole_row, self.encoder.narrowed(whole_row, self.max_length)
        for window in (full, kept):
            if isinstance(window, Refusal):
                return Reading(name, refused=window.reason)
        assert isinstance(full, Window)
        assert isinstance(kept, Window)
        ids, spans = kept.encoded.ids[: self.max_length], self.encoder.learnt(kept.encoded.spans)
        if learns == "all":
            spans = [(0, len(ids))]
        elif learns == "answer":
            spans = spans[-1:]
        elif learns == "end":
            spans = [(len(ids) - 1, len(ids)) for start, _ in spans[-1:] if start < len(ids)]
        learnt = [any(start <= at < end for start, end in spans) for at in range(len(ids))]
        marks = [Mark(token, label, cut=False) for token, label in zip(ids, learnt, strict=True)]
        at, before, after = dropped(full, kept)
        lost = [_cut(before), _cut(kept.encoded.ids[len(ids) :] + after)]
        marks = [*marks[:at], *lost[0], *marks[at:], *lost[1]]
        labels = sum(learnt) if learns == "end" else sum(learnt[1:])
        return self._reading(name, marks, len(ids), labels)

    def _answers(self, kind: Kind, row: Row, learns: Learns) -> Iterator[Reading]:
        """Prompt and answer as the stage reads them, for each answer."""
        if kind == "preference":
            for name in ("chosen", "rejected"):
                yield self._dialogue(name, [*row["prompt"], *row[name]], learns)
            return
        for answer in row["answers"]:
            said = {"role": "assistant", "content": answer["content"]}
            reading = self._dialogue("answer", [*row["prompt"], said], learns)
            yield Reading(**{**reading.__dict__, "score": answer["score"]})

    def _prompt(self, messages: Sequence[Message]) -> Reading:
        """Never cut, whatever its length: PPO leaves such rows out."""
        try:
            ids = self.encoder.prompt_ids(messages)
        except ModelError as error:
            return Reading("row", refused=str(error.params.get("detail", "")))
        return self._reading("row", [Mark(token, False, cut=False) for token in ids], len(ids), 0)

    def _rendered(self, messages: Sequence[Message]) -> Reading:
        """A dialogue as running text, in the words of its template, all of it learnt."""
        [window] = self.encoder.windows([messages], None)
        if not isinstance(window, Window):
            return Reading("row", refused=window.reason)
        return self._blocks(window.encoded.ids)

    # -- plain text ---------------------------------------------------------------------------------------------------
    def _text(self, text: str, *, blocks: bool) -> Reading:
        ids = self.text_ids(text)
        if blocks:
            return self._blocks(ids)
        return self._reading("row", [Mark(token, False, cut=False) for token in ids], len(ids), 0)

    def text_ids(self, text: str) -> list[int]:
        """A text of its own, closed by the end token. A control token that stands in it stays text."""
        backend = self._backend
        unswitch(backend)
        backend.encode_special_tokens = True
        try:
            ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        finally:
            backend.encode_special_tokens = False
        end = self._tokenizer.eos_token_id
        return ids if end is None else [*ids, end]

    def _blocks(self, ids: list[int]) -> Reading:
        """Pretraining loses nothing: its text goes on in the next block."""
        marks = [Mark(token, True, cut=False) for token in ids]
        borders = list(range(self.max_length, len(ids), self.max_length)) if self.max_length else []
        return self._reading("row", marks, len(ids), max(0, len(ids) - 1), borders)

    def _reading(self, name: str, marks: list[Mark], tokens: int, labels: int, borders: Sequence[int] = ()) -> Reading:
        return Reading(name, self._spelling.pieces(marks), tokens, labels, len(marks) - tokens, list(borders))


def dropped(full: Window, kept: Window) -> tuple[int, list[int], list[int]]:
    """What a window lost of the whole dialogue: (place in the kept tokens, tokens lost there, tokens lost at the end).

    The oldest rounds go from behind the system message, and the newest from the end: what both share at the beginning
    and at the end is found by comparing, which holds for every template.
    """
    whole, left = full.encoded.ids, kept.encoded.ids
    if not kept.shortened:
        return len(left), [], []
    ends = _round_ends(full)
    stop = ends[kept.stop - 1] if kept.stop < len(full.rounds) else len(whole)
    start = _common(whole[:stop], left)
    if not kept.first:
        return len(left), [], whole[stop:]
    tail = _common(whole[start:stop][::-1], left[start:][::-1])
    return start, whole[start : stop - tail], whole[stop:]


def _round_ends(window: Window) -> list[int]:
    """Where each round's tokens end: with its last answer."""
    spans: list[Span] = window.encoded.spans
    answers = itertools.accumulate(sum(turn["role"] == "assistant" for turn in turns) for turns in window.rounds)
    return [spans[count - 1][1] if count else 0 for count in answers]


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _cut(ids: Sequence[int]) -> list[Mark]:
    return [Mark(token, False, cut=True) for token in ids]


def asked(messages: Sequence[Message]) -> list[Message]:
    """A dialogue up to its last question."""
    prompt = list(messages)
    while prompt and prompt[-1]["role"] == "assistant":
        prompt.pop()
    return prompt


def choice_text(row: Row) -> str:
    """A test question as plain text: question, choices, the right letters."""
    choices = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=False)]
    return "\n".join([row["question"], *choices, row["answer"]])
