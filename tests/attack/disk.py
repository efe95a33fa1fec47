"""A disk that is full at each write: every act that writes, on a small file system with 0, 1, 2, … pages left.

    python -m tests.attack.disk --count 24                needs root on Linux, to mount a tmpfs of 48 MB

So the disk runs full at the first write of an act, at the second, within the third …, also in writes of libraries that
no patched `os.write` would see. The act must end, or say in words of ours that the disk is full; what was there before
must be there still, bit by bit, and nothing half-written beside it; with room again the same act must work. Runs go
through the real supervisor: they fail with `run.disk_full` and resume to the figures of an uninterrupted one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import core.disk
from core.configs.data import Recipe
from core.configs.files import save_preset
from core.data.bring.export import export_to_cache
from core.data.recipe.prepare import prepare as prepare_data
from core.data.store import edits
from core.data.store.library import import_file, open_dataset
from core.errors import GalenError
from core.jobs import failures, store
from core.notes import change
from core.pipeline.plan import Step, queue
from core.rundir import RunDir, State, append_jsonl, read_jsonl, state_of
from core.runs import archive, checkpoints, curve_files
from core.runs.bringing_in import bring_in
from core.runs.curves import Wanted
from core.talks import save
from core.votes import append, make_dataset, vote_on
from core.workspace import Workspace
from tests.attack.kills import prepare, shoot
from tests.attack.tools import Tally, command
from tests.conftest import conversations, write_jsonl
from tests.drill import Drill, DrillConfig
from tests.jobs_tools import eventually, expected, metrics
from tests.runs_tools import falling, made
from tests.test_talks import talk_of

MEGABYTES = 48
PAGE = 4096
STEPS = 12
NOT_A_BYTE = 3  # pages that the config and the status of a run take: with so many, none is left to say why it ended
# What the caller tells of a full disk: `failures.classify` for a run, `core.__main__` and the page for the rest.
TOLD_ABOVE = ("a line of metrics", "note a run", "save curves", "export a run", "bring a run in", "remove checkpoints")
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own; None where nobody may mount one."""
    disk = folder / "disk"
    disk.mkdir()
    try:
        words = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(disk)]
        mounted = subprocess.run(words, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield disk if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(disk)], check=True)


@contextmanager
def pages_left(disk: Path, pages: int) -> Iterator[None]:
    """So many pages of 4 KB are free on the disk for the time of a `with`."""
    fill = disk / "fill"
    with open(fill, "wb") as file:
        free = os.statvfs(disk).f_bavail * PAGE
        if free > pages * PAGE:
            os.posix_fallocate(file.fileno(), 0, free - pages * PAGE)
    try:
        yield
    finally:
        fill.unlink()


