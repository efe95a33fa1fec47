"""A dataset version as a file in a shape of the field: JSONL, JSON or Parquet, each JSON also gzip'd.

    done = export(dataset, Path("out.jsonl"), form="alpaca", on_progress=…, check_stop=…)
    path = export_to_cache(workspace, dataset, container="parquet")     # what the page hands to a browser

Streamed a row group at a time into a hidden file that is renamed at the end, so the path never holds half of it.
Importing the file again gives the same rows; their `source`, `difficulty`, `score` and `category` go along as columns.
The one exception is told, not written: text answers that are themselves transcripts (`Human: … Assistant: …`).
"""

from __future__ import annotations

import gzip
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.data.bring.export_forms import FORMS, Form
from core.data.dialogue import RowError
from core.data.kinds import LETTERS, Kind, Row
from core.data.store.building import full_disk_told, hidden_name
from core.data.store.dataset import META, SCHEMAS, Dataset
from core.errors import DataError
from core.workspace import Workspace

Progress = Callable[[int, int], None]  # (rows written, rows in the dataset)

CONTAINERS = ("jsonl", "json", "parquet")
KEPT = [field for field in META if field[0] != "line"]
DAY = 86_400.0  # seconds that a file in the cache is kept


@dataclass(frozen=True)
class Exported:
    path: Path
    form: str
    rows: int
    bytes: int


def forms_of(kind: Kind) -> dict[str, str]:
    """The forms that rows of a kind can be written in, the usual one first: name → what such a row looks like."""
    return {form.name: form.describe for form in FORMS if form.kind == kind}


def export(
    dataset: Dataset,
    path: Path | str,
    *,
    form: str | None = None,
    overwrite: bool = False,
    on_progress: Progress | None = None,
    check_stop: Callable[[], None] | None = None,
) -> Exported:
    """Write every row of `dataset` to `path`; its ending says how (.jsonl, .json, .parquet, .jsonl.gz, .json.gz).

    Raises DataError: `data.export_ending`, `data.export_form`, `data.export_exists`, `data.export_row` for a row that
    this form cannot hold, `data.no_folder`, `data.disk_full`; and what `check_stop` raises. Nothing is left then.
    """
    path = Path(path).expanduser()
    chosen = _form(dataset.card.kind, form)
    container = _container(path)
    if path.exists() and (path.is_dir() or not overwrite):
        raise DataError("data.export_exists", path=str(path))
    if not path.parent.is_dir():
        raise DataError("data.no_folder", folder=str(path.parent))
    writer = _Writer(dataset, chosen, on_progress, check_stop)
    with _whole_or_nothing(path, dataset) as hidden:
        if container == "parquet":
            writer.parquet(hidden)
        else:
            writer.json(hidden, array=container == "json", zipped=path.suffix == ".gz")
    return Exported(path, chosen.name, writer.done, path.stat().st_size)


def export_folder(workspace: Workspace) -> Path:
    """Where files for download lie, which a page may serve."""
    return workspace.cache_dir / "exports"


