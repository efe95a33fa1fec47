"""A run is a directory. This file names every file in it, reads and writes them, and says who does.

    config.yaml      its submitter, `handing_over` the resolved config; config.json beside it is the same, quick to read
    status.json      the supervisor                attempt, pid, devices, times, how each rank ended
    result.json      rank 0, when it ends          outcome, one-line reason, remedy
    heartbeat.json   rank 0's keeper               of a run on several hosts: who is alive there, every 5 s
    stop_requested   anybody                       its existence asks the run to stop
    progress.json    rank 0                        phase, step, total, ETA; from the first second
    metrics.jsonl    rank 0                        one object per logged step
    samples.jsonl    rank 0                        the fixed prompts, answered at every evaluation
    pairs.json       rank 0                        how a reward model orders held-out pairs (`core.records_reward`)
    difficulty.npy   rank 0                        how hard a curriculum has found each training row
    rollouts/        rank 0                        answers of PPO (`core.records_ppo`): step-n.jsonl, held-out-n.jsonl
    judge-k.jsonl    rank k                        what an AI judge said of them, so that it is not asked twice
    annotating/      rank 0; judgements: people    what annotators were asked and said (`core.annotating.people`)
    predictions/     rank k                        answers to a file of prompts (`core.records_predict`)
    log/rank-k.log   rank k                        stdout and stderr; log/supervisor.log beside it
    checkpoints/step-n/COMPLETE                    only a checkpoint with this file is one
    attempts/n/      the supervisor's caller       what attempt n left when the run was resumed
    output/          rank 0                        what the run made; manifest.json, written last, says it is whole
    notes.json       people (`core.notes`)         star, tags, a few words; imported.json: it came as an archive
    lock             the supervisor                held (flock) by it and by every process it started, while any lives

One writer per file; `core.records` has the records. Readers never lock and tolerate a torn last line. The state of a
run is never stored: `state_of` derives it, so it stays true when the supervisor was killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import orjson

from core.records import Heartbeat, Manifest, Progress, Record, Result, Status

# The name of a run's folder; nothing else in runs/ is a run.
RUN_ID = re.compile(r"(?P<stage>[A-Za-z][\w-]*)-(?P<when>\d{8}-\d{6})-[0-9a-f]{4,}", re.ASCII)
WHEN = "%Y%m%d-%H%M%S"
MARK = "COMPLETE"  # makes a checkpoint of a folder
PAIRS, DIFFICULTY = "pairs.json", "difficulty.npy"  # in a run; pairs also in checkpoints that were evaluated
HEARTBEAT_SECONDS = 30.0  # older than that, it is a dead run's
JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class State(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"

    @property
    def live(self) -> bool:
        return self in (State.QUEUED, State.STARTING, State.RUNNING, State.STOPPING)


R = TypeVar("R", bound=Record)


class RunDir:
    """The files of one run. Constructing it touches nothing; `RunDir.create` makes a new one."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, runs: Path, stage: str) -> RunDir:
        """Make `runs/<stage>-<yyyymmdd-hhmmss>-<4 hex>/` and its folders."""
        while True:
            path = runs / f"{stage}-{time.strftime(WHEN)}-{secrets.token_hex(2)}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            break
        run = cls(path)
        for folder in (run.log_dir, run.checkpoints, run.attempts):
            folder.mkdir()
        return run

    def __repr__(self) -> str:
        return f"RunDir({self.id!r})"

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def stage(self) -> str:
        """The stage it belongs to, as its name says (`sft-20260101-120000-ab12` → `sft`); "" for another folder."""
        name = RUN_ID.fullmatch(self.id)
        return name["stage"] if name else ""

    @property
    def when(self) -> str:
        """When it was made, as its name says, in the form of `WHEN`; "" for a folder that is no run's."""
        name = RUN_ID.fullmatch(self.id)
        return name["when"] if name else ""

    # -- files --------------------------------------------------------------------------------------------------------
    @property
    def config_yaml(self) -> Path:
        return self.path / "config.yaml"

    @property
    def config_json(self) -> Path:
        return self.path / "config.json"

    @property
    def status_file(self) -> Path:
        return self.path / "status.json"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def heartbeat_file(self) -> Path:
        """Of a run on several hosts (`core.jobs.hosts`): nobody here may see its lock."""
        return self.path / "heartbeat.json"

    @property
    def stop_file(self) -> Path:
        return self.path / "stop_requested"

    @property
    def progress_file(self) -> Path:
        return self.path / "progress.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples_file(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def pairs_file(self) -> Path:
        """What was found of a reward model on held-out pairs (`core.records_reward.PairReport`)."""
        return self.path / PAIRS

    @property
    def log_dir(self) -> Path:
        return self.path / "log"

    def log_file(self, rank: int) -> Path:
        return self.log_dir / f"rank-{rank}.log"

    @property
    def supervisor_log(self) -> Path:
        return self.log_dir / "supervisor.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts"

    @property
    def attempts(self) -> Path:
        return self.path / "attempts"

    @property
    def output(self) -> Path:
        return self.path / "output"

    @property
    def produced_file(self) -> Path:
        """The datasets that the run has put into the workspace (`core.records.Produced`)."""
        return self.path / "output" / "datasets.json"

    @property
    def verdict_file(self) -> Path:
        """Whether documents are worth pretraining on (`core.records.WorthIt`), of a perplexity run."""
        return self.path / "output" / "verdict.json"

    @property
    def vocabulary_file(self) -> Path:
        """What was added to a vocabulary (`core.records.VocabularyReport`)."""
        return self.output / "vocabulary.json"

    @property
    def manifest_file(self) -> Path:
        return self.output / "manifest.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    # -- reading ------------------------------------------------------------------------------------------------------
    def exists(self) -> bool:
        """Whether this is a run: by the folder's name, and by the config that was written first."""
        return bool(self.stage) and self.config_json.is_file()

    def config(self) -> dict[str, Any]:
        """The resolved config as written at submission; {} where it is missing or torn."""
        return read_json(self.config_json) or {}

    def status(self) -> Status | None:
        return read_record(self.status_file, Status)

    def result(self) -> Result | None:
        return read_record(self.result_file, Result)

    def progress(self) -> Progress | None:
        return read_record(self.progress_file, Progress)

    def heartbeat(self) -> Heartbeat | None:
        return read_record(self.heartbeat_file, Heartbeat)

    def manifest(self) -> Manifest | None:
        return read_record(self.manifest_file, Manifest)

    def complete_checkpoints(self) -> list[Checkpoint]:
        """The whole checkpoints, by ascending step."""
        marks = ((folder, read_json(folder / MARK)) for folder in self.checkpoints.glob("step-*"))
        found = [Checkpoint(path=folder, **mark) for folder, mark in marks if mark is not None]
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def stop_requested_at(self) -> float | None:
        """When the stop was asked for, seconds since the epoch; None when it was not."""
        try:
            return self.stop_file.stat().st_mtime
        except FileNotFoundError:
            return None


