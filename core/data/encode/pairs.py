"""Preference pairs as tokens: the prompt that two answers share, and what each of them adds. Torch-free.

    rows = encode_pairs(dataset, encoder, cache_dir)      rows[i] → (prompt, chosen, rejected), int32 arrays
    tree, answers = encode_answers(encoder, prompt, [first, second, …])      for one prompt

Both answers of a pair keep the same rounds of the conversation: where the longer one needs whole oldest rounds taken
out, the shorter one loses them, too, or the two would answer different questions. An answer that is still too long is
cut at its end and is scored at its last token. The shared part is what the ids have in common, at most all but the
last token of the shorter one. A pair of which nothing different is left within `max_length` cannot be used.

    cache_dir/<key>/input_ids.bin   int32: prompt, chosen, rejected of row after row
                    pairs.npy       int64 [rows, 5]: their three lengths, then the tokens of the two answers
                    rows.npy        the row's index in the dataset
                    facts.json      counts, what was left out; written last
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.data.dialogue import Message
from core.data.encode.encoded import Ints, Refusal
from core.data.encode.window import Tokens, Window
from core.data.store import shelf
from core.data.store.building import hidden_name
from core.errors import DataError, Problem
from core.records import Record
from core.rundir import read_record, write_record

if TYPE_CHECKING:
    from core.data.encode.encoding import Encoder
    from core.data.store.library import Dataset

CHUNK_ROWS = 500
PAIRS_VERSION = 1  # goes into the cache's key
REFUSED, NO_ANSWER, SAME = "data.template_refuses_row", "reward.no_answer_left", "reward.same_answers"

Tree = tuple[Ints, ...]  # the prompt's ids, then each answer's


class Unusable(Record):
    """Why a row was left out: a code of `core.messages` and its parameters."""

    code: str
    params: dict[str, Any] = {}


class PairFacts(Record):
    """`facts.json`; `unusable` by the row's index in the dataset."""

    shortened: int
    unusable: dict[int, Unusable]


