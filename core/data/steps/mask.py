"""mask: personal data becomes a placeholder, so that no model learns somebody's number. What counts: `patterns`."""

from __future__ import annotations

from core.configs.clean_steps import Mask
from core.data.figures import language_of
from core.data.steps.base import Item, Job, PerRow
from core.data.steps.patterns import spots
from core.data.steps.texts import text_at, with_texts

ORDER = ("id_card", "bank_card", "email", "us_ssn", "phone", "landline", "us_phone")  # the surest first
PLACEHOLDERS = {  # kind: (English, Chinese)
    "phone": ("[phone]", "[电话]"),
    "landline": ("[phone]", "[电话]"),
    "us_phone": ("[phone]", "[电话]"),
    "id_card": ("[ID number]", "[身份证号]"),
    "us_ssn": ("[ID number]", "[身份证号]"),
    "bank_card": ("[bank card]", "[银行卡号]"),
    "email": ("[email]", "[邮箱]"),
}


def mask(step: Mask, job: Job) -> PerRow:
    """Replace what is found in every text of the row; a row without any stays the same object."""
    kind, kinds = job.kind, [name for name in ORDER if name in step.what]

    def change(item: Item) -> Item:
        column = None

        def masked(text: str) -> str:
            nonlocal column
            found = spots(text, kinds)
            if not found:
                return text
            if column is None:
                column = _column(step, text_at(kind, item.row))
            parts, end = [], 0
            for spot in found:
                parts += [text[end : spot.start], PLACEHOLDERS[spot.kind][column]]
                end = spot.end
            return "".join([*parts, text[end:]])

        item.row = with_texts(item.row, masked)
        return item

    return change


def _column(step: Mask, text: str) -> int:
    """Which placeholders: 0 the English, 1 the Chinese ones."""
    if step.placeholders != "auto":
        return int(step.placeholders == "zh")
    return int(language_of(text) in ("zh", "mixed"))
