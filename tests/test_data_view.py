"""The table of a dataset: sorting, filters, searching, pages, and versions that came without figures."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.data.figures import figures_of
from core.data.look.view import SORTS, Query, View, flipped
from core.data.store import columns
from core.data.store import text_search as finding
from core.data.store.dataset import Dataset, Meta
from core.data.store.text_writer import BATCH_ROWS, FILE
from core.errors import DataError, StopRequested
from core.workspace import Workspace
from tests.look_tools import make_dataset, said

COUNT = 2 * BATCH_ROWS + 37


@pytest.fixture
def dataset(workspace: Workspace) -> Dataset:
    rng = random.Random(7)
    rows, metas = [], []
    for number in range(COUNT):
        words = rng.choices(["发烧", "Insulin", "wait", "血压", "A<b>"], k=rng.randint(1, 6))
        rows.append(said(f"第 {number % 400} 问", " ".join(words)))
        score = rng.random() if number % 3 else None
        metas.append(Meta(number * 2 + 1, ["web", None, "book"][number % 3], score, None))
    return make_dataset(workspace, rows, metas=metas)


def test_every_column_sorts_both_ways(workspace: Workspace, dataset: Dataset) -> None:
    view = View(workspace, dataset)
    rows, metas = dataset.rows(), dataset.meta(range(COUNT))
    figures = [figures_of("messages", row) for row in rows]
    copies = [sum(other.key == each.key for other in figures) - 1 for each in figures[:50]]
    for sort in SORTS:
        for descending in (False, True):
            order = view.positions(Query(sort=sort, descending=descending))
            assert sorted(order.tolist()) == list(range(COUNT))
            page = view.page(order, 1)
            values = [getattr(row, "copies" if sort == "duplicates" else sort) for row in page.rows]
            known = [value for value in values if value is not None]
            if sort != "language":  # sorted as zh, en, mixed, code, other
                assert known == sorted(known, reverse=descending)
            assert values == known + [None] * (len(values) - len(known))  # rows without a value come last
    page = view.page(view.positions(Query()), 1)
    for row in page.rows:
        assert row.chars == figures[row.index].chars
        assert row.copies == copies[row.index]
        assert row.line == metas[row.index].line
        assert row.source == (metas[row.index].source or "rows")
        assert row.question == rows[row.index]["messages"][0]["content"]
        assert row.answer == rows[row.index]["messages"][1]["content"]


@pytest.mark.parametrize("text", ["insulin", "INSULIN", "发烧", "a<B>", "n 血", "第 39 问\n", "(?i)", "nowhere", "🙂"])
def test_a_search_finds_what_a_person_would(workspace: Workspace, dataset: Dataset, text: str) -> None:
    view = View(workspace, dataset)
    parts = []
    found = view.positions(Query(search=text), on_found=parts.append)
    texts = ["\n".join(turn["content"] for turn in row["messages"]) for row in dataset.rows()]
    assert found.tolist() == [at for at, each in enumerate(texts) if text.lower() in each.lower()]
    assert np.concatenate([part.rows for part in parts]).tolist() == found.tolist()
    assert parts[-1].done == parts[-1].total
    again: list[object] = []
    assert view.positions(Query(search=text), on_found=again.append).tolist() == found.tolist()
    assert again == []  # it was kept


def test_limits_and_order_go_together(workspace: Workspace, dataset: Dataset) -> None:
    view = View(workspace, dataset)
    query = Query(search="insulin", source="web", sort="chars", descending=True)
    rows = view.table_rows(view.positions(query))
    assert rows
    assert all(row.source == "web" for row in rows)
    assert [row.chars for row in rows] == sorted((row.chars for row in rows), reverse=True)
    repeated = view.table_rows(view.positions(Query(duplicates=True)))
    assert repeated
    assert all(row.copies for row in repeated)
    languages = [figures_of("messages", row).language for row in dataset.rows()]
    for language in ("zh", "mixed"):
        found = view.positions(Query(language=language)).tolist()
        assert found == [at for at, each in enumerate(languages) if each == language]
    assert len(view.positions(Query(language="xx"))) == 0
    assert len(view.positions(Query(source="nobody"))) == 0


def test_pages_stay_within_what_there_is(workspace: Workspace, dataset: Dataset) -> None:
    view = View(workspace, dataset)
    rows = view.positions(Query())
    last = view.page(rows, 10_000, 50)
    assert (last.number, last.pages, last.total) == (21 + (COUNT > 1050), -(-COUNT // 50), COUNT)
    assert last.rows[-1].index == COUNT - 1
    assert view.page(rows, -3, 50).number == 1
    assert len(view.page(rows, 1, 100_000).rows) == 200
    nothing = view.page(view.positions(Query(search="nowhere")), 1)
    assert (nothing.rows, nothing.number, nothing.pages, nothing.total) == ([], 1, 1, 0)
    order = view.positions(Query(sort="chars"))
    assert order[view.place_of(order, 17)] == 17
    assert view.place_of(order[:0], 17) == -1


def test_the_first_page_waits_for_nothing(workspace: Workspace, dataset: Dataset) -> None:
    view = View(workspace, dataset)
    early = [view.early(number, 50) for number in (1, 11, 999)]
    assert not view.columns.ready
    rows = view.positions(Query())
    for page, number in zip(early, (1, 11, 999), strict=True):
        assert page is not None
        later = view.page(rows, number, 50)
        assert (page.number, page.pages, page.total) == (later.number, later.pages, later.total)
        assert page.rows == [replace(row, copies=0) for row in later.rows]
    (dataset.folder / FILE).unlink()
    assert View(workspace, dataset).early() is None


def test_the_surroundings_of_a_hit_are_shown(workspace: Workspace) -> None:
    dataset = make_dataset(workspace, [said("x" * 300 + "针头" + "y" * 300, "z")])
    view = View(workspace, dataset)
    [row] = view.page(view.positions(Query(search="针头")), 1, search="针头").rows
    assert row.question == "x" * finding.HEAD_CHARS
    assert "针头" in row.excerpt
    assert row.excerpt.startswith("…x")


def test_a_version_of_earlier_days_is_counted_at_the_first_look(workspace: Workspace, dataset: Dataset) -> None:
    before = View(workspace, dataset)
    query = Query(search="血压", sort="chars")
    kept = before.positions(query).tolist()
    shutil.rmtree(workspace.cache_dir)
    for name in ("figures.parquet", FILE):
        (dataset.folder / name).unlink()
    told: list[tuple[int, int]] = []

    def stop() -> None:
        if len(told) >= 1:
            raise StopRequested

    view = View(workspace, dataset)
    assert not view.columns.quick
    many = make_dataset(workspace, dataset.rows() * 3, name="many")
    (many.folder / FILE).unlink()
    with pytest.raises(StopRequested):
        View(workspace, many).build(lambda *at: told.append(at), stop)
    assert list((workspace.cache_dir / "look").iterdir()) == []  # nothing half-built is left
    assert view.known(query) is None
    told.clear()
    assert view.positions(query, on_progress=lambda *at: told.append(at)).tolist() == kept
    assert told[-1] == (COUNT, COUNT)


def test_a_wrong_column_is_refused(workspace: Workspace, dataset: Dataset) -> None:
    with pytest.raises(DataError) as refused:
        View(workspace, dataset).positions(Query(sort="colour"))
    assert refused.value.code == "data.no_column"


def test_what_was_found_is_bounded(workspace: Workspace, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "KEPT_FOUND", 3)
    view = View(workspace, dataset)
    for text in "abcdefgh":
        view.positions(Query(search=text))
    assert len(list(view.columns.folder.glob("rows-*"))) == 3
    assert view.known(Query(search="h")) is not None
    assert view.known(Query(search="a")) is None


def test_a_search_that_is_stopped_leaves_nothing(workspace: Workspace, dataset: Dataset) -> None:
    def stop() -> None:
        raise StopRequested

    view = View(workspace, dataset)
    view.build()
    with pytest.raises(StopRequested):
        view.positions(Query(search="a"), check_stop=stop)
    assert view.known(Query(search="a")) is None


def test_heads_are_clicked_through() -> None:
    query = Query(search="x")
    once = flipped(query, "chars")
    twice = flipped(once, "chars")
    assert (once.sort, once.descending, twice.descending) == ("chars", False, True)
    assert flipped(twice, "chars") == query
    assert flipped(twice, "turns") == Query(search="x", sort="turns")


@pytest.mark.parametrize(
    ("kind", "row", "question", "answer"),
    [
        ("text", {"text": "paragraph"}, "", "paragraph"),
        ("prompt", {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}, "u", ""),
        ("choice", {"question": "q", "choices": ["x", "y"], "answer": "B"}, "q", "y"),
        (
            "ranked",
            {"prompt": [{"role": "user", "content": "u"}], "answers": [{"content": "a", "score": 1.0}]},
            "u",
            "a",
        ),
        (
            "preference",
            {
                "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
                "chosen": [{"role": "assistant", "content": "good"}],
                "rejected": [{"role": "assistant", "content": "bad"}],
            },
            "u",
            "good",
        ),
    ],
)
def test_every_kind_has_its_heads(workspace: Workspace, kind, row, question: str, answer: str) -> None:
    view = View(workspace, make_dataset(workspace, [row], kind=kind))
    [shown] = view.page(view.positions(Query()), 1).rows
    assert (shown.question, shown.answer) == (question, answer)


def test_no_rows_at_all(workspace: Workspace, tmp_path: Path) -> None:
    view = View(workspace, make_dataset(workspace, []))
    assert view.page(view.positions(Query(sort="chars", search="x")), 1).total == 0
