"""near: rows that are nearly the same as another, by MinHash and LSH (`rensa`), verified by their true similarity.

    1. read all rows once: their shingles' MinHash (128 numbers), kept on disk as bytes, and its bands' hashes
    2. band by band, sort the hashes: rows with the same one are candidates, each with the first and the one before it
    3. drop candidates whose MinHashes differ too much, read the rows of the rest again for their sets of shingles
    4. verify every pair: shared shingles / all shingles (Jaccard) must reach the threshold
    5. keep row after row, in the order of preference, unless it is similar to one that is kept

Every row that goes is similar to a row that stays, and the reason names that row and the similarity. Memory holds two
bands and the pairs; signatures and sets are on disk: 300 bytes a row and 4 a shingle of a candidate. A pair at the
threshold is found with a probability of 99 %, a more similar one with a higher one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from core.configs.clean_steps import Near
from core.data.normal import row_text
from core.data.steps.base import Drop, Job, Positions, Rows, Selection
from core.data.steps.exact import Twins, ranking
from core.data.steps.shingles import FACTOR, Shingles, shingles_of

PERMUTATIONS = 128
SEED = 42
RECALL = 0.99  # of pairs at the threshold
SLACK = 0.12  # how far MinHash may underestimate (3.4 of its standard deviations at 0.8)
PAIRS = 20_000  # compared at a time

Pairs = NDArray[np.int64]  # [n, 2], the earlier position first


def near(step: Near, rows: Rows, job: Job) -> Selection:
    """Keep one row of similar ones."""
    with _similar(rows, job, step.threshold) as (pairs, similarity, sets):
        neighbours = _Neighbours(len(rows), pairs, similarity)
        stays, how = neighbours.choose(ranking(rows, step.keep), sets, step.threshold, job)
    order = np.flatnonzero(stays == np.arange(len(rows))).astype(np.int64)
    return Selection(order, _NearTwins(rows, stays, how))


class _NearTwins(Twins):
    """The reasons, with how similar the two rows are."""

    def __init__(self, rows: Rows, stays: Positions, how: NDArray[np.float32]) -> None:
        super().__init__(rows, stays, "step.near")
        self._how = how

    def __getitem__(self, position: int) -> Drop:
        return Drop("step.near", {**self.twin(position), "percent": int(100 * self._how[position] + 1e-4)})


def clusters(rows: Rows, job: Job, threshold: float) -> NDArray[np.int64]:
    """A number for every row, the same for rows that are similar, directly or by way of others."""
    with _similar(rows, job, threshold) as (pairs, _, _):
        pass
    leader = np.arange(len(rows), dtype=np.int64)
    while len(pairs):  # the smallest position of its neighbours spreads until nothing changes
        before = leader.copy()
        smaller = np.minimum(leader[pairs[:, 0]], leader[pairs[:, 1]])
        np.minimum.at(leader, pairs[:, 0], smaller)
        np.minimum.at(leader, pairs[:, 1], smaller)
        leader = leader[leader]
        if (leader == before).all():
            break
    return leader


@contextlib.contextmanager
def _similar(rows: Rows, job: Job, threshold: float) -> Iterator[tuple[Pairs, NDArray[np.float64], _Sets]]:
    """Pairs of positions whose similarity reaches `threshold`, how similar they are, and the sets of all candidates.

    Not every pair of a large group is among them, but every row of it is in a pair with the first or with a neighbour.
    """
    with _folder(job) as folder:
        rows_a_band = band_rows(threshold)
        _sign(rows, job, folder, rows_a_band)  # 1
        pairs = _candidates(len(rows), job, folder, rows_a_band, threshold)  # 2, 3
    with _sets_of(rows, job, pairs) as sets:  # 3
        similarity = np.array([sets.similarity(a, b) for a, b in _told(pairs, job)], dtype=np.float64)  # 4
        true = similarity >= threshold
        yield pairs[true], similarity[true], sets


def band_rows(threshold: float) -> int:
    """The longest band with which a pair at `threshold` still shares one of the bands with probability RECALL."""
    fitting = [rows for rows in range(1, 17) if 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows) >= RECALL]
    return max(fitting, default=1)


# -- signatures -------------------------------------------------------------------------------------------------------
def minhash(shingles: Shingles) -> NDArray[np.uint32]:
    """The MinHash of every row: [rows, PERMUTATIONS]."""
    offsets = shingles.offsets.astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles.hashes, offsets, PERMUTATIONS, SEED)
    rows = len(offsets) - 1
    flat = itertools.chain.from_iterable(matrix.to_rows())
    return np.fromiter(flat, dtype=np.uint32, count=rows * PERMUTATIONS).reshape(rows, PERMUTATIONS)


def _sign(rows: Rows, job: Job, folder: Path, rows_a_band: int) -> None:
    """One file for every band (a uint64 a row) and one of signatures, of which a byte a number is enough."""
    bands = PERMUTATIONS // rows_a_band
    done = 0
    with contextlib.ExitStack() as stack:
        signatures = stack.enter_context(open(folder / "signatures", "wb"))
        files = [stack.enter_context(open(folder / f"band-{band}", "wb")) for band in range(bands)]
        for batch in rows.batches():
            shingles = shingles_of([row_text(rows.kind, item.row, "\n") for item in batch])
            signature = minhash(shingles)
            signature.astype(np.uint8).tofile(signatures)
            empty = np.diff(shingles.offsets) == 0
            for band, file in enumerate(files):
                hashes = _hash(signature[:, band * rows_a_band : (band + 1) * rows_a_band])
                hashes[empty] = np.arange(done, done + len(batch), dtype=np.uint64)[empty]  # like nothing else
                hashes.tofile(file)
            done += len(batch)
            job.progress(done // 2, len(rows))


def _hash(numbers: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """One uint64 for every line of `numbers`."""
    value = np.zeros(len(numbers), dtype=np.uint64)
    for column in range(numbers.shape[1]):
        value = (value ^ numbers[:, column]) * FACTOR
        value ^= value >> np.uint64(29)
    return value


# -- candidates -------------------------------------------------------------------------------------------------------
def _candidates(count: int, job: Job, folder: Path, rows_a_band: int, threshold: float) -> Pairs:
    signatures = (
        np.memmap(folder / "signatures", dtype=np.uint8, mode="r", shape=(count, PERMUTATIONS)) if count else None
    )
    found = np.zeros(0, dtype=np.uint64)
    for band in range(PERMUTATIONS // rows_a_band):
        job.check_stop()
        new = np.setdiff1d(_same(np.fromfile(folder / f"band-{band}", dtype=np.uint64)), found)
        if len(new) and signatures is not None:
            keep = [
                _alike(signatures, new[start : start + PAIRS]) >= threshold - SLACK
                for start in range(0, len(new), PAIRS)
            ]
            found = np.union1d(found, new[np.concatenate(keep)])
    return np.stack([found >> np.uint64(32), found & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)


def _same(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Pairs (earlier << 32 | later) of rows with the same hash: every row with the first of them and the one before."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    same = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
    if not len(same):
        return np.zeros(0, dtype=np.uint64)
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = np.maximum.accumulate(np.where(begins, np.arange(len(ordered)), 0))
    later = order[same].astype(np.uint64)
    pairs = [order[others].astype(np.uint64) << np.uint64(32) | later for others in (first[same], same - 1)]
    return np.unique(np.concatenate(pairs))


def _alike(signatures: Any, pairs: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The similarity that two signatures tell; one number in 256 agrees by chance."""
    left = signatures[(pairs >> np.uint64(32)).astype(np.int64)]
    right = signatures[(pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)]
    agree: NDArray[np.float64] = (left == right).mean(axis=1)
    return agree


