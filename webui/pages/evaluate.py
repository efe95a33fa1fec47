"""The Evaluate tab: models and runs on the same rows and prompts: what was gained and lost, figures, answers, rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.data.store.dataset import Dataset
from core.records_evaluation import ASKING, EXAM_KINDS, answers_sheet, evaluation_file, items_sheet, table_sheet
from core.records_report import report_file
from core.rundir import RunDir
from core.workspace import Workspace
from webui import views_judge
from webui.catalog import Catalog, Choice
from webui.copies import copy_of
from webui.figures import count
from webui.items_part import ItemsPart
from webui.page import Page
from webui.parents import MODEL, choices
from webui.plain_stage import PlainStage, PlainTab
from webui.report_part import ReportPart, SaidPart
from webui.text import t
from webui.views import Snapshot

COMPARED = (MODEL, "ppo", "dpo", "sft", "pretrain", "reward", "merge")  # in this order in the picker


def entries(page: Page, catalog: Catalog, lang: str) -> dict[str, list[Choice]]:
    """Models and runs, datasets that give figures, datasets that ask something."""
    found = page.parents.offers(catalog, "evaluate", COMPARED, waits=True)
    rows = [dataset for dataset in catalog.datasets if dataset.card.kind in EXAM_KINDS]
    runs = [offer for offer in found if offer.kind == "run"]
    judges = page.parents.offers(catalog, "score", ("reward", MODEL), waits=True)
    writers = page.parents.offers(catalog, "perplexity", COMPARED)
    asked = [_entry(dataset, lang) for dataset in catalog.datasets if dataset.card.kind in (*EXAM_KINDS, *ASKING)]
    return {
        "models.chain": choices(runs, catalog, lang),
        "models.runs": choices(found, catalog, lang),
        "data.rows": [_entry(dataset, lang) for dataset in rows],
        "data.prompts": [_entry(dataset, lang) for dataset in catalog.datasets],
        "data.dev": [_entry(dataset, lang) for dataset in rows if dataset.card.kind == "choice"],
        "report.domain": asked,
        "report.general": asked,
        "judging.reward": choices([offer for offer in judges if offer.legal], catalog, lang),
        "judging.base": choices([offer for offer in writers if offer.legal], catalog, lang),
    }


def _entry(dataset: Dataset, lang: str) -> Choice:
    return t("form.dataset_choice", lang, ref=dataset.ref, rows=count(len(dataset))), dataset.ref


def evaluate_page(page: Page) -> PlainStage:
    def files(shot: Snapshot, lang: str) -> str:
        made = [] if shot.state.live else [*copies(page.workspace, shot.run), *copies(page.workspace, shot.run, REPORT)]
        return views_judge.files(made, shot.run, lang)

    def report_copies(run: RunDir) -> list[Path]:
        return copies(page.workspace, run, ("csv", "md", "svg"))

    items, said = ItemsPart(page), SaidPart()
    tab = PlainTab(
        stage="evaluate",
        intro="evaluate.intro",
        first=(
            "models.chain",
            "models.runs",
            "report.domain",
            "report.general",
            "report.answers",
            "safety.questions",
            "data.rows",
            "data.prompts",
        ),
        choices=entries,
        views=("samples", "items", "result", "log", "settings"),
        nothing="evaluate.none_shown",
        render={"result": files},
        parts={"items": items, "samples": said, "curves": ReportPart(items, said, report_copies)},
        classes=("wide-work",),
    )
    return PlainStage(page, tab)


SHEETS = (table_sheet, answers_sheet, items_sheet, evaluation_file)
REPORT = ("csv", "md", "svg", "json")


def copies(workspace: Workspace, run: RunDir, report: Sequence[str] = ()) -> list[Path]:
    """The sheets of a run that is over, or the files of its `report`, in the one folder that the page serves from."""
    sources = [report_file(run.output, ending) for ending in report] or [sheet(run.output) for sheet in SHEETS]
    return [copy_of(workspace, run, source) for source in sources if source.is_file() and source.stat().st_size]
