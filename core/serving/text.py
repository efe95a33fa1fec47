"""From token ids to text while they arrive: no torn characters, no half stop words. Torch-free.

A Chinese character or an emoji may take several tokens; nothing is shown until it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

TORN = "\ufffd"  # what a decoder writes for bytes that are not a whole character
LONGEST_CHARACTER = 12  # tokens; after that many, the bytes are simply not text


class Detokeniser:
    """Feed ids, get the text that is certain. `decode` turns a list of ids into text."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._start = 0  # decoding begins here: some tokens read differently at the start of a text
        self._shown = 0  # ids before this one are in the text given out

    def push(self, token: int) -> str:
        """The text that `token` completes; empty while a character is torn."""
        self._ids.append(token)
        text = self._pending()
        if text.endswith(TORN) and len(self._ids) - self._shown < LONGEST_CHARACTER:
            return ""
        return self._give(text)

    def finish(self) -> str:
        """What is left, torn or not."""
        return self._give(self._pending())

    def _pending(self) -> str:
        before = self._decode(self._ids[self._start : self._shown])
        return self._decode(self._ids[self._start :])[len(before) :]

    def _give(self, text: str) -> str:
        if text:
            self._start, self._shown = self._shown, len(self._ids)
        return text


class StopWords:
    """Cuts a text before the first stop word, and holds back an end that may become one."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [word for word in words if word]
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """The part of the text so far that can be shown; sets `found` once a stop word is there."""
        held = self._held + text
        places = [place for word in self._words if (place := held.find(word)) >= 0]
        if places:
            self.found, self._held = True, ""
            return held[: min(places)]
        keep = max((self._overlap(held, word) for word in self._words), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def finish(self) -> str:
        held, self._held = self._held, ""
        return "" if self.found else held

    @staticmethod
    def _overlap(text: str, word: str) -> int:
        """How many characters at the end of `text` begin `word`."""
        return next((n for n in range(min(len(word) - 1, len(text)), 0, -1) if word.startswith(text[-n:])), 0)
