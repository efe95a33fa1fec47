"""A helper process that reports by lines of JSON and can be stopped at any moment. Torch-free.

Downloads and conversions run so: whatever hangs inside them (a dead connection, a minute of unpacking) ends as soon as
the run is asked to stop, and the process that talks to the user stays small.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from core.errors import InputError, RunError
from core.system import python_environment

TICK = 0.1  # seconds between two looks at the stop request
KEPT_LINES = 40  # of what it said, for the message when it fails


class Ended:
    """How a child ended: exit status, its JSON lines, and the tail of everything else that it printed."""

    def __init__(self, code: int, objects: list[dict[str, Any]], text: list[str]) -> None:
        self.code, self.objects, self.text = code, objects, text

    def raise_error(self, kind: type[InputError]) -> None:
        """Raise what the child reported as `{"error": {"code", "params"}}` as an error of `kind`, or RunError."""
        for line in self.objects:
            if "error" in line:
                raise kind(line["error"]["code"], **line["error"]["params"])
        if self.code != 0:
            print("\n".join(self.text), file=sys.stderr)
            how = f"signal {-self.code}" if self.code < 0 else f"exit status {self.code}"
            raise RunError("run.helper_failed", how=how, detail=self.text[-1] if self.text else "no word")


def run_child(
    argv: Sequence[str],
    *,
    check_stop: Callable[[], None],
    on_tick: Callable[[], None] | None = None,
    on_line: Callable[[dict[str, Any]], None] | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run `argv` to its end. `check_stop` raises to stop it; the child is then killed and the exception goes on."""
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=python_environment(env),  # what marks a run's processes stays in it
    )
    objects: list[dict[str, Any]] = []
    text: list[str] = []
    reader = threading.Thread(target=_read, args=(process, objects, text, on_line), daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            check_stop()
            if on_tick is not None:
                on_tick()
            reader.join(TICK) if reader.is_alive() else process.wait()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join(5)
    return Ended(process.returncode, objects, text)


def _read(
    process: subprocess.Popen[bytes],
    objects: list[dict[str, Any]],
    text: list[str],
    on_line: Callable[[dict[str, Any]], None] | None,
) -> None:
    assert process.stdout is not None
    for raw in process.stdout:
        line = raw.decode(errors="replace").rstrip()
        try:
            content = orjson.loads(line)
        except orjson.JSONDecodeError:
            content = None
        if isinstance(content, dict):
            objects.append(content)
            if on_line is not None:
                on_line(content)
        elif line:
            text.append(line)
            del text[:-KEPT_LINES]
