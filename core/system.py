"""Small things about processes and folders that several packages need. Imports nothing of the project.

Finding and ending the processes of a run is `core.jobs.processes`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def python_command(module: str, *arguments: str) -> list[str]:
    """Our interpreter on a module of ours; -P keeps files of the current folder from shadowing packages."""
    return [sys.executable, "-P", "-m", module, *arguments]


def python_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """`environment` (default: our own), changed so that `core` can be imported from any folder."""
    found = dict(os.environ if environment is None else environment)
    paths = [str(Path(__file__).resolve().parents[1]), *filter(None, found.get("PYTHONPATH", "").split(os.pathsep))]
    return {**found, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}


def whole_text(text: str) -> str:
    """`text` with a mark in place of half characters, which JSON can bring and no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def folder_size(folder: Path) -> int:
    """Bytes of every file below `folder`; files that vanish meanwhile, or may not be looked at, count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total


def last_line(log: Path) -> str:
    """The last line of `log` that holds something, for an error's sentence."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    told = [line.strip() for line in lines if line.strip()]
    return told[-1] if told else "it said nothing"
