"""What one session of the Look part is looking at, and how it is asked for by a click. No gradio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.data.look.view import Query, flipped

PANES = ("bubbles", "tokens", "edit")
FIGURES = "figures"


@dataclass(frozen=True)
class LookState:
    """`row`: the number of the shown row, -1 for none; `pane`: how it is shown; `figures`: figures instead of rows.

    `saving`: which save is under way, 0 for none. `note`: a code of the page's text about the last change of a row,
    `problem`: the code and parameters of what was wrong with it, `tried`: the texts that were refused.
    """

    ref: str = ""
    query: Query = field(default_factory=Query)
    page: int = 1
    row: int = -1
    pane: str = "bubbles"
    figures: bool = False
    saving: int = 0
    note: str = ""
    problem: tuple[str, dict[str, Any]] | None = None
    tried: tuple[str, ...] = ()

    def opened(self, ref: str) -> LookState:
        """The same way of looking at another dataset."""
        return LookState(ref=ref, pane=self.pane, figures=self.figures)

    def asking(self, query: Query) -> LookState:
        return self if query == self.query else replace(self, query=query, page=1)

    def at_row(self, row: int) -> LookState:
        return self.quiet() if row == self.row else replace(self.quiet(), row=row)

    def quiet(self) -> LookState:
        """Without what was said of the last change."""
        return replace(self, note="", problem=None, tried=())

    def clicked(self, data: Mapping[str, Any]) -> LookState:
        """The state after a click into table or foot: a column's head, a page, a row, or a sign for the order."""
        query = self.query
        if data.get("sort"):
            return self.asking(flipped(query, str(data["sort"])))
        if data.get("page"):
            return replace(self, page=whole(data["page"], self.page))
        if data.get("row") is not None:
            return self.at_row(whole(data["row"], -1))
        if data.get("act") == "flip":
            return self.asking(replace(query, descending=not query.descending))
        if data.get("act") == "unsort":
            return self.asking(replace(query, sort="", descending=False))
        return self


def whole(value: Any, otherwise: int) -> int:
    """A whole number that somebody typed or a page sent; what is none gives `otherwise`."""
    try:
        return int(str(value).strip().replace(",", ""))
    except ValueError:
        return otherwise
