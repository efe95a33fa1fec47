"""The doctor: reads a whole file once and says which rows can be used, and of every other one where and why not.

    report = check_file(Path("chat.jsonl"))
    report.ok, report.rows, report.usable, report.problems[0].line

Errors make a row unusable, warnings leave a doubt (`check.severity`). It changes nothing. `readable` and `conclude`
are the ends of a check, which an import goes through, too; `preview_rows` reads the first rows only.
"""

from __future__ import annotations

import difflib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.data.check import checks
from core.data.check.examine import Examiner, Hashes
from core.data.check.findings import KEPT_PROBLEMS, Findings, Reading, first_of
from core.data.check.fit import Fit
from core.data.check.parallel import CheckStop, read
from core.data.check.severity import is_error, severity_of
from core.data.check.verdicts import STAGES, Verdict, evidence_text, verdict
from core.data.dialogue import RowError
from core.data.files.containers import excerpt
from core.data.files.reader import Progress, Source, open_source
from core.data.kinds import STAGES_OF, Kind, Row
from core.data.shapes.formats import Detection, detect, rows_of, shape_named
from core.errors import DataError, Problem

LOOKED_AT = 200  # rows that decide the shape of a file
FIT_BYTES = 1_000_000  # so that the tokenizer is never at work for long between two looks at the stop request
RAISED = ("data.no_file", "data.no_such_shape", "data.no_such_column", "data.file_changed")


@dataclass(frozen=True)
class Duplicates:
    """Rows whose text an earlier row has, too: letter by letter, or but for case, width, spaces and punctuation."""

    exact: int
    normalised: int


@dataclass
class CheckReport:
    """What a file holds. `problems` are the first thousand, errors before warnings; `counts` all of them by code.

    `repairable` rows have a problem that a repair mends. `chars`: of all texts, which a packed file says nothing of.
    `notes` harm no row. `stage`: the one that it was asked about.
    """

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
    duplicates: Duplicates | None = None
    repairable: int = 0
    chars: int = 0
    stage: str | None = None
    _hashes: tuple[list[Hashes], list[Hashes]] = field(default_factory=lambda: ([], []), repr=False)
    _unused: Counter[str] = field(default_factory=Counter, repr=False)

    @property
    def errors(self) -> int:
        """How many errors there are; a row may have several."""
        return sum(count for code, count in self.counts.items() if is_error(code))

    @property
    def warnings(self) -> int:
        return sum(self.counts.values()) - self.errors

    @property
    def ok(self) -> bool:
        """Every row is usable, and there is one."""
        return self.usable > 0 and not self.errors

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """What each stage can do with it."""
        return {stage: verdict(stage, self.kind, self.usable) for stage in STAGES}

    def add(self, problem: Problem) -> None:
        """Note something that concerns the file as a whole."""
        self.counts[problem.code] += 1
        self.problems = [problem, *self.problems]

    def merge(self, found: Findings) -> None:
        self.rows += found.rows
        self.usable += found.usable
        self.repairable += found.mendable
        self.chars += found.chars
        self.counts.update(found.counts)
        self.problems = first_of([*self.problems, *found.problems])
        self._hashes[0].extend(found.exact)
        self._hashes[1].extend(found.keys)
        self._unused.update(found.unused)

    def finish(self) -> None:
        """Count duplicates, note what nothing reads, and keep the thousand problems that matter most."""
        exact, normalised = (_repeated(parts) for parts in self._hashes)
        self._hashes = ([], [])
        self.duplicates = Duplicates(exact, normalised)
        if self._unused:
            names = [name for name, _ in self._unused.most_common()]
            shown = ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
            self.notes = [*self.notes, Problem("data.unused_keys", {"keys": shown})]
        errors = [problem for problem in self.problems if is_error(problem.code)][:KEPT_PROBLEMS]
        warnings = [problem for problem in self.problems if not is_error(problem.code)]
        self.problems = sorted([*errors, *warnings[: KEPT_PROBLEMS - len(errors)]], key=lambda p: p.line or 0)

    def as_dict(self) -> dict[str, Any]:
        """The object that `data check --json` prints."""
        shown = ("line", "code", "message", "excerpt", "remedy")
        return {
            "file": str(self.path),
            "rows": self.rows,
            "usable": self.usable,
            "container": self.container,
            "format": self.format,
            "kind": self.kind,
            "evidence": evidence_text(self.evidence, self.kind) if self.evidence else "",
            "stages": self.stages,
            "verdicts": {stage: one.as_dict() for stage, one in self.verdicts.items()},
            "counts": dict(self.counts),
            "errors": self.errors,
            "warnings": self.warnings,
            "repairable": self.repairable,
            "duplicates": vars(self.duplicates) if self.duplicates else None,
            "problems": [
                {**{name: getattr(p, name) for name in shown}, "severity": severity_of(p.code)} for p in self.problems
            ],
            "notes": [{"code": note.code, "message": note.message, "remedy": note.remedy} for note in self.notes],
        }


