"""A dataset's figures as columns to sort and filter by, and the cache that they, sort orders and search hits live in.

    cache/look/<key>/<column>.npy         one value a row, read through a memory map: a page touches fifty of them
                     sources.json         the names that the column `source` numbers
                     rows-*.npy           row numbers that `core.data.look.view` found; the longest unused go first
                     figures.parquet search.arrow   for versions of earlier days, which were written without
                     facts.json           says that the columns are whole; written last

The key covers version and content, so nothing here is ever stale; `store.shelf` removes what nobody looked at.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.data.figures import LANGUAGES, figures_of
from core.data.store import shelf
from core.data.store import text_writer as search
from core.data.store.building import hidden_name
from core.data.store.dataset import GROUP_ROWS, META_NAMES, Dataset
from core.data.store.writer import FIGURES
from core.workspace import Workspace

COUNTED = ("chars", "answer_chars", "turns")
MEASURED = ("difficulty", "score")  # float64, NaN where a row has none
COLUMNS = (*COUNTED, "language", "duplicates", "line", "source", *MEASURED)
KEPT_BYTES = 4_000_000_000  # of all datasets' columns and answers
KEPT_FOUND = 24  # answers to queries of one dataset

Check = Callable[[], None]
Progress = Callable[[int, int], None]  # (rows done, rows)
_LOCKS: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)  # of two processes the first to rename wins


class Columns:
    """The columns of one version. Opening it reads nothing."""

    def __init__(self, workspace: Workspace, dataset: Dataset) -> None:
        self.dataset = dataset
        self.cache = workspace.cache_dir / "look"
        key = hashlib.sha256(f"{dataset.ref}:{dataset.card.sha256}:{len(dataset)}".encode()).hexdigest()
        self.folder = self.cache / key[:24]

    # -- values -------------------------------------------------------------------------------------------------------
    def __getitem__(self, name: str) -> NDArray[Any]:
        """A column [rows], read-only. `language` and `source` are numbers into `languages` and `sources`."""
        values: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return values

    @property
    def languages(self) -> tuple[str, ...]:
        return LANGUAGES

    @property
    def sources(self) -> list[str]:
        """The names of the sources; rows without one of their own are the dataset's."""
        names: list[str] = orjson.loads((self.folder / "sources.json").read_bytes())
        return names

    @property
    def search_file(self) -> Path:
        """The version's own search text, or the one that was made for it."""
        own = self.dataset.folder / search.FILE
        return own if own.is_file() else self.folder / search.FILE

    # -- building -----------------------------------------------------------------------------------------------------
    @property
    def ready(self) -> bool:
        return (self.folder / shelf.MARK).is_file()

    @property
    def quick(self) -> bool:
        """Whether building only means reading figures that were written with the version."""
        return all((self.dataset.folder / name).is_file() for name in ("figures.parquet", search.FILE))

    def build(self, on_progress: Progress | None = None, check_stop: Check | None = None) -> None:
        """Make the columns unless they are there. What `check_stop` raises comes out, and nothing is left."""
        shelf.touch(self.folder)  # before the look: what is used now is not removed by anybody
        if self.ready:
            return
        with _LOCKS[self.folder]:
            if self.ready:
                return
            shelf.sweep(self.cache, kept_bytes=KEPT_BYTES)
            temporary = self.cache / hidden_name()
            temporary.mkdir(parents=True)
            try:
                source = self.dataset.folder
                if not self.quick:
                    source = temporary
                    count_rows(self.dataset, temporary, on_progress, check_stop)
                _write_columns(self.dataset, source / "figures.parquet", temporary)
                (temporary / shelf.MARK).write_text("{}")
                try:
                    os.rename(temporary, self.folder)
                except OSError:  # another process was faster
                    if not self.ready:
                        raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def counted(self, rows: NDArray[np.int32]) -> list[dict[str, Any]]:
        """Lengths, turns and language of a few rows, from the version's own figures. Needs no building."""
        if not len(rows):
            return []
        groups = np.unique(rows // GROUP_ROWS)
        with pq.ParquetFile(self.dataset.folder / "figures.parquet") as file:
            table = file.read_row_groups(groups.tolist(), [*COUNTED, "language"])
        places = np.searchsorted(groups, rows // GROUP_ROWS) * GROUP_ROWS + rows % GROUP_ROWS
        found: list[dict[str, Any]] = table.take(pa.array(places)).to_pylist()
        return found

    # -- what was found -----------------------------------------------------------------------------------------------
    def found(self, name: str) -> NDArray[np.int32] | None:
        """Row numbers kept under `name`, or None."""
        path = self.folder / f"{name}.npy"
        try:
            os.utime(path)
            rows: NDArray[np.int32] = np.load(path, mmap_mode="r")
        except (OSError, ValueError):
            return None
        return rows

    def keep(self, name: str, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Keep row numbers; the longest unused beyond `KEPT_FOUND` go."""
        temporary = self.folder / f"{hidden_name()}.npy"
        np.save(temporary, rows)
        os.replace(temporary, self.folder / f"{name}.npy")
        for path in sorted(self.folder.glob("rows-*"), key=_last_used, reverse=True)[KEPT_FOUND:]:
            path.unlink(missing_ok=True)
        return rows


def count_rows(dataset: Dataset, folder: Path, on_progress: Progress | None, check_stop: Check | None) -> None:
    """Write figures and search text of a version that came without into `folder`."""
    kind = dataset.card.kind
    texts = search.SearchWriter(folder, kind)
    done = 0
    with pq.ParquetWriter(folder / "figures.parquet", FIGURES, compression="zstd") as writer:
        for rows in dataset.batches(GROUP_ROWS):
            if check_stop is not None:
                check_stop()
            figures = [figures_of(kind, row)._asdict() for row in rows]
            writer.write_table(pa.Table.from_pylist(figures, FIGURES))
            for row in rows:
                texts.add(row)
            done += len(rows)
            if on_progress is not None:
                on_progress(done, len(dataset))
    texts.close()


def _write_columns(dataset: Dataset, figures: Path, folder: Path) -> None:
    """One file a column."""

    def save(name: str, values: NDArray[Any], kind: Any) -> None:
        np.save(folder / f"{name}.npy", values.astype(kind, copy=False))

    counted = pq.read_table(figures)
    for name in COUNTED:
        save(name, counted.column(name).to_numpy(), np.int32)
    codes = pc.index_in(counted.column("language"), pa.array(LANGUAGES)).fill_null(LANGUAGES.index("other"))
    save("language", codes.to_numpy(), np.int8)
    save("duplicates", copies_of(counted.column("key").to_numpy()), np.int32)
    del counted
    data = dataset.folder / "data.parquet"
    there = set(pq.read_schema(data).names)
    known = pq.read_table(data, columns=[name for name in META_NAMES if name in there])
    save("line", known.column("line").to_numpy(), np.int64)
    for name in MEASURED:
        values = known.column(name).to_numpy() if name in there else np.full(len(dataset), np.nan)
        save(name, values, np.float64)
    names, numbers = [dataset.name], np.zeros(len(dataset), dtype=np.int32)
    if "source" in there and len(dataset):
        coded = known.column("source").fill_null(dataset.name).combine_chunks().dictionary_encode()
        names, numbers = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    save("source", numbers, np.int32)
    (folder / "sources.json").write_bytes(orjson.dumps(names))


def copies_of(keys: NDArray[np.uint64]) -> NDArray[np.int32]:
    """How many other rows have the same key [rows]."""
    order = np.argsort(keys)
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(keys) else np.zeros(0, int)
    sizes = np.diff(np.append(starts, len(keys)))
    copies = np.empty(len(keys), dtype=np.int32)
    copies[order] = np.repeat(sizes - 1, sizes)
    return copies


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
