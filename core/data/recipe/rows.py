"""The rows that a recipe is at work on: where each lies on disk, in which order, and what has been said of it since.

A `StoredRows` is a list of numbers. Row n is row n of all stores laid end to end; a store is a dataset of the
workspace, or what a step has rewritten (`StoreWriter`). Dropping, sorting and repeating rows moves numbers only, so
2.4 million rows cost 19 MB a column and no copy. Where the order is far from that of the files (shuffled, sorted), rows
are first dealt into files by where they go, then read file by file: every row is decoded once, not its group each time.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.data.figures import LANGUAGES, RowFigures, figures_of
from core.data.kinds import Kind
from core.data.steps.base import Item, Positions
from core.data.store.dataset import GROUP_ROWS, META_NAMES, SCHEMAS

FIGURES = RowFigures._fields
ONE_OBJECT = {str(name): name for name in LANGUAGES}  # one string object each, however many rows
KEPT_GROUPS = 2  # decoded groups that a store holds on to
DEALT_ROWS = 20_000  # rows a file, at least, when an order is far from the files'
DEALT_FILES = 200  # open at the same time, at most


class Store:
    """The rows of one data.parquet. `source` is what a row without a source of its own has come from."""

    def __init__(self, folder: Path, kind: Kind, source: str) -> None:
        self.folder = folder
        self.kind = kind
        self.source = source
        self.file = pq.ParquetFile(folder / "data.parquet")
        sizes = [self.file.metadata.row_group(group).num_rows for group in range(self.file.metadata.num_row_groups)]
        self.borders = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
        self._decoded: dict[int, list[Item]] = {}
        self._columns: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return int(self.borders[-1])

    def group(self, number: int) -> list[Item]:
        """The items of one row group. They are shared: whoever changes one makes a copy."""
        if number not in self._decoded:
            while len(self._decoded) >= KEPT_GROUPS:
                self._decoded.pop(next(iter(self._decoded)))
            self._decoded[number] = self._decode(self.file.read_row_group(number))
        return self._decoded[number]

    def column(self, name: str) -> NDArray[Any]:
        """One value a row: line, difficulty, score, or a figure."""
        if name not in self._columns:
            if name in FIGURES:
                self._columns.update(self._figures())
            else:
                self._columns[name] = self._read(name)
        return self._columns[name]

    def sources(self) -> tuple[list[str], NDArray[np.int32]]:
        if "source" not in self.file.schema_arrow.names:
            return [self.source], np.zeros(len(self), dtype=np.int32)
        column = self.file.read(columns=["source"]).column("source").combine_chunks().fill_null(self.source)
        coded = column.dictionary_encode()
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False).astype(np.int32)

    def _decode(self, table: pa.Table) -> list[Item]:
        here = set(table.column_names)
        rows = table.drop_columns([name for name in META_NAMES if name in here]).to_pylist()
        nothing = itertools.repeat(None)
        values = [table.column(name).to_pylist() if name in here else nothing for name in META_NAMES]
        return [
            Item(row, line, source or self.source, difficulty, score, category)
            for row, line, source, difficulty, score, category in zip(rows, *values, strict=False)
        ]

    def _read(self, name: str) -> NDArray[Any]:
        if name not in self.file.schema_arrow.names:
            return np.full(len(self), np.nan)
        column = self.file.read(columns=[name]).column(name)
        if name == "line":
            whole: NDArray[Any] = column.to_numpy().astype(np.int64)
            return whole
        filled: NDArray[Any] = column.fill_null(float("nan")).to_numpy().astype(np.float64)
        return filled

    def _figures(self) -> dict[str, NDArray[Any]]:
        """Those written beside the rows; of rewritten rows, and of versions from before there were any, counted now."""
        file = self.folder / "figures.parquet"
        if file.exists():
            table = pq.read_table(file, columns=list(FIGURES))
            lists: dict[str, Any] = {name: table.column(name).to_numpy() for name in FIGURES if name != "language"}
            lists["language"] = [ONE_OBJECT.get(name, "other") for name in table.column("language").to_pylist()]
        else:
            counted = [
                figures_of(self.kind, item.row) for group in range(len(self.borders) - 1) for item in self.group(group)
            ]
            lists = {name: [getattr(figures, name) for figures in counted] for name in FIGURES}
        kinds: dict[str, Any] = {"language": object, "key": np.uint64}
        return {name: np.array(values, dtype=kinds.get(name, np.int64)) for name, values in lists.items()}


class StoreWriter:
    """Rows that a step has rewritten, on their way into a `Store` of their own in `folder`."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.kind = kind
        self._schema = SCHEMAS[kind]
        self._writer = pq.ParquetWriter(folder / "data.parquet", self._schema, compression="lz4")
        self._group: list[dict[str, Any]] = []
        self.rows = 0

    def add(self, item: Item) -> int:
        """Keep `item`; returns its number in this store."""
        self._group.append({**item.row, **{name: getattr(item, name) for name in META_NAMES}})
        self.rows += 1
        if len(self._group) == GROUP_ROWS:
            self._flush()
        return self.rows - 1

    def close(self) -> Store | None:
        """The store; None where nothing was written."""
        if self._group:
            self._flush()
        self._writer.close()
        return Store(self.folder, self.kind, "") if self.rows else None

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._group, self._schema))
        self._group.clear()


