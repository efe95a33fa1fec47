"""The doctor: reads a whole file once and says which rows can be used, and of every other one where and why not.

    report = check_file(Path("chat.jsonl"))
    report.ok, report.rows, report.usable, report.problems[0].line

It changes nothing. `usable_rows` is the same pass as a stream, which an import writes down.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.data.containers import Raw, excerpt
from core.data.dialogue import RowError
from core.data.formats import STAGES_OF, Detection, Kind, Row, convert, detect
from core.data.reader import Progress, Source, open_source
from core.errors import DataError, Problem

KEPT_PROBLEMS = 1000
LOOKED_AT = 200  # rows that decide the shape of a file


@dataclass
class CheckReport:
    """What a file holds. `problems` are the first thousand, `counts` all of them by code; `notes` harm no row."""

    path: Path
    rows: int = 0
    usable: int = 0
    container: str | None = None
    format: str | None = None
    kind: Kind | None = None
    evidence: Problem | None = None  # why this format
    stages: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every row is usable, and there is one."""
        return self.usable > 0 and not self.counts

    def add(self, problem: Problem) -> None:
        self.counts[problem.code] += 1
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(problem)

    def as_dict(self) -> dict[str, Any]:
        """The object that `data check --json` prints."""
        listed = [
            {"line": p.line, "code": p.code, "message": p.message, "excerpt": p.excerpt, "remedy": p.remedy}
            for p in self.problems
        ]
        return {
            "file": str(self.path),
            "rows": self.rows,
            "usable": self.usable,
            "container": self.container,
            "format": self.format,
            "kind": self.kind,
            "evidence": self.evidence.message if self.evidence else "",
            "stages": self.stages,
            "counts": dict(self.counts),
            "problems": listed,
            "notes": [{"code": note.code, "message": note.message, "remedy": note.remedy} for note in self.notes],
        }


def check_file(path: Path | str, *, on_progress: Progress | None = None) -> CheckReport:
    """Read `path` whole. Raises DataError `data.no_file` only; everything else is in the report."""
    report = CheckReport(Path(path))
    for _ in usable_rows(report, on_progress=on_progress):
        pass
    return report


def usable_rows(
    report: CheckReport,
    *,
    on_progress: Progress | None = None,
    on_problem: Callable[[Problem], None] | None = None,
) -> Iterator[tuple[int, Row]]:
    """(line, canonical row) of every usable row of `report.path`; `report` fills up on the way.

    `on_problem` sees every problem, also those beyond the thousand that the report keeps. The shape is known (and in
    the report) before the first row comes out.
    """

    def found(problem: Problem) -> None:
        report.add(problem)
        if on_problem is not None:
            on_problem(problem)

    try:
        source = open_source(report.path)
        report.container = source.container
        report.notes = source.notes
        yield from _usable(source, report, found, on_progress)
    except DataError as error:
        if error.code == "data.no_file":
            raise
        found(Problem(error.code, error.params))
    if report.rows == 0 and not report.counts:
        found(Problem("data.empty_file", {"file": report.path.name}))


def _usable(
    source: Source, report: CheckReport, found: Callable[[Problem], None], on_progress: Progress | None
) -> Iterator[tuple[int, Row]]:
    rows = source.rows(on_progress)
    first = list(itertools.islice(rows, LOOKED_AT))
    detection = detect(raw.value for raw in first if raw.problem is None)
    _describe(report, detection)
    for raw in itertools.chain(first, rows):
        report.rows += 1
        if raw.problem is not None:
            found(raw.problem)
            continue
        try:
            row = convert(detection.shape, raw.value)
        except RowError as error:
            found(_row_problem(raw, error))
            continue
        report.usable += 1
        yield raw.line, row


def _describe(report: CheckReport, detection: Detection) -> None:
    report.evidence = detection.evidence
    if detection.shape is not None:
        report.format = detection.shape.name
        report.kind = detection.shape.kind
        report.stages = list(STAGES_OF[detection.shape.kind])


def _row_problem(raw: Raw, error: RowError) -> Problem:
    return Problem(error.code, error.params, line=raw.line, excerpt=excerpt(raw.value))
