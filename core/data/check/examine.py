"""Examines a batch of rows: converts them, finds what is wrong with each, mends what can be mended, hashes the rest.

    examiner = Examiner(shape, columns={}, repair=False)
    examined = examiner.examine(batch)

    1. rename columns as the user said, and convert each row to canonical ones
    2. find keys that stand twice, and answers that only repeat their question
    3. scan all texts at once, and look closer at the rows that the scan marks
    4. mend rows that have a fault which can be mended
    5. keep the rows without an error

It knows nothing of files and processes: the same function works in this process and in the helpers of
`core.data.check.parallel`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from core.data.check import checks
from core.data.check.faults import faults
from core.data.check.repair import MENDABLE, Mended, mend
from core.data.check.scan import Scan, scan
from core.data.check.severity import is_error
from core.data.dialogue import RowError
from core.data.files.containers import Batch, excerpt
from core.data.kinds import Row
from core.data.normal import row_text, texts_of
from core.data.shapes.formats import Shape, rows_of
from core.data.store.dataset import Meta
from core.errors import Problem

Hashes = NDArray[np.uint64]
JSON = orjson.OPT_NON_STR_KEYS


class Repaired(NamedTuple):
    """One mended row: what was wrong with it, and its JSON in the file's shape before and after."""

    line: int
    codes: list[str]
    before: str
    after: str


@dataclass
class Examined:
    """The usable rows of a batch (`rows`, `metas`, `keys`, `exact` are aligned) and what was found in all of them.

    `bad` rows have an error and are not among `rows`; `mendable` rows have a fault that a repair mends, or has mended.
    `unused` counts rows by key that nothing reads. `chars`: of the texts of all rows.
    """

    rows: list[Row] = field(default_factory=list)
    metas: list[Meta] = field(default_factory=list)
    keys: Hashes = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    exact: Hashes = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    bad: int = 0
    mendable: int = 0
    chars: int = 0
    problems: list[Problem] = field(default_factory=list)
    repaired: list[Repaired] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)


class Examiner:
    """Holds what is the same for all rows of a file.

    `columns`: the shape's keys, and the file's own names for them. Without `metas`, nobody wants the rows themselves.
    `category`: that of the rows that name none.
    """

    def __init__(
        self,
        shape: Shape | None,
        columns: Mapping[str, str] | None = None,
        *,
        repair: bool = False,
        metas: bool = True,
        category: str | None = None,
    ) -> None:
        self.shape = shape
        self.metas = metas
        self.category = category
        self.columns = dict(columns or {})
        self.repair = repair
        self._used = checks.used_keys(shape) if shape is not None else None

    def renamed(self, value: Any) -> Any:
        """A row with the user's columns under the names of the row shape; other rows as they are."""
        if not self.columns or not isinstance(value, dict):
            return value
        kept = {
            key: part for key, part in value.items() if key not in self.columns.values() and key not in self.columns
        }
        return {key: value[own] for key, own in self.columns.items() if own in value} | kept

    def examine(self, batch: Batch) -> Examined:
        work = _Work(self, batch)
        work.convert()  # 1
        work.check()  # 2
        marks = work.scan()  # 3
        work.look_closer(marks)
        work.mend()  # 4
        return work.result()  # 5

    def meta(self, line: int, value: Any) -> Meta:
        """What the row itself says of its source, difficulty, score and category."""
        if self.shape is None or not isinstance(value, dict):
            return Meta(line)
        named = (value[key].strip() for key in checks.CATEGORIES if isinstance(value.get(key), str))
        category = next((name for name in named if name), self.category)
        source = next((value[key] for key in ("source", "dataset") if isinstance(value.get(key), str)), None)
        if not self.shape.own_source or not (source or "").strip():
            source = None
        return Meta(line, source, _number(value.get("difficulty")), _number(value.get("score")), category)


