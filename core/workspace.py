"""Where everything a user makes lives: `runs/`, `datasets/` and `models/` under one folder.

Paths that come from a page are confined to the workspace and to the roots named at start (`allowed`).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from core.errors import InputError
from core.rundir import RunDir

ENVIRONMENT = "GALEN_WORKSPACE"
NAME = re.compile(r"[\w][\w.+\- ]{0,79}", re.UNICODE)


class Workspace:
    """The folders of one user. `roots` are folders outside it that the page may read from, too."""

    def __init__(self, path: Path | str | None = None, roots: list[Path] | None = None) -> None:
        self.path = Path(path or os.environ.get(ENVIRONMENT) or "workspace").expanduser().resolve()
        self.roots = [Path(root).expanduser().resolve() for root in roots or []]
        for folder in (self.runs_dir, self.datasets_dir, self.models_dir):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def runs_dir(self) -> Path:
        return self.path / "runs"

    @property
    def datasets_dir(self) -> Path:
        return self.path / "datasets"

    @property
    def models_dir(self) -> Path:
        return self.path / "models"

    @property
    def cache_dir(self) -> Path:
        return self.path / "cache"

    @property
    def edits_dir(self) -> Path:
        """Changes of datasets by hand that wait to be saved (`core.data.store.edits`), a file for each version."""
        return self.path / "edits"

    @property
    def chats_dir(self) -> Path:
        """Saved conversations (`core.talks`): `chats/<name>.json`."""
        return self.path / "chats"

    @property
    def votes_file(self) -> Path:
        """Which of the answers side by side people preferred (`core.votes`), a line for each vote."""
        return self.path / "votes.jsonl"

    @property
    def encoded_dir(self) -> Path:
        """Datasets as tokens (`core.data.encode.encoded`)."""
        return self.cache_dir / "encoded"

    @property
    def presets_dir(self) -> Path:
        """The user's own presets: `presets/<stage>/<name>.yaml`."""
        return self.path / "presets"

    def run(self, run_id: str) -> RunDir:
        """The run with this id. Raises InputError `run.not_found`."""
        run = RunDir(self.runs_dir / run_id)
        if Path(run_id).name != run_id or not run.exists():
            raise InputError("run.not_found", run=run_id)
        return run

    def runs(self) -> list[RunDir]:
        """Every run, newest first. Folders with another name than a run's are none of ours."""
        folders = [Path(entry.path) for entry in os.scandir(self.runs_dir) if entry.is_dir()]
        runs = [RunDir(folder) for folder in folders]
        return sorted((run for run in runs if run.exists()), key=lambda run: (run.when, run.id), reverse=True)

    def allowed(self, path: Path | str) -> Path:
        """`path` resolved, if it lies in the workspace or a root. Raises InputError `path.outside`, also for what can
        be no path at all: with a NUL, through a loop of links, of a user whom nobody knows."""
        with suppress(OSError, RuntimeError, ValueError):
            resolved = Path(path).expanduser().resolve()
            if any(resolved.is_relative_to(root) for root in (self.path, *self.roots)):
                return resolved
        raise InputError("path.outside", path=str(path), roots=", ".join(map(str, (self.path, *self.roots))))


def check_name(name: str) -> str:
    """A name that is safe as a folder's: letters, digits, spaces, `._+-`; 80 at most. Raises InputError `name.bad`."""
    if not NAME.fullmatch(name) or name.endswith((".", " ")) or len(name.encode()) > 200:  # file systems count bytes
        raise InputError("name.bad", name=name)
    return name
