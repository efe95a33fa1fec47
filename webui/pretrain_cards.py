"""What the Pretrain tab has beside its run: whether the corpus is worth it, and extending the vocabulary first.

Both are small runs (`webui.side_run`) on the model and the corpus that the page has chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from core.rundir import RunDir
from webui.catalog import Catalog
from webui.figures import count, esc
from webui.forms import Form
from webui.page import Page
from webui.side_run import SideCard, SideRun
from webui.text import t
from webui.views_worth import vocabulary, worth

SAMPLE = 200  # documents that are scored
CORPUS = "words.corpus"
OWN = (CORPUS, "words.list", "words.unit", "words.size", "words.min_count", "words.max_length")


class WorthCard:
    """*Is it worth it?*: a sample of the corpus under the model that would be trained."""

    def __init__(self, page: Page, main: Form) -> None:
        self.page = page
        self.main = main
        side = SideRun(page, "perplexity", "worth", lambda catalog, run: "")
        self.card = SideCard(side, "worth.start", self.values, self.measured_by, worth)

    def build(self) -> None:
        labels = self.page.labels
        with labels.accordion("worth.title", open=False, elem_id="worth", elem_classes=["section", "other"]):
            labels.html(lambda lang: f'<p class="hint">{esc(t("worth.help", lang))}</p>', elem_classes=["bare"])
            self.card.build()

    def wire(self) -> None:
        inputs = [self.main.component(key) for key in ("model.base", "data.train", "model.trust_remote_code")]
        self.card.wire(inputs, inputs[:2])

    @staticmethod
    def values(given: Sequence[Any]) -> dict[str, Any]:
        base, rows, trusted = given
        return {
            "model.base": base, "data.rows": rows, "data.as_text": True, "data.max_rows": SAMPLE,
            "model.trust_remote_code": bool(trusted),
        }  # fmt: skip

    def measured_by(self, run: RunDir, wanted: Mapping[str, Any]) -> bool:
        """Whether a run measured this very corpus under this very model."""
        config = run.config()
        rows = str((config.get("data") or {}).get("rows"))
        same_rows = wanted["data.rows"] in (rows, rows.partition("@")[0])
        return same_rows and same_base(self.page, config, wanted)


class VocabularyCard:
    """Frequent words of a corpus, or a list of them, become tokens; the result is chosen as the model to start from."""

    def __init__(self, page: Page, main: Form) -> None:
        self.page = page
        self.main = main
        self.form = Form("vocabulary", page.labels)
        side = SideRun(page, "vocabulary", "vocabulary", delivered)
        self.card = SideCard(side, "vocabulary.start", self.values, self.extended_by, vocabulary, picks=True)

    def build(self) -> None:
        labels = self.page.labels
        with labels.accordion("vocabulary.title", open=False, elem_id="vocabulary", elem_classes=["section", "other"]):
            labels.html(lambda lang: f'<p class="hint">{esc(t("vocabulary.help", lang))}</p>', elem_classes=["bare"])
            with gr.Column(elem_classes=["fields"]):
                for key in OWN:
                    self.form.place(key, more_help="vocabulary.corpus_help" if key == CORPUS else "")
            self.card.build()

    def wire(self) -> None:
        keys = ("model.base", "data.train", "model.trust_remote_code")
        inputs = [*(self.main.component(key) for key in keys), *self.form.components]
        self.card.wire(inputs, inputs[:1], inputs[0])
        self.page.on_catalog(corpora, [], [self.form.component(CORPUS)])

    def values(self, given: Sequence[Any]) -> dict[str, Any]:
        base, train, trusted, *own = given
        read = self.form.read(own)
        if not read.get(CORPUS) and not read.get("words.list"):
            read[CORPUS] = train
        return {"model.base": base, "model.trust_remote_code": bool(trusted), **read}

    def extended_by(self, run: RunDir, wanted: Mapping[str, Any]) -> bool:
        """Whether a run is the model that is chosen, or was made from it."""
        return wanted["model.base"] == run.id or same_base(self.page, run.config(), wanted)


def same_base(page: Page, config: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a run's config names the model that is chosen."""
    base, chosen = (config.get("model") or {}).get("base"), wanted["model.base"]
    return bool(chosen) and base in (chosen, page.parents.lasting(str(chosen)))


def delivered(_: Catalog, run: RunDir) -> str:
    """The run itself: the model that it has made is chosen by its name."""
    return run.id if run.manifest_file.exists() else ""


def corpora(catalog: Catalog, lang: str) -> list[Any]:
    """The choices of the corpus: everything that Pretrain reads."""
    found = [each for each in catalog.datasets if "pretrain" in each.card.stages]
    named = [(t("form.dataset_choice", lang, ref=each.ref, rows=count(len(each))), each.ref) for each in found]
    return [gr.update(choices=named)]
