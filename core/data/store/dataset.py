"""One version of a dataset on disk: its card and its rows. `core.data.store.library` makes, finds and deletes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import computed_field

from core.data.kinds import STAGES_OF, Kind, Row
from core.records import Record
from core.rundir import read_record

GROUP_ROWS = 2000
Numbers = NDArray[np.int64]

META: list[tuple[str, pa.DataType]] = [  # beside the canonical columns of every row
    ("line", pa.int64()), ("source", pa.string()), ("difficulty", pa.float64()), ("score", pa.float64()),
    ("category", pa.string()),
]  # fmt: skip
META_NAMES = [name for name, _ in META]
TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
ANSWERS = pa.list_(pa.struct([("content", pa.string()), ("score", pa.float64())]))
SCHEMAS: dict[Kind, pa.Schema] = {
    "text": pa.schema([*META, ("text", pa.string())]),
    "messages": pa.schema([*META, ("messages", TURNS)]),
    "prompt": pa.schema([*META, ("prompt", TURNS)]),
    "preference": pa.schema([*META, ("prompt", TURNS), ("chosen", TURNS), ("rejected", TURNS)]),
    "ranked": pa.schema([*META, ("prompt", TURNS), ("answers", ANSWERS)]),
    "choice": pa.schema(
        [*META, ("question", pa.string()), ("choices", pa.list_(pa.string())), ("answer", pa.string())]
    ),
}
DROPPED = pa.schema(
    [
        ("line", pa.int64()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("excerpt", pa.string()),
        ("step", pa.int64()),  # of the recipe, from 1; null where the row never was a canonical one
        ("row", pa.string()),  # the canonical row itself, as JSON
        ("params", pa.string()),  # what fills the message, as JSON: a page translates it by code
    ]
)
REPAIRED = pa.schema(
    [("line", pa.int64()), ("codes", pa.list_(pa.string())), ("before", pa.string()), ("after", pa.string())]
)


class Meta(NamedTuple):
    """What is known of a row beside its text. `source` is None where it is the dataset itself.

    `category`: the subject, topic or dimension that figures are grouped by.
    """

    line: int
    source: str | None = None
    difficulty: float | None = None
    score: float | None = None
    category: str | None = None


class StepCount(Record):
    """What one step of a recipe did: rows before and after it, and how many of these it changed."""

    do: str
    before: int
    after: int
    changed: int = 0


class DatasetCard(Record):
    """`card.json`. `sha256` covers the source's content and the way it was read; times are seconds since the epoch.

    A dataset made by a recipe has `parents` (name@version), the `recipe`, the names of all datasets that came of it
    (`parts`), and what its `steps` did; one that was annotated says in `annotation` how (`core.annotating`).
    `duplicates` rows have a normal text that an earlier row has, too; None: not counted. `languages` and `sources`
    count rows.
    """

    schema_version: int = 1
    name: str
    version: str
    kind: Kind
    format: str
    container: str
    evidence: dict[str, Any] = {}
    rows: int
    dropped: int = 0
    dropped_counts: dict[str, int] = {}
    sha256: str
    source_name: str
    source_bytes: int
    created: float
    parents: list[str] = []
    recipe: dict[str, Any] | None = None
    annotation: dict[str, Any] | None = None
    parts: list[str] = []
    steps: list[StepCount] = []
    duplicates: int | None = None
    repaired: int = 0
    languages: dict[str, int] = {}
    sources: dict[str, int] = {}
    licence: str = ""
    origin: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def stages(self) -> list[str]:
        """The stages that the rows are for: what the kind says today, not when the dataset was made."""
        return STAGES_OF[self.kind]


class Dataset:
    """One version of a dataset. Rows are read from disk as they are asked for."""

    def __init__(self, folder: Path, card: DatasetCard) -> None:
        self.folder = folder
        self.card = card

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def version(self) -> str:
        return self.card.version

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    def __len__(self) -> int:
        return self.card.rows

    def __repr__(self) -> str:
        return f"Dataset({self.ref!r}, rows={len(self)})"

    def rows(self, start: int = 0, count: int | None = None) -> list[Row]:
        """Canonical rows `start` … `start + count`. Reads only the row groups that hold them."""
        stop = len(self) if count is None else min(start + count, len(self))
        return self.take(range(start, stop))

    def take(self, indices: Sequence[int]) -> list[Row]:
        """The rows with these indices, in the order given."""
        columns = [field.name for field in SCHEMAS[self.card.kind] if field.name not in META_NAMES]
        table = self._table(indices, columns)
        return [] if table is None else table.to_pylist()

    def meta(self, indices: Sequence[int]) -> list[Meta]:
        """What is known of these rows beside their text. Versions of earlier days know the line only."""
        table = self._table(indices, META_NAMES)
        return [] if table is None else [Meta(**row) for row in table.to_pylist()]

    def difficulties(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """How hard these rows are, as their source said; NaN for a row of which nothing is known."""
        table = self._table(indices, ["line", "difficulty"])
        if table is None or "difficulty" not in table.column_names:
            return np.full(len(indices), np.nan)
        values: NDArray[np.float64] = table.column("difficulty").to_numpy()
        return values

    def sources(self, indices: Sequence[int]) -> list[str]:
        """Where these rows come from; rows without a source of their own are the dataset's."""
        table = self._table(indices, ["line", "source"])
        if table is None or "source" not in table.column_names:
            return [self.name] * len(indices)
        names: list[str] = table.column("source").fill_null(self.name).to_pylist()
        return names

    def categories(self, indices: Sequence[int]) -> list[str | None]:
        """The subject, topic or dimension of these rows; None for a row of which nothing is known."""
        table = self._table(indices, ["line", "category"])
        if table is None or "category" not in table.column_names:
            return [None] * len(indices)
        names: list[str | None] = table.column("category").to_pylist()
        return names

    def lines(self, indices: Sequence[int]) -> list[int]:
        """On which lines of the source these rows stood."""
        table = self._table(indices, ["line"])
        return [] if table is None else table.column("line").to_pylist()

    def batches(self, size: int = GROUP_ROWS) -> Iterator[list[Row]]:
        """All rows in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.rows(start, size)

    def stream(self, indices: Numbers, size: int = 200) -> Iterator[list[Row]]:
        """The rows with these ascending indices, at most `size` at a time and no more of the file in memory."""
        names = [field.name for field in SCHEMAS[self.card.kind] if field.name not in META_NAMES]
        with pq.ParquetFile(self.folder / "data.parquet") as file:
            for group in np.unique(indices // GROUP_ROWS).tolist():
                at = group * GROUP_ROWS
                for batch in file.iter_batches(size, row_groups=[group], columns=names):
                    first, last = np.searchsorted(indices, [at, at + len(batch)])
                    yield batch.take(pa.array(indices[first:last] - at)).to_pylist()
                    at += len(batch)

    def dropped(self) -> list[dict[str, Any]]:
        """What is not in it: `{"line", "code", "message", "excerpt", "step", "row", "params"}` a row.

        `step` (of the recipe, from 1), `row` and `params` (both JSON) may be None.
        """
        rows: list[dict[str, Any]] = pq.read_table(self.folder / "dropped.parquet").to_pylist()
        return [{**dict.fromkeys(DROPPED.names), **row} for row in rows]

    def repaired(self) -> list[dict[str, Any]]:
        """What the import mended: `{"line", "codes", "before", "after"}` a row, the last two as JSON."""
        path = self.folder / "repaired.parquet"
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist() if path.is_file() else []
        return rows

    def _table(self, indices: Sequence[int], columns: list[str]) -> pa.Table | None:
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) == 0:
            return None
        if wanted.min() < 0 or wanted.max() >= len(self):
            raise IndexError(f"{self.ref} has {len(self)} rows")
        groups = np.unique(wanted // GROUP_ROWS)
        with pq.ParquetFile(self.folder / "data.parquet") as file:
            there = set(file.schema_arrow.names)
            table = file.read_row_groups(groups.tolist(), [name for name in columns if name in there])
        places = np.searchsorted(groups, wanted // GROUP_ROWS) * GROUP_ROWS + wanted % GROUP_ROWS
        return table.take(pa.array(places))


def open_version(folder: Path) -> Dataset | None:
    """The version in `folder`; None where there is none."""
    card = read_record(folder / "card.json", DatasetCard)
    return None if card is None else Dataset(folder, card)
