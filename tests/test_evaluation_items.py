"""What a comparison keeps of every row: its figures, those of each category, and what survives a stop."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from core.data.store.library import import_file
from core.evaluation.marks import grouped
from core.jobs.attempts import set_aside
from core.recipes import evaluate as recipe
from core.records_evaluation import Cell, Item, evaluation_file, items_file
from core.rundir import RunDir, append_jsonl, read_jsonl, write_record
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.test_evaluate import classifier, evaluate, found_by, pairs, submitted, texts

TOPICS = ("heart", "lungs", None)


def sorted_by_topic(rows: list[dict]) -> list[dict]:
    return [{**row, "category": TOPICS[at % 3] or ""} for at, row in enumerate(rows)]


@pytest.fixture
def datasets(workspace: Workspace, tmp_path: Path) -> None:
    import_file(workspace, write_jsonl(tmp_path / "chat.jsonl", sorted_by_topic(conversations(12, turns=2))))
    import_file(workspace, write_jsonl(tmp_path / "docs.jsonl", sorted_by_topic(texts(9))))
    import_file(workspace, write_jsonl(tmp_path / "pairs.jsonl", sorted_by_topic(pairs(10))))


def items_of(run: RunDir, exam: int) -> list[Item]:
    rows, _ = read_jsonl(items_file(run.output))
    return [Item.model_validate(row) for row in rows if row["exam"] == exam]


def loss_of(items: list[Item]) -> float:
    return sum(item.figures["nats"] for item in items) / sum(item.figures["labels"] for item in items)


def check_groups(cell: Cell, items: list[Item]) -> None:
    """Every category's loss is that of its own items."""
    assert set(cell.groups) == {"heart", "lungs"}
    for name, figures in cell.groups.items():
        own = [item for item in items if item.category == name]
        assert figures["rows"] == len(own)
        assert math.isclose(figures["loss"], loss_of(own))
        bits = sum(item.figures["text_nats"] for item in own) / math.log(2) / sum(item.figures["bytes"] for item in own)
        assert math.isclose(figures["bits_per_byte"], bits)


def test_text_and_conversations_give_nats_row_by_row(workspace: Workspace, tiny_model: Path, datasets: None) -> None:
    """Documents are in several pieces here, and still one item each."""
    words = [f"models.runs=[{tiny_model}]", "data.rows=[chat, docs]", "data.max_length=64"]
    run, found = evaluate(workspace, *words)
    for exam, count in ((0, 12), (1, 9)):
        items = items_of(run, exam)
        cell = found.cells[exam]
        assert [(item.number, item.line) for item in items] == [(at, at + 1) for at in range(count)]
        assert [item.category for item in items] == [TOPICS[at % 3] for at in range(count)]
        assert math.isclose(cell.figures["loss"], loss_of(items))
        assert cell.figures["tokens"] == sum(item.figures["labels"] for item in items)
        check_groups(cell, items)
    bytes_of = [item.figures["bytes"] for item in items_of(run, 1)]
    assert all(0 < count <= len(row["text"].encode()) for count, row in zip(bytes_of, texts(9), strict=True))


def test_pairs_give_both_scores_and_accuracy_by_dimension(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, datasets: None
) -> None:
    scoring = classifier(tiny_model, tmp_path / "scores")
    run, found = evaluate(workspace, f"models.runs=[{tiny_model}, {scoring}]", "data.rows=[pairs]")
    every = items_of(run, 0)
    for place, cell in enumerate(found.cells):
        items = [item for item in every if item.model == place]
        assert len(items) == cell.rows == 10
        for item in items:
            assert item.figures["correct"] == (item.figures["chosen"] > item.figures["rejected"])
        for name, figures in {**cell.groups, None: cell.figures}.items():
            own = [item.figures for item in items if name is None or item.category == name]
            assert math.isclose(figures["accuracy"], np.mean([each["correct"] for each in own]))
            assert math.isclose(figures["margin"], np.mean([each["chosen"] - each["rejected"] for each in own]))


def test_rows_without_a_category_are_in_no_group() -> None:
    found = grouped(["b", None, "a", "b"], lambda places: {"sum": float(places.sum())})
    assert found == {"a": {"rows": 1.0, "sum": 2.0}, "b": {"rows": 2.0, "sum": 3.0}}
    assert grouped([None, None], lambda places: {"sum": 0.0}) == {}


def test_a_resumed_comparison_takes_over_the_items_of_finished_cells(
    workspace: Workspace, tiny_model: Path, datasets: None
) -> None:
    context = submitted(workspace, f"models.runs=[{tiny_model}]", "data.rows=[chat, docs]")
    recipe.main(context)
    run = context.run
    whole, before = found_by(run), items_of(run, 1)
    # As a stop would have left it: the first cell, and items of a second one that was not noted any more.
    write_record(evaluation_file(run.output), whole.model_copy(update={"cells": whole.cells[:1]}, deep=True))
    items_file(run.output).unlink()
    kept = Item(model=0, exam=0, number=0, line=1, figures={"nats": 123.0})
    append_jsonl(items_file(run.output), kept.model_dump(), before[0].model_dump())
    set_aside(run)
    recipe.main(context)
    assert items_of(run, 0) == [kept]
    assert [item.number for item in items_of(run, 1)] == list(range(9))
    assert found_by(run).cells[1].groups == whole.cells[1].groups