def check_file(
    path: Path | str,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    stage: str | None = None,
    fit: Fit | None = None,
    on_progress: Progress | None = None,
    check_stop: CheckStop | None = None,
) -> CheckReport:
    """Read `path` whole, with several processes where it is large.

    `format` overrules the row shape that was detected; `columns` are the shape's keys and the file's own names for
    them; `stage` is what the rows are wanted for; `fit` asks whether they fit a model. Raises DataError `data.no_file`,
    `data.no_such_shape`, `data.no_such_column` and `data.file_changed`; everything else is in the report.
    """
    report = CheckReport(Path(path), stage=stage)
    try:
        reading = readable(report, format, columns)
        parts = (
            _fitting(reading, fit, on_progress, check_stop)
            if fit is not None
            else read(reading, on_progress=on_progress, check_stop=check_stop)
        )
        for found in parts:
            report.merge(found)
        reading.source.check_unchanged()
    except DataError as error:
        if error.code in RAISED:
            raise
        report.add(Problem(error.code, error.params))
    conclude(report)
    if fit is not None and fit.truncated:
        params = {"count": fit.truncated, "max_length": fit.encoder.max_length}
        report.notes = [*report.notes, Problem("data.rows_truncated", params)]
    return report


def readable(
    report: CheckReport,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    repair: bool = False,
    keep: bool = False,
) -> Reading:
    """Open the file and find its shape; both go into the report. Raises DataError where that cannot be done."""
    source = open_source(report.path)
    report.container, report.notes = source.container, list(source.notes)
    columns = {key: own for key, own in (columns or {}).items() if own}
    detection, values = _detect(source, format, columns)
    report.evidence = detection.evidence
    if detection.shape is not None:
        report.format, report.kind = detection.shape.name, detection.shape.kind
        report.stages = list(STAGES_OF[detection.shape.kind])
        if detection.shape.kind in ("messages", "prompt", "preference"):
            report._unused.update({name: 1 for value in values for name in sorted(checks.unused_in_turns(value))})
    return Reading(source, report.format, columns, repair, keep)


def conclude(report: CheckReport) -> None:
    """What can only be said once the whole file was read."""
    if report.rows == 0 and not report.counts:
        report.add(Problem("data.empty_file", {"file": report.path.name}))
    if report.stage is not None and report.kind is not None and report.stage not in report.stages:
        report.add(verdict(report.stage, report.kind, report.usable).why)
    report.finish()


def preview_rows(
    path: Path | str, format: str | None = None, columns: Mapping[str, str] | None = None, count: int = 5
) -> list[tuple[int, Any, Row | Problem]]:
    """(line, row as the file has it, canonical row or what is wrong) of the first rows, whatever the file's size.

    Raises DataError where the file cannot be read at all.
    """
    source = open_source(Path(path))
    columns = {key: own for key, own in (columns or {}).items() if own}
    shape = _detect(source, format, columns)[0].shape
    examiner = Examiner(shape, columns)
    raws = shape.gather(source.raws()) if shape is not None and shape.gather is not None else source.raws()
    shown: list[tuple[int, Any, Row | Problem]] = []
    for raw in itertools.islice(raws, count):
        if raw.problem is not None:
            shown.append((raw.line, raw.problem.excerpt, raw.problem))
            continue
        try:
            converted: Row | Problem = rows_of(shape, examiner.renamed(raw.value))[0]
        except RowError as error:
            converted = Problem(error.code, error.params, line=raw.line, excerpt=excerpt(raw.value))
        shown.append((raw.line, raw.value, converted))
    return shown


def _detect(source: Source, format: str | None, columns: Mapping[str, str]) -> tuple[Detection, list[Any]]:
    """The shape that was asked for or that the first rows have, and these rows."""
    examiner = Examiner(None, columns)
    first = [raw.value for raw in itertools.islice(source.raws(), LOOKED_AT) if raw.problem is None]
    names = list(dict.fromkeys(str(name) for value in first if isinstance(value, dict) for name in value))
    for own in columns.values():
        if own not in names:
            nearest = difflib.get_close_matches(own, names, 1)
            known = ", ".join(names) or "–"
            raise DataError("data.no_such_column", column=own, known=known, nearest=nearest[0] if nearest else "")
    values = [examiner.renamed(value) for value in first]
    if not format:
        return detect(values), values
    shape = shape_named(format)
    matched = sum(isinstance(value, dict) and shape.fits(value) for value in values)
    return Detection(shape, matched, len(values), tuple(names)), values


def _fitting(
    reading: Reading, fit: Fit, on_progress: Progress | None, check_stop: CheckStop | None
) -> Iterator[Findings]:
    """Read in this process, whose tokenizer uses all processors by itself."""
    examiner = replace(reading, keep=True).examiner()
    shape = reading.shape
    for batch in reading.source.batches(on_progress, gather=shape.gather if shape else None, size=FIT_BYTES):
        if check_stop is not None:
            check_stop()
        examined = examiner.examine(batch)
        found = Findings()
        found.add(fit.apply(shape.kind, examined) if shape is not None else examined)
        yield found


def _repeated(parts: list[Hashes]) -> int:
    every = np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)
    parts.clear()  # of tens of millions of rows, every copy is hundreds of megabytes
    every.sort()
    return int(np.count_nonzero(every[1:] == every[:-1]))
