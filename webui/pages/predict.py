"""Many prompts: the second part of the Chat tab, where a file is answered line by line."""

from __future__ import annotations

from pathlib import Path

from core.records_predict import predictions_file, summary_file
from core.rundir import RunDir
from core.workspace import Workspace
from webui import views_judge, views_predict
from webui.catalog import Catalog, Choice
from webui.copies import copy_of
from webui.figures import count
from webui.page import Page
from webui.parents import MODEL, choices
from webui.plain_stage import PlainStage, PlainTab
from webui.prompt_card import PromptCard
from webui.text import t
from webui.views import Snapshot

ANSWERS = ("ppo", "dpo", "sft", "merge", MODEL, "pretrain", "vocabulary")  # in this order in the picker


def entries(page: Page, catalog: Catalog, lang: str) -> dict[str, list[Choice]]:
    """Who can answer, and the datasets."""
    asked = [(t("form.dataset_choice", lang, ref=one.ref, rows=count(len(one))), one.ref) for one in catalog.datasets]
    return {"model.base": choices(page.parents.offers(catalog, "predict", ANSWERS), catalog, lang), "data.file": asked}


def predict_page(page: Page) -> PlainStage:
    def files(shot: Snapshot, lang: str) -> str:
        return views_judge.files(copies(page.workspace, shot.run) if not shot.state.live else [], shot.run, lang)

    tab = PlainTab(
        stage="predict",
        intro="predict.intro",
        first=("model.base", "data.file", "generation.max_new_tokens", "data.system"),
        choices=entries,
        views=("result", "log", "settings"),
        nothing="predict.none_shown",
        render={"curves": views_predict.answers, "result": files},
        classes=("wide-work",),
        cards_first=True,
    )
    stage = PlainStage(page, tab)
    stage.cards = (PromptCard(page, stage.form),)
    return stage


def copies(workspace: Workspace, run: RunDir) -> list[Path]:
    """The files of a run that is over, in the one folder that the page serves files from: other names for the same."""
    sources = (predictions_file(run.output), summary_file(run.output))
    return [copy_of(workspace, run, source) for source in sources if source.is_file()]
