"""Why a run ended, in one line: an exception as (code, parameters), and a death that left no word as a `Result`.

Sentences and remedies are `core.messages`'s. torch's exceptions are known by class name and text: nothing heavy is
imported here. The traceback is the log's business.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.errors import GalenError, StopRequested
from core.messages import sentence
from core.records import RankEnd, Result, Status
from core.rundir import RunDir, State, read_record, state_of, write_record

MEMORY_TEXTS = ("out of memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc")
GPU_TEXTS = ("CUDA error", "CUDA driver", "cuDNN error", "CUBLAS_STATUS", "NVML", "no kernel image", "cudaError")
PEER_TEXTS = (
    "Connection closed by peer",
    "Connection reset by peer",
    "gloo",
    "NCCL",
    "TCPStore",
    "c10d",
    "ProcessGroup",
)
MODEL_TEXTS = ("is not a valid model identifier", "is not a local folder", "Can't load tokenizer", "no file named")
MODEL_CLASSES = ("RepositoryNotFoundError", "EntryNotFoundError", "RevisionNotFoundError", "GatedRepoError")
NETWORK_CLASSES = ("ConnectError", "ConnectTimeout", "ReadTimeout", "ConnectionError", "LocalEntryNotFoundError")
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)
DISK_TEXTS = ("No space left on device", "Disk quota exceeded")
NATIVE_SIGNALS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
DETAIL_LENGTH = 300

LAST_WORDS = "The run ended: "  # how a rank's log says what bad input ended it; result.json has it, too

Classified = tuple[str, dict[str, Any]]
UNKNOWN = "run.crashed"


class Terminated(BaseException):
    """SIGTERM reached a rank. Not an Exception, so that no library's `except Exception` swallows it."""


# -- exceptions -------------------------------------------------------------------------------------------------------
def classify(error: BaseException) -> Classified:
    """(code, parameters) for whatever ended a recipe: our own errors as they are, else the innermost known cause."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, GalenError):
            return cause.code, cause.params
    for cause in reversed(causes):
        found = _by_os(cause) or _by_text(cause)
        if found is not None:
            return found
    return UNKNOWN, {"detail": one_line(error)}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was explicitly raised from, and so on."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _by_os(error: BaseException) -> Classified | None:
    if isinstance(error, MemoryError):
        return "run.out_of_memory", {"detail": one_line(error)}
    if isinstance(error, ImportError):
        return "run.missing_package", {"detail": one_line(error)}
    if not isinstance(error, OSError):
        return None
    path = str(error.filename or error.strerror or error)
    if error.errno in DISK_ERRORS:
        return "run.disk_full", {"path": path}
    if error.errno == errno.EFBIG:
        return "run.file_limit", {"path": path}
    if error.errno == errno.ENOMEM:
        return "run.out_of_memory", {"detail": one_line(error)}
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return "run.missing_file", {"path": path}
    if isinstance(error, PermissionError):
        return "run.permission", {"path": path}
    return None


def _by_text(error: BaseException) -> Classified | None:
    names = {kind.__name__ for kind in type(error).__mro__}
    text, detail = str(error), {"detail": one_line(error)}
    if names & set(MODEL_CLASSES) or (isinstance(error, OSError) and any(part in text for part in MODEL_TEXTS)):
        return "run.no_model", detail
    if names & set(NETWORK_CLASSES):
        return "run.no_network", detail
    if any(part in text for part in DISK_TEXTS):  # safetensors and tokenizers wrap it in errors of their own
        return "run.disk_full", {"path": one_line(error)}
    # A data loader's worker quotes its MemoryError as the text of another error.
    quoted = "MemoryError" in text or any(part in text.lower() for part in MEMORY_TEXTS)
    if "OutOfMemoryError" in names or (quoted and isinstance(error, RuntimeError)):
        return ("run.out_of_gpu_memory" if "CUDA" in text or "GPU" in text else "run.out_of_memory"), detail
    if not isinstance(error, RuntimeError):
        return None
    if any(part in text for part in GPU_TEXTS):
        return "run.gpu_failed", detail
    if any(part in text for part in PEER_TEXTS):
        return "run.rank_lost", detail
    return None


def one_line(error: BaseException) -> str:
    """The kind of error and the first line of its text that says something, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= DETAIL_LENGTH else text[: DETAIL_LENGTH - 1] + "…"


