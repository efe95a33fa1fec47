"""The supervisor: one small process per run, started by `store`, that outlives the page and the terminal.

    1. write status.json; the run's lock is already held (inherited from whoever submitted)
    2. wait for the runs that it names (`waiting`), then for its devices; a stop request ends the run here, too
    3. start every rank of this host in one process group, the locks' descriptors inherited
    4. watch: reap, enforce the stop deadline, end the others when one rank dies
    5. end whatever the run left behind; where it crashed and may start again (`retrying`), go back to 3
    6. record the end, give the devices back, let go of the run's lock, and tell its webhook

It writes result.json only where no rank 0 lived to do it: stopped while waiting, ranks that could not be started, an
error of its own. It imports nothing heavy. Deadlines use a monotonic clock, so a moved wall clock ends nothing.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import traceback
from types import FrameType

import psutil

from core.configs.stages import STAGES
from core.hardware import Device, cores, find
from core.jobs import failures, processes, retrying, waiting, webhook
from core.jobs.locks import take_run
from core.jobs.queue import Claim, Holder
from core.jobs.stopping import Countdown, term_grace
from core.records import RankEnd, Result, Status
from core.rundir import RunDir, write_record
from core.system import python_command, python_environment

POLL = 0.1  # seconds between two looks at ranks and files
QUEUE_POLL = 0.25
RUNS_POLL = 1.0  # between two looks at the runs that are waited for
PEER_GRACE = 30.0  # for the other ranks, once rank 0 is done or one rank has stopped
LEFTOVER_GRACE = 1.0  # for helpers that end by themselves when their rank has ended
TOUCH_SECONDS = 3600.0

# For ranks that compute on the CPU under glibc. Activations of tens of megabytes would come fresh from the kernel at
# every operation and go back to it: the page faults cost about 5 % of a training step (docs/lab.md). So memory that was
# freed is kept, and comes in huge pages. And threads that wait for each other sleep soon: where something else has one
# of the cores, a browser with this very page, spinning ones made a training step up to twenty times as long.
# Whoever set one of these before keeps his own.
CPU_ENVIRONMENT = {
    "GOMP_SPINCOUNT": "1000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
}


class Supervisor:
    """Steps 1 to 6 for one run. `lock` is the descriptor of the run's lock, already held."""

    def __init__(self, run: RunDir, lock: int) -> None:
        self.run = run
        self.lock = lock
        self.claim: Claim | None = None
        self.ranks: dict[int, int] = {}  # pid → rank, of those that live
        self.children: list[subprocess.Popen[bytes]] = []  # kept, so that Popen never waits for a pid in our place
        self.told_to_end = False
        self._forget()
        self.touched = time.monotonic()
        stage = STAGES.get(run.stage)
        waits = stage is None or stage.waits(run.config())
        self.status = Status(
            attempt=1 + sum(1 for entry in run.attempts.glob("*") if entry.name.isdigit()),
            supervisor_pid=os.getpid(),
            supervisor_started=psutil.Process().create_time(),
            host=socket.gethostname(),
            submitted_at=time.time(),
            devices=run.config().get("devices", {}).get("use", []) if waits else [],
        )

    def _forget(self) -> None:
        """An attempt begins: it has no process group yet, and nobody was told to end."""
        self.group: int | None = None
        self.countdown: Countdown | None = None
        self.term_at: float | None = None
        self.kill_at: float | None = None
        self.sent: set[signal.Signals] = set()

    def supervise(self) -> None:
        error: BaseException | None = None
        try:
            self._save()
            failures.reserve(self.run)
            devices = find(self.status.devices)
            if self._wait_for_runs() and self._wait_for(devices):
                self._start(devices)
                self._watch()
                self._retry(devices)
        except BaseException as caught:
            error = caught
            say(f"the supervisor failed: {failures.one_line(caught)}")
            traceback.print_exc()
        finally:
            self._sweep()
            if error is not None and self.run.result() is None:
                self._write_result(failures.result_for(error))
            self.status.ended_at = time.time()
            self.status.waiting_for = []
            self._save()
            failures.free_reserve(self.run)
            if self.claim is not None:
                self.claim.release()

    # -- step 2 -------------------------------------------------------------------------------------------------------
    def _wait_for_runs(self) -> bool:
        """Wait until the runs before this one have succeeded; take over what they made. False: it does not start."""
        if not waiting.parents(self.run):
            return True
        while left := waiting.waits_for(self.run):
            if self._gives_up():
                return False
            self._tell_waiting([run.id for run in left])
            time.sleep(RUNS_POLL)
        environment = {**python_environment(processes.clean_environment()), **processes.marks(self.run)}
        command = python_command("core.jobs.handing_over", str(self.run.path))
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment).returncode
        if ended and self.run.result() is None and not self.told_to_end:
            self._write_result(failures.make("failed", "run.no_hand_over", {"exit_code": ended}))
        return ended == 0

    def _gives_up(self) -> bool:
        """Whether the run was stopped, or we were told to end, while it waited."""
        if self.run.stop_file.exists():
            self._write_result(failures.make("stopped", "run.stopped_waiting"))
            return True
        return self.told_to_end

    def _tell_waiting(self, waiting_for: list[str]) -> None:
        if waiting_for != self.status.waiting_for:
            say(f"waiting for {', '.join(waiting_for)}")
            self.status.waiting_for = waiting_for
            self._save()

    def _wait_for(self, devices: list[Device]) -> bool:
        """Queue for the devices. False when the run was stopped, or we were told to end, while it waited."""
        if not devices:
            return True
        holder = Holder(run=self.run.id, workspace=str(self.run.path.resolve().parent.parent), pid=os.getpid())
        self.claim = Claim(devices, holder)
        while True:
            waiting_for = self.claim.try_take()
            if self._gives_up():
                return False
            if not waiting_for:
                return True
            self._tell_waiting(waiting_for)
            self._touch()
            time.sleep(QUEUE_POLL)

    # -- step 3 -------------------------------------------------------------------------------------------------------
    def _start(self, devices: list[Device]) -> None:
        self.status.waiting_for = []
        self.status.started_at = time.time()
        self._save()
        world_size = max(1, len(devices))
        port = free_port() if world_size > 1 else 0
        inherited = [self.lock] + ([self.claim.fd] if self.claim is not None else [])
        for rank in range(world_size):
            with open(self.run.log_file(rank), "ab") as log:
                child = subprocess.Popen(
                    python_command("core.jobs.worker", str(self.run.path)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=inherited,
                    process_group=self.group or 0,
                    env=rank_environment(self.run, devices, rank, world_size, port),
                )
            # Nothing is reaped before all have started: even a rank that died at once keeps the group's number taken.
            self.group = self.group or child.pid
            self.children.append(child)
            self.ranks[child.pid] = rank
            self.status.rank_pids.append(child.pid)
            say(f"rank {rank} is process {child.pid}")
        self._save()

    # -- step 4 -------------------------------------------------------------------------------------------------------
    def _watch(self) -> None:
        while self.ranks:
            self._reap()
            self._check_stop()
            self._enforce()
            self._touch()
            time.sleep(POLL)

    def _reap(self) -> None:
        """Collect every child that ended, adopted orphans too; record the ranks among them."""
        while True:
            try:
                pid, raw = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            rank = self.ranks.pop(pid, None)
            if rank is not None:
                self._record_end(rank, os.waitstatus_to_exitcode(raw))

    def _record_end(self, rank: int, code: int) -> None:
        say(f"rank {rank} ended: " + (f"exit code {code}" if code >= 0 else f"signal {-code}"))
        self.status.ranks_ended.append(RankEnd.of(rank, code))
        self._save()
        if code not in retrying.CLEAN_EXITS:
            self._end_soon(0.0)
        elif rank == 0 or code == 130:
            self._end_soon(PEER_GRACE)

    def _end_soon(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        self.term_at = at if self.term_at is None else min(self.term_at, at)

    def _check_stop(self) -> None:
        if self.told_to_end:
            self._end_soon(0.0)
        if self.countdown is None and self.run.stop_file.exists():
            self.countdown = Countdown()
            say("asked to stop")
        if self.countdown is None or self.term_at is not None:
            return
        if self.countdown.is_over(self.run.progress()):
            say("the stop took too long")
            self.status.killed = True
            self._save()
            self._end_soon(0.0)

    def _enforce(self) -> None:
        """SIGTERM when it is time, SIGKILL `term_grace` later, again and again."""
        now = time.monotonic()
        if self.kill_at is None:
            if self.term_at is not None and now >= self.term_at and self.ranks:
                self._signal(signal.SIGTERM)
                self.kill_at = now + term_grace()
        elif now >= self.kill_at:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if number not in self.sent:
            say(f"sending {number.name}")
            self.sent.add(number)
        if self.group is not None and self.ranks:
            processes.send_group(self.group, number)
        processes.send(self._everyone(), number)

    # -- step 5 -------------------------------------------------------------------------------------------------------
    def _retry(self, devices: list[Device]) -> None:
        """New attempts for as long as they crash and `run.retries` allows; the devices are kept meanwhile."""
        for number in range(1, 1 + retrying.retries_of(self.run)):
            self._sweep()
            if self.told_to_end or not retrying.broke_off(self.run, self.status):
                return
            seconds = retrying.wait_before(number)
            say(f"the run broke off: attempt {self.status.attempt + 1} begins in {seconds:.0f} s")
            if not self._stay(seconds):
                return
            step = retrying.make_ready(self.run)
            failures.reserve(self.run)
            say(f"attempt {self.status.attempt + 1}, by itself, from step {step}")
            self._forget()
            self.status = self.status.model_copy(
                update={
                    "attempt": self.status.attempt + 1, "ended_at": None, "rank_pids": [], "ranks_ended": [],
                }
            )  # fmt: skip
            self._start(devices)
            self._watch()

    def _stay(self, seconds: float) -> bool:
        """Wait. False when the run was asked to stop, or we were told to end, meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.told_to_end or self.run.stop_file.exists():
                return False
            self._touch()
            time.sleep(POLL)
        return True

    def _sweep(self) -> None:
        """End every process of the run that is left, however long the kernel takes; the lock is held until then."""
        start, asked = time.monotonic(), False
        while True:
            self._reap()
            left = self._everyone()
            if not left and not self.ranks:
                return
            waited = time.monotonic() - start
            if not asked and waited > LEFTOVER_GRACE:
                self._signal(signal.SIGTERM)
                asked = True
            elif asked and waited > LEFTOVER_GRACE + (term_grace() if self.ranks else LEFTOVER_GRACE):
                self._signal(signal.SIGKILL)
            time.sleep(0.05)

    def _everyone(self) -> list[psutil.Process]:
        """Whoever carries the run's marks, and our descendants whatever they carry."""
        return list(
            {process.pid: process for process in (*processes.carriers(self.run), *processes.descendants())}.values()
        )

    # -- files --------------------------------------------------------------------------------------------------------
    def _save(self) -> None:
        """Write status.json. A full disk must not end a supervisor: the state is derived from the lock anyway."""
        try:
            write_record(self.run.status_file, self.status)
        except OSError as error:
            if error.errno in failures.DISK_ERRORS and self.status.ended_at is not None:
                failures.free_reserve(self.run)
                write_record(self.run.status_file, self.status)
            else:
                say(f"status.json was not written: {error}")

    def _write_result(self, result: Result) -> None:
        untold = failures.write_word(self.run, self.run.result_file, result)
        if untold:
            say(untold)

    def _touch(self) -> None:
        if self.claim is not None and time.monotonic() - self.touched > TOUCH_SECONDS:
            self.claim.touch()
            self.touched = time.monotonic()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.told_to_end = True


def rank_environment(run: RunDir, devices: list[Device], rank: int, world_size: int, port: int) -> dict[str, str]:
    """What a rank finds: the run's marks, its devices, its share of the cores, and, with others, the rendezvous."""
    environment = {**python_environment(processes.clean_environment()), **processes.marks(run)}
    gpus = [device.uuid for device in devices if device.is_gpu]
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if not gpus and sys.platform == "linux":
        environment = {**CPU_ENVIRONMENT, **environment}
    if world_size > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // world_size)))
        values = (rank, rank, world_size, world_size, "127.0.0.1", port)
        environment.update(zip(processes.RENDEZVOUS, map(str, values), strict=True))
    return environment


def free_port() -> int:
    """A free port below those that the kernel gives to outgoing connections: rank 0 binds it only seconds later."""
    for _ in range(100):
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port between 20000 and 32000")


def say(text: str) -> None:
    """One line for log/supervisor.log, if the disk has room for it."""
    try:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", flush=True)
    except OSError:
        return


def main(folder: str, inherited_lock: str | None = None) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited "ignore" would let ranks vanish unrecorded
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    run = RunDir(folder)
    lock = int(inherited_lock) if inherited_lock is not None else take_run(run)
    if lock is None:
        say("the run is live already")
        return 1
    supervisor = Supervisor(run, lock)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, supervisor.on_signal)
    processes.become_subreaper()
    supervisor.supervise()
    os.close(lock)  # whoever looks now sees that the run is over, however long its webhook takes
    told = webhook.tell(run)
    if told:
        say(told)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
