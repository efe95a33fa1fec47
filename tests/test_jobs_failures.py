"""Every way to fail gets one line and a remedy, in result.json or from how the ranks ended."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import DataError, RunError, StopRequested
from core.hardware import _cgroup_limits, devices, memory
from core.jobs import store
from core.jobs.attempts import cut_after
from core.jobs.failures import classify, explain, of_status
from core.jobs.stopping import stop_grace
from core.jobs.summaries import summaries, tail_rows
from core.messages import MESSAGES
from core.records import Progress, RankEnd, Result, Status
from core.rundir import RunDir, State, state_of, write_record
from core.workspace import Workspace
from tests.jobs_tools import drills, logs, orphans, reaches, submit

__all__ = ["drills"]


# -- exceptions -------------------------------------------------------------------------------------------------------
class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


class RepositoryNotFoundError(OSError):
    """As huggingface_hub calls its own."""


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "run.out_of_memory"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "run.out_of_gpu_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), "run.out_of_memory"),
        (RuntimeError("Caught MemoryError in DataLoader worker process 0."), "run.out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/w/x"), "run.disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/w/x"), "run.disk_full"),
        (OSError(errno.EFBIG, "File too large", "/w/x"), "run.file_limit"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "run.disk_full"),
        (FileNotFoundError(errno.ENOENT, "No such file", "rows.parquet"), "run.missing_file"),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), "run.permission"),
        (ModuleNotFoundError("No module named 'peft'"), "run.missing_package"),
        (OSError("qwen/x is not a local folder and is not a valid model identifier"), "run.no_model"),
        (_caused(OSError("cannot load"), RepositoryNotFoundError("404")), "run.no_model"),
        (_caused(RuntimeError("wrapped"), MemoryError()), "run.out_of_memory"),
        (_caused(DataError("data.no_file", file="x"), FileNotFoundError(2, "x", "y")), "data.no_file"),
        (RunError("run.nan_loss", step=3, count=1, rows=4, checkpoint="–"), "run.nan_loss"),
        (StopRequested(), "run.stopped"),
        (RuntimeError("CUDA error: device-side assert triggered"), "run.gpu_failed"),
        (RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer"), "run.rank_lost"),
        (ValueError("something\nelse"), "run.crashed"),
        (KeyError("x"), "run.crashed"),
    ],
)
def test_classes_of_failures(error: Exception, code: str) -> None:
    found, params = classify(error)
    assert found == code
    message, remedy = MESSAGES[found]
    assert "{" not in message.format(**params) + remedy.format(**params)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (RankEnd(rank=0, signal=signal.SIGKILL), "run.killed_memory"),
        (RankEnd(rank=0, signal=signal.SIGSEGV), "run.native_crash"),
        (RankEnd(rank=0, signal=signal.SIGTERM), "run.killed"),
        (RankEnd(rank=1, signal=40), "run.killed"),
        (RankEnd(rank=1, code=7), "run.exited"),
    ],
)
def test_deaths_without_a_word(end: RankEnd, code: str) -> None:
    ends = [RankEnd(rank=5, code=0), end, RankEnd(rank=3, signal=signal.SIGTERM)]
    result = of_status(Status(supervisor_pid=1, supervisor_started=0, submitted_at=0, ranks_ended=ends))
    assert result.code == code
    assert result.reason


# -- runs that fail ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fails", "state", "code", "status"),
    [
        ("memory", State.FAILED, "run.out_of_memory", 1),
        ("crash", State.FAILED, "run.crashed", 1),
        ("bad data", State.FAILED, "data.no_file", 2),
        ("nan", State.FAILED, "run.nan_loss", 1),
        ("missing", State.FAILED, "run.missing_file", 1),
        ("exit", State.FAILED, "run.exited", 7),
        ("segfault", State.INTERRUPTED, "run.native_crash", None),
    ],
)
def test_runs_that_fail(workspace: Workspace, fails: str, state: State, code: str, status: int | None) -> None:
    run = submit(workspace, fails=fails)
    assert reaches(run) is state
    why = explain(run)
    assert why is not None
    assert why.code == code
    assert "\n" not in why.reason
    progress = run.progress()
    assert progress is not None
    assert progress.step == 7 or fails in ("exit", "segfault")
    ended = run.status()
    assert ended is not None
    assert ended.ranks_ended[0].code == status
    if fails in ("crash", "memory", "missing"):
        assert "Traceback" in run.log_file(0).read_text()
    assert orphans(run) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB. Only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root on Linux")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_run_resumes(small_disk: Path) -> None:
    workspace = Workspace(small_disk / "workspace")
    run = submit(workspace, fails="disk")
    assert reaches(run) is State.FAILED
    result = run.result()
    assert result is not None, "the reserve was there for it"
    assert result.code == "run.disk_full"
    status = run.status()
    assert status is not None
    assert status.ended_at is not None, logs(run)
    (run.path / "huge").unlink()
    (run.path / "repaired").touch()
    store.resume(workspace, run.id)
    assert reaches(run) is State.SUCCEEDED


def test_no_space_for_a_run_at_all(small_disk: Path) -> None:
    workspace = Workspace(small_disk / "workspace")
    with open(small_disk / "fill", "wb", buffering=0) as file:
        while file.write(b"x" * 4096) == 4096 and os.statvfs(small_disk).f_bavail:
            pass
    with pytest.raises(RunError) as caught:
        submit(workspace)
    assert caught.value.code == "run.disk_full"
    assert list(workspace.runs_dir.iterdir()) == []


# -- files ------------------------------------------------------------------------------------------------------------
def test_cutting_rows(tmp_path: Path) -> None:
    file, kept = tmp_path / "rows", tmp_path / "kept"
    rows = [b'{"step": 1}\n', b"\n", b"\xff\xfe\n", b'{"step": 2, "eval": 1}\n', b'{"step": 3}\n', b'{"step": 2']
    file.write_bytes(b"".join(rows))
    cut_after(file, 2, kept)
    assert file.read_bytes() == rows[0] + rows[3]
    assert kept.read_bytes() == rows[1] + rows[2] + rows[4] + rows[5]
    cut_after(file, 2, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_the_grace_of_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Progress(phase="training", step_seconds=40, save_seconds=15, updated_at=0)
    assert stop_grace(None) == 60
    assert stop_grace(slow) == 135
    monkeypatch.setenv("GALEN_STOP_SECONDS", "200")
    assert stop_grace(slow) == 200


def test_two_hundred_runs_are_listed(workspace: Workspace) -> None:
    for number in range(200):
        run = RunDir(workspace.runs_dir / f"drill-20260101-{number:06d}-abcd")
        run.path.mkdir()
        run.config_json.write_text(
            '{"run": {"name": "n"}, "devices": {"use": ["cpu:0"]}, "filler": "' + "x" * 3000 + '"}'
        )
        run.metrics_file.write_text("".join(f'{{"step": {step}, "loss": 1.5}}\n' for step in range(1000)))
        run.lock_file.touch()
        write_record(run.result_file, Result(outcome="failed", code="run.crashed", reason="why", ended_at=1.0))
        write_record(run.status_file, Status(supervisor_pid=1, supervisor_started=0, submitted_at=0))
        write_record(run.progress_file, Progress(phase="training", step=3, total=9, updated_at=0))
    found = summaries(workspace)
    assert len(found) == 200
    assert (found[0].loss, found[0].reason, found[0].state) == (1.5, "why", State.FAILED)


def test_a_tail_begins_at_a_whole_row(tmp_path: Path) -> None:
    file = tmp_path / "m"
    file.write_text("".join(f'{{"step": {step}}}\n' for step in range(100)) + '{"torn')
    assert [row["step"] for row in tail_rows(file, 40)] == [98, 99]
    assert len(tail_rows(file)) == 100
    assert tail_rows(tmp_path / "none") == []


def test_a_run_that_vanished_is_interrupted(workspace: Workspace) -> None:
    run = RunDir.create(workspace.runs_dir, "drill")
    run.config_json.write_text("{}")
    assert state_of(run) is State.INTERRUPTED
    why = explain(run)
    assert why is not None
    assert why.code == "run.vanished"


# -- hardware ---------------------------------------------------------------------------------------------------------
def test_the_machine() -> None:
    cpu = devices(cpu_processes=2)[-2:]
    total, free = memory()
    assert [device.id for device in cpu] == ["cpu:0", "cpu:1"]
    assert 0 < free <= total == cpu[0].memory_total
    flags = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    assert cpu[0].bf16 == bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags.split()))


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_containers(tmp_path: Path, version: int) -> None:
    names = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}[version]
    top = tmp_path / "memory" if version == 1 else tmp_path
    for folder, limit in (
        (top, "max" if version == 2 else str(1 << 62)),
        (top / "a", "1000"),
        (top / "a" / "b", "5000"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / names[0]).write_text(limit)
        (folder / names[1]).write_text("600")
        (folder / "memory.stat").write_text("inactive_file 100\ntotal_inactive_file 100\n")
    proc = tmp_path / "cgroup"
    proc.write_text("4:memory:/a/b\n3:cpu:/\n" if version == 1 else "0::/a/b\n")
    assert sorted(_cgroup_limits(proc, tmp_path)) == [(1000, 500), (5000, 500)]
