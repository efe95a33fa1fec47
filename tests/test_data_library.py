"""Datasets of a workspace: whole or not there, the same again for the same content, gone when deleted."""

from __future__ import annotations

import fcntl
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.__main__ import main
from core.data.store.dataset import GROUP_ROWS
from core.data.store.library import delete_dataset, import_file, list_datasets, name_from, open_dataset, resolve
from core.errors import DataError, InputError
from core.rundir import RunDir, write_text
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl

BAD = {"conversations": [{"from": "human", "value": "?"}]}


def everything(workspace: Workspace) -> list[str]:
    return sorted(str(path.relative_to(workspace.datasets_dir)) for path in workspace.datasets_dir.rglob("*"))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Five rows, of which the second and the last cannot be used."""
    rows = conversations(5)
    rows[1] = rows[4] = BAD
    return write_jsonl(tmp_path / "混合 数据.jsonl", rows)


def test_import_gives_canonical_rows_and_a_card(workspace: Workspace, chat_file: Path) -> None:
    dataset = import_file(workspace, chat_file)
    assert dataset.ref == f"chat@{dataset.version}"
    card = dataset.card
    assert (len(dataset), card.kind, card.format, card.dropped) == (64, "messages", "sharegpt", 0)
    assert sorted(path.name for path in dataset.folder.iterdir()) == [
        "card.json", "data.parquet", "dropped.parquet", "figures.parquet", "search.arrow", "source.jsonl",
    ]  # fmt: skip
    first = conversations(64)[0]["conversations"]
    assert dataset.rows(0, 1) == [
        {"messages": [{"role": r, "content": t["value"]} for r, t in zip(("user", "assistant"), first, strict=True)]}
    ]
    assert (dataset.folder / "source.jsonl").read_bytes() == chat_file.read_bytes()


def test_the_same_content_is_the_same_dataset(workspace: Workspace, chat_file: Path, tmp_path: Path) -> None:
    first = import_file(workspace, chat_file)
    written = first.folder.stat().st_mtime_ns
    assert import_file(workspace, chat_file).ref == first.ref
    assert first.folder.stat().st_mtime_ns == written
    write_jsonl(chat_file, conversations(9, seed=1))
    second = import_file(workspace, chat_file)
    assert second.name == first.name
    assert open_dataset(workspace, "chat").ref == second.ref
    assert open_dataset(workspace, first.ref).ref == first.ref
    assert [dataset.ref for dataset in list_datasets(workspace)] == [second.ref, first.ref]


def test_bad_rows_stop_or_are_dropped_and_kept_beside(workspace: Workspace, mixed: Path) -> None:
    with pytest.raises(DataError) as caught:
        import_file(workspace, mixed)
    assert caught.value.code == "data.bad_rows"
    assert [problem.line for problem in caught.value.problems] == [2, 5]
    assert everything(workspace) == []
    dataset = import_file(workspace, mixed, bad_rows="drop")
    assert (dataset.name, len(dataset), dataset.card.dropped) == ("混合 数据", 3, 2)
    assert dataset.card.dropped_counts == {"data.no_answer": 2}
    assert [row["line"] for row in dataset.dropped()] == [2, 5]
    assert dataset.lines([0, 1, 2]) == [1, 3, 4]
    with pytest.raises(DataError):  # dropping was accepted once, not for ever
        import_file(workspace, mixed)
    assert import_file(workspace, mixed, bad_rows="drop").ref == dataset.ref


def test_rows_are_read_by_groups_in_any_order(workspace: Workspace, tmp_path: Path) -> None:
    count = 2 * GROUP_ROWS + 7
    dataset = import_file(workspace, write_jsonl(tmp_path / "n.jsonl", [{"text": str(i)} for i in range(count)]))
    assert pq.ParquetFile(dataset.folder / "data.parquet").num_row_groups == 3
    assert len(dataset) == count
    assert [row["text"] for row in dataset.rows(GROUP_ROWS - 1, 3)] == [str(GROUP_ROWS + i) for i in (-1, 0, 1)]
    assert [row["text"] for row in dataset.take([count - 1, 0, GROUP_ROWS])] == [str(count - 1), "0", str(GROUP_ROWS)]
    assert [len(batch) for batch in dataset.batches()] == [GROUP_ROWS, GROUP_ROWS, 7]
    assert dataset.rows(count) == []
    with pytest.raises(IndexError):
        dataset.take([count])


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.jsonl", b"", "data.empty_file"),
        ("all.jsonl", b'{"a": 1}\n' * 3, "data.none_usable"),
        ("torn.json", b'[{"text": "a"}, {"text" 1}, {"text": "b"}]', "data.json_ends"),
        ("torn.parquet", b"PAR1", "data.parquet_broken"),
    ],
)
def test_an_import_that_fails_leaves_nothing(workspace: Workspace, tmp_path: Path, name, content, code) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        import_file(workspace, path, bad_rows="drop")
    assert caught.value.code == code
    assert everything(workspace) == []


def test_a_full_disk_says_so_and_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    noise = [{"text": os.urandom(600).hex()} for _ in range(400)]
    path = write_jsonl(tmp_path / "noise.jsonl", noise)
    with no_file_above(100_000), pytest.raises(DataError) as caught:
        import_file(workspace, path)
    assert caught.value.code == "data.disk_full"
    assert everything(workspace) == []
    assert len(import_file(workspace, path)) == 400


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond `size` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_a_killed_import_left_goes_with_the_next(workspace: Workspace, chat_file: Path) -> None:
    left = workspace.datasets_dir / ".tmp-999999999-abc"
    left.mkdir()
    assert list_datasets(workspace) == []
    import_file(workspace, chat_file)
    assert not left.exists()


def test_resolve_takes_a_name_a_reference_or_a_file(workspace: Workspace, chat_file: Path, mixed: Path) -> None:
    dataset = resolve(workspace, str(chat_file))
    assert resolve(workspace, "chat").ref == resolve(workspace, dataset.ref).ref == dataset.ref
    assert len(resolve(workspace, str(mixed), bad_rows="drop")) == 3
    with pytest.raises(DataError) as caught:
        resolve(workspace, "chad")
    assert caught.value.code == "data.no_dataset"
    assert "Did you mean 'chat'?" in caught.value.remedy
    with pytest.raises(DataError) as caught:
        resolve(workspace, "nowhere/none.jsonl")
    assert caught.value.code == "data.no_file"
    for strange in ("../chat", "chat@../..", "", "@", "."):
        with pytest.raises(DataError):
            resolve(workspace, strange)


def test_delete_takes_one_version_or_all(workspace: Workspace, chat_file: Path) -> None:
    first = import_file(workspace, chat_file)
    write_jsonl(chat_file, conversations(3))
    second = import_file(workspace, chat_file)
    delete_dataset(workspace, first.ref)
    assert [dataset.ref for dataset in list_datasets(workspace)] == [second.ref]
    delete_dataset(workspace, "chat")
    assert everything(workspace) == []
    with pytest.raises(DataError):
        delete_dataset(workspace, "chat")


@pytest.mark.parametrize("field", ["train", "validation"])
def test_a_dataset_in_use_is_kept(workspace: Workspace, chat_file: Path, field: str, capsys) -> None:
    first = import_file(workspace, chat_file)
    write_jsonl(chat_file, conversations(3))
    second = import_file(workspace, chat_file)
    run = RunDir.create(workspace.runs_dir, "sft")
    write_text(run.config_json, json.dumps({"data": {field: first.ref}}))
    with open(run.lock_file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # which makes the run a live one
        delete_dataset(workspace, second.ref)
        for ref in (first.ref, "chat"):
            with pytest.raises(DataError) as caught:
                delete_dataset(workspace, ref)
            assert (caught.value.code, caught.value.params["runs"]) == ("data.in_use", run.id)
            assert main(["--workspace", str(workspace.path), "data", "rm", ref]) == 2
            assert run.id in capsys.readouterr().err
    delete_dataset(workspace, first.ref)
    assert list_datasets(workspace) == []


def test_names_come_from_file_names() -> None:
    assert name_from("医疗 问答.v2.jsonl.gz") == "医疗 问答.v2"
    assert name_from("a/b@c?.csv") == "a-b-c"
    assert name_from(".jsonl") == "dataset"
    assert len(name_from("长" * 200 + ".txt")) == 80


def test_a_bad_name_is_refused(workspace: Workspace, chat_file: Path) -> None:
    with pytest.raises(InputError):
        import_file(workspace, chat_file, "../outside")


def test_the_commands(workspace: Workspace, mixed: Path, capsys) -> None:
    at = ["--workspace", str(workspace.path)]
    assert main([*at, "data", "list"]) == 0
    assert "No dataset yet" in capsys.readouterr().out
    assert main([*at, "data", "add", str(mixed)]) == 2
    assert "2 of the 5 rows" in capsys.readouterr().err
    assert main([*at, "data", "add", str(mixed), "--name", "mine", "--bad-rows", "drop", "--json"]) == 0
    added = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (added["name"], added["rows"], added["dropped"]) == ("mine", 3, 2)
    assert main([*at, "data", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [dataset["ref"] for dataset in listed["datasets"]] == [added["ref"]]
    assert main([*at, "data", "rm", "mine"]) == 0
    assert main([*at, "data", "rm", "mine"]) == 2


def test_a_version_that_was_left_out_deletes_nothing(workspace: Workspace, chat_file: Path) -> None:
    made = import_file(workspace, chat_file, "chat")
    with pytest.raises(DataError, match="chat@"):
        delete_dataset(workspace, "chat@")
    assert [each.ref for each in list_datasets(workspace)] == [made.ref]
