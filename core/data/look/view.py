"""A dataset as a table to look at: which rows, in which order, and one page of them.

    view = View(workspace, dataset)
    rows = view.positions(Query(search="胰岛素", sort="chars", descending=True), on_found=show)
    page = view.page(rows, number=1, size=50)

A query is answered once, with a pass over a column or over the text, and kept; paging through the answer reads the
fifty rows it shows and nothing else. Nothing here holds a dataset in memory.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.store import text_search as finding
from core.data.store.columns import COLUMNS, MEASURED, Check, Columns, Progress
from core.data.store.dataset import Dataset
from core.data.store.text_search import Found
from core.errors import DataError
from core.workspace import Workspace

SORTS = COLUMNS
PAGE_ROWS = 50
MOST_ROWS = 200  # of a page

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Query:
    """What to show. "" stands for no limit and, as `sort`, for the dataset's own order.

    `search` is found anywhere in a row, whatever its case. `duplicates`: only rows that another row equals.
    """

    search: str = ""
    language: str = ""
    source: str = ""
    duplicates: bool = False
    sort: str = ""
    descending: bool = False

    @property
    def everything(self) -> bool:
        return not (self.search or self.language or self.source or self.duplicates)

    @property
    def name(self) -> str:
        """A file's name for its answer."""
        return f"rows-{hashlib.sha256(repr(self).encode()).hexdigest()[:24]}"


@dataclass(frozen=True)
class TableRow:
    """One row of the table. `copies`: how many other rows say the same; `excerpt`: where the search was found."""

    index: int
    question: str
    answer: str
    excerpt: str
    chars: int
    answer_chars: int
    turns: int
    language: str
    copies: int
    line: int
    source: str
    difficulty: float | None
    score: float | None


@dataclass(frozen=True)
class Page:
    """Rows of page `number` (from 1) of `pages`; `total` rows answer the query."""

    rows: list[TableRow]
    number: int
    pages: int
    total: int


