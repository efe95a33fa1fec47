"""Rows put before an annotator one by one, and what becomes of them.

    rows = chosen_rows(dataset, limit=200, seed=42, scratch=folder)
    works = partial(each_work, task, rows, numbers, …)         called for every pass: rows are read from disk, in order
    failures = ask_all(task, works(), asking, tell)            every reply is a line of the asking's file
    for result in results(task, works(), asking, failures):    an Item, or a Dropped with the reason

The second pass reads what the first has asked, so the result is the same in whatever order replies came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.annotating.asking import Asking
from core.annotating.replies import Reply
from core.annotating.tasks import RowTask, Work
from core.annotating.verdicts import Verdict, read
from core.data.recipe.rows import Store, StoredRows
from core.data.steps.base import Drop, Item
from core.data.store.dataset import Dataset

STRETCH = 500  # rows whose prompts are made at a time
SAID_SHOWN = 200  # characters of a reply that says nothing
DRAWN = 1_000_033  # the salt with which other stages draw rows, too


@dataclass(frozen=True)
class Dropped:
    """A row that came to nothing."""

    item: Item
    drop: Drop


Worked = Work | Dropped
Verdicts = Callable[[Work], Verdict | Drop]


def chosen_numbers(count: int, limit: int | None, seed: int) -> NDArray[np.int64]:
    """All row numbers, or `limit` of them drawn by the seed, ascending."""
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng((seed, DRAWN)).permutation(count)[:limit]).astype(np.int64)


def stored(dataset: Dataset, numbers: NDArray[np.int64], scratch: Path) -> StoredRows:
    """Rows of a dataset with all that is known of them."""
    store = Store(dataset.folder, dataset.card.kind, dataset.name)
    return StoredRows(dataset.card.kind, [store], numbers, scratch)


def each_work(
    task: RowTask, rows: StoredRows, sampled: Mapping[int, Sequence[str]], *, own: bool = True
) -> Iterator[Worked]:
    """What there is to be judged of each row, in their order. `sampled`: answers by row number."""
    numbers = iter(rows.numbers.tolist())
    for batch in rows.batches():
        for item, number in zip(batch, numbers, strict=False):
            work = task.work(number, item, sampled.get(number, ()), own=own)
            yield Dropped(item, work) if isinstance(work, Drop) else work


def ask_all(
    task: RowTask, works: Iterable[Worked], asking: Asking, tell: Callable[[int, int], None]
) -> dict[int, Reply]:
    """Ask about every row. `tell(rows done, rows without a usable reply)` after each. Returns the failures by number.

    Raises what `asking.ask` raises.
    """
    failures: dict[int, Reply] = {}
    done = lost = 0
    coming = iter(works)
    while part := list(islice(coming, STRETCH)):
        asked = [work for work in part if isinstance(work, Work)]
        done += len(part) - len(asked)
        lost += len(part) - len(asked)
        for count in sorted({len(work.answers) for work in asked}):
            prompts = {str(work.number): task.prompt(work) for work in asked if len(work.answers) == count}
            understood = partial(_understood, task, count)
            for name, reply in asking.ask(prompts, understood):
                if reply.failed:
                    failures[int(name)] = reply
                lost += bool(reply.failed) or not understood(reply.text)
                done += 1
                tell(done, lost)
    tell(done, lost)
    return failures


def _understood(task: RowTask, answers: int, text: str | None) -> bool:
    return read(task.task.kind, text, answers) is not None


def said_by_model(task: RowTask, asking: Asking, failures: Mapping[int, Reply]) -> Verdicts:
    """The verdicts of an annotator that was asked by `ask_all`."""

    def verdict(work: Work) -> Verdict | Drop:
        reply = asking.known(task.prompt(work))
        if reply is None:
            failed = failures.get(work.number)
            return Drop("annotate.failed", {"detail": failed.failed if failed is not None else "–"})
        found = read(task.task.kind, reply.text, len(work.answers))
        return nonsense(reply) if found is None else found

    return verdict


def nonsense(reply: Reply) -> Drop:
    """The reason for a row of which the annotator said nothing that can be used."""
    said = " ".join((reply.text or "").split())
    return Drop("annotate.nonsense", {"said": said if len(said) <= SAID_SHOWN else said[: SAID_SHOWN - 1] + "…"})


def results(task: RowTask, works: Iterable[Worked], verdicts: Verdicts) -> Iterator[Item | Dropped]:
    """What becomes of every row, in their order."""
    for work in works:
        if isinstance(work, Dropped):
            yield work
            continue
        verdict = verdicts(work)
        found: Any = verdict if isinstance(verdict, Drop) else task.outcome(work, verdict)
        yield Dropped(work.item, found) if isinstance(found, Drop) else found
