"""The Merge tab: a run's adapters into their base, and the proof that the result is what they come to.

Beneath the form stands what sends a finished thing to a hub (`webui.send_card`), merged or not.
"""

from __future__ import annotations

from webui.catalog import Catalog, Choice
from webui.page import Page
from webui.parents import choices
from webui.plain_stage import PlainStage, PlainTab
from webui.send_card import SendCard
from webui.views_merge import verification

MERGEABLE = ("ppo", "dpo", "sft", "reward", "pretrain")  # in this order in the picker


def entries(page: Page, catalog: Catalog, lang: str) -> dict[str, list[Choice]]:
    """The runs that have adapters, then those that have none, with the reason; models are whole already."""
    found = [offer for offer in page.parents.offers(catalog, "merge", MERGEABLE, waits=True) if offer.kind == "run"]
    return {"model.base": choices(found, catalog, lang)}


MERGE = PlainTab(
    stage="merge",
    intro="merge.intro",
    first=("model.base", "model.folder", "model.dtype"),
    choices=entries,
    views=("result", "log", "settings"),
    nothing="merge.none_shown",
    render={"curves": verification},
)


def merge_page(page: Page) -> PlainStage:
    return PlainStage(page, MERGE, SendCard(page))