class View:
    """The table of one version. Opening it reads nothing; `build` makes what it needs, once a version."""

    def __init__(self, workspace: Workspace, dataset: Dataset) -> None:
        self.dataset = dataset
        self.columns = Columns(workspace, dataset)

    def build(self, on_progress: Progress | None = None, check_stop: Check | None = None) -> None:
        """Half a second for two million rows; minutes for versions of earlier days, which came without figures."""
        self.columns.build(on_progress, check_stop)

    # -- which rows ---------------------------------------------------------------------------------------------------
    def known(self, query: Query) -> Rows | None:
        """The answer to `query` where it costs nothing, or None."""
        check(query)
        if not self.columns.ready:
            return None
        if query.everything and not query.sort:
            return np.arange(len(self.dataset), dtype=np.int32)
        return self.columns.found(query.name)

    def positions(
        self,
        query: Query,
        *,
        on_progress: Progress | None = None,
        on_found: Callable[[Found], None] | None = None,
        check_stop: Check | None = None,
    ) -> Rows:
        """The numbers of the rows that answer `query`, in its order.

        `on_found` sees the rows that a search finds, while it goes on, before other limits and sorting. Raises
        DataError `data.no_column` for a sort by what is no column, and what `check_stop` raises.
        """
        check(query)
        self.build(on_progress, check_stop)
        known = self.known(query)
        if known is not None:
            return known
        rows = self._limited(query, on_found, check_stop)
        if query.sort:
            order = self._order(query.sort, query.descending)
            if rows is None:
                rows = order
            else:
                kept = np.zeros(len(self.dataset), dtype=bool)
                kept[rows] = True
                rows = order[kept[order]]
        assert rows is not None  # without a limit and a sort it was known
        known = self.columns.found(query.name)  # nothing but a search, or a sort, keeps itself
        return self.columns.keep(query.name, rows) if known is None else known

    def _limited(self, query: Query, on_found: Callable[[Found], None] | None, check_stop: Check | None) -> Rows | None:
        """The rows within the limits, in the dataset's order; None where there are no limits."""
        rows = self._hits(query.search, on_found, check_stop) if query.search else None
        for name, wanted in (("language", query.language), ("source", query.source)):
            if wanted:
                names = self.columns.languages if name == "language" else self.columns.sources
                code = list(names).index(wanted) if wanted in names else -1
                rows = _where(self.columns[name] == code, rows)
        if query.duplicates:
            rows = _where(self.columns["duplicates"] > 0, rows)
        return rows

    def _hits(self, text: str, on_found: Callable[[Found], None] | None, check_stop: Check | None) -> Rows:
        alone = Query(search=text)
        hits = self.columns.found(alone.name)
        if hits is None:
            found = finding.find(self.columns.search_file, text, on_found=on_found, check_stop=check_stop)
            hits = self.columns.keep(alone.name, found)
        return hits

    def _order(self, name: str, descending: bool) -> Rows:
        """All rows sorted by a column; equals in the dataset's order, rows without a value last."""
        alone = Query(sort=name, descending=descending)
        order = self.columns.found(alone.name)
        if order is None:
            values: NDArray[Any] = self.columns[name]
            if name == "source":
                values = np.argsort(np.argsort(np.array(self.columns.sources)))[values].astype(np.int32)
            order = np.argsort(-values if descending else values, kind="stable").astype(np.int32)
            self.columns.keep(alone.name, order)
        return order

    # -- one page -----------------------------------------------------------------------------------------------------
    def page(self, rows: Rows, number: int = 1, size: int = PAGE_ROWS, *, search: str = "") -> Page:
        """Page `number` (from 1, moved into what there is) of the answer `rows`, `size` rows a page."""
        size = min(max(1, size), MOST_ROWS)
        pages = max(1, math.ceil(len(rows) / size))
        number = min(max(1, number), pages)
        shown = np.asarray(rows[(number - 1) * size : number * size], dtype=np.int32)
        return Page(self.table_rows(shown, search), number, pages, len(rows))

    def early(self, number: int = 1, size: int = PAGE_ROWS) -> Page | None:
        """A page in the dataset's own order before `build` is done, without the copies; None where nothing is counted
        yet."""
        if not self.columns.quick:
            return None
        pages = max(1, math.ceil(len(self.dataset) / size))
        number = min(max(1, number), pages)
        rows = np.arange((number - 1) * size, min(number * size, len(self.dataset)), dtype=np.int32)
        heads = finding.heads(self.columns.search_file, rows)
        figures = self.columns.counted(rows)
        made = []
        for index, head, meta, each in zip(
            rows.tolist(), heads, self.dataset.meta(rows.tolist()), figures, strict=True
        ):
            known = {name: getattr(meta, name) for name in ("line", *MEASURED)}
            source = meta.source or self.dataset.name
            made.append(TableRow(index=index, copies=0, source=source, **head._asdict(), **known, **each))
        return Page(made, number, pages, len(self.dataset))

    def table_rows(self, rows: Rows, search: str = "") -> list[TableRow]:
        """These rows as the table shows them."""
        if len(rows) == 0:
            return []
        columns, sources = self.columns, self.columns.sources
        values = {name: columns[name][rows].tolist() for name in COLUMNS}
        heads = finding.heads(columns.search_file, rows, search)
        made = []
        for at, (index, head) in enumerate(zip(rows.tolist(), heads, strict=True)):
            each = {name: column[at] for name, column in values.items()}
            each["copies"] = each.pop("duplicates")
            each["language"] = columns.languages[each["language"]]
            each["source"] = sources[each["source"]]
            each.update({name: None for name in MEASURED if math.isnan(each[name])})
            made.append(TableRow(index=index, **head._asdict(), **each))
        return made

    def place_of(self, rows: Rows, index: int) -> int:
        """Where row `index` stands in the answer `rows`; -1 where it does not."""
        found = np.flatnonzero(rows == index)
        return int(found[0]) if len(found) else -1


def check(query: Query) -> None:
    """Raises DataError `data.no_column` for a sort by something else than a column."""
    if query.sort and query.sort not in SORTS:
        raise DataError("data.no_column", column=query.sort, known=", ".join(SORTS))


def flipped(query: Query, column: str) -> Query:
    """The same query after a click on a column's head: ascending, descending, then in the dataset's order again."""
    if query.sort != column:
        return replace(query, sort=column, descending=False)
    return replace(query, descending=True) if not query.descending else replace(query, sort="", descending=False)


def _where(mask: NDArray[np.bool_], rows: Rows | None) -> Rows:
    return np.flatnonzero(mask).astype(np.int32) if rows is None else rows[mask[rows]]