class StoredRows:
    """Rows in a present order. See `core.data.steps.base.Rows` for what a step may ask; `scratch` is for dealing."""

    def __init__(
        self,
        kind: Kind,
        stores: Sequence[Store],
        numbers: Positions,
        scratch: Path,
        said: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        self._kind = kind
        self.stores = list(stores)
        self.numbers = numbers
        self.scratch = scratch
        self.said = dict(said or {})  # difficulty and score where a step gave new ones, aligned with `numbers`
        self.starts = np.concatenate([[0], np.cumsum([len(store) for store in self.stores])]).astype(np.int64)
        first_groups = [len(store.borders) - 1 for store in self.stores]
        self._first_group = np.concatenate([[0], np.cumsum(first_groups)]).astype(np.int64)
        pieces = [store.borders[:-1] + start for store, start in zip(self.stores, self.starts, strict=False)]
        self._groups = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int64)

    @property
    def kind(self) -> Kind:
        return self._kind

    def __len__(self) -> int:
        return len(self.numbers)

    # -- items --------------------------------------------------------------------------------------------------------
    def take(self, positions: Sequence[int] | Positions) -> list[Item]:
        """Fresh items at these positions, in the order given."""
        wanted = np.asarray(positions, dtype=np.int64)
        return self._with_said(self._items(self.numbers[wanted]), wanted)

    def batches(self, size: int = GROUP_ROWS) -> Iterator[list[Item]]:
        """All items in order, `size` at a time."""
        if self._scattered(size):
            yield from self._dealt(size)
            return
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def _items(self, numbers: Positions) -> list[Item]:
        """The items with these numbers, copies so that a step may set what it likes; each group is decoded once."""
        found: list[Any] = [None] * len(numbers)
        groups = np.searchsorted(self._groups, numbers, side="right") - 1
        by_group = np.argsort(groups, kind="stable")
        borders = np.flatnonzero(np.diff(groups[by_group])) + 1
        for places in np.split(by_group, borders) if len(numbers) else []:
            group = int(groups[places[0]])
            store = int(np.searchsorted(self._first_group, group, side="right")) - 1
            items = self.stores[store].group(group - int(self._first_group[store]))
            first = int(self._groups[group])
            for place, number in zip(places.tolist(), numbers[places].tolist(), strict=True):
                item = items[number - first]
                found[place] = Item(item.row, item.line, item.source, item.difficulty, item.score, item.category)
        return found

    def _with_said(self, items: list[Item], positions: Positions) -> list[Item]:
        for name, values in self.said.items():
            for item, value in zip(items, values[positions].tolist(), strict=True):
                setattr(item, name, None if value != value else value)
        return items

    def _scattered(self, size: int) -> bool:
        """Whether reading in order would decode every group many times over."""
        if len(self) <= DEALT_ROWS:
            return False
        groups = np.searchsorted(self._groups, self.numbers, side="right") - 1
        decoded = sum(len(np.unique(groups[start : start + size])) for start in range(0, len(self), size))
        return decoded > 4 * (len(np.unique(groups)) + len(self) // size)

    def _dealt(self, size: int) -> Iterator[list[Item]]:
        """`batches` by way of files that each hold the rows of one stretch of the order."""
        length = max(DEALT_ROWS, -(-len(self) // DEALT_FILES))
        folder = self.scratch / f"dealt-{id(self)}"
        folder.mkdir(parents=True)
        try:
            for stretch, path in enumerate(self._deal(folder, length)):
                records = sorted(map(orjson.loads, path.read_bytes().split(b"\n")[:-1]), key=lambda record: record[0])
                path.unlink()
                for start in range(0, len(records), size):
                    items = [Item(*record[1:]) for record in records[start : start + size]]
                    at = stretch * length + start
                    yield self._with_said(items, np.arange(at, at + len(items)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _deal(self, folder: Path, length: int) -> list[Path]:
        """One file for every `length` positions, its records (position, item) in the order of the stores."""
        paths = [folder / str(number) for number in range(-(-len(self) // length))]
        order = np.argsort(self.numbers, kind="stable")
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(open(path, "wb")) for path in paths]
            for start in range(0, len(order), GROUP_ROWS):
                positions = order[start : start + GROUP_ROWS]
                for position, item in zip(positions.tolist(), self._items(self.numbers[positions]), strict=True):
                    record = (position, item.row, *(getattr(item, name) for name in META_NAMES))
                    files[position // length].write(orjson.dumps(record) + b"\n")
        return paths

    # -- columns ------------------------------------------------------------------------------------------------------
    def column(self, name: str) -> NDArray[Any]:
        """One value a row, aligned with the positions. See `core.data.steps.base.Rows.column`."""
        if name in self.said:
            return self.said[name]
        parts = [store.column(name) for store in self.stores]
        whole: NDArray[Any] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole[self.numbers]

    def sources(self) -> tuple[list[str], NDArray[np.int32]]:
        """(names, index into the names of every row)."""
        names: dict[str, int] = {}
        parts = []
        for store in self.stores:
            own, codes = store.sources()
            places = np.array([names.setdefault(name, len(names)) for name in own], dtype=np.int32)
            parts.append(places[codes])
        return list(names), np.concatenate(parts)[self.numbers]

    # -- other rows ---------------------------------------------------------------------------------------------------
    def chosen(self, order: Positions, said: Mapping[str, NDArray[np.float64]] | None = None) -> StoredRows:
        """The rows at these positions, in this order; `said`: new difficulty or score, aligned with the old ones."""
        values = {**self.said, **(said or {})}
        kept = {name: column[order] for name, column in values.items()}
        return StoredRows(self.kind, self.stores, self.numbers[order], self.scratch, kept)