def contents(folder: Path) -> dict[str, str]:
    """Every file that counts, with the hash of what it holds."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# -- acts that are done while one waits -------------------------------------------------------------------------------
class Acts:
    """What the page and the command line write. Each act begins from the same workspace."""

    def __init__(self, workspace: Workspace, file: Path) -> None:
        self.workspace, self.file = workspace, file
        self.dataset = import_file(workspace, file, "rows")
        self.talk = talk_of({"a": "A0", "b": "B0"}, {"a": "A1", "b": "B1"})
        save(workspace, self.talk, "talk")
        self._vote("a")
        edits.drop(workspace, self.dataset, [1])
        save_preset("sft", "mine", {"optim.learning_rate": 1e-3}, workspace)
        self.lines = workspace.path / "lines.jsonl"
        append_jsonl(self.lines, {"step": 1})
        self.run = made(workspace, "sft", "a run", rows=falling(400), checkpoints=[5, 10])
        change(self.run, star=True, note="as it was")
        self.archive = file.with_name("other.zip")
        if not self.archive.exists():
            archive.export(made(Workspace(file.with_name("other")), "sft", "another", number=1), self.archive)

    def _vote(self, choice: str) -> None:
        vote = vote_on(self.talk, self.talk.turns[0], choice)
        assert vote is not None
        append(self.workspace, vote)

    def all(self) -> dict[str, Callable[[], object]]:
        workspace, long = self.workspace, {"note": "x" * 9000}
        return {
            "import a file": lambda: import_file(workspace, self.file, "again"),
            "save a conversation": lambda: save(workspace, talk_of({"a": "A" * 9000, "b": "B"}), "other"),
            "save it again": lambda: save(workspace, self.talk, "talk"),
            "vote": lambda: self._vote("b"),
            "votes become a dataset": lambda: make_dataset(workspace),
            "save a preset": lambda: save_preset("sft", "mine", {"optim.learning_rate": 3e-3}, workspace),
            "note an edit": lambda: edits.drop(workspace, self.dataset, [2, 3]),
            "save the edits": lambda: edits.save(workspace, self.dataset),
            "clean a dataset": self._clean,
            "export": lambda: export_to_cache(workspace, open_dataset(workspace, "rows")),
            "a line of metrics": lambda: append_jsonl(self.lines, {"step": 2, **long}, {"step": 3, **long}),
            "note a run": lambda: change(self.run, star=False, add=["tag"], note="x" * 4000),
            "save curves": lambda: curve_files.write(workspace.path / "curves.html", [self.run], Wanted("loss")),
            "export a run": lambda: archive.export(self.run, workspace.path / "run.zip", overwrite=True),
            "bring a run in": lambda: bring_in(workspace, self.archive),
            "remove checkpoints": lambda: checkpoints.remove(workspace, self.run, ["step-5"]),
            "queue a chain": self._queue,
        }

    def _queue(self) -> object:
        """Two runs, all or none of which is there."""
        settings = {"devices": {"use": ["cpu:0"]}, "drill": Drill(steps=2)}
        config = DrillConfig.model_validate(settings)
        return queue(self.workspace, [Step("first", "drill", config), Step("second", "drill", config)])

    def _clean(self) -> object:
        recipe = {"inputs": [self.dataset.ref], "steps": [{"do": "sample", "rows": 5}], "output": "fewer"}
        return prepare_data(self.workspace, Recipe.model_validate(recipe))


def act_on_a_full_disk(disk: Path, file: Path, name: str, pages: int, tally: Tally) -> bool:
    """One act with so many pages left. Returns whether it got through."""
    folder = disk / "workspace"
    workspace = Workspace(folder)
    act = Acts(workspace, file).all()[name]
    about, before, through = f"{name} with {pages} pages left", contents(folder), False
    try:
        with pages_left(disk, pages):
            act()
        through = True
    except GalenError as error:
        tally.done[f"{name}: refused"] += 1
        if "disk" not in str(error).lower() and "space" not in str(error).lower():
            tally.find(f"{about}: says {error}")
    except OSError as error:
        tally.done[f"{name}: refused"] += 1
        if name not in TOLD_ABOVE or error.errno not in FULL:
            tally.find(f"{about}: {traceback.format_exception_only(error)[-1].strip()}")
    if not through:
        after = contents(folder)
        changed = [path for path in {*before, *after} if before.get(path) != after.get(path)]
        if changed:
            tally.find(f"{about}: refused, and yet changed {changed}")
        try:
            act()
        except Exception as error:
            tally.find(f"{about}: not even with room again: {error!r}")
    read_jsonl(workspace.path / "lines.jsonl")
    for run in workspace.runs():
        over(run)
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    return through


# -- runs -------------------------------------------------------------------------------------------------------------
def submit(workspace: Workspace) -> RunDir:
    settings = {"devices": {"use": ["cpu:0"]}, "drill": Drill(steps=STEPS, save_every=2)}
    return store.submit(workspace, "drill", DrillConfig.model_validate(settings))


def over(run: RunDir) -> State:
    eventually(lambda: not state_of(run).live, 60)
    return state_of(run)


def run_on_a_full_disk(disk: Path, pages: int, tally: Tally) -> bool:
    """A run that starts with so many pages left, and goes on when there is room. Returns whether it got through."""
    workspace, about = Workspace(disk / "workspace"), f"a run with {pages} pages left"
    try:
        with pages_left(disk, pages):
            run = submit(workspace)
            state = over(run)
    except GalenError as error:
        tally.done["a run: refused"] += 1
        left = list(workspace.runs_dir.iterdir())
        if left and not all(RunDir(path).exists() for path in left):
            tally.find(f"{about}: refused ({error}), and yet left {left}")
        subprocess.run(["rm", "-rf", str(workspace.path)], check=True)
        return False
    if state is not State.SUCCEEDED:
        tally.done[f"a run: {state}"] += 1
        why = failures.explain(run)
        if pages > NOT_A_BYTE and (why is None or why.code != "run.disk_full"):
            tally.find(f"{about}: it is {state} because {why}")
        resumed(workspace, run, about, tally)
    subprocess.run(["rm", "-rf", str(workspace.path)], check=True)
    return state is State.SUCCEEDED


def resume_on_a_full_disk(disk: Path, pages: int, tally: Tally) -> bool:
    """A killed run is resumed with so many pages left: nothing is lost, and with room it goes on."""
    workspace, about = Workspace(disk / "workspace"), f"a resume with {pages} pages left"
    settings = {"devices": {"use": ["cpu:0"]}, "drill": Drill(steps=STEPS, save_every=2, step_seconds=0.05)}
    run = store.submit(workspace, "drill", DrillConfig.model_validate(settings))
    eventually(lambda: len(read_jsonl(run.metrics_file)[0]) >= 5, 60)
    shoot(run, "everybody")
    over(run)
    through = True
    try:
        with pages_left(disk, pages):
            store.resume(workspace, run.id)
            through = over(run) is State.SUCCEEDED
    except GalenError:
        tally.done["a resume: refused"] += 1
        through = over(run) is State.SUCCEEDED  # its supervisor could not report, and went on all the same
    except OSError as error:
        tally.find(f"{about}: {error!r}")
        through = False
    if not through:
        resumed(workspace, run, about, tally)
    elif metrics(run) != expected(STEPS):
        tally.find(f"{about}: its metrics are {metrics(run)}")
    subprocess.run(["rm", "-rf", str(workspace.path)], check=True)
    return through


def resumed(workspace: Workspace, run: RunDir, about: str, tally: Tally) -> None:
    try:
        store.resume(workspace, run.id)
    except GalenError as error:
        tally.find(f"{about}: cannot be resumed with room again: {error}")
        return
    if over(run) is not State.SUCCEEDED or metrics(run) != expected(STEPS):
        tally.find(f"{about}: resumed with room again it is {state_of(run)} with {metrics(run)}")


def attack(count: int, seed: int) -> Tally:
    """Each act with 0 pages left, 1, 2, … up to `count`, or until it gets through twice."""
    spare, core.disk.SPARE = core.disk.SPARE, 0  # or no archive would be begun on so small a disk
    try:
        return _attack(count)
    finally:
        core.disk.SPARE = spare


def _attack(count: int) -> Tally:
    tally = Tally()
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name)) as disk:
        if disk is None:
            tally.figures["nobody here may mount a file system: nothing was done"] = "skipped"
            return tally
        prepare(Path(name))
        file = write_jsonl(Path(name) / "rows.jsonl", conversations(64))
        acts: dict[str, Callable[[int], bool]] = {
            act: lambda pages, act=act: act_on_a_full_disk(disk, file, act, pages, tally)  # type: ignore[misc]
            for act in Acts(Workspace(Path(name) / "names"), file).all()
        }
        acts["a run"] = lambda pages: run_on_a_full_disk(disk, pages, tally)
        acts["a resume"] = lambda pages: resume_on_a_full_disk(disk, pages, tally)
        for act, do in acts.items():
            through = 0
            for pages in range(count):
                tally.done[act] += 1
                through += do(pages)
                if through == 2:
                    break
    return tally


def main() -> int:
    return command(attack, count=48, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