def first_problem(error: ValidationError) -> str:
    """The first wrong setting of a config that pydantic refused."""
    wrong = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"


# -- results ----------------------------------------------------------------------------------------------------------
def result_for(error: BaseException) -> Result:
    """What rank 0 writes when its recipe ended with `error`."""
    code, params = classify(error)
    problems = [problem.as_dict() for problem in error.problems] if isinstance(error, GalenError) else []
    outcome = "stopped" if isinstance(error, StopRequested) else "failed"
    return make(outcome, code, params, problems)


def make(
    outcome: str, code: str = "", params: dict[str, Any] | None = None, problems: list[Any] | None = None
) -> Result:
    """A Result that ends now, with its English sentences filled in."""
    reason, remedy = sentence(code, params or {}) if code else ("", "")
    return Result.model_validate(
        {
            "outcome": outcome,
            "code": code,
            "params": params or {},
            "reason": reason,
            "remedy": remedy,
            "problems": problems or [],
            "ended_at": time.time(),
        }
    )


def write_word(run: RunDir, place: Path, result: Result) -> str:
    """Write a result, on a full disk into the bytes that were set aside for it. Returns why it could not be, or ""."""
    try:
        try:
            write_record(place, result)
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            free_reserve(run)
            write_record(place, result)
    except OSError as error:
        return f"{place.name} was not written: {error}"
    return ""


def failure_file(run: RunDir, rank: int) -> Path:
    """Where a rank other than 0 leaves why it failed; rank 0 has result.json."""
    return run.log_dir / f"rank-{rank}.failure.json"


def peer_failure(run: RunDir) -> Result | None:
    """What a rank other than 0 said before it died: the cause, where rank 0 saw only its silence."""
    found = [read_record(path, Result) for path in run.log_dir.glob("rank-*.failure.json")]
    told = [result for result in found if result is not None]
    causes = [result for result in told if result.code != "run.rank_lost"]
    return min(causes or told, key=lambda result: result.ended_at, default=None)


def explain(run: RunDir, state: State | None = None) -> Result | None:
    """Why a run that is over ended as it did, from its result.json or without one; None where nothing is to be said."""
    state = state or state_of(run)
    if state.live or state is State.SUCCEEDED:
        return None
    result = run.result()
    if result is not None:
        return result
    if state is State.STOPPED:
        return make("stopped", "run.stopped_unsaved")
    return peer_failure(run) or of_status(run.status())


def of_status(status: Status | None) -> Result:
    """A death that left no word, from how the ranks ended."""
    ends = status.ranks_ended if status is not None else []
    for end in ends:  # in the order in which they ended: the first one is the cause, the others were told to go
        if end.signal is not None:
            return make("failed", *of_signal(end))
        if end.code:
            return make("failed", "run.exited", {"rank": end.rank, "exit_code": end.code})
    return make("failed", "run.vanished")


def of_signal(end: RankEnd) -> Classified:
    number = end.signal or 0
    name = signal.Signals(number).name if number in set(signal.Signals) else f"SIG{number}"
    if number == signal.SIGKILL:
        return "run.killed_memory", {"rank": end.rank}
    code = "run.native_crash" if number in NATIVE_SIGNALS else "run.killed"
    return code, {"rank": end.rank, "signal": number, "name": name}


# -- the last bytes of a full disk ------------------------------------------------------------------------------------
RESERVE_BYTES = 65536


def reserve(run: RunDir) -> None:
    """Set some bytes of the disk aside, so that a run that fills it can still say so."""
    try:
        with open(run.path / ".reserve", "wb") as file:
            file.write(os.urandom(RESERVE_BYTES))
    except OSError:
        free_reserve(run)  # what there was of it is enough to say why
        raise


def free_reserve(run: RunDir) -> None:
    (run.path / ".reserve").unlink(missing_ok=True)
