"""Files on their way into the workspace: uploaded or named by a path, checked, then imported. No gradio.

There is one intake for all sessions of the page, so a reload or a second tab finds every file where it was. Checks and
small imports work in threads of the page; a file over `INLINE_BYTES` is imported by a run of its own, which goes on
when the page is gone. What was uploaded lies in `cache/incoming/<key>/` until it is imported or discarded; a page that
starts anew finds it there.
"""

from __future__ import annotations

import itertools
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.configs.data import ImportRows, ImportSource
from core.configs.stages import ImportConfig
from core.data.bring.importing import INLINE_BYTES, BadRows
from core.data.check.doctor import CheckReport, check_file
from core.data.store.library import Dataset, import_file, name_from, open_dataset
from core.errors import GalenError, StopRequested
from core.jobs import store
from core.records import Produced
from core.rundir import RunDir, State, read_record, state_of
from core.workspace import Workspace, check_name
from webui.inline_work import InlineWork, Tell
from webui.views import Snapshot

STAGE = "import"
Phase = Literal["checking", "stopped", "checked", "failed", "importing", "imported"]


@dataclass
class Waiting:
    """One file. `shape` and `columns` are what the user chose over what was detected; "" and {} are none.

    `mark` changes with everything but the progress of the work. `error` is why the last check or import ended early.
    """

    key: str
    path: Path
    uploaded: bool
    size: int
    name: str
    phase: Phase = "stopped"
    shape: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    report: CheckReport | None = None
    error: BaseException | None = None
    work: InlineWork[Any] | None = None
    run: str = ""
    dataset: str = ""
    mark: int = 0

    @property
    def done(self) -> tuple[int, int]:
        """(bytes read, bytes in all) of the check or import at work."""
        at = self.work.at if self.work is not None else ()
        return (int(at[0]), int(at[1])) if len(at) >= 2 else (0, self.size)

    @property
    def busy(self) -> bool:
        return self.phase in ("checking", "importing") and not self.run

    @property
    def large(self) -> bool:
        """Whether importing it is a run's work: by its size, or by what a packed file turned out to hold."""
        return max(self.size, self.report.chars if self.report is not None else 0) > INLINE_BYTES


