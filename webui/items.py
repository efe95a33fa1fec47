"""The rows of a comparison one by one, read for the page: which of them, in which order, a page at a time. No HTML.

`output/items.jsonl` grows while a comparison runs and may have a line for each of several models and ten thousand rows.
Only where each line lies, and what it is sorted by, is kept in memory; the lines of a page are read when it is shown.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from core.records_evaluation import Item, items_file
from core.rundir import RunDir

WORST, BEST, IN_ORDER = "worst", "best", "order"
SORTS = (WORST, BEST, IN_ORDER)
PAGE = 10
KEPT_FILES = 8


@dataclass(frozen=True)
class Asked:
    """What one session wants to see of one run: `exam` and `model` are places in the comparison's lists, `category` ""
    stands for all, pages count from 0."""

    run: str = ""
    exam: int = 0
    model: int = 0
    sort: str = WORST
    category: str = ""
    page: int = 0

    def of(self, run: str) -> Asked:
        """The same for another run: it begins at its first dataset and model."""
        return self if self.run == run else Asked(run=run, sort=self.sort)

    def clicked(self, data: Mapping[str, Any]) -> Asked:
        """What is wanted after a click."""
        if "exam" in data:
            return replace(self, exam=_whole(data["exam"]), category="", page=0)
        if "model" in data:
            return replace(self, model=_whole(data["model"]), page=0)
        if "sort" in data:
            return replace(self, sort=data["sort"] if data["sort"] in SORTS else WORST, page=0)
        if "category" in data:
            return replace(self, category=str(data["category"] or ""), page=0)
        return replace(self, page=_whole(data["page"])) if "page" in data else self


def _whole(value: Any) -> int:
    try:
        return max(0, int(str(value)))
    except ValueError:
        return 0


@dataclass(frozen=True)
class Found:
    """`items` of page `page` (from 0) of `pages`; `total` answer what was asked, of `categories` among all rows."""

    items: list[Item] = field(default_factory=list)
    page: int = 0
    pages: int = 1
    total: int = 0
    categories: list[str] = field(default_factory=list)


def worth(figures: Mapping[str, float]) -> float:
    """What rows are sorted by, the worst lowest: how far the right choice or answer lies ahead, else minus the bits a
    byte (the nats a token, where no label is text)."""
    if "margin" in figures:
        return figures["margin"]
    if "chosen" in figures:
        return figures["chosen"] - figures["rejected"]
    if figures.get("bytes"):
        return -figures["text_nats"] / figures["bytes"]
    return -figures.get("nats", 0.0) / max(figures.get("labels", 0.0), 1.0)


class Index:
    """Where the lines of one file lie, by (exam, model): offset, length, worth and category of each. `answers`: what is
    known of the answers to prompts, by (model, question)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reset(0)

    def _reset(self, inode: int) -> None:
        self._inode, self._offset = inode, 0
        self.lines: dict[tuple[int, int], list[tuple[int, int, float, str]]] = {}
        self.answers: dict[tuple[int, int], Item] = {}

    def refresh(self) -> Index:
        """Read what was appended since the last call; a file that was replaced is read anew."""
        with self._lock:
            try:
                stat = os.stat(self.path)
            except FileNotFoundError:
                self._reset(0)
                return self
            if stat.st_ino != self._inode or stat.st_size < self._offset:
                self._reset(stat.st_ino)
            if stat.st_size > self._offset:
                with open(self.path, "rb") as file:
                    file.seek(self._offset)
                    data = file.read()
                self._take(data[: data.rfind(b"\n") + 1])
        return self

    def _take(self, data: bytes) -> None:
        for line in data.splitlines(keepends=True):
            row = orjson.loads(line)
            if row["exam"] is not None:
                entry = (self._offset, len(line), worth(row["figures"]), row["category"] or "")
                self.lines.setdefault((row["exam"], row["model"]), []).append(entry)
            else:
                self._answer(Item.model_validate(row))
            self._offset += len(line)

    def _answer(self, item: Item) -> None:
        """An answer to a prompt: there are few, and what judges say of it joins what is there."""
        known = self.answers.setdefault((item.model, item.number), item)
        known.figures |= item.figures
        known.marks |= item.marks

    def find(self, asked: Asked) -> Found:
        """One page of what was asked for."""
        with self._lock:
            every = list(self.lines.get((asked.exam, asked.model), []))
        kept = [entry for entry in every if asked.category in ("", entry[3])]
        if asked.sort != IN_ORDER:
            kept.sort(key=lambda entry: entry[2], reverse=asked.sort == BEST)
        pages = max(1, -(-len(kept) // PAGE))
        page = min(asked.page, pages - 1)
        shown = kept[page * PAGE : (page + 1) * PAGE]
        categories = sorted({entry[3] for entry in every} - {""})
        return Found(self._read(shown), page, pages, len(kept), categories)

    def _read(self, entries: list[tuple[int, int, float, str]]) -> list[Item]:
        found = []
        if entries:
            with open(self.path, "rb") as file:
                for offset, length, _, _ in entries:
                    file.seek(offset)
                    found.append(Item.model_validate(orjson.loads(file.read(length))))
        return found


_indexes: OrderedDict[Path, Index] = OrderedDict()
_guard = threading.Lock()


def index_of(run: RunDir) -> Index:
    """The shared, refreshed index of a run's items; the least recently asked for are forgotten."""
    path = items_file(run.output)
    with _guard:
        found = _indexes.setdefault(path, Index(path))
        _indexes.move_to_end(path)
        if len(_indexes) > KEPT_FILES:
            _indexes.popitem(last=False)
    return found.refresh()
