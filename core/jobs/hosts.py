"""A run on several hosts: `torchrun … -m core.jobs.hosts RUN_DIR`, once for each rank, in place of the supervisor.

    1. whoever submits prepares the run and prints `commands(run)`; it waits until they are given, one on each host
    2. each rank's keeper, this module, checks that torchrun and the run's settings agree; the first of a host claims
       its devices; rank 0's takes the run's lock and writes status.json
    3. it starts the rank, with the run's marks, into log/rank-k.log, and watches it: a stop that takes too long,
       another rank's word that it failed, another host that is silent
    4. the rank has ended: its keeper says how, where it has left no word, and passes the exit status on to torchrun

Hosts see each other in the run's folder alone, which they share. Rank 0's keeper renews heartbeat.json every 5 s, the
first keeper of every other host log/host-n.json: by the former the run's state is true on machines that cannot see its
lock, by all of them a host that has lost its power is missed. Ages between hosts are measured by one clock: how long a
file has not changed, as seen from here. Left out: starting torchrun on other machines, and retries; torchrun's own
restarts would not set the earlier attempt aside.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from core.configs.distributed import DEEPSPEED, Distributed
from core.configs.stages import StageConfig
from core.errors import GalenError, Problem, RunError
from core.hardware import find
from core.jobs import failures, processes, webhook
from core.jobs.locks import take_run
from core.jobs.queue import Claim, Holder
from core.jobs.retrying import CLEAN_EXITS
from core.jobs.stopping import Countdown, term_grace
from core.records import Heartbeat, RankEnd, Result, Status
from core.rundir import HEARTBEAT_SECONDS, RunDir, read_record, write_record
from core.system import python_command, python_environment

BEAT = 5.0  # seconds between two signs of life
LOOK = 0.5  # seconds between two looks at the rank and the run's files
PEER_GRACE = 10.0  # for a rank, once another has said that it failed: the libraries notice by themselves, or never


# -- before the start -------------------------------------------------------------------------------------------------
def problems(config: StageConfig) -> list[Problem]:
    """What the strategy of `config` needs and this environment lacks; and nobody is there to wait for other runs."""
    section = getattr(config, "distributed", None)
    if section is not None and section.hosts > 1 and config.run.after:
        return [Problem("distributed.no_waiting", {"runs": ", ".join(config.run.after)}, key="distributed.hosts")]
    if section is None or section.strategy not in DEEPSPEED or find_spec("deepspeed") is not None:
        return []
    return [Problem("distributed.no_deepspeed", {"strategy": section.strategy}, key="distributed.strategy")]


def several(config: Mapping[str, Any]) -> bool:
    """Whether a run with this config, as JSON, is on several hosts."""
    return int((config.get("distributed") or {}).get("hosts", 1)) > 1


def prepare(run: RunDir) -> None:
    """From now on the run waits for its hosts."""
    write_record(run.heartbeat_file, Heartbeat())


def commands(run: RunDir) -> list[str]:
    """What to type on each host, in Galen's folder there; the host of the rendezvous is the first. [] for one host."""
    config = run.config()
    if not several(config):
        return []
    section = Distributed.model_validate(config["distributed"])
    words = [
        "torchrun", f"--nnodes={section.hosts}", f"--nproc-per-node={len(config['devices']['use'])}",
        "--rdzv-backend=static", f"--rdzv-endpoint={section.rendezvous}", f"--rdzv-id={run.id}", "--max-restarts=0",
    ]  # fmt: skip
    target = ["-m", "core.jobs.hosts", str(run.path.resolve())]
    return [shlex.join([*words, f"--node-rank={host}", *target]) for host in range(section.hosts)]


