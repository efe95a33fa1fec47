"""The Data tab's export: the chosen dataset as a file in a shape of the field, handed to the browser.

    part = ExportPart(page); part.build(); part.wire(chosen)

The file is written into the workspace's cache, in a thread with progress and a stop, and offered as a link that streams
it from there: a dataset of two gigabytes is not copied once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import gradio as gr

from core.data.bring.export import export_to_cache, forms_of
from core.data.kinds import Kind
from core.errors import StopRequested
from webui import views
from webui.catalog import Catalog
from webui.figures import count, esc, size
from webui.inline_work import Bench, Tell
from webui.messages import error_text
from webui.page import QUIET, Page
from webui.text import t
from webui.views_data import named

CONTAINERS = [("JSONL", "jsonl"), ("JSONL.gz", "jsonl.gz"), ("JSON", "json"), ("Parquet", "parquet")]


class ExportPart:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.bench = Bench()

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["card", "export"], visible=False) as self.card:
            labels.html(
                lambda lang: views.title(t("export.title", lang), t("export.note", lang)), elem_classes=["bare"]
            )
            with gr.Row(elem_classes=["export-row"]):
                # Every form is a choice from the start: Gradio refuses values that were not there when it was built.
                forms = all_forms(labels.lang)
                self.form = labels.field(
                    gr.Dropdown, "export.form", choices=forms, value=forms[0][1], interactive=True,
                    allow_custom_value=True, elem_id="export-form", elem_classes=["field"],
                )  # fmt: skip
                self.container = labels.field(
                    gr.Radio, "export.container", choices=CONTAINERS, value="jsonl", interactive=True,
                    elem_id="export-container", elem_classes=["field"],
                )  # fmt: skip
                self.write = labels.button("export.write", elem_id="export-write", elem_classes=["slim"])
                self.stop = labels.button("run.stop", visible=False, elem_id="export-stop", elem_classes=["slim"])
            self.note = labels.passing("export-note")

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self, chosen: Any) -> None:
        lang = self.page.lang
        chosen.change(self.opened, [chosen, lang], [self.card, self.form, self.note], **QUIET)
        self.write.click(
            self.export, [chosen, self.form, self.container, lang], [self.note, self.stop, self.write], **QUIET
        )
        self.stop.click(self.halted, None, self.stop, **QUIET)
        gr.on([self.form.input, self.container.input, lang.input], lambda: "", None, self.note, **QUIET)
        self.page.on_catalog(self.news, [chosen, self.form], [self.form])

    def opened(self, ref: str | None, lang: str) -> list[Any]:
        """Another dataset was chosen: the forms that its rows can be written in."""
        dataset = self.page.dataset(ref)
        if dataset is None:
            return [gr.update(visible=False), gr.skip(), ""]
        choices = form_choices(dataset.card.kind, lang)
        return [gr.update(visible=True), gr.update(choices=choices, value=choices[0][1]), ""]

    def news(self, catalog: Catalog, lang: str, ref: str | None, form: str | None) -> list[Any]:
        """The forms in the language of the page."""
        dataset = self.page.dataset(ref)
        if dataset is None:
            return [gr.skip()]
        choices = form_choices(dataset.card.kind, lang)
        names = [name for _, name in choices]
        return [gr.update(choices=choices, value=form if form in names else names[0])]

    # -- writing ------------------------------------------------------------------------------------------------------
    def export(
        self, ref: str | None, form: str | None, container: str, lang: str, request: gr.Request
    ) -> Iterator[list[Any]]:
        """Updates of (note, stop, write): the rows written so far, then the link."""
        dataset = self.page.dataset(ref)
        if dataset is None:
            yield [gr.skip()] * 3
            return
        workspace = self.page.workspace

        def write(tell: Tell, check_stop: Any) -> Path:
            return export_to_cache(
                workspace, dataset, form=form, container=container, on_progress=tell, check_stop=check_stop
            )

        work = self.bench.begin(str(request.session_hash), write)
        if work is None:
            yield [views.say(t("export.busy", lang), tone="calm"), gr.skip(), gr.skip()]
            return
        for at in work.follow():
            busy = gr.update(interactive=False)
            yield [writing(at, len(dataset), lang), gr.update(visible=not work.stopping), busy]
        over = [gr.update(visible=False), gr.update(interactive=True)]
        try:
            path = work.result()
        except StopRequested:
            yield [views.say(t("export.stopped", lang), tone="calm"), *over]
        except Exception as error:
            yield [views.say(*error_text(error, lang)), *over]
        else:
            yield [download(path, len(dataset), lang) if path else "", *over]

    def halted(self, request: gr.Request) -> Any:
        self.bench.stop(str(request.session_hash))
        return gr.update(visible=False)


def form_choices(kind: Kind, lang: str) -> list[tuple[str, str]]:
    """`Alpaca · instruction, input, output` for every form of a kind, the usual one first."""
    return [(f"{named('shape', name, lang)} · {keys}", name) for name, keys in forms_of(kind).items()]


def all_forms(lang: str) -> list[tuple[str, str]]:
    return [choice for kind in get_args(Kind) for choice in form_choices(kind, lang)]


def writing(at: tuple[Any, ...], rows: int, lang: str) -> str:
    done = at[0] if at else 0
    share = done / rows * 100 if rows else 0
    return (
        f'<div class="progress running" role="status"><div class="line"><b>{esc(t("export.writing", lang))}</b>'
        f'<span class="end">{count(done)} / {count(rows)}</span></div>'
        f'<div class="bar{"" if at else " moving"}"><i style="width:{share:.1f}%"></i></div></div>'
    )


def download(path: Path, rows: int, lang: str) -> str:
    """A link that saves the file under its own name; relative, so that it holds behind a proxy's path, too."""
    facts = t("export.facts", lang, rows=count(rows), size=size(path.stat().st_size))
    return (
        f'<div class="notice good export-done"><a href="gradio_api/file={esc(quote(str(path)))}" '
        f'download="{esc(path.name)}">{esc(t("export.download", lang))}</a> <code>{esc(path.name)}</code> '
        f"<span>{esc(facts)}</span></div>"
    )
