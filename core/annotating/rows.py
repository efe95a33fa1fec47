"""Rows put before an annotator one by one, and what becomes of them.

    rows = stored(dataset, chosen_numbers(len(dataset), limit=200, seed=42), scratch=folder)
    works = partial(each_work, task, rows, sampled)            called for every pass: rows are read from disk, in order
    failures = ask_all(task, works(), asking, tell)            every reply is a line of the asking's file
    verdicts = said_by_model(task, asking, failures)
    for result in results(task, works(), verdicts):            an Item, or a Dropped with the reason

The second pass reads what the first has asked, so the result is the same in whatever order replies came.
"""

from __future__ import annotations

from collections import Counter
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
from core.annotating.verdicts import Verdict
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
            same = [work for work in asked if len(work.answers) == count]
            for useful in _ask_about(task, same, asking, failures):
                done += useful is not None
                lost += useful is False
                tell(done, lost)
    tell(done, lost)
    return failures


def _ask_about(
    task: RowTask, works: Sequence[Work], asking: Asking, failures: dict[int, Reply]
) -> Iterator[bool | None]:
    """After each reply whether its row came to something, or None while other prompts about the row are open. The works
    have equally many answers."""
    understood = partial(task.understood, len(works[0].answers))
    prompts = {f"{work.number}.{at}": text for work in works for at, text in enumerate(task.prompts(work))}
    left = Counter(name.partition(".")[0] for name in prompts)
    useless: set[str] = set()
    for name, reply in asking.ask(prompts, understood):
        number = name.partition(".")[0]
        if reply.failed:
            failures[int(number)] = reply
        if reply.failed or not understood(reply.text):
            useless.add(number)
        left[number] -= 1
        yield None if left[number] else number not in useless


def said_by_model(task: RowTask, asking: Asking, failures: Mapping[int, Reply]) -> Verdicts:
    """The verdicts of an annotator that was asked by `ask_all`."""

    def verdict(work: Work) -> Verdict | Drop:
        replies = [asking.known(prompt) for prompt in task.prompts(work)]
        whole = [reply for reply in replies if reply is not None]
        if len(whole) < len(replies):
            failed = failures.get(work.number)
            return Drop("annotate.failed", {"detail": failed.failed if failed is not None else "–"})
        found = task.read(work, whole)
        return nonsense(found) if isinstance(found, Reply) else found

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
