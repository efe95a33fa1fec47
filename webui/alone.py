"""The chat alone, for showing models to others: `python run_webui.py --chat base_model=… lora_model=a,b`.

    alone = check_models(workspace, options)          what may be asked; raises before anything is served
    build_chat(workspace, alone, lang).launch(**launch_options(workspace))

It is the Chat tab on a page of its own: these models and no others, and nothing of the workspace but its votes.
"""

from __future__ import annotations

import os
from typing import Any

import gradio as gr

from core.errors import InputError
from core.models.families import check_type
from core.models.library import STARTER
from core.models.lineage import base_weights, check_same_base, lora_weights
from core.serving.options import Weights
from core.talks import MOST_PANES
from core.workspace import Workspace
from webui import app, views_lists
from webui.catalog import Reader
from webui.chat_work import Alone
from webui.contestants import BASE, Contestants
from webui.labels import Labels
from webui.page import QUIET, Page
from webui.pages.chat import CHAT_KEPT, ChatPage
from webui.sparing import spare_the_browser, spare_the_server

UPLOADS = "100kb"  # nothing is to be uploaded here, and Gradio's route for it cannot be taken away


def check_models(workspace: Workspace, options: Weights) -> Alone:
    """Which models the options name: those of `lora_model` (`base` may be one of them, as in `core chat`) stand in the
    panes at first, the base alone where there are none; the base can be added.

    Raises InputError and ModelError for what cannot be asked: no such model, weights that are not those of the
    manifest, an adapter of another base than the one named, a reward model, more than four.
    """
    runs = [name for name in options.lora_model if name != BASE]
    contestants = Contestants(workspace, Reader(workspace))
    beneath = {run: contestants.seat(run, checked=False).base for run in runs}
    base = options.base_model or (beneath[runs[0]] if runs else STARTER)
    root = base_weights(workspace, base)
    assert root.model is not None
    if options.model_type:
        check_type(root.model, options.model_type)
    if options.base_model:
        for run in runs:
            check_same_base(lora_weights(workspace, run, root.model), root.model, root.weights)
    panes = [base if name == BASE else name for name in options.lora_model] or [base]
    if len(panes) > MOST_PANES:
        raise InputError("chat.too_many", count=len(panes), most=MOST_PANES)
    serving = {"device": options.place, "dtype": options.dtype, "trust_remote_code": options.trust_remote_code}
    return Alone(tuple(dict.fromkeys([*panes, base])), tuple(panes), serving)


def build_chat(workspace: Workspace, alone: Alone, lang: str = "auto") -> gr.Blocks:
    """The page as a value. `lang`: as in `webui.app.build_app`."""
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.cache_dir / "uploads")
    labels = Labels("en" if lang == "auto" else lang)
    with gr.Blocks(title="Galen", analytics_enabled=False, fill_width=True) as blocks:
        with gr.Column(elem_classes=["alone-frame"]):
            with gr.Row(elem_classes=["alone-head"]):
                labels.html(views_lists.brand, elem_classes=["bare"])
                switch = app.language_switch(labels.lang)
            page = Page(workspace, labels, Reader(workspace), switch)
            chat = ChatPage(page, alone)
            chat.build()
        kept_lang = gr.Textbox("", visible=False)
        chat.wire()
        _wire(blocks, page, chat, kept_lang, auto=lang == "auto")
    spare_the_browser(blocks)
    spare_the_server()
    return blocks


def _wire(blocks: gr.Blocks, page: Page, chat: ChatPage, kept_lang: gr.Textbox, *, auto: bool) -> None:
    labels, switch = page.labels, page.lang

    def opened(request: gr.Request, kept: Any, stored: Any) -> list[Any]:
        lang = app.language_of(request, kept, labels.lang, auto=auto)
        relabel = labels.updates(lang) if lang != labels.lang else [gr.skip()] * len(labels.components)
        return [lang, *chat.opened(stored), *relabel]

    loaded = blocks.load(
        opened, [kept_lang, chat.kept], [switch, chat.kept, *chat.form, *labels.components],
        js=f"() => [galen.kept('language', ''), {CHAT_KEPT}]", **QUIET,
    )  # fmt: skip
    loaded.then(**chat.fresh).then(**chat.keep).then(None, js="() => galen.begin()")
    switched = switch.input(labels.updates, switch, labels.components, **QUIET)
    switch.input(None, switch, None, js="(lang) => galen.keep('language', lang)")
    switched.then(**chat.fresh)


def launch_options(workspace: Workspace) -> dict[str, Any]:
    """What `launch` needs: as of the whole page, but no file is served and none is taken."""
    return {**app.launch_options(workspace), "allowed_paths": [], "max_file_size": UPLOADS}
