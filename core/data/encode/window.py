"""Which rounds of a conversation are kept when it is too long.

A round is a question and its answer. Whole oldest rounds go first, never the system message; where only the newest is
left and its question alone is too long, that one goes instead and the search begins again without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from core.data.dialogue import Message
from core.data.encode.marks import Span


@dataclass
class Tokens:
    """Ids of a conversation, and for each answer the half-open range of tokens to learn."""

    ids: list[int]
    spans: list[Span]


@dataclass
class Window:
    """The rounds of a row that are still in play: `rounds[first:stop]` behind the system message."""

    system: list[Message]
    rounds: list[list[Message]]
    first: int
    stop: int
    tokens: Tokens | None = None

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Window:
        """All rounds of a conversation."""
        system = [messages[0]] if messages and messages[0]["role"] == "system" else []
        rounds: list[list[Message]] = []
        for message in messages[len(system) :]:
            if message["role"] == "user" or not rounds:
                rounds.append([])
            rounds[-1].append(message)
        return cls(system, rounds, 0, len(rounds))

    @property
    def messages(self) -> list[Message]:
        return [*self.system, *(message for turns in self.rounds[self.first : self.stop] for message in turns)]

    @property
    def encoded(self) -> Tokens:
        """`tokens`, once the window went through the tokenizer."""
        assert self.tokens is not None
        return self.tokens

    @property
    def shortened(self) -> bool:
        return self.first > 0 or self.stop < len(self.rounds)

    def narrow(self, limit: int | None) -> bool:
        """Take rounds out where `tokens` (of `messages`) are more than `limit`; False when the row is settled."""
        tokens = self.tokens
        if limit is None or tokens is None or len(tokens.ids) <= limit or not tokens.spans:
            return False
        if self.stop - self.first > 1:
            excess = len(tokens.ids) - limit
            # Where each round ends. The system message is counted in, so this takes out too few rounds at worst, and
            # then the next pass takes out more.
            ends = [tokens.spans[count - 1][1] if count else 0 for count in self._answers()]
            self.first += next((count for count, end in enumerate(ends[:-1], 1) if end >= excess), len(ends) - 1)
            return True
        learnable = any(start < limit for start, _ in tokens.spans)
        if learnable or self.stop == 1:
            return False
        self.first, self.stop = 0, self.stop - 1
        return True

    def _answers(self) -> list[int]:
        """How many answers there are up to and including each round in play."""
        turns = self.rounds[self.first : self.stop]
        return list(accumulate(sum(message["role"] == "assistant" for message in each) for each in turns))
