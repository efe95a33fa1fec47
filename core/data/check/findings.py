"""What is found in a stretch of a file, in a form that a helper process can hand over: counts, problems, hashes.

`Reading` says how a file is to be read; `findings_of` reads some batches of it. Rows themselves are handed over only
where an import wants them, as columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from core.data.check.examine import Examined, Examiner, Hashes, Repaired
from core.data.check.severity import is_error
from core.data.files.containers import Batch
from core.data.files.reader import Source
from core.data.shapes.choices import subject_of
from core.data.shapes.formats import Shape, shape_named
from core.data.store.writer import Block, block_of
from core.errors import Problem

KEPT_PROBLEMS = 1000  # of each severity
BLOCK_ROWS = 2000  # a block of columns at most


@dataclass(frozen=True)
class Reading:
    """How a file is read. `keep`: whether the rows are wanted and every unusable one, or only what is found in them."""

    source: Source
    shape_name: str | None
    columns: Mapping[str, str] = field(default_factory=dict)
    repair: bool = False
    keep: bool = False

    @property
    def shape(self) -> Shape | None:
        return shape_named(self.shape_name) if self.shape_name else None

    def examiner(self) -> Examiner:
        return Examiner(self.shape, self.columns, repair=self.repair, metas=self.keep, category=self.category)

    @property
    def category(self) -> str | None:
        """What the file's name says of all its rows: C-Eval and CMMLU have a table for each subject."""
        per_subject = self.source.container == "csv" and self.shape_name == "choice"
        return subject_of(self.source.path.name) if per_subject else None


@dataclass
class Findings:
    """`lines` were read. Those in `problems`, `dropped`, `repaired` and `blocks`, and `last` of them, count from 1.

    `counts` has every problem by code, `problems` the first of them. `dropped` has one problem for every unusable row.
    """

    lines: int = 0
    last: int = 0
    rows: int = 0
    usable: int = 0
    mendable: int = 0
    chars: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    keys: list[Hashes] = field(default_factory=list)
    exact: list[Hashes] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)
    dropped: list[Problem] = field(default_factory=list)
    repaired: list[Repaired] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def add(self, examined: Examined) -> None:
        self.rows += len(examined.rows) + examined.bad
        self.usable += len(examined.rows)
        self.mendable += examined.mendable
        self.chars += examined.chars
        self.counts.update(problem.code for problem in examined.problems)
        self.problems = first_of([*self.problems, *examined.problems])
        self.keys.append(examined.keys)
        self.exact.append(examined.exact)
        self.unused.update(examined.unused)


def first_of(problems: list[Problem]) -> list[Problem]:
    """The first KEPT_PROBLEMS errors and as many warnings, in the order of their lines."""
    if len(problems) <= KEPT_PROBLEMS:
        return problems
    left = {True: KEPT_PROBLEMS, False: KEPT_PROBLEMS}
    kept = []
    for problem in problems:
        error = is_error(problem.code)
        if left[error]:
            left[error] -= 1
            kept.append(problem)
    return kept


def findings_of(reading: Reading, examiner: Examiner, batches: Iterable[tuple[Batch, int]]) -> Findings:
    """Examine batches, each given with the number of lines it takes."""
    found = Findings()
    for batch, lines in batches:
        examined = examiner.examine(batch)
        found.add(examined)
        found.lines += lines
        found.last = max(found.last, *batch.lines[-1:], *(problem.line or 0 for problem in batch.problems[-1:]))
        if reading.keep:
            found.dropped += _one_each(examined.problems)
            found.repaired += examined.repaired
            found.blocks += _blocks(reading, examined)
    return found


def _one_each(problems: list[Problem]) -> list[Problem]:
    """The first error of every line that has one."""
    first: dict[int | None, Problem] = {}
    for problem in problems:
        if is_error(problem.code):
            first.setdefault(problem.line, problem)
    return list(first.values())


def _blocks(reading: Reading, examined: Examined) -> Iterator[Block]:
    shape = reading.shape
    for start in range(0, len(examined.rows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        assert shape is not None
        yield block_of(shape.kind, examined.rows[part], examined.metas[part], examined.keys[part].tolist())
