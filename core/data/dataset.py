"""One version of a dataset on disk: its card and its rows. `core.data.library` makes, finds and deletes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.data.formats import Kind, Row
from core.records import Record

GROUP_ROWS = 2000

_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMAS: dict[Kind, pa.Schema] = {
    "text": pa.schema([("line", pa.int64()), ("text", pa.string())]),
    "messages": pa.schema([("line", pa.int64()), ("messages", _TURNS)]),
    "preference": pa.schema([("line", pa.int64()), ("prompt", _TURNS), ("chosen", _TURNS), ("rejected", _TURNS)]),
    "choice": pa.schema(
        [("line", pa.int64()), ("question", pa.string()), ("choices", pa.list_(pa.string())), ("answer", pa.string())]
    ),
}
DROPPED = pa.schema([("line", pa.int64()), ("code", pa.string()), ("message", pa.string()), ("excerpt", pa.string())])


class DatasetCard(Record):
    """`card.json`. `sha256` covers the source's content and the way it was read; times are seconds since the epoch."""

    schema_version: int = 1
    name: str
    version: str
    kind: Kind
    format: str
    container: str
    evidence: dict[str, Any] = {}
    stages: list[str]
    rows: int
    dropped: int = 0
    dropped_counts: dict[str, int] = {}
    sha256: str
    source_name: str
    source_bytes: int
    created: float


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
        table = self._table(indices)
        return [] if table is None else table.drop_columns(["line"]).to_pylist()

    def lines(self, indices: Sequence[int]) -> list[int]:
        """On which lines of the source these rows stood."""
        table = self._table(indices)
        return [] if table is None else table.column("line").to_pylist()

    def batches(self, size: int = GROUP_ROWS) -> Iterator[list[Row]]:
        """All rows in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.rows(start, size)

    def dropped(self) -> list[dict[str, Any]]:
        """What could not be used: `{"line", "code", "message", "excerpt"}` a row."""
        rows: list[dict[str, Any]] = pq.read_table(self.folder / "dropped.parquet").to_pylist()
        return rows

    def _table(self, indices: Sequence[int]) -> pa.Table | None:
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) == 0:
            return None
        if wanted.min() < 0 or wanted.max() >= len(self):
            raise IndexError(f"{self.ref} has {len(self)} rows")
        groups = np.unique(wanted // GROUP_ROWS)
        with pq.ParquetFile(self.folder / "data.parquet") as file:
            table = file.read_row_groups(groups.tolist())
        places = np.searchsorted(groups, wanted // GROUP_ROWS) * GROUP_ROWS + wanted % GROUP_ROWS
        return table.take(pa.array(places))