# -- one rank ---------------------------------------------------------------------------------------------------------
class Keeper:
    """Steps 2 to 4 for one rank. `environment` is what torchrun has set."""

    def __init__(self, run: RunDir, environment: Mapping[str, str]) -> None:
        self.run, self.environment = run, environment
        self.rank, self.first = int(environment["RANK"]), int(environment["LOCAL_RANK"]) == 0
        self.world_size, self.on_host = int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])
        self.began = time.time()
        self.claim: Claim | None = None
        self.lock: int | None = None
        self.status: Status | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.told_to_end = False
        self.beat_at = -BEAT
        self.term_at: float | None = None
        self.kill_at: float | None = None
        self.countdown: Countdown | None = None
        self.others: dict[Path, tuple[int, float]] = {}  # signs of life: when each last changed, by their and our clock

    def keep(self) -> int:
        """Returns the exit status for torchrun."""
        try:
            self._check()
        except GalenError as error:  # it was started wrongly: the run goes on waiting, or is what it was
            print(error, file=sys.stderr, flush=True)
            return 1
        code: int | None = None
        try:
            if self._own():
                code = self._watch(self._start())
        except BaseException as error:
            print(error if isinstance(error, GalenError) else traceback.format_exc(), file=sys.stderr, flush=True)
            if self.rank > 0 or self.lock is not None:  # without the lock it is the run of others
                self._leave_word(failures.result_for(error))
        finally:
            self._close(code)
        return 1 if code is None else code if code >= 0 else 128 - code

    # -- step 2 -------------------------------------------------------------------------------------------------------
    def _check(self) -> None:
        config = self.run.config()
        if not several(config):
            raise RunError("run.not_for_hosts", run=self.run.id)
        wanted = config["distributed"]["hosts"] * len(config["devices"]["use"])
        if wanted != self.world_size or len(config["devices"]["use"]) != self.on_host:
            raise RunError("run.wrong_world", run=self.run.id, found=self.world_size, wanted=wanted)
        if self.run.manifest_file.exists():
            raise RunError("run.finished", run=self.run.id)
        if self.run.result() is not None:
            raise RunError("run.not_set_aside", run=self.run.id)

    def _own(self) -> bool:
        """False when the run was stopped, or we were told to end, while it waited for the devices of this host."""
        if self.rank == 0:
            self.lock = take_run(self.run)
            if self.lock is None:
                raise RunError("run.live", run=self.run.id, state="running")
            os.set_inheritable(self.lock, True)
            self._write_status(started_at=None)
            failures.reserve(self.run)
        self._beat()
        if self.first:
            holder = Holder(run=self.run.id, workspace=str(self.run.path.resolve().parent.parent), pid=os.getpid())
            self.claim = Claim(find(self.run.config()["devices"]["use"]), holder)
            while self.claim.try_take():
                if self.run.stop_file.exists() and self.rank == 0:
                    self._leave_word(failures.make("stopped", "run.stopped_waiting"))
                if self.told_to_end or self.run.stop_file.exists():
                    return False
                self._beat()
                time.sleep(LOOK)
        return True

    def _write_status(self, **fields: Any) -> None:
        if self.status is None:
            self.status = Status(
                attempt=1 + sum(1 for entry in self.run.attempts.glob("*") if entry.name.isdigit()),
                supervisor_pid=os.getpid(), supervisor_started=psutil.Process().create_time(),
                host=socket.gethostname(), submitted_at=self.began, devices=self.run.config()["devices"]["use"],
            )  # fmt: skip
        self.status = self.status.model_copy(update=fields)
        write_record(self.run.status_file, self.status)

    # -- step 3 -------------------------------------------------------------------------------------------------------
    def _start(self) -> subprocess.Popen[bytes]:
        if self.rank == 0:
            self._write_status(started_at=time.time())
        environment = {**python_environment(self.environment), **processes.marks(self.run)}
        gpus = [device.uuid for device in find(self.run.config()["devices"]["use"]) if device.is_gpu]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        inherited = [fd for fd in (self.lock, self.claim.fd if self.claim is not None else None) if fd is not None]
        with open(self.run.log_file(self.rank), "ab") as log:
            self.child = subprocess.Popen(
                python_command("core.jobs.worker", str(self.run.path)),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=inherited, env=environment,
            )  # fmt: skip
        print(f"rank {self.rank} writes to {self.run.log_file(self.rank)}", flush=True)
        return self.child

    def _watch(self, child: subprocess.Popen[bytes]) -> int:
        """The rank's exit code, negative for a signal."""
        while child.poll() is None:
            self._beat()
            self._look()
            now = time.monotonic()
            if self.kill_at is not None and now >= self.kill_at:
                child.kill()
            elif self.kill_at is None and self.term_at is not None and now >= self.term_at:
                child.terminate()
                self.kill_at = now + term_grace()
            time.sleep(LOOK)
        return child.wait()

    def _look(self) -> None:
        """At what may be a reason to end this rank."""
        if self.told_to_end:
            self._end_in(0.0)
        if self.countdown is None and self.run.stop_file.exists():
            self.countdown = Countdown()
        if self.countdown is not None and self.countdown.is_over(self.run.progress()):
            self._end_in(0.0)
        if self._peer_failed():
            self._end_in(PEER_GRACE)
        silent = self._silent()
        if silent is not None and self.term_at is None:
            self._leave_word(failures.make("failed", "run.host_lost", silent))
            self._end_in(0.0)

    def _end_in(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        self.term_at = at if self.term_at is None else min(self.term_at, at)

    def _peer_failed(self) -> bool:
        told = failures.peer_failure(self.run)
        result = self.run.result()
        return told is not None or (result is not None and result.outcome == "failed")

    # -- signs of life ------------------------------------------------------------------------------------------------
    def _beat(self) -> None:
        if self.first and time.monotonic() - self.beat_at >= BEAT:
            self.beat_at = time.monotonic()
            self._write_sign(time.time())

    def _write_sign(self, at: float) -> None:
        """at: now, in seconds since the epoch; 0: this host is done."""
        try:
            write_record(self._sign(self.rank), Heartbeat(host=socket.gethostname(), pid=os.getpid(), at=at))
        except OSError as error:  # the folder may be back in a moment; if not, the others will say so
            print(f"no sign of life could be written: {error}", file=sys.stderr, flush=True)

    def _sign(self, first_rank: int) -> Path:
        host = first_rank // self.on_host
        return self.run.heartbeat_file if host == 0 else self.run.log_dir / f"host-{host}.json"

    def _silent(self) -> dict[str, Any] | None:
        """Who has not been heard of for too long, for the message `run.host_lost`; a host counts once it has begun, and
        until it says that it is done: the others may have ended long before rank 0 has delivered."""
        for first_rank in range(0, self.world_size, self.on_host):
            path = self._sign(first_rank)
            try:
                changed = path.stat().st_mtime_ns
            except OSError:
                continue
            known, seen = self.others.get(path, (0, time.monotonic()))
            if known != changed:
                self.others[path] = (changed, time.monotonic())
            elif time.monotonic() - seen > HEARTBEAT_SECONDS:
                beat = read_record(path, Heartbeat)
                if beat is not None and not beat.at:
                    continue
                ranks = f"{first_rank} to {first_rank + self.on_host - 1}"
                host = beat.host if beat is not None else "?"
                return {"host": host, "ranks": ranks, "seconds": int(HEARTBEAT_SECONDS)}
        return None

    # -- step 4 -------------------------------------------------------------------------------------------------------
    def _close(self, code: int | None) -> None:
        """The rank is over, or will not begin (no code): say so, and give back what was held."""
        if self.child is not None and self.child.poll() is None:
            self._end_child(self.child)
        ends = [] if code is None else [RankEnd.of(self.rank, code)]
        if ends and code not in CLEAN_EXITS:
            self._leave_word(self._death(ends[0]))
        if self.claim is not None:
            self.claim.release()
        if self.lock is not None:
            failures.free_reserve(self.run)
            try:
                self._write_status(ended_at=time.time(), ranks_ended=ends)
            except OSError as error:
                print(f"status.json was not written: {error}", file=sys.stderr, flush=True)
        if self.first and (self.rank > 0 or self.lock is not None):
            self._write_sign(0.0)

    @staticmethod
    def _end_child(child: subprocess.Popen[bytes]) -> None:
        child.terminate()
        try:
            child.wait(term_grace())
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _death(self, end: RankEnd) -> Result:
        """How a rank died that left no word."""
        if end.signal == signal.SIGKILL and self.term_at is None:
            return failures.make("failed", "run.rank_killed", {"rank": self.rank, "host": socket.gethostname()})
        if end.signal is not None:
            return failures.make("failed", *failures.of_signal(end))
        return failures.make("failed", "run.exited", {"rank": self.rank, "exit_code": end.code})

    def _leave_word(self, result: Result) -> None:
        """Into the rank's own file, unless it, or somebody who knows the cause, has said something already."""
        told = failures.peer_failure(self.run)
        if self.run.result() is not None or (told is not None and told.code != "run.rank_lost"):
            return
        place = self.run.result_file if self.rank == 0 else failures.failure_file(self.run, self.rank)
        untold = failures.write_word(self.run, place, result)
        if untold:
            print(untold, file=sys.stderr, flush=True)


def main(folder: str) -> int:
    keeper = Keeper(RunDir(folder), os.environ)

    def on_signal(number: int, frame: Any) -> None:
        keeper.told_to_end = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    status = keeper.keep()
    if keeper.lock is not None:  # rank 0's: the run is over
        os.close(keeper.lock)
        told = webhook.tell(keeper.run)
        if told:
            print(told, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