class Checkpoint(Record):
    """A folder with a `COMPLETE` file, whose JSON gives the rest. best_by: what the best has least of; None: loss."""

    path: Path
    step: int
    saved_at: float
    eval_loss: float | None = None
    best_by: float | None = None

    @property
    def order(self) -> tuple[float, float, int] | None:
        """What checkpoints are compared by, the better first; None where it was not evaluated."""
        best = self.eval_loss if self.best_by is None else self.best_by
        return None if self.eval_loss is None or best is None else (best, self.eval_loss, self.step)


def best_checkpoint(checkpoints: list[Checkpoint]) -> Checkpoint | None:
    """The one that its run's evaluation calls best; the earliest of equals; None when none was evaluated."""
    scored = [(order, checkpoint) for checkpoint in checkpoints if (order := checkpoint.order) is not None]
    return min(scored, key=lambda pair: pair[0])[1] if scored else None


# -- state ------------------------------------------------------------------------------------------------------------
def lock_held(path: Path) -> bool:
    """Whether some process holds `path` exclusively. Asks with a shared lock, so readers never disturb each other."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def beats(run: RunDir) -> bool:
    """Whether a run on several hosts lives there, by its heartbeat: the only sign that other machines see."""
    beat = run.heartbeat()
    return beat is not None and beat.at is not None and time.time() - beat.at < HEARTBEAT_SECONDS


def state_of(run: RunDir) -> State:
    """The state of a run, derived from its lock, its heartbeat and its files (the table of DESIGN §4).

    A run whose lock is free and that left neither manifest nor result was `stopped` if somebody had asked for it,
    `failed` if a rank ended by itself with an exit code, and `interrupted` otherwise (killed, or the machine died).
    """
    status = run.status()
    if lock_held(run.lock_file) or beats(run):
        if run.stop_file.exists():
            return State.STOPPING
        if status is None or status.started_at is None:
            return State.QUEUED
        progress = run.progress()  # of this attempt: the last one's was set aside, so no clock has to tell
        return State.RUNNING if progress is not None and not progress.starting else State.STARTING
    if run.manifest_file.exists():
        return State.SUCCEEDED
    result = run.result()
    if result is not None:
        return State(result.outcome)
    if run.stop_file.exists():
        return State.STOPPED
    if status is not None and any(end.code for end in status.ranks_ended):
        return State.FAILED
    beat = run.heartbeat()
    if beat is not None and beat.at is None:  # torchrun has not been started on its hosts yet
        return State.QUEUED
    return State.INTERRUPTED


# -- reading and writing ----------------------------------------------------------------------------------------------
def read_json(path: Path) -> Any | None:
    """The JSON in `path`; None where the file is missing, empty or torn."""
    try:
        return orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
        return None


def read_record(path: Path, kind: type[R]) -> R | None:
    data = read_json(path)
    try:
        return None if data is None else kind.model_validate(data)
    except ValueError:
        return None


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write whole or not at all: a temporary file beside `path`, renamed over it; `durable` flushes it first."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write whole or not at all. A figure that is infinite or no number is written as null: JSON has neither."""
    write_text(path, orjson.dumps(data, option=JSON_OPTIONS).decode() + "\n")


def write_record(path: Path, record: Record) -> None:
    write_text(path, record.model_dump_json(indent=1) + "\n")


def append_jsonl(path: Path, *rows: dict[str, Any]) -> None:
    """Append objects in a single write, so that a reader sees whole lines and perhaps a torn last one.

    A figure that is infinite or no number is written as null, as `write_json` does: readers take it as missing.
    """
    data = b"".join(orjson.dumps(row, option=JSON_OPTIONS) + b"\n" for row in rows)
    with open(path, "ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            if file.write(data) != len(data):  # what a disk does that is full within the line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(before)  # or the next row, once there is room again, would go on in the torn line
            raise


def read_jsonl(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of `path` from byte `offset`, and the offset after the last of them.

    A torn last line is left for the next call; a file that has become shorter than `offset` is read anew.
    """
    try:
        with open(path, "rb") as file:
            offset = 0 if os.fstat(file.fileno()).st_size < offset else offset
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], 0
    end = data.rfind(b"\n") + 1
    return list(_objects(data[:end])), offset + end


def _objects(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict):
            yield row
