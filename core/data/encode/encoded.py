"""A dataset as tokens on disk: encoded once, memory-mapped ever after.

    cache_dir/<key>/input_ids.bin labels.bin   int32, all rows one after another
                    offsets.npy rows.npy       int64: row i is [offsets[i], offsets[i + 1]); its index in the dataset
                    facts.json                 counts, what was left out; written last

The key covers the dataset's content, the rows chosen and everything in the encoder that decides the ids. Building goes
to a folder of its own that is renamed, so two processes may do it at once. `core.data.store.shelf` removes old ones.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.data.store import shelf
from core.data.store.building import hidden_name
from core.errors import DataError, ModelError
from core.records import Record
from core.rundir import read_record, write_record

if TYPE_CHECKING:
    from core.data.encode.encoding import Encoder
    from core.data.store.library import Dataset

CHUNK_ROWS = 500
CHUNKS_AHEAD = 2

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Refusal:
    """Why the template takes no such conversation."""

    reason: str


class Facts(Record):
    """`facts.json`."""

    truncated: int
    unlabelled: list[int]
    refused: dict[int, str]


class EncodedRows:
    """Rows in the order that was asked for. `rows[i]` is the dataset's index of row i.

    `truncated` counts shortened rows among those included. `unlabelled` are the indices of rows that were left out
    because no label is left within `max_length`, or because the template refuses them (`refused` says why).
    `label_counts` [rows] are the tokens of each row that are predicted (its first never is).
    """

    def __init__(self, folder: Path) -> None:
        facts = read_record(folder / shelf.MARK, Facts)
        if facts is None:
            raise FileNotFoundError(folder / shelf.MARK)
        self.folder = folder
        self.truncated = facts.truncated
        self.unlabelled = facts.unlabelled
        self.refused = facts.refused
        self.offsets: NDArray[np.int64] = np.load(folder / "offsets.npy")
        self.rows: NDArray[np.int64] = np.load(folder / "rows.npy")
        self.label_counts: NDArray[np.int64] = np.load(folder / "label_counts.npy")
        self._ids = _mapped(folder / "input_ids.bin")
        self._labels = _mapped(folder / "labels.bin")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Ints, Ints]:
        """(input_ids, labels) of one row, both int32 and read-only views of the file."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return self._ids[part], self._labels[part]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row."""
        return np.diff(self.offsets)


def encode_dataset(
    dataset: Dataset,
    encoder: Encoder,
    cache_dir: Path,
    *,
    rows: Sequence[int] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    check_stop: Callable[[], None] | None = None,
) -> EncodedRows:
    """The rows of a `messages` dataset (all, or those with the indices `rows`, in that order) as tokens.

    `on_progress(done, total)` counts rows; `check_stop` is called between chunks and may raise. Raises DataError for a
    dataset of another kind, or where no row is left with a label; ModelError where the template refuses every row.
    """
    if dataset.card.kind != "messages":
        raise DataError("data.wrong_kind", ref=dataset.ref, kind=dataset.card.kind, needed="messages")
    chosen = np.arange(len(dataset)) if rows is None else np.asarray(rows, dtype=np.int64)
    folder = _folder(dataset, encoder, cache_dir, chosen)
    shelf.touch(folder)  # before the look: what was used just now is not removed by anybody
    if not (folder / shelf.MARK).is_file():
        shelf.sweep(cache_dir)
        _build(folder, dataset, encoder, chosen, on_progress, check_stop)
    encoded = EncodedRows(folder)
    if len(encoded) == 0:
        if encoded.refused and len(encoded.refused) == len(chosen):
            detail = next(iter(encoded.refused.values()))
            raise ModelError("model.template_refuses", model=encoder.template.model, detail=detail)
        raise DataError("data.nothing_to_learn", ref=dataset.ref, max_length=encoder.max_length or "∞")
    if on_progress is not None:
        on_progress(len(chosen), len(chosen))
    return encoded


def cached_rows(dataset: Dataset, encoder: Encoder, cache_dir: Path) -> EncodedRows | None:
    """All rows of a dataset as tokens where they were encoded before; None where not."""
    folder = _folder(dataset, encoder, cache_dir, np.arange(len(dataset)))
    shelf.touch(folder)
    return EncodedRows(folder) if (folder / shelf.MARK).is_file() else None


