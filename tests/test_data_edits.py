"""Mending a dataset by hand: pending changes, their checks, the new version; and the same from the terminal."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.__main__ import main
from core.data.look.view import Query, View
from core.data.store import edits
from core.data.store.dataset import GROUP_ROWS, Dataset, Meta
from core.data.store.library import delete_dataset, list_datasets, open_dataset
from core.errors import DataError, StopRequested
from core.workspace import Workspace
from tests.conftest import build_tokenizer
from tests.look_tools import make_dataset, said


@pytest.fixture
def dataset(workspace: Workspace) -> Dataset:
    return make_dataset(workspace, [said(f"question {at}", f"answer {at}") for at in range(6)])


def test_changes_wait_in_a_file(workspace: Workspace, dataset: Dataset) -> None:
    assert len(edits.pending(workspace, dataset)) == 0
    edits.drop(workspace, dataset, [4, 1])
    edits.change(workspace, dataset, 2, said("question 2", "better"))
    found = edits.pending(Workspace(workspace.path), dataset)
    assert found.dropped == [1, 4]
    assert found.changed == {2: said("question 2", "better")}
    edits.change(workspace, dataset, 4, said("q", "kept after all"))
    assert edits.pending(workspace, dataset).dropped == [1]
    edits.change(workspace, dataset, 2, said("question 2", "answer 2"))  # as it was
    edits.keep(workspace, dataset, [4])
    edits.keep(workspace, dataset, [1])
    assert len(edits.pending(workspace, dataset)) == 0
    assert list(workspace.edits_dir.iterdir()) == []


def test_changes_go_with_their_dataset(workspace: Workspace, dataset: Dataset) -> None:
    edits.drop(workspace, dataset, [1])
    delete_dataset(workspace, dataset.ref)
    again = make_dataset(workspace, [said(f"question {at}", f"answer {at}") for at in range(6)])
    assert again.ref == dataset.ref
    assert len(edits.pending(workspace, again)) == 0


def test_a_change_is_checked_like_an_import(workspace: Workspace, dataset: Dataset) -> None:
    wrong: list[tuple[Any, str]] = [
        (said("question", ""), "data.empty_turn"),
        (said("question"), "data.no_answer"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "data.unknown_role"),
        ({"text": "x"}, "data.missing_key"),
        ("x", "data.not_object"),
    ]
    for value, code in wrong:
        with pytest.raises(DataError) as refused:
            edits.change(workspace, dataset, 0, value)
        assert refused.value.code == code
    with pytest.raises(DataError) as refused:
        edits.drop(workspace, dataset, [6])
    assert (refused.value.code, refused.value.params["row"]) == ("data.no_row", 7)
    assert len(edits.pending(workspace, dataset)) == 0


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("text", {"text": "a"}),
        ("messages", {"messages": [{"role": "system", "content": "s"}, *said("a", "b")["messages"]]}),
        ("prompt", {"prompt": [{"role": "user", "content": "a"}]}),
        (
            "preference",
            {
                "prompt": [{"role": "user", "content": "a"}],
                "chosen": [{"role": "assistant", "content": "b"}],
                "rejected": [{"role": "assistant", "content": "c"}],
            },
        ),
        (
            "ranked",
            {
                "prompt": [{"role": "user", "content": "a"}],
                "answers": [{"content": "b", "score": 2.0}, {"content": "c", "score": 1.0}],
            },
        ),
        ("choice", {"question": "a", "choices": ["b", "c"], "answer": "B"}),
    ],
)
def test_rows_of_every_kind_can_be_rewritten(workspace: Workspace, kind: Any, row: Any) -> None:
    assert edits.checked(kind, row) == row
    texts = [text for _, text in edits.texts_of_row(kind, row)]
    assert edits.with_texts(kind, row, texts) == row
    longer = [text if len(text) == 1 and text.isupper() else text + "!" for text in texts]
    changed = edits.with_texts(kind, row, longer)
    dataset = make_dataset(workspace, [row], kind=kind)
    edits.change(workspace, dataset, 0, changed)
    made = edits.save(workspace, dataset)
    assert made.take([0]) == [changed]


def test_saving_makes_a_version_and_keeps_what_went(workspace: Workspace, dataset: Dataset) -> None:
    edits.drop(workspace, dataset, [1, 3])
    edits.change(workspace, dataset, 2, said("question 2", "better"))
    made = edits.save(workspace, dataset)
    assert [row["messages"][1]["content"] for row in made.rows()] == ["answer 0", "better", "answer 4", "answer 5"]
    assert made.lines(range(4)) == [1, 3, 5, 6]
    assert made.card.parents == [dataset.ref]
    assert [(count.before, count.after, count.changed) for count in made.card.steps] == [(6, 4, 1)]
    assert made.card.recipe == {"edits": {"dropped": [1, 3], "changed": {"2": said("question 2", "better")}}}
    gone = made.dropped()
    assert [(each["line"], each["code"], each["step"]) for each in gone] == [
        (2, "data.by_hand", 1),
        (4, "data.by_hand", 1),
    ]
    assert json.loads(gone[0]["row"]) == said("question 1", "answer 1")
    assert len(dataset.rows()) == 6
    assert len(edits.pending(workspace, dataset)) == 0
    assert open_dataset(workspace, "rows").ref == made.ref
    again = edits.Edits(dropped=[1, 3], changed={2: said("question 2", "better")})
    assert edits.save(workspace, dataset, again).ref == made.ref  # the same changes are the same version
    assert View(workspace, made).positions(Query(search="better")).tolist() == [1]


def test_large_datasets_are_copied_as_columns(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 2 * GROUP_ROWS + 700
    rows = [said(f"question {at}", f"answer {at % 900}") for at in range(count)]
    metas = [Meta(at * 3, "web" if at % 2 else None, at / count, None) for at in range(count)]
    dataset = make_dataset(workspace, rows, metas=metas)
    changes = edits.Edits(dropped=[0, 5, 2500, count - 1], changed={GROUP_ROWS + 3: said("new", "row")})
    quick = edits.save(workspace, dataset, changes)
    facts = (quick.rows(), quick.meta(range(len(quick))), quick.dropped(), quick.card.sha256, quick.card.duplicates)
    found = [View(workspace, quick).positions(Query(search="9", sort="answer_chars")).tolist(), quick.card.languages]
    shutil.rmtree(quick.folder)
    shutil.rmtree(workspace.cache_dir)
    monkeypatch.setattr(edits.Stored, "of", lambda dataset: None)
    slow = edits.save(workspace, dataset, changes)
    assert (slow.rows(), slow.meta(range(len(slow))), slow.dropped(), slow.card.sha256, slow.card.duplicates) == facts
    assert [
        View(workspace, slow).positions(Query(search="9", sort="answer_chars")).tolist(),
        slow.card.languages,
    ] == found
    expected = [row for at, row in enumerate(rows) if at not in changes.dropped]
    expected[GROUP_ROWS + 3 - 2] = said("new", "row")
    assert slow.rows() == expected


def test_what_cannot_be_saved(workspace: Workspace, dataset: Dataset) -> None:
    def stop() -> None:
        raise StopRequested

    with pytest.raises(DataError) as refused:
        edits.save(workspace, dataset)
    assert refused.value.code == "data.no_edits"
    edits.drop(workspace, dataset, [0])
    with pytest.raises(StopRequested):
        edits.save(workspace, dataset, check_stop=stop)
    assert len(list_datasets(workspace)) == 1
    assert [path.name for path in workspace.datasets_dir.iterdir()] == ["rows"]
    assert edits.pending(workspace, dataset).dropped == [0]  # still there
    edits.drop(workspace, dataset, range(6))
    with pytest.raises(DataError) as refused:
        edits.save(workspace, dataset)
    assert refused.value.code == "data.all_dropped"


# -- the terminal -----------------------------------------------------------------------------------------------------
def run(capsys: pytest.CaptureFixture[str], workspace: Workspace, *words: str) -> tuple[int, dict[str, Any], str]:
    status = main(["--workspace", str(workspace.path), "--json", "data", *words])
    lines = capsys.readouterr().out.splitlines()
    return status, json.loads(lines[-1]), "\n".join(lines[:-1])


def test_looking_from_the_terminal(
    workspace: Workspace, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, page, _ = run(capsys, workspace, "rows", "rows", "--search", "ANSWER 3", "--sort", "chars", "--descending")
    assert (status, page["total"], page["rows"][0]["index"]) == (0, 1, 3)
    assert main(["--workspace", str(workspace.path), "data", "rows", "rows"]) == 0
    assert "6 rows; page 1 of 1" in capsys.readouterr().out
    assert run(capsys, workspace, "rows", "rows", "--sort", "colour")[0] == 2
    build_tokenizer(tmp_path / "tiny")
    (tmp_path / "tiny" / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (tmp_path / "tiny" / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    model = ["--model", str(tmp_path / "tiny")]
    status, found, _ = run(capsys, workspace, "stats", "rows", *model)
    assert (status, found["rows"], found["tokenised"]["stage"], found["tokenised"]["sampled"]) == (0, 6, "sft", False)
    status, found, _ = run(capsys, workspace, "tokens", "rows", "3", *model)
    assert (status, found["readings"][0]["name"], found["pack"]["steps"]) == (0, "row", 1)
    assert main(["--workspace", str(workspace.path), "data", "tokens", "rows", "3", *model]) == 0
    assert "⟦answer 2<|im_end|>⟧" in capsys.readouterr().out
    assert run(capsys, workspace, "tokens", "rows", "7", *model)[1]["error"]["code"] == "data.no_row"


def test_editing_from_the_terminal(
    workspace: Workspace, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "set.jsonl"
    file.write_text(json.dumps({"row": 2, **said("question 1", "mended")}) + "\n")
    edits.drop(workspace, dataset, [5])
    status, made, _ = run(capsys, workspace, "edit", "rows", "--drop", "3, 4", "--set", str(file))
    assert (status, made["rows"], made["steps"][0]["changed"]) == (0, 4, 1)
    assert edits.pending(workspace, dataset).dropped == [5]  # the page's own changes are left alone
    assert open_dataset(workspace, made["ref"]).rows()[1] == said("question 1", "mended")
    status, made, _ = run(capsys, workspace, "edit", dataset.ref, "--pending")
    assert (status, made["rows"], len(edits.pending(workspace, dataset))) == (0, 5, 0)
    file.write_text("[]\n")
    assert run(capsys, workspace, "edit", dataset.ref, "--set", str(file))[1]["error"]["code"] == "data.edit_line"
    file.write_text(json.dumps({"row": 2, **said("question 1", "")}) + "\n")
    assert run(capsys, workspace, "edit", dataset.ref, "--set", str(file))[1]["error"]["code"] == "data.empty_turn"
    assert run(capsys, workspace, "edit", dataset.ref, "--drop", "0")[1]["error"]["code"] == "data.no_row"
    assert os.listdir(workspace.datasets_dir) == ["rows"]
