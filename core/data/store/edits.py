"""Mending a dataset by hand: rows dropped or rewritten, kept as pending changes until they make a new version.

    change(workspace, dataset, 12, {"messages": […]})     checked by the rules of an import
    drop(workspace, dataset, [3, 7])
    made = save(workspace, dataset)                       a new version; the changes are no longer pending

Pending changes lie in the workspace (edits/<name>@<version>.json), so a reload, a second tab and the terminal see the
same ones. The dataset itself never changes. Row numbers count from 0 here, from 1 wherever people read them.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from core.data.dialogue import RowError
from core.data.files.containers import excerpt
from core.data.kinds import LETTERS, Kind, Row
from core.data.shapes.formats import convert, shape_named
from core.data.store import text_writer as search
from core.data.store.building import full_disk_told, hidden_folder
from core.data.store.dataset import GROUP_ROWS, SCHEMAS, Dataset, DatasetCard, StepCount
from core.data.store.text_search import Texts
from core.data.store.writer import FIGURES, Block, VersionWriter, Written
from core.errors import DataError
from core.records import Record
from core.rundir import read_record, write_record
from core.workspace import Workspace

STEP = "by_hand"  # what a card's recipe and step counts call it
SHAPES: dict[Kind, str] = {  # the row shape whose rules a canonical row of each kind must keep
    "text": "text",
    "messages": "messages",
    "prompt": "prompt",
    "preference": "preference",
    "ranked": "ranked-scores",
    "choice": "choice-options",
}
KEYS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS  # so that the same changes give the same version
_LOCK = threading.Lock()  # read, change, write: two tabs of one page

Progress = Callable[[int, int], None]


class Edits(Record):
    """Pending changes: the numbers of rows to drop, and the new rows by number."""

    dropped: list[int] = []
    changed: dict[int, dict[str, Any]] = Field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.dropped) + len(self.changed)


# -- pending changes --------------------------------------------------------------------------------------------------
def pending(workspace: Workspace, dataset: Dataset) -> Edits:
    """The changes that wait for `save`."""
    return read_record(_file(workspace, dataset), Edits) or Edits()


def drop(workspace: Workspace, dataset: Dataset, rows: Iterable[int]) -> Edits:
    """Mark rows to be dropped; their rewriting, where there is one, is forgotten."""
    numbers = {_known(dataset, row) for row in rows}

    def mark(edits: Edits) -> None:
        edits.dropped = sorted(numbers | set(edits.dropped))
        edits.changed = {row: value for row, value in edits.changed.items() if row not in numbers}

    return _update(workspace, dataset, mark)


def keep(workspace: Workspace, dataset: Dataset, rows: Iterable[int]) -> Edits:
    """Take back whatever was to happen to these rows."""
    numbers = set(rows)

    def unmark(edits: Edits) -> None:
        edits.dropped = [row for row in edits.dropped if row not in numbers]
        edits.changed = {row: value for row, value in edits.changed.items() if row not in numbers}

    return _update(workspace, dataset, unmark)


def change(workspace: Workspace, dataset: Dataset, row: int, value: Any) -> Edits:
    """Rewrite a row. Raises DataError with what an import would say of it. The row as it was is no change."""
    new = checked(dataset.card.kind, value)
    same = new == dataset.take([_known(dataset, row)])[0]

    def note(edits: Edits) -> None:
        edits.dropped = [number for number in edits.dropped if number != row]
        edits.changed = {number: kept for number, kept in edits.changed.items() if number != row}
        if not same:
            edits.changed[row] = new

    return _update(workspace, dataset, note)


def discard(workspace: Workspace, dataset: Dataset) -> None:
    """Forget all pending changes."""
    _file(workspace, dataset).unlink(missing_ok=True)


def checked(kind: Kind, value: Any) -> Row:
    """`value` as a canonical row of `kind`. Raises DataError with the code that an import would give."""
    if kind == "choice" and isinstance(value, dict) and isinstance(value.get("choices"), list):
        named = dict(zip(LETTERS, value["choices"], strict=False))
        value = {"question": value.get("question"), "options": named, "answer": value.get("answer")}
    try:
        return convert(shape_named(SHAPES[kind]), value)
    except RowError as error:
        raise DataError(error.code, **error.params) from error


def texts_of_row(kind: Kind, row: Row) -> list[tuple[str, str]]:
    """(what it is, the text) of everything in a row that a person may rewrite: roles, or the names of columns."""
    if kind == "text":
        return [("text", row["text"])]
    if kind == "choice":
        named = [(letter, choice) for letter, choice in zip(LETTERS, row["choices"], strict=False)]
        return [("question", row["question"]), *named, ("answer", row["answer"])]
    if kind == "messages":
        return [(turn["role"], turn["content"]) for turn in row["messages"]]
    texts = [(turn["role"], turn["content"]) for turn in row["prompt"]]
    for name in ("chosen", "rejected"):
        texts += [(name, turn["content"]) for turn in row.get(name, [])]
    return texts + [("answer", answer["content"]) for answer in row.get("answers", [])]


def with_texts(kind: Kind, row: Row, texts: Sequence[str]) -> Row:
    """The same row with other texts, in the order of `texts_of_row`. Nothing is checked here."""
    left = iter(texts)
    if kind == "text":
        return {"text": next(left)}
    if kind == "choice":
        question, *choices, answer = texts
        return {"question": question, "choices": choices, "answer": answer}
    return {name: [{**part, "content": next(left)} for part in parts] for name, parts in row.items()}


def _update(workspace: Workspace, dataset: Dataset, update: Callable[[Edits], None]) -> Edits:
    with _LOCK:
        edits = pending(workspace, dataset)
        update(edits)
        file = _file(workspace, dataset)
        if len(edits):
            with full_disk_told(workspace.path, len(edits.model_dump_json())):
                file.parent.mkdir(exist_ok=True)
                write_record(file, edits)
        else:
            file.unlink(missing_ok=True)
        return edits


def _file(workspace: Workspace, dataset: Dataset) -> Path:
    return workspace.edits_dir / f"{dataset.ref}.json"


def _known(dataset: Dataset, row: int) -> int:
    if not 0 <= row < len(dataset):
        raise DataError("data.no_row", ref=dataset.ref, row=row + 1, rows=len(dataset))
    return row


# -- a new version ----------------------------------------------------------------------------------------------------
def save(
    workspace: Workspace,
    dataset: Dataset,
    edits: Edits | None = None,
    *,
    on_progress: Progress | None = None,
    check_stop: Callable[[], None] | None = None,
) -> Dataset:
    """Make a new version of `dataset` with `edits` (the pending ones, if none are given), or find the one they made.

    Raises DataError `data.no_edits` where there is nothing to do and `data.all_dropped` where no row is left; what
    `check_stop` raises comes out. Nothing is left then, and what was pending still is.
    """
    from_pending = edits is None
    edits = pending(workspace, dataset) if edits is None else edits
    if not len(edits):
        raise DataError("data.no_edits", ref=dataset.ref)
    if len(edits.dropped) == len(dataset):
        raise DataError("data.all_dropped", ref=dataset.ref)
    recipe = {"edits": edits.model_dump(mode="json")}
    version = hashlib.sha256(orjson.dumps([dataset.card.sha256, dataset.version, recipe], option=KEYS)).hexdigest()[:10]
    target = workspace.datasets_dir / dataset.name / version
    card = read_record(target / "card.json", DatasetCard)
    if card is None:
        with hidden_folder(workspace, 2 * dataset.card.source_bytes) as folder:
            written = _write(folder, dataset, edits, on_progress, check_stop)
            card = _card(dataset, version, recipe, edits, written)
            write_record(folder / "card.json", card)
            try:
                os.rename(folder, target)
            except OSError:  # somebody else was faster, with the same changes
                if read_record(target / "card.json", DatasetCard) is None:
                    raise
    if from_pending:
        discard(workspace, dataset)
    return Dataset(target, card)


def _write(
    folder: Path,
    dataset: Dataset,
    edits: Edits,
    on_progress: Progress | None,
    check_stop: Callable[[], None] | None,
) -> Written:
    """Row group by row group: those without a rewritten row are copied as columns, the others row by row."""
    kind = dataset.card.kind
    gone: set[int] = set(edits.dropped)
    rewritten = {row // GROUP_ROWS for row in edits.changed}
    stored = Stored.of(dataset)
    with VersionWriter(folder, kind) as writer:
        for start in range(0, len(dataset), GROUP_ROWS):
            if check_stop is not None:
                check_stop()
            numbers = range(start, min(start + GROUP_ROWS, len(dataset)))
            out = sorted(gone.intersection(numbers))
            for row, meta in zip(dataset.take(out), dataset.meta(out), strict=True):
                writer.drop(meta.line, "data.by_hand", {}, excerpt(row), step=1, row=row)
            if stored is not None and start // GROUP_ROWS not in rewritten:
                writer.add_block(stored.block(start // GROUP_ROWS, [row - start for row in out]))
            else:
                for number, row, meta in zip(numbers, dataset.take(numbers), dataset.meta(numbers), strict=True):
                    if number not in gone:
                        writer.add(edits.changed.get(number, row), **meta._asdict())
            if on_progress is not None:
                on_progress(numbers.stop, len(dataset))
        return writer.close()


class Stored:
    """The files of a version as columns."""

    def __init__(self, dataset: Dataset) -> None:
        self.schema = SCHEMAS[dataset.card.kind]
        self.data = pq.ParquetFile(dataset.folder / "data.parquet")
        self.figures = pq.ParquetFile(dataset.folder / "figures.parquet")
        self.texts = Texts(dataset.folder / search.FILE)

    @classmethod
    def of(cls, dataset: Dataset) -> Stored | None:
        """None for versions of earlier days, which lack some of the columns."""
        if not all((dataset.folder / name).is_file() for name in ("figures.parquet", search.FILE)):
            return None
        stored = cls(dataset)
        return stored if set(stored.schema.names) <= set(stored.data.schema_arrow.names) else None

    def block(self, group: int, without: Sequence[int]) -> Block:
        """A row group, without the rows at these places in it."""
        per_group = GROUP_ROWS // search.BATCH_ROWS
        batches = range(group * per_group, min((group + 1) * per_group, self.texts.batches))
        block = Block(
            self.data.read_row_group(group).select(self.schema.names).cast(self.schema),
            self.figures.read_row_group(group).cast(FIGURES),
            pa.Table.from_batches([self.texts.batch(number) for number in batches], search.SCHEMA),
        )
        if not without:
            return block
        mask = np.ones(len(block.data), dtype=bool)
        mask[list(without)] = False
        return Block(*(table.filter(pa.array(mask)) for table in block))


def _card(dataset: Dataset, version: str, recipe: dict[str, Any], edits: Edits, written: Written) -> DatasetCard:
    count = StepCount(do=STEP, before=len(dataset), after=written.rows, changed=len(edits.changed))
    return dataset.card.model_copy(
        update={
            "version": version,
            "format": "recipe",
            "container": "recipe",
            "evidence": {},
            "rows": written.rows,
            "dropped": written.dropped,
            "dropped_counts": written.dropped_counts,
            "sha256": written.sha256,
            "source_name": dataset.ref,
            "created": time.time(),
            "parents": [dataset.ref],
            "recipe": recipe,
            "steps": [count],
            "duplicates": written.duplicates,
            "repaired": 0,
            "languages": written.languages,
            "sources": {source or dataset.name: rows for source, rows in written.sources.items()},
        }
    )
