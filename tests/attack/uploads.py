"""Broken and hostile files through the page's own way for uploads: taken, checked, shown, imported, shown again.

    python -m tests.attack.uploads --count 2000

Every file goes through the functions that the page's events call. Found is: an exception, an error that is not one of
ours, a traceback or the file's markup on the page, a check or import that neither ends nor stops, memory beyond LIMIT,
files left lying about, a dataset with another number of rows than the report says. File `n` is drawn from `seed + n`
alone, so `--count 1 --seed …` repeats one.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import psutil

from core.data.store.library import delete_dataset, open_dataset
from core.errors import GalenError
from core.workspace import Workspace
from tests.attack.mutate import Upload, upload
from tests.attack.tools import Tally, command
from webui.app import App
from webui.intake import Waiting

LIMIT = 700 * (1 << 20)  # bytes that one upload may add to the page's process
ENOUGH = 6 * (1 << 30)  # of the whole process: beyond, the machine is in danger
SECONDS = 60.0  # for a check or an import; a packed file of a megabyte may hold work for hours, which is then stopped
STOP_SECONDS = 20.0
LANGUAGES = ("en", "zh")


class Watch:
    """The most memory that this process had since `begin`, looked at every few milliseconds."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.most = self.before = self.process.memory_info().rss
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            now = self.process.memory_info().rss
            self.most = max(self.most, now)
            if now > ENOUGH:
                print(f"FOUND  {now / 1e9:.1f} GB of memory: ended before the machine suffers", file=sys.stderr)
                os._exit(1)
            time.sleep(0.02)

    def begin(self) -> None:
        self.most = self.before = self.process.memory_info().rss

    @property
    def added(self) -> int:
        return self.most - self.before


class Errors(logging.Handler):
    """What the page logs as unexpected."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.said.append("".join(traceback.format_exception(error)) if error else record.getMessage())


class Sender:
    """A browser that sends one file after the other."""

    def __init__(self, workspace: Workspace, tally: Tally) -> None:
        self.workspace, self.tally = workspace, tally
        app = App(workspace, "en")
        app.build()
        self.part = app.data.bring
        self.errors = Errors()
        logging.getLogger().addHandler(self.errors)
        self.watch = Watch()

    def send(self, number: int, sent: Upload) -> None:
        folder = self.workspace.cache_dir / "uploads" / f"{number:x}"
        folder.mkdir(parents=True)
        path = folder / sent.name
        path.write_bytes(sent.data)
        self.errors.said.clear()
        self.watch.begin()
        lang = LANGUAGES[number % 2]
        self.about = f"file {number} ({sent.how}, {sent.name!r}, {len(sent.data)} bytes)"
        try:
            self._through(path, lang)
        except Exception:
            self.tally.find(f"{self.about}: {traceback.format_exc()}")
        for said in self.errors.said:
            self.tally.find(f"{self.about}: logged {said}")
        if self.watch.added > LIMIT:
            self.tally.find(f"{self.about}: {self.watch.added / 1e6:.0f} MB of memory")
        self.tally.done["files sent"] += 1
        shutil.rmtree(folder, ignore_errors=True)

    def _through(self, path: Path, lang: str) -> None:
        key = self.part.take([str(path)], lang)[1]
        item = self.part.intake.get(key)
        assert item is not None
        self._wait(item)
        self._look(key, lang)
        report = item.report
        if item.phase == "checked" and report is not None and report.usable and not item.large:
            self.tally.done["files with usable rows"] += 1
            repair = bool(report.repairable)
            for _ in self.part.file.bring_in(key, "attacked", "drop", repair, lang):
                pass
            self._wait(item)
            self._look(key, lang)
            if item.phase == "imported":
                self._imported(item.dataset, report.usable, repair)
        elif item.phase != "checked":
            self.tally.done["files refused as a whole"] += 1
        self.part.intake.discard(key)
        left = [*self.part.intake.folder.glob("*"), *self.workspace.datasets_dir.glob("*/.*")]
        if left:
            self.tally.find(f"{self.about}: left {left}")

    def _wait(self, item: Waiting) -> None:
        if not self._over(item, SECONDS):
            self.tally.done["checks and imports of millions of rows, stopped"] += 1
            self.part.intake.stop(item.key)
            if not self._over(item, STOP_SECONDS):
                self.tally.find(f"{self.about}: {item.phase} neither ends nor stops")
        if item.error is not None and not isinstance(item.error, GalenError):
            self.tally.find(f"{self.about}: {item.phase} with {item.error!r}")

    @staticmethod
    def _over(item: Waiting, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while item.busy and time.monotonic() < until:
            time.sleep(0.005)
        return not item.busy

    def _look(self, key: str, lang: str) -> None:
        """What the page shows of it: text of files and names is text, and nobody sees a traceback."""
        shown = repr(self.part.refresh(key, lang, None, False))
        for wrong in ("Traceback", "<img src=x", "<b>bold</b>"):
            if wrong in shown:
                self.tally.find(f"{self.about}: the page shows {wrong}")

    def _imported(self, ref: str, usable: int, repair: bool) -> None:
        self.tally.done["datasets made"] += 1
        dataset = open_dataset(self.workspace, ref)
        if len(dataset) != usable and not repair:
            self.tally.find(f"{self.about}: {len(dataset)} rows in the dataset, {usable} in the report")
        delete_dataset(self.workspace, ref)


def attack(count: int, seed: int) -> Tally:
    tally = Tally()
    slowest, most = (0.0, ""), (0, "")
    with tempfile.TemporaryDirectory() as folder:
        sender = Sender(Workspace(folder), tally)
        for number in range(seed, seed + count):
            start = time.monotonic()
            sender.send(number, upload(random.Random(number)))
            slowest = max(slowest, (time.monotonic() - start, sender.about))
            most = max(most, (sender.watch.added, sender.about))
            if (number - seed + 1) % 100 == 0:
                print(f"{number - seed + 1} files, {len(tally.findings)} found", file=sys.stderr, flush=True)
    tally.figures[f"slowest: {slowest[1]}"] = f"{slowest[0]:.1f} s"
    tally.figures[f"most memory: {most[1]}"] = f"{most[0] / 1e6:.0f} MB"
    return tally


def main() -> int:
    return command(attack, count=2000, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
