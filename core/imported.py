"""Whether a run came from elsewhere as an archive (`core.runs.archive`): `imported.json` in its directory says so.

Such a run can be viewed, served and merged. It is not resumed: whatever would be read for that was made on a machine
that is not this one.
"""

from __future__ import annotations

from pathlib import Path

from core.records import Record
from core.rundir import RunDir, read_record


class Imported(Record):
    """`imported.json`. archive: the file's name. sha256: of the archive's index. at: seconds since the epoch."""

    archive: str
    sha256: str
    at: float


def imported_file(run: RunDir) -> Path:
    return run.path / "imported.json"


def imported(run: RunDir) -> Imported | None:
    """None for a run that was made here."""
    return read_record(imported_file(run), Imported)


def is_imported(run: RunDir) -> bool:
    """Whether the mark is there at all, torn or not."""
    return imported_file(run).exists()
