"""The category of a row: where it is read from, and that it comes through recipes, edits and exports."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.__main__ import main
from core.configs.data import Recipe
from core.data.bring.export import export
from core.data.bring.importing import Order, import_files
from core.data.recipe.prepare import prepare
from core.data.store import edits
from core.data.store.dataset import META_NAMES, Dataset, Meta
from core.data.store.library import import_file, open_dataset
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.look_tools import make_dataset, said

QUESTION = {"question": "q?", "A": "one", "B": "two", "answer": "A"}


def categories(dataset: Dataset) -> list[str | None]:
    return dataset.categories(range(len(dataset)))


@pytest.mark.parametrize("key", ["category", "subject", "subject_name", "exam_subject", "dimension"])
def test_a_rows_own_key_is_its_category(workspace: Workspace, tmp_path: Path, key: str) -> None:
    rows = [{**QUESTION, key: " 内科学 "}, {**QUESTION, key: ""}, {**QUESTION, key: 7}, QUESTION]
    dataset = import_file(workspace, write_jsonl(tmp_path / "rows.jsonl", rows))
    assert categories(dataset) == ["内科学", None, None, None]
    assert dataset.meta([0]) == [Meta(1, category="内科学")]


def test_the_earlier_key_wins(workspace: Workspace, tmp_path: Path) -> None:
    row = {**QUESTION, "subject": "anatomy", "category": "STEM", "exam_subject": "x"}
    assert categories(import_file(workspace, write_jsonl(tmp_path / "rows.jsonl", [row]))) == ["STEM"]


def table(path: Path, head: str, *rows: str) -> Path:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_table_of_one_subject_gives_its_name(workspace: Workspace, tmp_path: Path) -> None:
    """C-Eval has `law_dev.csv` and `law_val.csv`, CMMLU `agronomy.csv` in a folder of each part."""
    head = "id,question,A,B,C,D,answer,explanation"
    files = [
        table(tmp_path / "clinical_medicine_val.csv", head, "0,q1,a,b,c,d,C,", "1,q2,a,b,c,d,D,"),
        table(tmp_path / "basic_medicine_val.csv", head, "0,q3,a,b,c,d,A,"),
    ]
    made = import_files(workspace, files, Order("ceval"))
    assert categories(made) == ["clinical_medicine", "clinical_medicine", "basic_medicine"]
    cmmlu = table(tmp_path / "agronomy.csv", ",Question,A,B,C,D,Answer", "0,q,a,b,c,d,C")
    assert categories(import_file(workspace, cmmlu)) == ["agronomy"]
    owned = table(tmp_path / "mixed.csv", "question,A,B,answer,subject", "q,a,b,A,law", "q2,a,b,B,")
    assert categories(import_file(workspace, owned)) == ["law", "mixed"]


def test_the_name_counts_where_it_says_something(workspace: Workspace, tmp_path: Path) -> None:
    head, row = "id,question,A,B,answer", "0,q,a,b,A"
    versions = [
        import_file(workspace, table(tmp_path / f"{name}_dev.csv", head, row), "exam").version
        for name in ("law", "anatomy", "law")
    ]
    assert versions[0] == versions[2] != versions[1]
    names = [write_jsonl(tmp_path / f"{name}.jsonl", [QUESTION]) for name in ("one", "two")]
    assert len({import_file(workspace, path, "same").version for path in names}) == 1


def test_it_comes_through_a_recipe(workspace: Workspace, tmp_path: Path) -> None:
    """Half of the rows are rewritten by a step, then all are shuffled."""
    texts = [f"row {at} call {13800000000 + at}" if at % 2 else f"row {at} calls nobody" for at in range(60)]
    rows = [{"text": text, "category": f"c{at % 5}"} for at, text in enumerate(texts)]
    import_file(workspace, write_jsonl(tmp_path / "rows.jsonl", rows))
    [made] = prepare(workspace, Recipe.model_validate({"inputs": "rows", "steps": ["mask", "shuffle"], "output": "m"}))
    numbers = [int(row["text"].split()[1]) for row in made.rows()]
    assert categories(made) == [f"c{at % 5}" for at in numbers]
    assert sorted(numbers) == list(range(60)) != numbers
    assert sum("[phone]" in row["text"] for row in made.rows()) == 30


def test_it_comes_through_edits_and_export(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{**QUESTION, "question": f"q{at}", "category": "law" if at % 2 else "art"} for at in range(4)]
    dataset = import_file(workspace, write_jsonl(tmp_path / "rows.jsonl", rows), "exam")
    changed = {"question": "new", "choices": ["one", "two"], "answer": "B"}
    saved = edits.save(workspace, dataset, edits.Edits(dropped=[0], changed={1: changed}))
    assert categories(saved) == ["law", "art", "law"]
    for ending in (".jsonl", ".parquet"):
        again = import_file(workspace, export(saved, tmp_path / f"out{ending}").path, "again")
        assert categories(again) == ["law", "art", "law"]


def test_a_version_without_the_column_is_read_and_edited(workspace: Workspace) -> None:
    """What was written before there were categories."""
    dataset = make_dataset(workspace, [said(f"q{at}", "a") for at in range(3)], metas=[Meta(at) for at in range(3)])
    path = dataset.folder / "data.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["category"]), path)
    dataset = open_dataset(workspace, dataset.ref)
    assert categories(dataset) == [None] * 3
    assert dataset.meta([2]) == [Meta(2)]
    saved = edits.save(workspace, dataset, edits.Edits(dropped=[1]))
    assert (saved.lines([0, 1]), categories(saved)) == ([0, 2], [None, None])
    assert set(META_NAMES) <= set(pq.read_schema(saved.folder / "data.parquet").names)
    [made] = prepare(workspace, Recipe.model_validate({"inputs": dataset.ref, "steps": [], "output": "made"}))
    assert categories(made) == [None] * 3


def test_the_doctor_takes_them_for_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{**QUESTION, "subject": "law"}])
    assert main(["data", "check", str(path)]) == 0
    assert "subject" not in capsys.readouterr().out