def _folder(dataset: Dataset, encoder: Encoder, cache_dir: Path, chosen: NDArray[np.int64]) -> Path:
    settings = f"{dataset.card.sha256}:{encoder.settings_sha256}:".encode()
    return cache_dir / hashlib.sha256(settings + chosen.tobytes()).hexdigest()[:24]


def _build(
    folder: Path,
    dataset: Dataset,
    encoder: Encoder,
    chosen: NDArray[np.int64],
    on_progress: Callable[[int, int], None] | None,
    check_stop: Callable[[], None] | None,
) -> None:
    temporary = folder.with_name(hidden_name())
    temporary.mkdir(parents=True)
    lengths: list[int] = []
    kept: list[int] = []
    label_counts: list[int] = []
    facts = Facts(truncated=0, unlabelled=[], refused={})
    done = 0
    try:
        with open(temporary / "input_ids.bin", "wb") as ids_file, open(temporary / "labels.bin", "wb") as labels_file:
            for chunk in _chunks(dataset, encoder, chosen, check_stop):
                for index, ids, labels in chunk.kept:
                    ids_file.write(ids.tobytes())
                    labels_file.write(labels.tobytes())
                    lengths.append(len(ids))
                    kept.append(index)
                    label_counts.append(int((labels[1:] >= 0).sum()))
                facts.truncated += chunk.facts.truncated
                facts.unlabelled += chunk.facts.unlabelled
                facts.refused |= chunk.facts.refused
                done += len(chunk.kept) + len(chunk.facts.unlabelled)
                if on_progress is not None:
                    on_progress(done, len(chosen))
        np.save(temporary / "offsets.npy", np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
        np.save(temporary / "rows.npy", np.array(kept, dtype=np.int64))
        np.save(temporary / "label_counts.npy", np.array(label_counts, dtype=np.int64))
        write_record(temporary / shelf.MARK, facts)
        try:
            os.rename(temporary, folder)
        except OSError:  # another process was faster
            if not (folder / shelf.MARK).is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Chunk(NamedTuple):
    """The rows of a chunk that have a label, (index, input_ids, labels), and what is to be said of it."""

    kept: list[tuple[int, Ints, Ints]]
    facts: Facts


def _chunks(
    dataset: Dataset, encoder: Encoder, chosen: NDArray[np.int64], check_stop: Callable[[], None] | None
) -> Iterator[_Chunk]:
    """The chunks in order. Two are under way at a time: while the tokenizer, which uses all cores, has the one, the
    template writes the texts of the other."""
    encoder.prepare()
    starts = iter(range(0, len(chosen), CHUNK_ROWS))
    with ThreadPoolExecutor(CHUNKS_AHEAD) as pool:

        def begin(start: int) -> Future[_Chunk]:
            return pool.submit(_chunk, dataset, encoder, chosen[start : start + CHUNK_ROWS].tolist())

        ahead = deque(begin(start) for start in itertools.islice(starts, CHUNKS_AHEAD))
        try:
            while ahead:
                if check_stop is not None:
                    check_stop()
                done = ahead.popleft().result()
                ahead.extend(begin(start) for start in itertools.islice(starts, 1))
                yield done
        finally:
            for waiting in ahead:
                waiting.cancel()


def _chunk(dataset: Dataset, encoder: Encoder, indices: list[int]) -> _Chunk:
    chunk = _Chunk([], Facts(truncated=0, unlabelled=[], refused={}))
    results = encoder.encode_batch(row["messages"] for row in dataset.take(indices))
    for index, (result, truncated) in zip(indices, results, strict=True):
        if isinstance(result, Refusal):
            chunk.facts.refused[index] = result.reason
            chunk.facts.unlabelled.append(index)
            continue
        ids, labels = result
        if (labels >= 0).any():
            chunk.facts.truncated += truncated
            chunk.kept.append((index, ids, labels))
        else:
            chunk.facts.unlabelled.append(index)
    return chunk


def _mapped(path: Path) -> Any:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype=np.int32)
    return np.memmap(path, dtype=np.int32, mode="r")
