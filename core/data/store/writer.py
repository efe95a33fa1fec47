"""Writes the rows of one dataset version: data, figures and search text in one pass, and beside them what was dropped.

    with VersionWriter(folder, "messages") as writer:
        writer.add(row, line=1)
        writer.drop(2, "data.no_answer", {}, excerpt="…")
        written = writer.close()

    folder/data.parquet      canonical rows and their META columns, in row groups of GROUP_ROWS
           figures.parquet   one row of figures for each, in the same order (`core.data.figures`)
           search.arrow      their texts, laid out for searching (`core.data.store.text_writer`)
           dropped.parquet   rows that are not in it, and why

The folder is the caller's, who makes it appear under its name once it is whole. A `Block` is the columnar form of some
rows; processes that parse a file side by side make blocks, and the writer puts them together.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.data.figures import figures_of
from core.data.kinds import Kind, Row
from core.data.normal import row_key
from core.data.store.dataset import DROPPED, GROUP_ROWS, META_NAMES, SCHEMAS, Meta
from core.data.store.text_writer import SearchWriter, search_table
from core.errors import Problem

FIGURES = pa.schema(
    [
        ("chars", pa.int64()),
        ("answer_chars", pa.int64()),
        ("turns", pa.int64()),
        ("language", pa.string()),
        ("key", pa.uint64()),
    ]
)
OTHERS = "…"  # the source of a row whose own is one too many to count
MOST_SOURCES = 1000
JSON = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
REPEATING = ("source", "category", "role", "language", "code", "message")  # columns that are worth a dictionary


@dataclass(frozen=True)
class Written:
    """What lies in the folder. `sources` counts rows, "" being those without a source of their own; `sha256` covers
    the rows and their META columns; `duplicates` are rows whose key an earlier one has."""

    rows: int
    dropped: int
    dropped_counts: dict[str, int]
    duplicates: int
    languages: dict[str, int]
    sources: dict[str, int]
    sha256: str


class Block(NamedTuple):
    """Some rows, one after another, as columns: tables of equally many rows."""

    data: pa.Table
    figures: pa.Table
    search: pa.Table

    def moved(self, by: int) -> Block:
        """The same rows, from so many lines further down."""
        line = self.data.column("line")
        return self._replace(data=self.data.set_column(0, self.data.schema.field(0), pc.add(line, by)))

    def part(self, start: int, count: int) -> Block:
        return Block(*(table.slice(start, count) for table in self))


def joined(blocks: Sequence[Block]) -> Block:
    return Block(*(pa.concat_tables(tables) for tables in zip(*blocks, strict=True)))


def block_of(kind: Kind, rows: Sequence[Row], metas: Sequence[Meta], keys: Sequence[int] | None = None) -> Block:
    """The columns of canonical rows and of what is known of them (equally many); `keys` where they are known."""
    schema = SCHEMAS[kind]
    known = dict(zip(META_NAMES, zip(*metas, strict=True), strict=True)) if metas else dict.fromkeys(META_NAMES, ())
    arrays = [
        pa.array(known[field.name], field.type) if field.name in known else _column(rows, field) for field in schema
    ]
    hashes = [row_key(kind, row) for row in rows] if keys is None else keys
    counted = [figures_of(kind, row, key) for row, key in zip(rows, hashes, strict=True)]
    figures = zip(*counted, strict=True) if counted else [()] * len(FIGURES)
    return Block(
        pa.Table.from_arrays(arrays, schema=schema),
        pa.table([pa.array(values, field.type) for values, field in zip(figures, FIGURES, strict=True)], FIGURES),
        search_table(kind, rows),
    )


def _column(rows: Sequence[Row], field: pa.Field) -> pa.Array:
    """One canonical column. Lists of objects are put together from flat columns: four times as fast as from objects."""
    values = [row[field.name] for row in rows]
    if not pa.types.is_list(field.type) or not pa.types.is_struct(field.type.value_type):
        return pa.array(values, field.type)
    fields = list(field.type.value_type)
    flat = [part for value in values for part in value]
    columns = [pa.array([part[one.name] for part in flat], one.type) for one in fields]
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(columns, fields=fields), field.type)


class VersionWriter:
    """Open from construction to `close` (or the end of `with`, which leaves unfinished files as they are)."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.kind = kind
        self.folder = folder
        self.rows = 0
        self.counts: Counter[str] = Counter()
        self._rows: list[Row] = []
        self._metas: list[Meta] = []
        self._dropped: list[dict[str, Any]] = []
        self._sources: Counter[str] = Counter()
        self._languages: Counter[str] = Counter()
        self._keys: list[Any] = []
        self._waiting: list[Block] = []
        self._hash = hashlib.sha256()
        self._data = _parquet(folder / "data.parquet", SCHEMAS[kind])
        self._figures = _parquet(folder / "figures.parquet", FIGURES)
        self._drops = _parquet(folder / "dropped.parquet", DROPPED)
        self._search = SearchWriter(folder, kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self.release()

    def add(
        self,
        row: Row,
        *,
        line: int,
        source: str | None = None,
        difficulty: float | None = None,
        score: float | None = None,
        category: str | None = None,
    ) -> None:
        """Write a canonical row."""
        self._rows.append(row)
        self._metas.append(Meta(line, source, difficulty, score, category))
        if len(self._rows) == GROUP_ROWS:
            self._flush()

    def add_block(self, block: Block) -> None:
        """Write rows that `block_of` has laid out."""
        if self._rows:
            self._flush()
        self._write(block)

    def drop(
        self,
        line: int | None,
        code: str,
        params: dict[str, Any] | None = None,
        excerpt: str | None = None,
        *,
        message: str | None = None,
        step: int | None = None,
        row: Row | None = None,
    ) -> None:
        """Record a row that is not in the dataset. Without `message`, `code` and `params` make the sentence."""
        self.counts[code] += 1
        values = (line, code, message or Problem(code, params or {}).message, excerpt, step, _json(row), _json(params))
        self._dropped.append(dict(zip(DROPPED.names, values, strict=True)))
        if len(self._dropped) == GROUP_ROWS:
            self._flush_dropped()

    def close(self) -> Written:
        """Write what is left and finish every file."""
        if self._rows:
            self._flush()
        self._write(None)
        if self._dropped:
            self._flush_dropped()
        self.release()
        keys = np.concatenate(self._keys) if self._keys else np.zeros(0, dtype=np.uint64)
        return Written(
            rows=self.rows,
            dropped=sum(self.counts.values()),
            dropped_counts=dict(self.counts),
            duplicates=len(keys) - len(np.unique(keys)),
            languages=dict(self._languages.most_common()),
            sources=dict(self._sources.most_common()),
            sha256=self._hash.hexdigest(),
        )

    def _flush(self) -> None:
        block = block_of(self.kind, self._rows, self._metas)
        self._rows, self._metas = [], []
        self._write(block)

    def _write(self, block: Block | None) -> None:
        """Write whole row groups; None: what is left, too."""
        self._waiting += [] if block is None else [block]
        rows = sum(len(waiting.data) for waiting in self._waiting)
        if not rows or (block is not None and rows < GROUP_ROWS):
            return
        whole = joined(self._waiting)
        stop = rows if block is None else rows // GROUP_ROWS * GROUP_ROWS
        for start in range(0, stop, GROUP_ROWS):
            self._write_group(whole.part(start, min(GROUP_ROWS, stop - start)))
        self._waiting = [whole.part(stop, rows - stop)]

    def _write_group(self, group: Block) -> None:
        data = group.data.combine_chunks()
        self._data.write_table(data)
        self._figures.write_table(group.figures)
        self._search.add_table(group.search)
        for batch in data.to_batches():
            self._hash.update(batch.serialize())
        self.rows += len(data)
        self._keys.append(group.figures.column("key").to_numpy())
        self._count(self._languages, group.figures.column("language"))
        self._count(self._sources, data.column("source"))

    def _count(self, counter: Counter[str], column: Any) -> None:
        for entry in column.value_counts().to_pylist():
            name = entry["values"] or ""
            known = name in counter or len(counter) < MOST_SOURCES
            counter[name if known else OTHERS] += entry["counts"]

    def _flush_dropped(self) -> None:
        self._drops.write_table(pa.Table.from_pylist(self._dropped, DROPPED))
        self._dropped = []

    def release(self) -> None:
        """Let go of the files, whole or not."""
        for file in (self._data, self._figures, self._drops, self._search):
            file.close()


def _parquet(path: Path, schema: pa.Schema) -> Any:
    repeating = [leaf for leaf in _leaves(schema) if leaf.rpartition(".")[2] in REPEATING]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeating, write_statistics=False)


def _leaves(schema: pa.Schema) -> list[str]:
    """The paths of a schema's columns as Parquet has them: `messages.list.element.role`."""
    empty = pq.ParquetFile(_in_memory(schema)).schema
    return [empty.column(index).path for index in range(len(empty))]


def _in_memory(schema: pa.Schema) -> Any:
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return pa.BufferReader(sink.getvalue())


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, default=str, option=JSON).decode()
