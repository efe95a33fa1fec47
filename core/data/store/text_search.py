"""Finds the rows that hold a text, whatever the case of its letters: a pass over a dataset's `search.arrow`.

    rows = find(columns.search_file, "胰岛素", check_stop=stop)

Every batch is looked through in Rust, on all cores, and given back in the order of the rows, so the first hits can be
shown while the rest is still being read. Memory is that of a few batches. There is no index: two gigabytes take a
second, and a text of one character is found like any other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from core.data.store.text_writer import BATCH_ROWS
from core.hardware import cores

Rows = NDArray[np.int32]

SPAN = 24  # batches to a task: some ten megabytes, a few milliseconds
MOST_WORKERS = 8
HEAD_CHARS = 160  # of a text in a table
LEAD_CHARS = 10  # before what was found, so that it shows in the first line
MOST_CHARS = 500  # of a text to find


class Found(NamedTuple):
    """Where the reading stands: the rows found so far are all those among the first `done` of `total`."""

    rows: Rows
    done: int
    total: int


class Head(NamedTuple):
    """The beginnings of a row's first question and answer, and the surroundings of what was looked for."""

    question: str
    answer: str
    excerpt: str


class Texts:
    """Reads `search.arrow`; one for each thread, for its file has a position."""

    def __init__(self, path: Path) -> None:
        options = pa.ipc.IpcReadOptions(use_threads=False)
        self._reader: Any = pa.ipc.open_file(pa.OSFile(str(path)), options=options)
        self.batches: int = self._reader.num_record_batches

    def batch(self, number: int) -> Any:
        """Rows `number * BATCH_ROWS` and the following."""
        return self._reader.get_batch(number)


def find(
    path: Path,
    text: str,
    *,
    on_found: Callable[[Found], None] | None = None,
    check_stop: Callable[[], None] | None = None,
) -> Rows:
    """The numbers of the rows that hold `text`, in order. `check_stop` is called between spans and may raise."""
    pattern = f"(?i){pl.escape_regex(text[:MOST_CHARS])}"
    local = threading.local()
    total = Texts(path).batches

    def look(first: int) -> Rows:
        if not hasattr(local, "texts"):
            local.texts = Texts(path)
        hits = []
        for number in range(first, min(first + SPAN, total)):
            holds = pl.Series(local.texts.batch(number).column("text")).str.contains(pattern)
            hits.append(np.flatnonzero(holds.to_numpy()) + number * BATCH_ROWS)
        return np.concatenate(hits).astype(np.int32)

    found: list[Rows] = []
    for first, rows in _in_order(look, range(0, total, SPAN)):
        if check_stop is not None:
            check_stop()
        found.append(rows)
        if on_found is not None:
            on_found(Found(rows, min(first + SPAN, total), total))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int32)


def _in_order(work: Callable[[int], Rows], tasks: Iterable[int]) -> Iterator[tuple[int, Rows]]:
    """Each task with its result, in order, worked on by all cores and never far ahead of the reader."""
    workers = min(cores(), MOST_WORKERS)
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[tuple[int, Future[Rows]]] = deque()
        try:
            for task in tasks:
                ahead.append((task, pool.submit(work, task)))
                if len(ahead) > 2 * workers:
                    task, result = ahead.popleft()
                    yield task, result.result()
            while ahead:
                task, result = ahead.popleft()
                yield task, result.result()
        finally:
            for _, result in ahead:
                result.cancel()


def heads(path: Path, rows: Rows, text: str = "") -> list[Head]:
    """How each of `rows` begins, in the order given; with `text`, also where it stands."""
    texts = Texts(path)
    places = rows // BATCH_ROWS
    found: dict[int, Head] = {}
    for number in np.unique(places).tolist():
        batch = texts.batch(number)
        for row in rows[places == number].tolist():
            found[row] = _head([column[row % BATCH_ROWS].as_py() for column in batch.columns], text)
    return [found[row] for row in rows.tolist()]


def _head(values: list[Any], needle: str) -> Head:
    question, question_end, answer, answer_end, text = values
    asked = text[question : min(question_end, question + HEAD_CHARS)]
    answered = text[answer : min(answer_end, answer + HEAD_CHARS)]
    return Head(asked, answered, surroundings(text, needle) if needle else "")


def surroundings(text: str, needle: str) -> str:
    """The text from a little before the first `needle` on; "" where it is not there."""
    place = text.lower().find(needle.lower())  # lowering moves what follows a few rare letters: an excerpt may
    if place < 0:
        return ""
    start = max(0, place - LEAD_CHARS)
    return ("…" if start else "") + text[start : start + HEAD_CHARS]
