"""The chat server of a workspace: start it, find it again, stop it. Torch-free.

    serving/<key>/     one server, for one base on one device
      lock             held (flock) while its process lives: that is what alive means
      starting         held by whoever is just starting it, so that two tabs start one server
      server.json      written by the server: phase, port, key (0600), or why it did not start
      log.txt          its output

A server is a detached process: closing the page leaves it, and it ends by itself when nobody asks for some minutes,
or for some seconds while a training waits for its GPU.
Ending it frees all its memory. Another run of the same base is loaded into a server that is already there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from core.errors import DeviceError, GalenError, InputError, ModelError, RunError
from core.hardware import devices, expand
from core.jobs.processes import clean_environment
from core.jobs.queue import holders
from core.models.lineage import RunWeights, base_weights, lora_weights
from core.rundir import lock_held, read_record
from core.serving import client
from core.serving.client import ServerHandle
from core.serving.place import HOLDER
from core.serving.process import ServerSpec, ServerState
from core.system import last_line, python_command, python_environment
from core.workspace import Workspace

MARK = "GALEN_SERVER"  # environment variable that a server carries: its folder
IDLE_MINUTES = 10.0
SPARE_SECONDS = 60.0  # a server that was asked nothing for so long makes room for another base
STOP_PATIENCE = 8.0  # seconds until a server that was asked to stop is killed
TICK = 0.05

OnProgress = Callable[[str], None]


def ensure_server(
    workspace: Workspace,
    base: str,
    runs: Sequence[str] = (),
    *,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    idle_minutes: float = IDLE_MINUTES,
    beside: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> ServerHandle:
    """A ready server with `base` and every one of `runs` loaded; requests name `base` or a run as given here.

    A running one is used if it has this base on this device; runs it lacks are loaded into it. beside: bases whose
    servers are wanted at the same time, and need not make room for this one. `on_progress` gets the phases: importing,
    loading, ready. Raises ModelError, InputError or DeviceError where something cannot be used,
    RunError `serve.start_failed` (with the log's path) where the server broke.
    """
    tell = on_progress or (lambda phase: None)
    weights = base_weights(workspace, base)
    for run in runs:
        lora_weights(workspace, run, weights.model)  # what is wrong with them is told before anything starts
    device = choose_device(device, workspace)
    folder = _folder(workspace, weights, device, dtype)
    with _starting(folder):
        handle = _ready(folder)
        if handle is None:
            if not device.startswith("cpu"):
                _check_free(device, workspace)
            _make_room(workspace, [_folder(workspace, base_weights(workspace, each), device, dtype) for each in beside])
            spec = ServerSpec(
                workspace=str(workspace.path), base=str(weights.model), device=device, dtype=dtype, folder=str(folder),
                trust_remote_code=trust_remote_code, idle_minutes=idle_minutes, launch=uuid.uuid4().hex,
            )  # fmt: skip
            handle = _start(spec, folder, tell)
        for run in runs:
            tell("loading")
            client.load(handle, run)
    tell("ready")
    return handle


def choose_device(device: str, workspace: Workspace) -> str:
    """`auto`: the first GPU that no training holds, else the CPU of a machine without GPUs. Several: with commas.

    Raises DeviceError `serve.gpu_busy` where every GPU is held: a page can then offer the CPU; `device.unknown`.
    """
    if device != "auto":
        return ",".join(expand(device.split(",")))
    gpus = [found for found in devices() if found.is_gpu]
    if not gpus:
        return "cpu:0"
    held = _trainings(workspace)
    free = [gpu.id for gpu in gpus if gpu.id not in held]
    if not free:
        raise DeviceError("serve.gpu_busy", device=gpus[0].id, holder=held[gpus[0].id])
    return free[0]


def _check_free(device: str, workspace: Workspace) -> None:
    held = _trainings(workspace)
    for gpu in device.split(","):
        if gpu in held:
            raise DeviceError("serve.gpu_busy", device=gpu, holder=held[gpu])


def _trainings(workspace: Workspace) -> dict[str, str]:
    """GPU → the training that holds it; other chat servers share a GPU and do not count."""
    held = holders(workspace=str(workspace.path))
    named = {gpu: [name for name in names.split(", ") if not name.startswith(HOLDER)] for gpu, names in held.items()}
    return {gpu: ", ".join(names) for gpu, names in named.items() if names}


def running_servers(workspace: Workspace) -> list[ServerHandle]:
    """Every server of this workspace that is ready."""
    found = (_ready(folder) for folder in _folders(workspace))
    return [handle for handle in found if handle is not None]


def stop_server(workspace: Workspace, handle: ServerHandle | None = None) -> None:
    """End this server, or without one all of this workspace, and return once their memory is free."""
    folders = [folder for folder in _folders(workspace) if handle is None or _ready(folder) == handle]
    for folder in folders:
        _end(folder)


# -- folders ----------------------------------------------------------------------------------------------------------
def _folder(workspace: Workspace, base: RunWeights, device: str, dtype: str) -> Path:
    text = "\n".join([str(base.model), base.sha256, device, dtype])
    folder = workspace.path / "serving" / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _folders(workspace: Workspace) -> list[Path]:
    return [folder for folder in sorted((workspace.path / "serving").glob("*")) if lock_held(folder / "lock")]


def _ready(folder: Path) -> ServerHandle | None:
    """The handle of the server in `folder`, if one lives there and answers."""
    state = read_record(folder / "server.json", ServerState)
    if state is None or state.phase != "ready" or not lock_held(folder / "lock"):
        return None
    handle = ServerHandle(url=f"http://{state.host}:{state.port}", key=state.key, base=state.base, device=state.device)
    try:
        client.health(handle)
    except GalenError:
        return None
    return handle


@contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """One caller at a time may look for a server and start one."""
    with open(folder / "starting", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- starting and ending ----------------------------------------------------------------------------------------------
def _start(spec: ServerSpec, folder: Path, tell: OnProgress) -> ServerHandle:
    _end(folder)  # one that lives and does not answer
    log = folder / "log.txt"
    tell("importing")
    with open(log, "wb") as output:
        child = subprocess.Popen(
            python_command("core.serving.process", spec.model_dump_json()),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**python_environment(clean_environment()), MARK: str(folder)},
        )
    threading.Thread(target=child.wait, daemon=True, name="reap chat server").start()
    told = "importing"
    while True:
        state = read_record(folder / "server.json", ServerState)
        state = state if state is not None and state.launch == spec.launch else None
        if state is not None and state.error is not None:
            raise _failed(state.error)
        if state is not None and state.phase != told:
            told = state.phase
            if told == "loading":
                tell(told)
        if told == "ready":
            handle = _ready(folder)
            if handle is not None:
                return handle
        if child.poll() is not None:
            raise RunError("serve.start_failed", detail=last_line(log), log=str(log))
        time.sleep(TICK)


def _failed(error: dict[str, object]) -> GalenError:
    """The server's own error, raised here as the kind that it was."""
    code, params = str(error["code"]), error.get("params")
    area = code.split(".")[0]
    kind = {"model": ModelError, "device": DeviceError}.get(
        area, RunError if code == "serve.start_failed" else InputError
    )
    named = params if isinstance(params, dict) else {}
    return kind(code, **named)


def _make_room(workspace: Workspace, spared: Sequence[Path]) -> None:
    """End servers that nobody has used for a while: a second base in memory is rarely meant."""
    for folder in _folders(workspace):
        if folder in spared:
            continue
        handle = _ready(folder)
        try:
            if handle is not None and client.health(handle)["idle_seconds"] > SPARE_SECONDS:
                _end(folder)
        except GalenError:
            continue


def _end(folder: Path) -> None:
    """Ask, then SIGTERM, then SIGKILL, until the lock is free. Processes are known by their environment."""
    if not lock_held(folder / "lock"):
        return
    handle = _ready(folder)
    if handle is not None:
        try:
            client.ask_to_stop(handle)
        except GalenError:
            pass
    start = time.monotonic()
    sent: set[signal.Signals] = set()
    while lock_held(folder / "lock"):
        waited = time.monotonic() - start
        wanted = signal.SIGKILL if waited > STOP_PATIENCE else signal.SIGTERM if handle is None or waited > 4 else None
        if wanted is not None and wanted not in sent:
            sent.add(wanted)
            _signal(folder, wanted)
        if waited > 2 * STOP_PATIENCE:
            raise RunError("serve.will_not_end", folder=str(folder))
        time.sleep(TICK)


def _signal(folder: Path, number: signal.Signals) -> None:
    for process in psutil.process_iter():
        try:
            if process.uids().real == os.getuid() and process.environ().get(MARK) == str(folder):
                process.send_signal(number)
        except (psutil.Error, OSError):
            continue
