"""One waiting file of "Bring in": what its check found, another shape or other columns, and what to do with it.

What is shown is read from the intake at every tick and sent only where it is new, so a reload in the middle of a check
or an import shows it as it stands. Uploading and the lists beside are `webui.data_bring`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from core.data.bring.importing import BadRows
from core.data.check.doctor import preview_rows
from core.data.shapes.formats import SHAPES, Shape
from core.errors import GalenError
from webui import views, views_data, views_report, views_rows
from webui.figures import count, size
from webui.intake import Intake, Waiting
from webui.messages import error_text
from webui.page import QUIET, Page
from webui.text import t

SLOTS = 6  # keys that can be mapped by hand
SLOT_NAMES = [f"slot{at}" for at in range(SLOTS)]
PANES = ("card", "head", "work", "note", "report", "tune", "shape", *SLOT_NAMES, "findings", "name")
MORE_KEYS = {"alpaca": ("input", "system"), "prompt-response": ("system",), "preference": ("prompt",)}
PREVIEWED = 3


@dataclass
class Sent:
    """What one session has on its screen: `stamp` tells whether anything changed, `values` what was sent last."""

    stamp: Any = None
    values: dict[str, Any] = field(default_factory=dict)


class FilePart:
    """Build it where the file's card belongs; `refresh` gives one update for each of `outputs`."""

    def __init__(self, page: Page, intake: Intake) -> None:
        self.page = page
        self.intake = intake
        self.buttons: dict[str, gr.Button] = {}

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["card", "file-card"], visible=False) as self.card:
            self.head = gr.HTML("", elem_classes=["bare"])
            with gr.Row(elem_classes=["actions", "file-actions"]):
                self.name = labels.field(
                    gr.Textbox, "data.name", lines=1, max_lines=1, interactive=True, elem_id="data-name",
                    elem_classes=["field"],
                )  # fmt: skip
                self._button("import", "data.import", variant="primary")
                self._button("repair", "data.repair", variant="primary")
                self._button("import_drop", "data.import_drop")
                self._button("stop", "run.stop")
                self._button("again", "data.again")
                self._button("look", "data.look", variant="primary")
                self._button("discard", "data.discard")
            self.work = gr.HTML("", elem_id="data-work", elem_classes=["bare"])
            self.note = labels.passing("data-note")
            with gr.Column(elem_id="data-report", elem_classes=["file-report"]):
                self.report = gr.HTML("", elem_classes=["bare"])
                self._build_tuning()
                self.findings = gr.HTML("", elem_classes=["bare"])
            self.preview = gr.HTML("", elem_id="data-rows", elem_classes=["bare"])
        self.sent = gr.State(None)
        self.shown = gr.Textbox(visible=False)

    def _build_tuning(self) -> None:
        labels = self.page.labels
        with labels.accordion(
            "tune.title", open=False, visible=False, elem_id="data-tune", elem_classes=["section", "other"]
        ) as self.tune:
            with gr.Row(elem_classes=["mapping"]):  # choices come with the file, so Gradio must not check the values
                self.shape = labels.field(
                    gr.Dropdown, "tune.choose", choices=[], value="", allow_custom_value=True, interactive=True,
                    elem_id="data-shape", elem_classes=["field"],
                )  # fmt: skip
                self.slots = [
                    gr.Dropdown(
                        [], value="", allow_custom_value=True, visible=False, interactive=True,
                        elem_id=f"data-column-{at}", elem_classes=["field"],
                    )
                    for at in range(SLOTS)
                ]  # fmt: skip
            labels.html(lambda lang: f'<p class="hint">{t("tune.hint", lang)}</p>', elem_classes=["bare"])

    def _button(self, name: str, key: str, **options: Any) -> None:
        ident = f"data-{name.replace('_', '-')}"
        self.buttons[name] = self.page.labels.button(key, visible=False, elem_id=ident, **options)

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self, chosen: gr.Textbox, after: dict[str, Any]) -> None:
        """`chosen`: where the reference of an imported dataset goes; `after`: the event that shows how things stand."""
        lang, shown = self.page.lang, self.shown
        for name, bad_rows, repair in (
            ("import", "stop", False),
            ("repair", "drop", True),
            ("import_drop", "drop", False),
        ):
            event = self.buttons[name].click(
                self._importer(bad_rows, repair), [shown, self.name, lang], [self.work, self.note, chosen], **QUIET
            )  # fmt: skip
            event.then(**after)
        for name, act in (("stop", self.intake.stop), ("again", self.intake.check), ("discard", self.intake.discard)):
            self.buttons[name].click(self._actor(act), shown, None, **QUIET).then(**after)
        self.shape.input(self.choose_shape, [shown, self.shape], None, **QUIET).then(**after)
        for slot in self.slots:
            slot.input(self.choose_columns, [shown, self.shape, *self.slots], None, **QUIET).then(**after)

    @property
    def outputs(self) -> list[Any]:
        panes = [
            self.card,
            self.head,
            self.work,
            self.note,
            self.report,
            self.tune,
            self.shape,
            *self.slots,
            self.findings,
            self.name,
        ]
        return [self.sent, self.shown, *panes, *self.buttons.values(), self.preview]

    # -- showing ------------------------------------------------------------------------------------------------------
    def refresh(self, item: Waiting | None, shown: str, lang: str, sent: Sent, around: dict[str, Any]) -> list[Any]:
        """Updates for `outputs`, then for what stands `around` the card: each only where it is new to this session."""
        key = item.key if item else ""
        stamp = (key, lang, item and (item.mark, item.phase, item.done if item.busy else None))
        before = sent.values
        wanted = dict.fromkeys((*PANES, *self.buttons, "preview"))
        if stamp != sent.stamp:
            fresh = stamp[:2] != (sent.stamp or (None, None))[:2]
            wanted |= self._wanted(item, lang, fresh=fresh)
        wanted |= around
        updates = [_update(value) if before.get(name) != value else gr.skip() for name, value in wanted.items()]
        kept = {name: value for name, value in wanted.items() if value is not None}
        return [Sent(stamp, {**before, **kept}), key if key != shown else gr.skip(), *updates]

    def _wanted(self, item: Waiting | None, lang: str, *, fresh: bool) -> dict[str, Any]:
        """What `PANES`, the buttons and the preview are to show; None leaves one as it is."""
        slots: list[dict[str, Any]] = [{"visible": False}] * SLOTS
        wanted: dict[str, Any] = {"card": {"visible": item is not None}}
        if item is None:
            wanted |= {"head": "", "work": "", "note": "", "report": "", "tune": {"visible": False}, "shape": None}
            wanted |= dict(zip(SLOT_NAMES, slots, strict=True)) | {"findings": "", "name": None}
            return {**wanted, **{name: {"visible": False} for name in self.buttons}, "preview": ""}
        report = item.report if item.phase in ("checked", "failed", "importing") else None
        tunable = report is not None and report.rows > 0 and item.phase == "checked"
        shape, preview = None, ""
        if tunable:
            shape, slots, preview = self._tuning(item, lang)
        elif item.phase == "imported":
            preview = self._result(item, lang)
        lost = tunable and report is not None and not report.usable  # nothing fits: the user has to say what it is
        keep = item.phase == "checked" and report is not None and report.usable > 0
        wanted["head"] = views.title(item.path.name, size(item.size))
        wanted |= {"work": views_data.working(item, lang) if item.busy else "", "note": self._note(item, lang)}
        wanted["report"] = views_report.check_report(report, lang) if report is not None else ""
        wanted |= {"tune": {"visible": tunable, **({"open": lost} if fresh else {})}, "shape": shape}
        wanted |= dict(zip(SLOT_NAMES, slots, strict=True))
        wanted["findings"] = views_report.findings(report, lang) if report is not None else ""
        wanted["name"] = {"visible": keep, **({"value": item.name} if fresh or not keep else {})}
        shows: dict[str, dict[str, Any]] = {name: {"visible": shown} for name, shown in self._legal(item).items()}
        shows["discard"]["value"] = t("data.close" if item.phase == "imported" else "data.discard", lang)
        return {**wanted, **shows, "preview": preview}

    def _legal(self, item: Waiting) -> dict[str, bool]:
        report, checked = item.report, item.phase == "checked"
        some = checked and report is not None and report.usable > 0
        good = some and report is not None and report.ok
        mendable = checked and report is not None and report.repairable > 0
        return {
            "import": bool(good),
            "repair": bool(mendable),
            "import_drop": bool(some and not good),
            "stop": item.busy or (item.phase == "importing" and bool(item.run)),
            "again": item.phase in ("stopped", "failed"),
            "look": item.phase == "imported" and bool(item.dataset),
            "discard": item.phase != "importing",
        }

    def _note(self, item: Waiting, lang: str) -> str:
        """How the last thing that was done with the file ended, where that is not for the report to say."""
        if item.error is not None and item.phase == "failed":
            problems = item.error.problems if isinstance(item.error, GalenError) else []
            return views.say(*error_text(item.error, lang)) + views_rows.problem_list(problems, lang)
        if item.phase == "imported":
            return self._added(item, lang)
        if item.phase == "importing" and item.run:
            return views.say(t("bring.by_run", lang, name=item.path.name), tone="calm")
        if item.phase == "checked" and item.report is not None:
            return views_report.notes(item.report, lang)
        return ""

    def _added(self, item: Waiting, lang: str) -> str:
        dataset = self.intake.made(item)
        if dataset is None:
            return views.say(t("bring.gone", lang, ref=item.dataset), tone="calm")
        card = dataset.card
        mended = t("data.imported_repaired", lang, repaired=count(card.repaired)) if card.repaired else ""
        return views.say(views_data.added(dataset, lang), mended, tone="good")

    # -- another shape, other columns ---------------------------------------------------------------------------------
    def _tuning(self, item: Waiting, lang: str) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
        """(shape picker, slots, first rows): as detected, or as the user chose."""
        choices = [(t("tune.detected", lang), "")]
        choices += [(f"{views_data.named('shape', one.name, lang)} · {one.describe}", one.name) for one in SHAPES]
        try:
            first = preview_rows(item.path, item.shape or None, item.columns or None, PREVIEWED)
        except GalenError as error:
            first, preview = [], views.say(*error_text(error, lang))
        else:
            preview = views_report.first_rows(first, lang)
        found = shape_called(item.shape or (item.report.format if item.report else "") or "")
        names = dict.fromkeys(str(name) for _, raw, _ in first if isinstance(raw, dict) for name in raw)
        own = [
            (t("tune.same_name", lang), ""),
            *((name, name) for name in {**names, **dict.fromkeys(item.columns.values())}),
        ]
        slots: list[dict[str, Any]] = [
            {"visible": True, "label": key, "choices": own, "value": item.columns.get(key.split(" | ")[0], "")}
            for key in keys_of(found)
        ]
        slots += [{"visible": False}] * (SLOTS - len(slots))
        return {"choices": choices, "value": item.shape}, slots, preview

    def choose_shape(self, shown: str, name: str | None) -> None:
        self.intake.check(shown, shape=name or "", columns={})

    def choose_columns(self, shown: str, name: str | None, *columns: str | None) -> None:
        item = self.intake.get(shown)
        if item is None:
            return
        shape = shape_called(name or (item.report.format if item.report else "") or "")
        keys = [key.split(" | ")[0] for key in keys_of(shape)]
        chosen = {key: column for key, column in zip(keys, columns, strict=False) if column}
        self.intake.check(shown, shape=name or (shape.name if shape and chosen else ""), columns=chosen)

    # -- acting -------------------------------------------------------------------------------------------------------
    def _importer(self, bad_rows: Any, repair: bool) -> Any:
        def click(shown: str, name: str, lang: str) -> Iterator[list[Any]]:
            yield from self.bring_in(shown, name, bad_rows, repair, lang)

        return click

    def bring_in(self, shown: str, name: str, bad_rows: BadRows, repair: bool, lang: str) -> Iterator[list[Any]]:
        """Import the shown file; its progress while this session watches. The work does not depend on it."""
        try:
            self.intake.bring_in(shown, name or "", bad_rows=bad_rows, repair=repair)
        except GalenError as error:
            yield ["", views.say(*error_text(error, lang)) + views_rows.problem_list(error.problems, lang), gr.skip()]
            return
        item = self.intake.get(shown)
        if item is None:
            yield [gr.skip()] * 3
            return
        if item.work is not None and not item.run:
            for _ in item.work.follow():
                yield [views_data.working(item, lang), gr.skip(), gr.skip()]
        self.page.catalog.read(fresh=True)
        yield ["", gr.skip(), item.dataset if item.phase == "imported" else gr.skip()]

    def _result(self, item: Waiting, lang: str) -> str:
        """What was mended, and the first rows of what came of it."""
        dataset = self.intake.made(item)
        if dataset is None:
            return ""
        return views_report.repairs(dataset, lang) + views_report.beginning(dataset, lang)

    @staticmethod
    def _actor(act: Any) -> Any:
        return lambda shown: act(shown)


def shape_called(name: str) -> Shape | None:
    return next((shape for shape in SHAPES if shape.name == name), None)


def keys_of(shape: Shape | None) -> list[str]:
    """The keys that a shape needs, `output | response` where one of several will do, and those it takes beside."""
    if shape is None:
        return []
    needed = [" | ".join(group) for group in shape.needs]
    return [*needed, *MORE_KEYS.get(shape.name, ())][:SLOTS]


def _update(value: Any) -> Any:
    """Properties as an update; plain values and skips as they are."""
    if value is None:
        return gr.skip()
    return gr.update(**value) if isinstance(value, dict) and "__type__" not in value else value
