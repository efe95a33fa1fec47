"""The step that parts a dataset into training, validation and test rows, without giving answers away.

    1. how many rows each set gets of each source
    2. groups of rows that must stay together: near-duplicates (`near.clusters`), equal texts, equal questions
    3. the groups in a random order, each into the first set that still has room for all of it; the rest trains

Rows keep their order within a set.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.configs.shape_steps import Split
from core.data.kinds import Kind, Row
from core.data.normal import row_key
from core.data.steps.base import Job, Positions, Rows
from core.data.steps.kinds import all_rows
from core.data.steps.near import clusters
from core.data.steps.order import allotted, scaled
from core.errors import DataError

Groups = NDArray[np.int64]  # a number for every row; equal for rows that stay together


def split(step: Split, rows: Rows, job: Job) -> dict[str, Positions]:
    """{"train", "validation", "test"} → positions; without validation or test where none was asked for.

    Raises DataError `step.split_too_many`, or `step.split_empty` where the rows asked for hang together too much.
    """
    codes = rows.sources()[1] if step.by_source else np.zeros(len(rows), dtype=np.int32)
    wanted = _wanted(step, codes, job)  # 1
    groups = together(step, rows, job) if step.together else np.arange(len(rows), dtype=np.int64)  # 2
    sets = _assigned(wanted, groups, codes, job)  # 3
    for name, positions in sets.items():
        if not len(positions):
            raise DataError("step.split_empty", name=name)
    return {name: sets[name] for name in ("train", "validation", "test") if name in sets}


def parts(step: Split, kind: Kind) -> Kind:
    """All kinds of rows can be parted, but not some of them left out."""
    all_rows(step)
    return kind


def _wanted(step: Split, codes: NDArray[np.int32], job: Job) -> dict[str, Any]:
    """Rows of each source that each set is to get; `train` only where it is limited."""
    sizes = np.bincount(codes)
    total = len(codes)
    counts = {
        name: max(1, round(asked * total)) if asked < 1 else scaled(int(asked), job)
        for name in ("test", "validation", "train")
        if (asked := float(getattr(step, name)))
    }
    if sum(counts.values()) > total or ("train" not in counts and sum(counts.values()) == total):
        raise DataError("step.split_too_many", wanted=sum(counts.values()), rows=total)
    wanted = {}
    for name, count in counts.items():
        wanted[name] = allotted(count, sizes, job)
        sizes = sizes - wanted[name]
    return wanted


def together(step: Split, rows: Rows, job: Job) -> Groups:
    """Groups of rows that must not be parted."""
    groups = np.asarray(clusters(rows, job, threshold=step.threshold), dtype=np.int64)
    return joined(joined(groups, rows.column("key").astype(np.uint64)), _question_keys(rows, job))


def joined(groups: Groups, keys: NDArray[np.uint64]) -> Groups:
    """`groups` merged wherever two rows have the same key; key 0 joins nothing. Numbers are kept, not made anew."""
    parent: dict[int, int] = {}

    def root(group: int) -> int:
        while (above := parent.get(group, group)) != group:
            parent[group] = parent.get(above, above)
            group = above
        return group

    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero((keys[order][1:] == keys[order][:-1]) & (keys[order][1:] != 0))
    for one, other in zip(groups[order[same]].tolist(), groups[order[same + 1]].tolist(), strict=True):
        first, second = root(one), root(other)
        parent[max(first, second)] = min(first, second)
    if not parent:
        return groups
    merged = {group: root(group) for group in parent}
    return np.array([merged.get(group, group) for group in groups.tolist()], dtype=np.int64)


def _question_keys(rows: Rows, job: Job) -> NDArray[np.uint64]:
    """A hash of every row's question: two answers to one question must not be parted. 0 where there is none."""
    keys = np.zeros(len(rows), dtype=np.uint64)
    if rows.kind == "text":
        return keys
    done = 0
    for batch in rows.batches():
        for item in batch:
            question = question_of(rows.kind, item.row)
            keys[done] = row_key("text", {"text": question}) if question else 0
            done += 1
        job.check_stop()
    return keys


def question_of(kind: Kind, row: Row) -> str:
    """What a row asks. A dialogue of several rounds has none: many begin with the same greeting."""
    if kind == "choice":
        return str(row["question"])
    messages = row["messages" if kind == "messages" else "prompt"]
    asked = [message["content"] for message in messages if message["role"] == "user"]
    return "" if kind == "messages" and len(asked) > 1 else "\n".join(asked)


def _assigned(wanted: dict[str, Any], groups: Groups, codes: NDArray[np.int32], job: Job) -> dict[str, Positions]:
    place = np.zeros(len(groups), dtype=np.int8)  # 0: not in a set that was counted out
    names = list(wanted)
    room = [wanted[name].copy() for name in names]
    _fill(place, room, groups, codes, job)
    if any(left.any() for left in room):  # groups that fit into no source's share: the whole size counts more
        _fill(place, [left.sum(keepdims=True) for left in room], groups, np.zeros_like(codes), job)
    sets = {name: np.flatnonzero(place == number).astype(np.int64) for number, name in enumerate(names, 1)}
    return sets if "train" in sets else {"train": np.flatnonzero(place == 0).astype(np.int64), **sets}


def _fill(place: NDArray[np.int8], room: list[Any], groups: Groups, codes: NDArray[np.int32], job: Job) -> None:
    """Write into `place` the number of the first set that still has `room` [sources] for a whole group."""
    for members in _shuffled(groups, job):
        if place[members[0]]:
            continue
        sources, counts = np.unique(codes[members], return_counts=True) if len(members) > 1 else (codes[members], 1)
        for number, left in enumerate(room, 1):
            if (left[sources] >= counts).all():
                left[sources] -= counts
                place[members] = number
                break
        if not any(left.any() for left in room):
            return


def _shuffled(groups: Groups, job: Job) -> Iterator[Positions]:
    """The positions of each group, group after group in a random order."""
    by_group = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(groups[by_group]) != 0])) if len(groups) else by_group
    ends = np.append(starts[1:], len(groups))
    for done, number in enumerate(job.random().permutation(len(starts)).tolist()):
        yield by_group[starts[number] : ends[number]]
        if done % 10_000 == 0:
            job.progress(done, len(starts))
