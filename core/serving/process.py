"""The server's own process: load the weights, then answer until told to stop. Started by `session` or `core.cli.serve`.

    1. write server.json with phase "importing", then import torch
    2. phase "loading": find and hash the weights, claim the device, load the base once and every run on it
    3. phase "ready" with the port; serve until stopped, until nobody has asked anything for `idle_minutes`, or, in a
       session, until a training waits for the device while nobody asks

Like the ranks of a run, the process sees its own GPU alone, by UUID, or none: nothing in it can touch another one.
In a session folder, server.json is written by this process alone and `lock` is held while it lives.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core import late
from core.errors import GalenError, InputError, RunError
from core.jobs.queue import Holder
from core.models.lineage import RunWeights, base_weights, lora_weights
from core.records import Record
from core.rundir import write_record
from core.serving.place import HOLDER, Place, end_when_idle, take
from core.workspace import Workspace

if TYPE_CHECKING:
    import uvicorn

    from core.serving.registry import Registry

Phase = Literal["importing", "loading", "ready", "ended"]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SENDABLE = re.compile("[!-~]+")  # keys that every client can send in a header
ALREADY_RUNNING = 3  # exit status: another process holds the session's lock


class ServerSpec(Record):
    """What to serve. `runs` are texts that `lineage.lora_weights` understands; `folder` is the session's, if any."""

    workspace: str
    base: str
    runs: list[str] = []
    device: str = "cpu"
    dtype: str = "auto"
    trust_remote_code: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    idle_minutes: float | None = None
    folder: str | None = None
    launch: str = ""


class ServerState(Record):
    """server.json. `error` is `GalenError.as_dict()`; `launch` tells whose start this was."""

    pid: int
    launch: str = ""
    phase: Phase
    host: str = "127.0.0.1"
    port: int = 0
    key: str = ""
    base: str = ""
    device: str = ""
    error: dict[str, Any] | None = None
    updated_at: float


class Announcer:
    """Writes server.json (session) or prints a line (terminal) at every phase."""

    def __init__(self, spec: ServerSpec, key: str) -> None:
        self._file = Path(spec.folder) / "server.json" if spec.folder else None
        self._state = ServerState(
            pid=os.getpid(), launch=spec.launch, phase="importing", host=spec.host, key=key, base=spec.base,
            device=spec.device, updated_at=0.0,
        )  # fmt: skip

    def __call__(self, phase: Phase, **changes: Any) -> None:
        self._state = self._state.model_copy(update={"phase": phase, "updated_at": time.time(), **changes})
        if self._file is not None:
            write_record(self._file, self._state)
            self._file.chmod(0o600)
        else:
            host = f"[{self._state.host}]" if ":" in self._state.host else self._state.host
            print(f"{phase} …" if phase != "ready" else f"ready at http://{host}:{self._state.port}/v1", flush=True)


def serve(spec: ServerSpec) -> None:
    """Load and serve; returns when the server has ended. Raises GalenError where it cannot start."""
    # Decoding is hundreds of short parallel pieces a token. Threads that spin while they wait for each other make it
    # ten times slower as soon as a training wants the same cores; sleeping ones cost nothing when they are alone.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    key = os.environ.get("GALEN_API_KEY") or (secrets.token_urlsafe(24) if spec.folder else "")
    if key and not SENDABLE.fullmatch(key):
        raise InputError("serve.bad_key")
    if spec.host not in LOOPBACK and not key:
        raise InputError("serve.public_without_key", host=spec.host)
    announce = Announcer(spec, key)
    announce("importing")
    try:
        listener = _listen(spec.host, spec.port)
        workspace = Workspace(spec.workspace)
        base = base_weights(workspace, spec.base)
        runs = [lora_weights(workspace, text, base.model) for text in spec.runs]
        name = HOLDER if spec.folder else f"{HOLDER} in a terminal"
        place = take(spec.device, Holder(run=name, workspace=str(workspace.path), pid=os.getpid()))
        _run(spec, workspace, base, runs, listener, key, announce, place)
    except GalenError as error:
        announce("ended", error=error.as_dict())
        raise
    except Exception as error:
        told = RunError("serve.start_failed", detail=str(error).strip() or type(error).__name__, log=_log_of(spec))
        announce("ended", error=told.as_dict())
        raise
    announce("ended")


def _log_of(spec: ServerSpec) -> str:
    return str(Path(spec.folder) / "log.txt") if spec.folder else "above"


def _run(
    spec: ServerSpec,
    workspace: Workspace,
    base: RunWeights,
    runs: list[RunWeights],
    listener: socket.socket,
    key: str,
    announce: Announcer,
    place: Place,
) -> None:
    """Step 2 from the import of torch on, and step 3."""
    import uvicorn

    with late.left_out():
        from core.models.loading import resolve_dtype
        from core.serving.engine import Engine
        from core.serving.registry import Registry
        from core.serving.server import Service, build_app

    announce("loading")
    dtype = resolve_dtype(spec.dtype, place.device)
    registry: Registry = Registry(
        base,
        dtype=dtype,
        device=place.device,
        shown_device=place.shown,
        trust_remote_code=spec.trust_remote_code,
    )
    for text, weights in zip(spec.runs, runs, strict=True):
        registry.add(weights, alias=text)
    engine = Engine()
    server: uvicorn.Server

    def stop() -> None:
        server.should_exit = True

    service = Service(
        registry,
        engine,
        load=lambda text: registry.add(lora_weights(workspace, text, base.model), alias=text),
        stop=stop,
        key=key or None,
        loads_more=spec.folder is not None,
    )
    hosts = ["*"] if spec.host not in LOOPBACK else [*LOOPBACK[:2], "[::1]"]
    config = uvicorn.Config(
        build_app(service, hosts), log_level="warning", access_log=False, timeout_graceful_shutdown=3, lifespan="off"
    )
    server = uvicorn.Server(config)
    if spec.idle_minutes is not None:
        watch = partial(end_when_idle, lambda: engine.idle_seconds, 60 * spec.idle_minutes, place.awaited, stop)
        threading.Thread(target=watch, daemon=True, name="idle").start()
    announce("ready", port=listener.getsockname()[1], device=spec.device, base=base.label)
    try:
        server.run(sockets=[listener])
    finally:
        engine.close()


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a taken port is told before anything is loaded.

    Raises InputError `serve.port_taken`, and `serve.no_address` where the machine or the system has no such place.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError("serve.port_taken", host=host, port=port) from error
        raise InputError("serve.no_address", host=host, port=port, detail=error.strerror or str(error)) from error
    return listener


def main(argv: list[str]) -> int:
    """`python -m core.serving.process SPEC`: the server of a chat session, whose spec is one JSON object."""
    from core.jobs import locks

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    spec = ServerSpec.model_validate_json(argv[0])
    assert spec.folder is not None
    lock = os.open(Path(spec.folder) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not locks.take(lock):
        return ALREADY_RUNNING
    try:
        serve(spec)
    except GalenError as error:
        logging.error("%s", error)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
