"""What a step of a recipe is made of. `core.data.recipe.prepare` runs steps; the modules beside this one are steps.

A step is one of three kinds of function, found by its name (`do`) in a table of `core.data.steps`:

    PER_ROW   maker(step, job) -> (item -> item | list of items | Drop)     sees one row at a time
    OVERALL   fn(step, rows, job) -> Selection                              has to see all of them: duplicates, order
    PARTING   fn(step, rows, job) -> {suffix: positions}                    several datasets; the last of a recipe

A per-row function returns the item it was given (changed or not; `item.row` itself is never changed in place, a new row
is set instead), several items, or a Drop. Settings `only_sources` and `except_sources` are seen to by the engine: a
step is never called for a row that it must not touch, and an OVERALL step gets only the rows that it may touch.

A step that turns rows into another kind says so in KIND_AFTER: fn(step, kind) -> kind, which raises
`wrong_kind(...)` for rows that it cannot take. A step that keeps the kind and takes only some kinds does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.data.kinds import Kind, Row
from core.data.store.dataset import Dataset
from core.data.store.library import open_dataset
from core.errors import DataError
from core.workspace import Workspace

Positions = NDArray[np.int64]


@dataclass(slots=True)
class Item:
    """A canonical row and what is known of it. `source`: its own, else the name of the dataset it came from."""

    row: Row
    line: int
    source: str = ""
    difficulty: float | None = None
    score: float | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a row goes: a code of `core.messages_steps` and what fills its sentence."""

    code: str
    params: dict[str, Any] = field(default_factory=dict)


Outcome = Item | list[Item] | Drop
PerRow = Callable[[Item], Outcome]


class Rows(Protocol):
    """The rows a step works on, wherever they lie. Positions count from 0 in the present order of the recipe.

    Memory stays bounded: items are read in batches, only columns are held for all rows.
    """

    @property
    def kind(self) -> Kind: ...

    def __len__(self) -> int: ...

    def batches(self, size: int = 2000) -> Iterator[list[Item]]:
        """All items in order, `size` at a time."""

    def take(self, positions: Sequence[int] | Positions) -> list[Item]:
        """The items at these positions, in the order given."""

    def column(self, name: str) -> NDArray[Any]:
        """One value a row, aligned with the positions.

        line int64; difficulty, score float64 with NaN for none; chars, answer_chars, turns int64; key uint64 (hash of
        the normalised text); language object ("zh", "en", "mixed", "code", "other").
        """

    def sources(self) -> tuple[list[str], NDArray[np.int32]]:
        """(names, index into the names of every row)."""


@dataclass(frozen=True)
class Selection:
    """What an OVERALL step decides.

    `order`: positions that stay, in their new order; a position may stand there several times. `dropped`: the reason
    of every position that goes for a fault of its own (a mapping may make its Drops as they are asked for); a position
    in neither was not chosen, and is not recorded. `columns`: new `difficulty` or `score` of all rows, aligned with the
    positions the step was given (not with `order`); NaN for none.
    """

    order: Positions
    dropped: Mapping[int, Drop] = field(default_factory=dict)
    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


class Job:
    """What a step may use: the workspace, the recipe's seed, a scratch folder, a way to be stopped and to be seen.

    `kind` and `random` are those of the step that is made or run: a per-row step asks for them while it is made.
    """

    def __init__(
        self,
        workspace: Workspace,
        seed: int,
        scratch: Path,
        *,
        check_stop: Callable[[], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
        share: float = 1.0,
    ) -> None:
        self.workspace = workspace
        self.seed = seed
        self.scratch = scratch
        self.share = share  # of all rows that are looked at: a preview sees a part, and counts of rows shrink with it
        self._check_stop = check_stop
        self._progress = progress
        self.kind: Kind = "text"  # of the rows that the present step gets
        self._index = 0

    def check_stop(self) -> None:
        """Raise StopRequested if somebody asked for it. Call it at least once a second."""
        if self._check_stop is not None:
            self._check_stop()

    def progress(self, done: int, total: int) -> None:
        """Say how far the step is (in rows), and stop if asked to."""
        self.check_stop()
        if self._progress is not None:
            self._progress(done, total)

    def random(self, salt: str = "") -> np.random.Generator:
        """A generator of its own for every step of a recipe: the same seed and place give the same choice."""
        return np.random.default_rng([self.seed, self._index, *salt.encode()])

    def enter(self, index: int, kind: Kind) -> None:
        """The engine begins (or makes) step `index`, from 0, which gets rows of this kind."""
        self._index, self.kind = index, kind

    def dataset(self, ref: str) -> Dataset:
        """A dataset that a step's setting names. Raises DataError `data.no_dataset`."""
        return open_dataset(self.workspace, ref)


PerRowMaker = Callable[[Any, Job], PerRow]
Overall = Callable[[Any, Rows, Job], Selection]
Parting = Callable[[Any, Rows, Job], dict[str, Positions]]
KindAfter = Callable[[Any, Kind], Kind]


def wrong_kind(step: str, kind: Kind, needed: str) -> DataError:
    """The error of a step that cannot take rows of this kind; `needed` names the kinds it takes."""
    return DataError("step.wrong_kind", step=step, kind=kind, needed=needed)