class Intake:
    """The files that wait, in the order in which they came."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folder = workspace.cache_dir / "incoming"
        self._lock = threading.RLock()
        self._turn = threading.Lock()  # one check or import at a time: they use every core by themselves
        self._marks = itertools.count(1)
        self._files: dict[str, Waiting] = {}
        self._find()

    def _find(self) -> None:
        """What an earlier page left: small files are checked again, large ones when somebody asks for it."""
        for folder in sorted(self.folder.glob("*/"), key=lambda one: one.stat().st_mtime):
            for path in folder.iterdir():
                self._add(path, uploaded=True, key=folder.name)
        importing = {self._source_of(run): run for run in self.workspace.runs() if run.stage == STAGE}
        for item in self._files.values():
            run = importing.get(str(item.path))
            if run is not None and state_of(run) is not State.SUCCEEDED:
                item.run, item.phase = run.id, "importing"
            elif not item.large:
                self.check(item.key)

    @staticmethod
    def _source_of(run: RunDir) -> str:
        return str((run.config().get("source") or {}).get("path") or "")

    # -- reading ------------------------------------------------------------------------------------------------------
    def all(self) -> list[Waiting]:
        with self._lock:
            return list(self._files.values())

    def get(self, key: str | None) -> Waiting | None:
        with self._lock:
            return self._files.get(key or "")

    @property
    def busy(self) -> bool:
        return any(item.busy for item in self.all())

    # -- arriving -----------------------------------------------------------------------------------------------------
    def take(self, path: Path, *, uploaded: bool) -> Waiting:
        """Begin to check a file. An uploaded one is moved out of the browser's folder first."""
        key = secrets.token_hex(6)
        if uploaded:
            target = self.folder / key / path.name
            target.parent.mkdir(parents=True)
            shutil.move(path, target)
            path = target
        item = self._add(path, uploaded=uploaded, key=key)
        self.check(item.key)
        return item

    def _add(self, path: Path, *, uploaded: bool, key: str) -> Waiting:
        size = path.stat().st_size if path.is_file() else 0
        item = Waiting(key, path, uploaded, size, name_from(path.name))
        with self._lock:
            self._files[key] = item
        return item

    # -- checking -----------------------------------------------------------------------------------------------------
    def check(self, key: str, *, shape: str | None = None, columns: dict[str, str] | None = None) -> None:
        """Check the file, from the start, under another shape or other columns where these are given."""
        item = self.get(key)
        if item is None:
            return
        self.stop(key)
        item.shape = item.shape if shape is None else shape
        item.columns = item.columns if columns is None else columns
        chosen: dict[str, Any] = {"format": item.shape or None, "columns": item.columns or None}

        def work(tell: Tell, check_stop: Callable[[], None]) -> CheckReport:
            return check_file(item.path, on_progress=tell, check_stop=check_stop, **chosen)

        def finish(report: CheckReport) -> None:
            item.report = report

        self._begin(item, "checking", work, finish, "checked")

    def stop(self, key: str) -> None:
        """Ask the check or import at work to stop; what was there before stays."""
        item = self.get(key)
        if item is None:
            return
        if item.run:
            store.stop(self.workspace.run(item.run))
        elif item.work is not None:
            item.work.stop()

    # -- importing ----------------------------------------------------------------------------------------------------
    def bring_in(self, key: str, name: str, *, bad_rows: BadRows, repair: bool) -> None:
        """Import the checked file, here or by a run. Raises InputError `name.bad`, and what `store.submit` raises."""
        item = self.get(key)
        if item is None or item.busy:
            return
        item.name = check_name(name.strip() or item.name)
        rows = ImportRows(
            name=item.name, format=item.shape, columns=item.columns, bad_rows=bad_rows, repair=repair,
        )  # fmt: skip
        if item.large:
            run = submit(self.workspace, ImportConfig(source=ImportSource(path=str(item.path)), rows=rows))
            self._now(item, "importing", run=run.id, error=None)
            return

        def work(tell: Tell, check_stop: Callable[[], None]) -> Dataset:
            return import_file(
                self.workspace, item.path, item.name, bad_rows=bad_rows, repair=repair, format=item.shape or None,
                columns=item.columns or None, on_progress=tell, check_stop=check_stop,
            )  # fmt: skip

        self._begin(item, "importing", work, lambda dataset: self._imported(item, dataset.ref), "imported")

    def settle(self) -> list[str]:
        """Look at the runs that import files; the datasets that have come since the last look."""
        came = []
        for item in self.all():
            if item.phase == "importing" and item.run:
                run = RunDir(self.workspace.runs_dir / item.run)
                if not run.exists():  # deleted in the Runs tab
                    self._now(item, "checked" if item.report else "stopped", run="")
                elif state_of(run) is State.SUCCEEDED:
                    made = read_record(run.produced_file, Produced)
                    self._imported(item, made.datasets[0] if made and made.datasets else "")
                    self._now(item, "imported", run="")
                    came.append(item.dataset)
        return came

    def _imported(self, item: Waiting, ref: str) -> None:
        item.dataset = ref
        self._remove(item)

    def made(self, item: Waiting) -> Dataset | None:
        """The dataset that the file became, while it is there."""
        try:
            return open_dataset(self.workspace, item.dataset) if item.dataset else None
        except GalenError:
            return None

    def discard(self, key: str) -> None:
        """Forget the file; an uploaded copy is removed, a file that was named by its path is the user's and stays."""
        self.stop(key)
        with self._lock:
            item = self._files.pop(key, None)
        if item is not None and not item.run:
            self._remove(item)

    def _remove(self, item: Waiting) -> None:
        if item.uploaded:
            shutil.rmtree(item.path.parent, ignore_errors=True)

    # -- the work -----------------------------------------------------------------------------------------------------
    def _begin(
        self,
        item: Waiting,
        phase: Phase,
        work: Callable[[Tell, Callable[[], None]], Any],
        finish: Callable[[Any], None],
        after: Phase,
    ) -> None:
        """Do `work` in a thread. How it ends is written into the item, unless other work has taken its place."""
        begun: list[InlineWork[Any]] = []
        ready = threading.Event()

        def ended(phase: Phase, error: BaseException | None) -> None:
            with self._lock:
                if item.work is begun[0]:
                    self._now(item, phase, error=error)

        def whole(tell: Tell, check_stop: Callable[[], None]) -> None:
            ready.wait()
            try:
                while not self._turn.acquire(timeout=0.2):
                    check_stop()
                try:
                    result = work(tell, check_stop)
                finally:
                    self._turn.release()
                if item.work is begun[0]:
                    finish(result)
                ended(after, None)
            except StopRequested:
                ended("checked" if item.report is not None and phase == "importing" else "stopped", None)
            except Exception as error:
                ended("failed", error)

        with self._lock:
            item.work = InlineWork(whole)
            begun.append(item.work)
            self._now(item, phase, error=None)
        ready.set()

    def _now(self, item: Waiting, phase: Phase, **changes: Any) -> None:
        with self._lock:
            item.phase, item.mark = phase, next(self._marks)
            for name, value in changes.items():
                setattr(item, name, value)


def produced(workspace: Workspace, shot: Snapshot) -> Dataset | None:
    """The dataset that a hub's import has made, while it is there; None for a file's import."""
    made = read_record(shot.run.produced_file, Produced)
    if not (shot.config.get("source") or {}).get("repo") or made is None or not made.datasets:
        return None
    try:
        return open_dataset(workspace, made.datasets[0])
    except GalenError:
        return None


def submit(workspace: Workspace, config: ImportConfig) -> RunDir:
    """Start an import run that is named after what it brings in."""
    if not config.run.name:
        source = config.source.repo or Path(config.source.path).name
        config = config.model_copy(update={"run": config.run.model_copy(update={"name": source[:80]})})
    return store.submit(workspace, STAGE, config)