class _Work:
    """One batch on its way through the five steps. `owner[i]` is the place in the batch that row i came from."""

    def __init__(self, examiner: Examiner, batch: Batch) -> None:
        self.examiner = examiner
        self.shape = examiner.shape
        self.batch = batch
        self.values = [examiner.renamed(value) for value in batch.values] if examiner.columns else batch.values
        self.rows: list[Row] = []
        self.owner: list[int] = []
        self.found: defaultdict[int, list[Problem]] = defaultdict(list)
        self.mended: dict[int, list[Row]] = {}
        self.out = Examined(problems=[], unused=Counter())
        self.hashes = Scan(self.out.keys, self.out.exact, np.zeros(0, dtype=np.uint8))

    def convert(self) -> None:
        shape, used, rows, owner = self.shape, self.examiner._used, self.rows, self.owner
        for place, value in enumerate(self.values):
            try:
                converted = rows_of(shape, value)
            except RowError as error:
                self.fault(place, error.code, error.params)
                continue
            rows += converted
            owner += [place] * len(converted)
            if used is not None and not value.keys() <= used:
                self.out.unused.update(value.keys() - used)

    def check(self) -> None:
        for place, key in checks.keys_twice(self.batch.texts, self.batch.values[: len(self.batch.texts)]):
            self.fault(place, "data.duplicate_key", {"key": key})
        if self.shape is None or self.shape.kind not in ("messages", "preference"):
            return
        kind, fault_of = self.shape.kind, checks.answer_fault
        for place, row in zip(self.owner, self.rows, strict=True):
            wrong = fault_of(kind, row)
            if wrong is not None:
                self.fault(place, "data.answer_is_prompt", wrong)

    def scan(self) -> NDArray[np.uint8]:
        if self.shape is not None and self.rows:
            kind = self.shape.kind
            texts = [row_text(kind, row) for row in self.rows]
            self.out.chars = sum(map(len, texts))
            self.hashes = scan(texts)
        return self.hashes.marks

    def look_closer(self, marks: NDArray[np.uint8]) -> None:
        for index in np.flatnonzero(marks).tolist():
            assert self.shape is not None
            texts = list(texts_of(self.shape.kind, self.rows[index]))
            for fault in faults(texts):
                shown = excerpt("\n".join(texts), fault.place)
                self.fault(self.owner[index], fault.code, fault.params, shown)

    def mend(self) -> None:
        for place, problems in sorted(self.found.items()):
            wrong = {problem.code for problem in problems}
            if self.shape is None or not wrong & MENDABLE:
                continue
            mended = self._mended(self.shape, self.values[place])
            if mended is None or "data.duplicate_key" in wrong:
                continue
            self.out.mendable += 1
            if self.examiner.repair:
                self.mended[place] = mended.rows
                self.found[place] = [problem for problem in problems if problem.code not in mended.codes]
                before, after = (
                    orjson.dumps(value, default=str, option=JSON).decode()
                    for value in (self.values[place], mended.value)
                )
                self.out.repaired.append(Repaired(self.batch.lines[place], mended.codes, before, after))

    def _mended(self, shape: Shape, value: Any) -> Mended | None:
        try:
            mended = mend(shape, value)
            if mended is not None:
                orjson.dumps(mended.value, default=str, option=JSON)
        except (RecursionError, TypeError):  # nested so deeply that it cannot be written again
            return None
        return mended

    def result(self) -> Examined:
        out = self.out
        bad = {place for place, problems in self.found.items() if any(is_error(problem.code) for problem in problems)}
        out.bad = len(bad) + len(self.batch.problems)
        listed = [problem for problems in self.found.values() for problem in problems]
        out.problems = sorted(listed + self.batch.problems, key=lambda problem: problem.line or 0)
        if bad or self.mended:
            self._replace(bad)
        out.rows, out.keys, out.exact = self.rows, self.hashes.keys, self.hashes.exact
        if self.examiner.metas:
            lines, values, meta = self.batch.lines, self.values, self.examiner.meta
            out.metas = [meta(lines[place], values[place]) for place in self.owner]
        return out

    def _replace(self, bad: set[int]) -> None:
        """Take the rows of `bad` places out, and put the mended ones where they belong."""
        kept = [at for at, place in enumerate(self.owner) if place not in bad and place not in self.mended]
        entries = [(self.owner[at], 0, self.rows[at]) for at in kept]
        keys, exact = self.hashes.keys[kept], self.hashes.exact[kept]
        new = [(place, 1, row) for place, rows in self.mended.items() if place not in bad for row in rows]
        if new:
            assert self.shape is not None
            kind = self.shape.kind
            hashes = scan([row_text(kind, row) for _, _, row in new])
            keys, exact = np.concatenate([keys, hashes.keys]), np.concatenate([exact, hashes.exact])
        entries += new
        order = sorted(range(len(entries)), key=lambda at: entries[at][0])
        self.owner, self.rows = [entries[at][0] for at in order], [entries[at][2] for at in order]
        self.hashes = Scan(keys[order], exact[order], self.hashes.marks)

    def fault(self, place: int, code: str, params: dict[str, Any], shown: str | None = None) -> None:
        line = self.batch.lines[place]
        shown = excerpt(self.batch.values[place]) if shown is None else shown
        self.found[place].append(Problem(code, params, line=line, excerpt=shown))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
