"""Token ids as the text they stand for, exactly: what a page shows of a row as the model sees it.

    spelling = Spelling(tokenizer.backend_tokenizer)
    spelling.pieces([Mark(29873, labelled=True, cut=False), …])

A token is not a piece of text but of bytes, and may be a third of a Chinese character. Tokens that make a character
only together become one `Piece`; bytes that make none (where a row was cut in the middle of a character) are given as
bytes. Nothing is ever shown as a replacement character that was not in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from core.data.encode.twin import definition_of

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
METASPACE = "▁"


class Mark(NamedTuple):
    """One token and what becomes of it: whether it is to be learnt, and whether it was cut off."""

    id: int
    labelled: bool
    cut: bool


@dataclass(frozen=True)
class Piece:
    """One token, or the few that make a character together. `text` is "" where `raw` (hexadecimal) makes none."""

    ids: tuple[int, ...]
    text: str
    raw: str
    labelled: bool
    cut: bool
    special: bool


class Spelling:
    """What each token of a tokenizer is spelt like."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._added = dict(backend.get_added_tokens_decoder().items())
        definition = definition_of(backend)
        decoders = str(definition.get("decoder") or "")
        self._byte_level = "ByteLevel" in decoders
        self._byte_fallback = "ByteFallback" in decoders or bool(definition["model"].get("byte_fallback"))
        self._metaspace = METASPACE in decoders or "Metaspace" in decoders

    def special(self, number: int) -> bool:
        """Whether it is a token of its own that no text is split into."""
        return number in self._added

    def spelt(self, number: int) -> bytes:
        """The bytes of a token; none for a number that the vocabulary does not have."""
        if number in self._added:
            return str(self._added[number].content).encode()
        token: str | None = self._backend.id_to_token(number)
        if token is None:
            return b""
        if self._byte_level:
            letters = _letters()
            return b"".join(letters[char] if char in letters else char.encode() for char in token)
        byte = BYTE.fullmatch(token) if self._byte_fallback else None
        if byte is not None:
            return bytes([int(byte[1], 16)])
        return (token.replace(METASPACE, " ") if self._metaspace else token).encode()

    def pieces(self, marks: Iterable[Mark]) -> list[Piece]:
        """The tokens as text, in order."""
        return list(self._pieces(marks))

    def _pieces(self, marks: Iterable[Mark]) -> Iterator[Piece]:
        open_: list[Mark] = []  # tokens whose bytes do not make whole characters yet
        held = b""
        for mark in marks:
            alone = self.special(mark.id)
            if open_ and (alone or open_[-1][1:] != mark[1:]):
                yield from self._broken(open_)
                open_, held = [], b""
            if alone:
                yield _piece([mark], self.spelt(mark.id), special=True)
                continue
            open_.append(mark)
            held += self.spelt(mark.id)
            if _whole(held):
                yield _piece(open_, held)
                open_, held = [], b""
            elif not _begins(held):
                yield from self._broken(open_)
                open_, held = [], b""
        yield from self._broken(open_)

    def _broken(self, marks: list[Mark]) -> Iterator[Piece]:
        for mark in marks:
            yield _piece([mark], self.spelt(mark.id))


def _piece(marks: list[Mark], data: bytes, *, special: bool = False) -> Piece:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    ids = tuple(mark.id for mark in marks)
    return Piece(ids, text, data.hex(" ").upper(), marks[0].labelled, marks[0].cut, special)


def _whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _begins(data: bytes) -> bool:
    """Whether more bytes could still make characters of `data`."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


@cache
def _letters() -> dict[str, bytes]:
    """The letter that byte-level tokenizers write for each byte (GPT-2's table), and the byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): bytes([byte]) for byte in plain}
    table.update({chr(256 + at): bytes([byte]) for at, byte in enumerate(others)})
    return table
