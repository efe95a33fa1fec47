"""Archives that the page packs and unpacks: in a thread with progress, one at a time for each session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from core.rundir import RunDir
from webui import views
from webui.figures import esc, size
from webui.inline_work import Bench, InlineWork
from webui.messages import error_text
from webui.page import Page
from webui.runs_board import Board
from webui.text import t


class ArchiveWork:
    def __init__(self, page: Page, board: Board) -> None:
        self.page = page
        self.board = board
        self.bench = Bench()

    def export(self, chosen: str | None, lang: str, request: gr.Request) -> Iterator[str]:
        """The note: how far it is, then the link that saves the archive of the chosen run."""
        try:
            run = self.page.workspace.run(chosen or "")
            work = self.bench.begin(str(request.session_hash), lambda *told: self.board.export(run, *told))
            if work is None:
                yield views.say(t("archive.busy", lang), tone="calm")
                return
            for at in work.follow():
                yield at_work(t("archive.packing", lang), at)
            path = work.result()
        except Exception as error:
            yield views.say(*error_text(error, lang))
        else:
            yield download(path, lang) if path is not None else ""

    def bring_in(self, sent: Any, lang: str) -> Iterator[tuple[str, str]]:
        """(note, id of the run once it is here) of an archive that the browser has sent."""
        path = self.board.uploaded(sent)
        work: InlineWork[RunDir] = InlineWork(lambda *told: self.board.bring_in(path, *told))
        for at in work.follow():
            yield at_work(t("archive.unpacking", lang), at), ""
        try:
            run = work.result()
        except Exception as error:
            yield views.say(*error_text(error, lang)), ""
            return
        if run is not None:
            name = next((each.name for each in self.page.catalog.read(fresh=True).runs if each.id == run.id), run.id)
            yield views.say(t("archive.came", lang, name=name), tone="good"), run.id


def at_work(said: str, at: tuple[Any, ...]) -> str:
    """A bar. `at`: (bytes done, bytes in all), or () before the first."""
    done, total = at or (0, 0)
    share = 100 * done / total if total else 0
    return (
        f'<div class="progress running" role="status"><div class="line"><b>{esc(said)}</b>'
        f'<span class="end">{esc(size(done))} / {esc(size(total))}</span></div>'
        f'<div class="bar{"" if total else " moving"}"><i style="width:{share:.1f}%"></i></div></div>'
    )


def download(path: Path, lang: str) -> str:
    """A link that saves the archive; relative, so that it holds behind a proxy's path, too."""
    facts = t("archive.facts", lang, size=size(path.stat().st_size))
    return (
        f'<div class="notice good export-done"><a href="gradio_api/file={esc(quote(str(path)))}" '
        f'download="{esc(path.name)}">{esc(t("archive.ready", lang))}</a> <code>{esc(path.name)}</code> '
        f"<span>{esc(facts)}</span></div>"
    )
