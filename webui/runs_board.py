"""The board of the Runs tab: what a session asks of it, and what it shows of the runs that are ticked or chosen.

What is asked is one text that the browser keeps over a reload, so nothing in it is trusted. The files are read anew
each time; only the sizes of runs that are over are remembered.
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from core.data.bring.export import fresh_folder
from core.errors import GalenError, InputError
from core.rundir import RunDir, state_of
from core.runs import archive, checkpoints, curve_files, curves, differences, lineage
from core.runs.bringing_in import bring_in
from core.system import whole_text
from core.workspace import Workspace
from webui import views_board, views_kept, views_lineage
from webui.catalog import Catalog
from webui.views import stamp

MOST_TICKED = curves.MOST_RUNS


@dataclass(frozen=True)
class Asked:
    """view: what the board shows. ticked: ids of the runs beside each other. only: differences only. changes: counts
    what was changed in files, so that the same question is asked anew."""

    view: str = "run"
    ticked: tuple[str, ...] = ()
    curve: curves.Wanted = field(default_factory=curves.Wanted)
    only: bool = True
    changes: int = 0

    @classmethod
    def of(cls, text: str | None) -> Asked:
        """What the browser sent; whatever makes no sense is as by default."""
        try:
            data = orjson.loads(text or "{}")
        except orjson.JSONDecodeError:
            data = {}
        data = data if isinstance(data, dict) else {}
        ticked = data.get("ticked")
        names = [each for each in ticked if isinstance(each, str)] if isinstance(ticked, list) else []
        curve, changes = data.get("curve"), data.get("changes")
        return cls(
            view=data["view"] if data.get("view") in views_board.VIEWS else "run",
            ticked=tuple(dict.fromkeys(names))[:MOST_TICKED],
            curve=curves.Wanted.of(curve if isinstance(curve, dict) else {}),
            only=bool(data.get("only", True)),
            changes=changes if isinstance(changes, int) else 0,
        )

    def text(self) -> str:
        return orjson.dumps(self).decode()

    def seen_as(self, view: str) -> Asked:
        return replace(self, view=view)

    def changed(self) -> Asked:
        return replace(self, changes=self.changes + 1)

    def tick(self, run: str) -> Asked:
        """With the run ticked, or without it. Raises InputError `runs.too_many`."""
        run = whole_text(run)
        if run in self.ticked:
            return replace(self, ticked=tuple(each for each in self.ticked if each != run))
        if len(self.ticked) == MOST_TICKED:
            raise InputError("runs.too_many", count=MOST_TICKED + 1, limit=MOST_TICKED)
        return replace(self, ticked=(*self.ticked, run))

    def clicked(self, data: Mapping[str, Any]) -> Asked:
        """After a click on the board, or a field of it that was changed."""
        if data.get("clear"):
            return replace(self, ticked=())
        if "untick" in data:
            return replace(self, ticked=tuple(each for each in self.ticked if each != data["untick"]))
        curve = {**self.curve.__dict__, **data}
        if "smoothing" in data:
            curve["smoothing"] = _number(data["smoothing"])
        view = str(data.get("view", self.view))
        only = bool(data.get("only", self.only))
        return replace(
            self, view=view if view in views_board.VIEWS else self.view, curve=curves.Wanted.of(curve), only=only
        )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


class Board:
    def __init__(self, workspace: Workspace, pages: Container[str]) -> None:
        """pages: the stages that have a tab of their own."""
        self.workspace = workspace
        self.pages = pages
        self._sizes: dict[str, tuple[Any, checkpoints.Taken]] = {}

    def draw(self, catalog: Catalog, asked: Asked, chosen: str | None, lang: str) -> tuple[str, str]:
        """The bar and what is beneath it; that is "" for the view `run`, which is the tab's own."""
        tools, shown = "", ""
        ticked = self._runs(asked.ticked)
        if asked.view == "curves":
            tools, shown = self._curves(ticked or self._runs([chosen]), asked.curve, lang)
        elif asked.view == "settings":
            rows = differences.settings(ticked) if len(ticked) > 1 else []
            tools = views_board.difference_tools(not asked.only, rows, lang)
            names = [catalog.name_of(run.id) for run in ticked]
            shown = views_board.differences(ticked, names, rows, not asked.only, lang)
        elif asked.view == "lineage":
            shown = self._lineage(chosen or next(iter(asked.ticked), ""), lang)
        elif asked.view == "disk":
            shown = self._disk(catalog, chosen, lang)
        return views_board.bar(asked.view, len(ticked), tools, lang), shown

    def _runs(self, names: Sequence[str | None]) -> list[RunDir]:
        """Those that are still here."""
        found = []
        for name in names:
            try:
                found += [self.workspace.run(name)] if name else []
            except GalenError:
                continue
        return found

    # -- views --------------------------------------------------------------------------------------------------------
    def _curves(self, runs: Sequence[RunDir], wanted: curves.Wanted, lang: str) -> tuple[str, str]:
        metrics = curves.metrics_of(runs)
        wanted = self._of_them(wanted, metrics)
        tools = views_board.curve_tools(wanted, metrics, lang)
        return tools, views_board.overlay(curves.overlay(runs, wanted), wanted, lang)

    @staticmethod
    def _of_them(wanted: curves.Wanted, metrics: Sequence[str]) -> curves.Wanted:
        """What was asked for, or a figure that these runs have."""
        return wanted if wanted.metric in metrics else replace(wanted, metric=curves.first_metric(metrics))

    def _lineage(self, run: str, lang: str) -> str:
        graph = lineage.family(lineage.Graph.read(self.workspace), run)
        return views_lineage.drawing(graph, run, self.pages, lang)

    def _disk(self, catalog: Catalog, chosen: str | None, lang: str) -> str:
        own = next(iter(self._runs([chosen])), None)
        kept = checkpoints.checkpoints(self.workspace, own) if own is not None else []
        names = {run.id: run.name for run in catalog.runs}
        live = own is not None and state_of(own).live
        held = {run.id: run.held for run in catalog.runs}
        return views_kept.disk(self.taken(), chosen, kept, names, held, live, lang)

    def taken(self) -> list[checkpoints.Taken]:
        """What every run takes, the largest first; a run is measured again when one of its files has changed."""
        found: dict[str, tuple[Any, checkpoints.Taken]] = {}
        for run in self.workspace.runs():
            now = stamp(run)
            known = self._sizes.get(run.id)
            found[run.id] = known if known is not None and known[0] == now else (now, checkpoints.measured(run))
        self._sizes = found
        return sorted((taken for _, taken in found.values()), key=lambda each: -each.total)

    # -- acting -------------------------------------------------------------------------------------------------------
    def clean(self, chosen: str | None, names: Any) -> int:
        """Remove checkpoints of the chosen run; the bytes that came back."""
        run = self.workspace.run(chosen or "")
        wanted = [str(name) for name in names] if isinstance(names, list) else []
        freed = checkpoints.remove(self.workspace, run, wanted)
        self._sizes.pop(run.id, None)
        return freed

    def save(self, asked: Asked, chosen: str | None, kind: Any, lang: str) -> Path:
        """The overlay as a file that the page may hand out. Raises as `curve_files.write`."""
        runs = self._runs(asked.ticked) or self._runs([chosen])
        wanted = self._of_them(asked.curve, curves.metrics_of(runs))
        ending = kind if kind in views_board.SAVED_AS else "csv"
        safe = "".join(char if char.isalnum() or char in "._-" else "-" for char in wanted.metric)
        folder = fresh_folder(self.workspace) / f"curves-{time.time_ns()}"  # its own, so that the file has a plain name
        folder.mkdir()
        path = folder / f"{safe or 'runs'}-{wanted.axis}.{ending}"
        curve_files.write(path, runs, wanted, views_board.overlay_words(wanted, lang))
        return path

    def export(self, run: RunDir, tell: archive.Progress, check_stop: archive.Check) -> Path:
        """The run's archive, for handing out."""
        path = fresh_folder(self.workspace) / f"{run.id}.zip"
        return archive.export(run, path, overwrite=True, on_progress=tell, check_stop=check_stop).path

    def uploaded(self, path: Any) -> Path:
        """A file that a browser has just sent. Raises InputError `path.outside` for any other path."""
        folder = (self.workspace.cache_dir / "uploads").resolve()
        try:
            found = Path(str(path)).resolve()
        except ValueError:  # a text that no path can be
            found = folder
        if not found.is_relative_to(folder) or found == folder:
            raise InputError("path.outside", path=str(path), roots=str(folder))
        return found

    def bring_in(self, path: Path, tell: archive.Progress, check_stop: archive.Check) -> RunDir:
        """The run of an uploaded archive; the upload is gone afterwards."""
        try:
            return bring_in(self.workspace, path, on_progress=tell, check_stop=check_stop)
        finally:
            path.unlink(missing_ok=True)
