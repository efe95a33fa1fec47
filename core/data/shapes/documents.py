"""Plain text of which a document is more than a line: paragraphs with blank lines between them, or the whole file.

Lines are put together before they are read as rows. A blank line within a document is kept as one, several as one. A
line that cannot be read stays a row of its own, with its problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core.data.files.containers import Raw


def paragraphs(raws: Iterable[Raw]) -> Iterator[Raw]:
    """Lines without a blank one between them as one document."""
    return _gathered(raws, across=False)


def whole(raws: Iterable[Raw]) -> Iterator[Raw]:
    """All lines of a file as one document."""
    return _gathered(raws, across=True)


def _gathered(raws: Iterable[Raw], *, across: bool) -> Iterator[Raw]:
    """`across`: over blank lines, too."""
    parts: list[str] = []
    first = last = 0
    for raw in raws:
        text = raw.value.get("text") if isinstance(raw.value, dict) else None
        if not isinstance(text, str):
            yield raw
            continue
        if parts and raw.line > last + 1:
            if across:
                parts.append("")
            else:
                yield _document(first, parts)
                parts = []
        if not parts:
            first = raw.line
        parts.append(text)
        last = raw.line
    if parts:
        yield _document(first, parts)


def _document(line: int, parts: list[str]) -> Raw:
    return Raw(line, {"text": "\n".join(parts)})