# -- verification -----------------------------------------------------------------------------------------------------
class _Sets:
    """The sets of shingles of some rows, in a file; read by offset, so that they never count as memory."""

    def __init__(self, path: Path, numbers: Positions, offsets: NDArray[np.int64]) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._numbers, self._offsets = numbers, offsets

    def close(self) -> None:
        os.close(self._file)

    def of(self, position: int) -> NDArray[np.uint32]:
        place = int(np.searchsorted(self._numbers, position))
        start, end = int(self._offsets[place]), int(self._offsets[place + 1])
        return np.frombuffer(os.pread(self._file, 4 * (end - start), 4 * start), dtype=np.uint32)

    def similarity(self, first: int, second: int) -> float:
        """Shared shingles / all shingles."""
        left, right = self.of(first), self.of(second)
        both = np.sort(np.concatenate([left, right]), kind="stable")
        shared = int((both[1:] == both[:-1]).sum())
        return shared / max(1, len(both) - shared)


@contextlib.contextmanager
def _sets_of(rows: Rows, job: Job, pairs: Pairs) -> Iterator[_Sets]:
    """The sets of every row that is in one of `pairs`."""
    with _folder(job) as folder:
        numbers = np.unique(pairs)
        sizes: list[int] = []
        with open(folder / "sets", "wb") as file:
            for start in range(0, len(numbers), 2000):
                items = rows.take(numbers[start : start + 2000])
                shingles = shingles_of([row_text(rows.kind, item.row, "\n") for item in items])
                for row in range(len(items)):
                    own = shingles.unique(row)
                    own.tofile(file)
                    sizes.append(len(own))
                job.progress((len(rows) + start * len(rows) // len(numbers)) // 2, len(rows))
        sets = _Sets(folder / "sets", numbers, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))
        try:
            yield sets
        finally:
            sets.close()


def _told(pairs: Pairs, job: Job) -> Iterator[list[int]]:
    for start in range(0, len(pairs), PAIRS):
        job.check_stop()
        yield from pairs[start : start + PAIRS].tolist()


class _Neighbours:
    """Who is similar to whom (pairs are verified), as arrays: a dictionary of two million lists would fill memory."""

    def __init__(self, count: int, pairs: Pairs, similarity: NDArray[np.float64]) -> None:
        both = np.concatenate([pairs, pairs[:, ::-1]])
        order = np.argsort(both[:, 0], kind="stable")
        self._other = both[order, 1]
        self._how = np.concatenate([similarity, similarity])[order]
        self._starts = np.searchsorted(both[order, 0], np.arange(count + 1))

    def choose(
        self, order: Positions, sets: _Sets, threshold: float, job: Job
    ) -> tuple[Positions, NDArray[np.float32]]:
        """Step 5: for every row the one that stays for it (itself, where it stays), and how similar they are.

        A row whose only similar rows are going themselves is compared with those that stay for them.
        """
        stays = np.arange(len(order), dtype=np.int64)
        similarity = np.ones(len(order), dtype=np.float32)
        seen = np.zeros(len(order), dtype=bool)
        for count, position in enumerate(order[np.diff(self._starts)[order] > 0].tolist()):
            if count % PAIRS == 0:
                job.check_stop()
            seen[position] = True
            own = slice(self._starts[position], self._starts[position + 1])
            others, how = self._other[own], self._how[own]
            decided = seen[others]
            others, how = others[decided], how[decided]
            kept = stays[others] == others
            twins = list(zip(how[kept].tolist(), others[kept].tolist(), strict=True))
            if not twins:
                going = np.unique(stays[others]).tolist()
                twins = [(sets.similarity(position, other), other) for other in going]
            best, twin = max(twins, key=lambda found: (found[0], -found[1]), default=(0.0, -1))
            if best >= threshold:
                stays[position], similarity[position] = twin, best
        return stays, similarity


@contextlib.contextmanager
def _folder(job: Job) -> Iterator[Path]:
    """A scratch folder that is gone afterwards."""
    folder = job.scratch / f"near-{len(list(job.scratch.glob('near-*')))}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
