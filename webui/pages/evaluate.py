"""The Evaluate tab: models and runs on the same rows and prompts, in one table, with their answers side by side."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from core.data.bring.export import export_folder
from core.data.store.dataset import Dataset
from core.records_evaluation import EXAM_KINDS, answers_sheet, evaluation_file, items_sheet, table_sheet
from core.rundir import RunDir
from core.workspace import Workspace
from webui import views_judge
from webui.catalog import Catalog, Choice
from webui.figures import count
from webui.items_part import ItemsPart
from webui.page import Page
from webui.parents import MODEL, choices
from webui.plain_stage import PlainStage, PlainTab
from webui.text import t
from webui.views import Snapshot

COMPARED = (MODEL, "ppo", "dpo", "sft", "pretrain", "reward", "merge")  # in this order in the picker


def entries(page: Page, catalog: Catalog, lang: str) -> dict[str, list[Choice]]:
    """Models and runs, datasets that give figures, datasets that ask something."""
    found = page.parents.offers(catalog, "evaluate", COMPARED)
    rows = [dataset for dataset in catalog.datasets if dataset.card.kind in EXAM_KINDS]
    return {
        "models.runs": choices(found, catalog, lang),
        "data.rows": [_entry(dataset, lang) for dataset in rows],
        "data.prompts": [_entry(dataset, lang) for dataset in catalog.datasets],
        "data.dev": [_entry(dataset, lang) for dataset in rows if dataset.card.kind == "choice"],
    }


def _entry(dataset: Dataset, lang: str) -> Choice:
    return t("form.dataset_choice", lang, ref=dataset.ref, rows=count(len(dataset))), dataset.ref


def evaluate_page(page: Page) -> PlainStage:
    def files(shot: Snapshot, lang: str) -> str:
        return views_judge.files(copies(page.workspace, shot.run) if not shot.state.live else [], shot.run, lang)

    tab = PlainTab(
        stage="evaluate",
        intro="evaluate.intro",
        first=("models.runs", "data.rows", "data.prompts"),
        choices=entries,
        views=("samples", "items", "result", "log", "settings"),
        nothing="evaluate.none_shown",
        render={"curves": views_judge.table, "samples": views_judge.answers, "result": files},
        parts={"items": ItemsPart(page)},
        classes=("wide-work",),
    )
    return PlainStage(page, tab)


def copies(workspace: Workspace, run: RunDir) -> list[Path]:
    """The sheets of a run that is over, in the one folder that the page serves files from."""
    made = []
    sheets = (table_sheet(run.output), answers_sheet(run.output), items_sheet(run.output), evaluation_file(run.output))
    for source in sheets:
        if source.is_file():
            copy = export_folder(workspace) / f"{run.id}-{source.name}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.is_file() or copy.stat().st_mtime_ns < source.stat().st_mtime_ns:
                temporary = copy.with_name(f".{copy.name}.tmp")
                shutil.copyfile(source, temporary)
                os.replace(temporary, copy)
            made.append(copy)
    return made