class EncodedPairs:
    """Pairs in the order that was asked for: `rows[i]` is the dataset's index of pair i, `answers` [rows, 2] are the
    tokens of its chosen and its rejected answer. `label_counts` are ones: a pair counts once in a step's loss.
    `squares` [rows]: twice the pairs of tokens of which one sees the other."""

    def __init__(self, folder: Path) -> None:
        facts = read_record(folder / shelf.MARK, PairFacts)
        if facts is None:
            raise FileNotFoundError(folder / shelf.MARK)
        self.folder = folder
        self.shortened, self.unusable = facts.shortened, facts.unusable
        self.rows: NDArray[np.int64] = np.load(folder / "rows.npy")
        pairs: NDArray[np.int64] = np.load(folder / "pairs.npy")
        self.parts, self.answers = pairs[:, :3], pairs[:, 3:]
        self.lengths: NDArray[np.int64] = self.parts.sum(axis=1)
        self.label_counts = np.ones(len(self.rows), dtype=np.int64)
        prompt = self.parts[:, :1]  # computed once; each answer sees it and itself
        self.squares: NDArray[np.int64] = ((prompt + self.parts[:, 1:]) ** 2).sum(1) - prompt[:, 0] ** 2
        self._offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        ids = folder / "input_ids.bin"
        self._ids: Any = np.memmap(ids, dtype=np.int32, mode="r") if ids.stat().st_size else np.zeros(0, np.int32)

    def __reduce__(self) -> tuple[Any, ...]:
        """By its folder: whoever pickles pairs to hash them (`datasets` does) does not read the whole file."""
        return EncodedPairs, (self.folder,)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tree:
        """(prompt, chosen, rejected): int32, read-only views of the file."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        cuts = np.concatenate([[0], np.cumsum(self.parts[index])]) + self._offsets[index]
        return tuple(self._ids[start:end] for start, end in itertools.pairwise(cuts))


# -- one prompt -------------------------------------------------------------------------------------------------------
def encode_answers(
    encoder: Encoder, asked: Sequence[Message], answers: Sequence[str]
) -> tuple[Tree, list[int], bool] | Unusable:
    """(the shared ids and each answer's own, the answers' tokens, whether anything was shortened), or why not."""
    [found] = encode_batch(encoder, [(asked, answers)])
    return found


def encode_batch(
    encoder: Encoder, batch: Sequence[tuple[Sequence[Message], Sequence[str]]]
) -> list[tuple[Tree, list[int], bool] | Unusable]:
    """`encode_answers` for many prompts at once: (messages up to the question, answers)."""
    flat = [[*asked, {"role": "assistant", "content": said}] for asked, answers in batch for said in answers]
    windows = iter(encoder.windows(flat, encoder.max_length))
    groups = [[next(windows) for _ in answers] for _, answers in batch]
    return [_tree(encoder, group) for group in groups]


def _tree(encoder: Encoder, group: list[Window | Refusal]) -> tuple[Tree, list[int], bool] | Unusable:
    limit = encoder.max_length
    whole = [window for window in group if isinstance(window, Window)]
    if any(window.stop < len(window.rounds) for window in whole):  # the question alone is too long
        return Unusable(code=NO_ANSWER, params={"max_length": limit})
    tokens: list[Tokens] = []
    for window in _same_rounds(encoder, whole) if len(whole) == len(group) else group:
        if isinstance(window, Refusal):
            return Unusable(code=REFUSED, params={"detail": window.reason})
        tokens.append(window.encoded)
    if any(limit is not None and each.spans[-1][0] >= limit for each in tokens):
        return Unusable(code=NO_ANSWER, params={"max_length": limit})
    rows = [np.array(each.ids[:limit], dtype=np.int32) for each in tokens]
    counts = [len(row) - each.spans[-1][0] for row, each in zip(rows, tokens, strict=True)]
    shared = _shared(rows)
    shortened = any(window.first for window in whole) or any(
        len(each.ids) > len(row) for row, each in zip(rows, tokens, strict=True)
    )
    return (rows[0][:shared], *(row[shared:] for row in rows)), counts, shortened


def _same_rounds(encoder: Encoder, windows: Sequence[Window]) -> list[Window | Refusal]:
    """The conversations without the rounds that any of them had to lose."""
    first = max(window.first for window in windows)
    narrow: list[Window | Refusal] = []
    for window in windows:
        if window.first == first:
            narrow.append(window)
        else:
            narrow += encoder.windows([replace(window, first=first).messages], None)
    return narrow


def _shared(rows: Sequence[Ints]) -> int:
    """How many ids all rows begin with in common; each keeps one of its own."""
    limit = min(map(len, rows)) - 1
    differs = np.zeros(limit, dtype=bool)
    for row in rows[1:]:
        differs |= row[:limit] != rows[0][:limit]
    return int(differs.argmax()) if differs.any() else limit


# -- a dataset --------------------------------------------------------------------------------------------------------
def encode_pairs(
    dataset: Dataset,
    encoder: Encoder,
    cache_dir: Path,
    *,
    rows: Sequence[int] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    check_stop: Callable[[], None] | None = None,
) -> EncodedPairs:
    """The pairs of a `preference` dataset (all, or those with the indices `rows`, in that order) as tokens.

    `on_progress(done, total)` counts rows; `check_stop` is called between chunks and may raise. Raises DataError for a
    dataset of another kind, or where no pair can be used.
    """
    if dataset.card.kind != "preference":
        raise DataError("data.wrong_kind", ref=dataset.ref, kind=dataset.card.kind, needed="preference")
    chosen = np.arange(len(dataset)) if rows is None else np.asarray(rows, dtype=np.int64)
    settings = f"pairs {PAIRS_VERSION}:{dataset.card.sha256}:{encoder.settings_sha256}:".encode()
    folder = cache_dir / hashlib.sha256(settings + chosen.tobytes()).hexdigest()[:24]
    shelf.touch(folder)  # before the look: what was used just now is not removed by anybody
    if not (folder / shelf.MARK).is_file():
        shelf.sweep(cache_dir)
        _build(folder, dataset, encoder, chosen, on_progress, check_stop)
    encoded = EncodedPairs(folder)
    if len(encoded) == 0:
        raise DataError("reward.no_pairs", ref=dataset.ref, problems=problems(dataset, encoded.unusable, 20))
    if on_progress is not None:
        on_progress(len(chosen), len(chosen))
    return encoded


def problems(dataset: Dataset, unusable: dict[int, Unusable], limit: int) -> list[Problem]:
    """The first `limit` rows that cannot be used, each with its line, the reason, and how its question begins."""
    shown = sorted(unusable)[:limit]
    return [
        Problem(
            unusable[index].code, unusable[index].params, line=line, excerpt=str(row["prompt"][-1]["content"])[:120]
        )
        for index, line, row in zip(shown, dataset.lines(shown), dataset.take(shown), strict=True)
    ]


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
    kept: list[int] = []
    pairs: list[list[int]] = []
    facts = PairFacts(shortened=0, unusable={})
    try:
        with open(temporary / "input_ids.bin", "wb") as file:
            for start in range(0, len(chosen), CHUNK_ROWS):
                if check_stop is not None:
                    check_stop()
                indices = chosen[start : start + CHUNK_ROWS].tolist()
                for index, found in zip(indices, _encoded(dataset, encoder, indices), strict=True):
                    if isinstance(found, Unusable):
                        facts.unusable[index] = found
                        continue
                    tree, answers, shortened = found
                    file.write(b"".join(part.tobytes() for part in tree))
                    pairs.append([*map(len, tree), *answers])
                    kept.append(index)
                    facts.shortened += shortened
                if on_progress is not None:
                    on_progress(start + len(indices), len(chosen))
        np.save(temporary / "pairs.npy", np.array(pairs, dtype=np.int64).reshape(-1, 5))
        np.save(temporary / "rows.npy", np.array(kept, dtype=np.int64))
        write_record(temporary / shelf.MARK, facts)
        try:
            os.rename(temporary, folder)
        except OSError:  # another process was faster
            if not (folder / shelf.MARK).is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _encoded(dataset: Dataset, encoder: Encoder, indices: list[int]) -> list[tuple[Tree, list[int], bool] | Unusable]:
    rows = dataset.take(indices)
    said = [(row["prompt"], [row["chosen"][-1]["content"], row["rejected"][-1]["content"]]) for row in rows]
    return [_different(found, encoder.max_length) for found in encode_batch(encoder, said)]


def _different(
    found: tuple[Tree, list[int], bool] | Unusable, max_length: int | None
) -> tuple[Tree, list[int], bool] | Unusable:
    """The pair, unless both answers are one and the same within the limit."""
    if isinstance(found, Unusable):
        return found
    _, chosen, rejected = found[0]
    if np.array_equal(chosen, rejected):
        return Unusable(code=SAME, params={"max_length": max_length})
    return found
