"""Text that is not UTF-8, read as if it were: GB18030 as Chinese Excel writes it, and UTF-16.

    encoding = foreign(head)                          # "GB18030", "UTF-16LE", … or "" for UTF-8
    stream = io.BufferedReader(AsUTF8(file, encoding))

What cannot be decoded becomes U+FFFD, which the doctor reports row by row. A file in UTF-8 with a few lines in another
encoding stays one in UTF-8: those lines are problems of their own.
"""

from __future__ import annotations

import codecs
import io
from typing import Any, BinaryIO

PIECE = 1 << 16  # bytes decoded at once
MOSTLY = 0.9  # share of the lines beyond ASCII that must be GB18030 and not UTF-8
MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def foreign(head: bytes) -> str:
    """The encoding of a text that begins with `head`, where it is not UTF-8; "" where it is, or nobody can tell."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    if b"\0" in head:
        return _wide(head)
    lines = [line for line in head.split(b"\n")[:-1] or [head] if not line.isascii()]
    chinese = sum(not _decodes(line, "utf-8") and _chinese(line) for line in lines)
    return "GB18030" if lines and chinese >= MOSTLY * len(lines) else ""


def _wide(head: bytes) -> str:
    """UTF-16 without its mark: every other byte of the signs that JSON and CSV are made of is zero."""
    for encoding in ("UTF-16LE", "UTF-16BE"):
        text = head[: len(head) // 2 * 2].decode(encoding, errors="replace")
        if "\0" not in text and sum(text.count(sign) for sign in ' ",:\n') * 20 > len(text) > 1:
            return encoding
    return ""


def _chinese(line: bytes) -> bool:
    """Whether a line is GB18030.

    ISO-8859-1 may decode as that, too (é and the letter after it as one sign), but most of the second bytes of Chinese
    are beyond ASCII, as the first ones are.
    """
    if not _decodes(line, "gb18030"):
        return False
    signs = sum(not sign.isascii() for sign in line.decode("gb18030"))
    return sum(byte >= 0x80 for byte in line) >= 1.5 * signs


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


class AsUTF8(io.RawIOBase):
    """The bytes that `stream` would hold if its text were UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._left:
            piece = self._stream.read(PIECE)
            self._left = self._decoder.decode(piece, final=not piece).encode()
            if not piece:
                break
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
