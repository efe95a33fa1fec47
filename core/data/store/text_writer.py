"""The text of every row once more, laid out to be searched and shown quickly: `search.arrow` beside data.parquet.

    writer = SearchWriter(folder, "messages")
    writer.add(row); …; writer.close()

An Arrow file of record batches of 500 rows, compressed with LZ4 (Parquet's zstd takes five times as long to read):
`text` is everything that somebody wrote in the row, its parts divided by line breaks; four numbers say where in it the
first question and the first answer stand, for a table. Searching is `core.data.store.text_search`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from core.data.figures import texts_of
from core.data.kinds import LETTERS, Kind, Row

Places = tuple[int, int, int, int]

FILE = "search.arrow"
BATCH_ROWS = 500  # few, for a sorted page may touch as many batches as it has rows

# Characters of `text`: [question, question_end) and [answer, answer_end); empty where the row has none.
PLACES = ("question", "question_end", "answer", "answer_end")
SCHEMA = pa.schema([*((name, pa.int32()) for name in PLACES), ("text", pa.large_string())])


class SearchWriter:
    """Writes `search.arrow` into `folder`, in the order of the rows of data.parquet."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.kind = kind
        self._rows: list[Row] = []
        self._waiting: list[pa.Table] = []
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._file = pa.OSFile(str(folder / FILE), "wb")
        self._writer: Any = pa.ipc.new_file(self._file, SCHEMA, options=options)

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            self._flush()

    def add_table(self, table: pa.Table) -> None:
        """Rows that `search_table` has laid out."""
        if self._rows:
            self._flush()
        self._write(table)

    def close(self) -> None:
        """Write what is left. The file can be read only after this."""
        if self._rows:
            self._flush()
        self._write(SCHEMA.empty_table(), last=True)
        self._writer.close()
        self._file.close()

    def _flush(self) -> None:
        table = search_table(self.kind, self._rows)
        self._rows = []
        self._write(table)

    def _write(self, table: pa.Table, *, last: bool = False) -> None:
        """Whole batches of BATCH_ROWS; with `last` what is left, too."""
        self._waiting.append(table)
        if not last and sum(map(len, self._waiting)) < BATCH_ROWS:
            return
        whole = pa.concat_tables(self._waiting)
        stop = len(whole) if last else len(whole) // BATCH_ROWS * BATCH_ROWS
        for start in range(0, stop, BATCH_ROWS):
            part = whole.slice(start, min(BATCH_ROWS, stop - start)).combine_chunks()
            self._writer.write_batch(part.to_batches()[0])
        self._waiting = [whole.slice(stop)]


def search_table(kind: Kind, rows: Sequence[Row]) -> pa.Table:
    """Canonical rows as they stand in `search.arrow`."""
    parts = [parts_of(kind, row) for row in rows]
    numbers = np.array([places for places, _ in parts], dtype=np.int32).reshape(-1, len(PLACES))
    columns = [pa.array(numbers[:, index]) for index in range(len(PLACES))]
    return pa.table([*columns, pa.array([text for _, text in parts], pa.large_string())], schema=SCHEMA)


def parts_of(kind: Kind, row: Row) -> tuple[Places, str]:
    """(where the first question and the first answer stand in the text, the text) of a canonical row."""
    asked, answered, _ = texts_of(kind, row)
    text = "\n".join((*asked, *answered))
    start = 0
    if len(asked) > 1 and kind != "choice":
        turns = row["messages"] if kind == "messages" else row["prompt"]
        start = len(asked[0]) + 1 if turns[0]["role"] == "system" else 0
    end = start + len(asked[start > 0]) if asked else 0
    if answered:
        answer = sum(map(len, asked)) + len(asked)
        return (start, end, answer, answer + len(answered[0])), text
    if kind == "choice":
        place = LETTERS.find(row["answer"][:1]) + 1
        answer = sum(map(len, asked[:place])) + place
        return (start, end, answer, answer + len(asked[place])), text
    return (start, end, 0, 0), text
