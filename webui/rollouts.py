"""The answers that a PPO run has kept, read for its browser: one rollout, the best or a search over all, one prompt's
answers over time. No HTML, no gradio; `core.records_ppo` says what the files hold.

Work is bounded: a search reads the newest files first, and no more than `READ_BYTES` at once.
"""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from core.records_ppo import Episode
from core.rundir import RunDir, read_jsonl

FILE = re.compile(r"(step|held-out)-(\d+)\.jsonl", re.ASCII)
TRAINING, HELD_OUT = "step", "held-out"
SAMPLED, HIGHEST, LOWEST = "sampled", "highest", "lowest"
SORTS = (SAMPLED, HIGHEST, LOWEST)
HITS = 100  # a search stops at the end of the rollout that makes them up
READ_BYTES = 32_000_000  # a search reads so much at once; going on is another click
EVALUATIONS = 40  # of one prompt are shown

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What one session wants to see of one run.

    step: of the rollout, None for the newest. every: all steps instead of one, as a search does. before: a search goes
    on beneath this step. prompt: a held-out prompt whose answers are shown over time. whole: the answer that is shown
    in full, by step and number. page: of the list, from 0.
    """

    run: str = ""
    kind: str = TRAINING
    step: int | None = None
    sort: str = SAMPLED
    every: bool = False
    search: str = ""
    before: int | None = None
    prompt: int | None = None
    whole: tuple[int, int] | None = None
    page: int = 0

    def of(self, run: str) -> Asked:
        """The same for another run: it begins at its newest rollout, in the same order."""
        return self if self.run == run else Asked(run=run, kind=self.kind, sort=self.sort)

    def clicked(self, data: Mapping[str, Any]) -> Asked:
        """What is wanted after a click, or something typed, in the browser's pane."""
        now = replace(self, whole=None, page=0, before=None)
        if "kind" in data:
            return replace(now, kind=HELD_OUT if data["kind"] == HELD_OUT else TRAINING, step=None, prompt=None)
        if "sort" in data:
            return replace(now, sort=data["sort"] if data["sort"] in SORTS else SAMPLED)
        if "search" in data:
            return replace(now, search=str(data["search"] or "").strip()[:200], prompt=None)
        if "every" in data:
            return replace(now, every=bool(data["every"]), prompt=None)
        if "step" in data:
            return replace(now, step=_whole(data["step"]), every=False)
        if "prompt" in data:
            return replace(now, prompt=_whole(data["prompt"]))
        if "before" in data:
            return replace(now, before=_whole(data["before"]))
        if "page" in data:
            return replace(self, page=max(0, _whole(data["page"]) or 0))
        whole = [_whole(value) for value in data["whole"]] if isinstance(data.get("whole"), list) else []
        match whole:
            case [int(at), int(number)]:
                return replace(self, whole=(at, number))
        return self


def _whole(value: Any) -> int | None:
    try:
        return int(str(value).strip().replace(",", ""))
    except ValueError:
        return None


@dataclass(frozen=True)
class Found:
    """Answers in the order that was asked for; `stopped`: nothing beneath this step was looked at, None: all was."""

    episodes: Sequence[Episode] = field(default_factory=list)
    stopped: int | None = None


# -- files ------------------------------------------------------------------------------------------------------------
def steps(run: RunDir, kind: str) -> list[int]:
    """The steps of which there is a rollout of this kind, ascending."""
    try:
        names = os.listdir(run.rollouts)
    except OSError:
        return []
    found = (FILE.fullmatch(name) for name in names)
    return sorted(int(name[2]) for name in found if name is not None and name[1] == kind)


def file_of(run: RunDir, kind: str, step: int) -> Path:
    return run.rollouts / f"{kind}-{step}.jsonl"


def rollout(run: RunDir, kind: str, step: int, sort: str = SAMPLED) -> list[Episode]:
    """One rollout, in the order that was asked for; [] where its file is gone."""
    return _ordered(list(_episodes(read_jsonl(file_of(run, kind, step))[0])), sort)


def _episodes(rows: Sequence[Row]) -> Iterator[Episode]:
    for row in rows:
        try:
            yield Episode.model_validate(row)
        except ValueError:
            continue


def _ordered(found: list[Episode], sort: str) -> list[Episode]:
    if sort == SAMPLED:
        return found
    return sorted(found, key=lambda each: each.reward, reverse=sort == HIGHEST)


def over_time(run: RunDir, prompt: int) -> tuple[list[Episode], int]:
    """(the answers to one held-out prompt, by step; how many evaluations there are). In the middle some may be left
    out: the first is kept, and the newest."""
    every = steps(run, HELD_OUT)
    chosen = every if len(every) <= EVALUATIONS else [every[0], *every[1 - EVALUATIONS :]]
    found = []
    for step in chosen:
        rows = [row for row in read_jsonl(file_of(run, HELD_OUT, step))[0] if row.get("number") == prompt]
        found += list(_episodes(rows[:1]))
    return found, len(every)


# -- all steps --------------------------------------------------------------------------------------------------------
def search(run: RunDir, asked: Asked) -> Found:
    """The answers of all steps, or those that hold `asked.search`: the newest, or those with the best or worst reward.

    About the first `HITS` of them. What was found is kept until a rollout is added.
    """
    try:
        changed = os.stat(run.rollouts).st_mtime_ns
    except OSError:
        return Found()
    return _search(run.path, asked.kind, asked.search.lower(), asked.sort, asked.before, changed)


@lru_cache(maxsize=8)
def _search(path: Path, kind: str, needle: str, sort: str, before: int | None, changed: int) -> Found:
    run = RunDir(path)
    best: list[Row] = []
    read = 0
    for step in reversed(steps(run, kind)):
        if before is not None and step >= before:
            continue
        try:
            size = os.stat(file_of(run, kind, step)).st_size
            if read and read + size > READ_BYTES:
                return Found(list(_episodes(best)), step + 1)
            data = file_of(run, kind, step).read_bytes()
        except OSError:
            continue
        read += size
        best = _kept(best, _matching(data, needle), sort)
        if sort == SAMPLED and len(best) >= HITS:
            return Found(list(_episodes(best)), step)
    return Found(list(_episodes(best)))


def _kept(before: list[Row], found: list[Row], sort: str) -> list[Row]:
    """The two lists together; of ranked ones the first `HITS`, and of equal ones the newer."""
    both = before + found
    if sort == SAMPLED:
        return both
    pick = heapq.nlargest if sort == HIGHEST else heapq.nsmallest
    return pick(HITS, both, key=lambda row: row["reward"])


def _matching(data: bytes, needle: str) -> list[Row]:
    """The answers of a file that hold `needle` in prompt or answer, in whatever case."""
    if needle and not _may_hold(data, needle):
        return []
    rows = []
    for line in data.splitlines():
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if not isinstance(row, dict) or not isinstance(row.get("reward"), (int, float)):
            continue
        if not needle or any(needle in str(row.get(name, "")).lower() for name in ("prompt", "answer")):
            rows.append(row)
    return rows


def _may_hold(data: bytes, needle: str) -> bool:
    """A quick look before a file is taken apart: False only where it holds `needle` nowhere."""
    if b"\\u" in data or any(sign in '"\\' or sign < " " for sign in needle):
        return True  # as JSON writes it, the text looks otherwise
    if needle.isascii():
        return needle.encode() in data.lower()
    return needle.upper() != needle or needle.encode() in data