def fresh_folder(workspace: Workspace) -> Path:
    """The same, made, and without what came there more than a day ago."""
    folder = export_folder(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        with suppress(FileNotFoundError):  # a name that somebody else has just taken away
            if time.time() - old.lstat().st_ctime > DAY:  # when it came here: a second name of a file has its times
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    return folder


def export_to_cache(
    workspace: Workspace,
    dataset: Dataset,
    *,
    form: str | None = None,
    container: str = "jsonl",
    on_progress: Progress | None = None,
    check_stop: Callable[[], None] | None = None,
) -> Path:
    """A file in the workspace's cache, named after the dataset; the one that is there, where it was made before.

    Files that came there more than a day ago go when another one is made.
    """
    chosen = _form(dataset.card.kind, form)
    path = export_folder(workspace) / f"{dataset.name}-{dataset.version}-{chosen.name}.{container}"
    if path.is_file():
        os.utime(path)
        return path
    fresh_folder(workspace)
    return export(dataset, path, form=chosen.name, on_progress=on_progress, check_stop=check_stop).path


def _form(kind: Kind, name: str | None) -> Form:
    fitting = [form for form in FORMS if form.kind == kind]
    found = next((form for form in fitting if name in (None, "", form.name)), None)
    if found is None:
        raise DataError("data.export_form", form=name, kind=kind, known=", ".join(form.name for form in fitting))
    return found


def _container(path: Path) -> str:
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    container = suffix.removeprefix(".").lower()
    if container not in CONTAINERS or (container == "parquet" and path.suffix == ".gz"):
        raise DataError("data.export_ending", name=path.name)
    return container


@contextmanager
def _whole_or_nothing(path: Path, dataset: Dataset) -> Iterator[Path]:
    hidden = path.with_name(hidden_name())
    try:
        with full_disk_told(path.parent, 2 * (dataset.folder / "data.parquet").stat().st_size):
            yield hidden
            os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


class _Writer:
    """One export at work; `done` counts the rows written."""

    def __init__(
        self,
        dataset: Dataset,
        form: Form,
        on_progress: Progress | None,
        check_stop: Callable[[], None] | None,
    ) -> None:
        self.dataset, self.form = dataset, form
        self.done = 0
        self._on_progress, self._check_stop = on_progress, check_stop

    def json(self, path: Path, *, array: bool, zipped: bool) -> None:
        """One object a line; for an array with brackets round them and commas between."""
        with open(path, "wb") as raw:
            file = cast(BinaryIO, gzip.GzipFile("", "wb", 6, raw, mtime=0)) if zipped else raw
            if array:
                file.write(b"[\n")
            between = b",\n" if array else b"\n"
            first = True
            for rows in self._groups():
                lines = between.join(map(orjson.dumps, rows))
                file.write(lines if first or not array else between + lines)
                first = False
                if not array:
                    file.write(b"\n")
            if array:
                file.write(b"\n]\n")
            if file is not raw:
                file.close()
            raw.flush()
            os.fsync(raw.fileno())

    def parquet(self, path: Path) -> None:
        """Columns that no row has a value for are left out only where they are of META."""
        fields = self._columns()
        with pq.ParquetWriter(path, schema := pa.schema(fields), compression="zstd") as file:
            for rows in self._groups():
                file.write_table(pa.Table.from_pylist(rows, schema))

    def _groups(self) -> Iterator[list[Row]]:
        """Rows in this form with what is known of them, a row group of the dataset at a time."""
        own = [field.name for field in SCHEMAS[self.dataset.card.kind] if field.name not in dict(META)]
        with pq.ParquetFile(self.dataset.folder / "data.parquet") as file:
            there = set(file.schema_arrow.names)
            known = [name for name, _ in KEPT if name in there]
            for group in range(file.metadata.num_row_groups):
                if self._check_stop is not None:
                    self._check_stop()
                table = file.read_row_group(group, columns=[*own, *known])
                metas = table.select(known).to_pylist()
                rows = table.select(own).to_pylist()
                yield [
                    {**self._written(row), **{name: value for name, value in meta.items() if value is not None}}
                    for row, meta in zip(rows, metas, strict=True)
                ]
                self.done += len(rows)
                if self._on_progress is not None:
                    self._on_progress(self.done, len(self.dataset))

    def _written(self, row: Row) -> Row:
        try:
            return self.form.write(row)
        except RowError as error:
            raise DataError("data.export_row", form=self.form.name, text=str(error.params.get("text", ""))) from error

    def _columns(self) -> list[tuple[str, pa.DataType]]:
        """The columns of a Parquet file: those of the form, and of META those that hold something."""
        path = self.dataset.folder / "data.parquet"
        there = set(pq.read_schema(path).names)
        columns = list(self.form.columns)
        if self.dataset.card.kind == "choice":
            counts = pc.list_value_length(pq.read_table(path, columns=["choices"]).column("choices"))
            columns[1:1] = [(letter, pa.string()) for letter in LETTERS[: pc.max(counts).as_py() or 0]]
        for name, kind in KEPT:
            if name in there and pq.read_table(path, columns=[name]).column(name).null_count < len(self.dataset):
                columns.append((name, kind))
        return columns
