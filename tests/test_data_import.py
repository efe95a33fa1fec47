"""Imports: what is known of each row, several files, large ones, stops and kills; as function, run and command."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.__main__ import main
from core.cli import bring_data
from core.configs.data import ImportRows, ImportSource
from core.configs.stages import ImportConfig
from core.data.bring import hub
from core.data.bring.importing import Order, import_files
from core.data.check import parallel
from core.data.figures import figures_of
from core.data.store.dataset import GROUP_ROWS, Dataset, DatasetCard, Meta
from core.data.store.library import import_file, list_datasets, open_dataset
from core.data.store.writer import VersionWriter, block_of
from core.errors import DataError, StopRequested
from core.recipes import import_data
from core.records import Produced
from core.report import Report, RunContext
from core.rundir import RunDir, read_record, write_record
from core.system import python_environment
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.test_data_doctor import chat
from tests.test_data_library import everything, no_file_above
from tests.test_data_parallel import children, mixed


@pytest.fixture
def shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even small files are read by two helpers."""
    monkeypatch.setattr(parallel, "PARALLEL_BYTES", 1000)
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    monkeypatch.setattr(parallel, "PART_BYTES", 30_000)


def contents(dataset: Dataset) -> tuple[Any, ...]:
    every = range(len(dataset))
    figures = pq.read_table(dataset.folder / "figures.parquet").to_pylist()
    search = pa.ipc.open_file(dataset.folder / "search.arrow").read_all().to_pylist()
    return dataset.rows(), dataset.meta(every), figures, search, dataset.dropped(), dataset.repaired()


# -- what is written --------------------------------------------------------------------------------------------------
def test_what_a_row_says_of_itself_is_kept_beside_it(workspace: Workspace, tmp_path: Path) -> None:
    rows = [
        {**chat("q0", "a"), "source": "book", "difficulty": 3, "score": 0.5},
        {**chat("q1", "a"), "dataset": "web", "difficulty": "hard", "score": True},
        {**chat("q2", "a"), "source": " "},
    ]
    dataset = import_file(workspace, write_jsonl(tmp_path / "rows.jsonl", rows))
    assert dataset.meta([2, 0, 1]) == [Meta(3), Meta(1, "book", 3.0, 0.5), Meta(2, "web")]
    assert dataset.rows(0, 1)[0].keys() == {"messages"}
    assert dataset.card.sources == {"rows": 1, "book": 1, "web": 1}
    both = write_jsonl(tmp_path / "both.jsonl", [{"source": "发烧时要多喝水。", "target": "Drink water with a fever."}])
    assert import_file(workspace, both).meta([0]) == [Meta(1)]  # here it is the text itself


def test_figures_and_search_text_stand_row_by_row(workspace: Workspace, tmp_path: Path) -> None:
    dataset = import_file(workspace, write_jsonl(tmp_path / "rows.jsonl", [*conversations(30), *conversations(5)]))
    rows, _, figures, search, _, _ = contents(dataset)
    assert [tuple(one.values()) for one in figures] == [tuple(figures_of("messages", row)) for row in rows]
    assert [one["text"] for one in search] == ["\n".join(m["content"] for m in row["messages"]) for row in rows]
    assert (dataset.card.duplicates, sum(dataset.card.languages.values())) == (5, 35)


def test_blocks_and_rows_are_written_alike(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"问{i}"}, {"role": "assistant", "content": "a"}]}
        for i in range(4500)
    ]
    written = []
    for folder, sizes in (("rows", []), ("blocks", [1, 1999, 7, 2493]), ("both", [1500])):
        place = tmp_path / folder
        place.mkdir()
        with VersionWriter(place, "messages") as writer:
            done = 0
            for size in sizes:
                part = range(done, done + size)
                writer.add_block(block_of("messages", [rows[i] for i in part], [Meta(i + 1) for i in part]))
                done += size
            for i in range(done, len(rows)):
                writer.add(rows[i], line=i + 1)
            written.append(writer.close())
        file = pq.ParquetFile(place / "data.parquet")
        assert [file.metadata.row_group(at).num_rows for at in range(3)] == [GROUP_ROWS, GROUP_ROWS, 500]
    assert written[0] == written[1] == written[2]
    tables = [pq.read_table(tmp_path / folder / "data.parquet") for folder in ("rows", "blocks", "both")]
    assert tables[0] == tables[1] == tables[2]


def test_a_dropped_row_says_why_in_words_and_in_parameters(workspace: Workspace, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a"), chat("q", "q\x07"), chat("q", "", "r", "a")])
    dataset = import_file(workspace, path, bad_rows="drop")
    [control, empty] = dataset.dropped()
    assert (control["line"], control["code"], control["step"]) == (2, "data.control_characters", None)
    assert json.loads(empty["params"]) == {"turn": 2, "role": "assistant"}
    assert empty["message"] == "Turn 2 (assistant) is empty."
    assert dataset.card.dropped_counts == {"data.control_characters": 1, "data.empty_turn": 1}


def test_versions_of_earlier_days_still_open(workspace: Workspace, tmp_path: Path) -> None:
    folder = workspace.datasets_dir / "old" / "v1"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"line": [4, 9], "text": ["a", "b"]}), folder / "data.parquet")
    dropped = {"line": [5], "code": ["data.empty_value"], "message": ["m"], "excerpt": ["e"]}
    pq.write_table(pa.table(dropped), folder / "dropped.parquet")
    facts = {
        "name": "old",
        "version": "v1",
        "kind": "text",
        "format": "text",
        "container": "txt",
        "stages": ["pretrain"],
    }
    card = {**facts, "rows": 2, "sha256": "", "source_name": "", "source_bytes": 1, "created": 1.0}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    dataset = open_dataset(workspace, "old")
    assert (dataset.rows(), dataset.lines([1]), dataset.meta([0])) == ([{"text": "a"}, {"text": "b"}], [9], [Meta(4)])
    assert (dataset.dropped()[0]["step"], dataset.repaired(), dataset.card.duplicates) == (None, [], None)


# -- the same, however it is read -------------------------------------------------------------------------------------
def test_an_import_by_helpers_is_the_same(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", mixed(4700))
    alone = import_file(Workspace(tmp_path / "alone"), path, bad_rows="drop", repair=True)
    request.getfixturevalue("shared_out")
    shared = import_file(Workspace(tmp_path / "shared"), path, bad_rows="drop", repair=True)
    assert contents(shared) == contents(alone)
    assert alone.card.repaired > 0
    assert alone.card.dropped > 0
    same = {"created": 0.0}
    assert shared.card.model_copy(update=same) == alone.card.model_copy(update=same)
    assert children() == []


def test_several_files_become_one_dataset_whose_lines_run_through(workspace: Workspace, tmp_path: Path) -> None:
    first = write_jsonl(tmp_path / "a.jsonl", [chat("q0", "a"), chat("q1"), chat("q2", "a")])
    second = tmp_path / "b.jsonl.gz"
    second.write_bytes(gzip.compress(write_jsonl(tmp_path / "b", [chat("q3", "a"), chat("q4", "q4")]).read_bytes()))
    seen: list[tuple[int, int]] = []
    order = Order("both", bad_rows="drop", licence="MIT")
    dataset = import_files(workspace, [first, second], order, on_progress=lambda *at: seen.append(at))
    assert (dataset.ref.split("@")[0], len(dataset), dataset.lines(range(3))) == ("both", 3, [1, 3, 4])
    assert [row["line"] for row in dataset.dropped()] == [2, 5]
    assert dataset.card.evidence["files"] == [["a.jsonl", 3], ["b.jsonl.gz", 2]]
    assert (dataset.card.licence, dataset.card.source_name) == ("MIT", "a.jsonl, b.jsonl.gz")
    assert {path.name for path in dataset.folder.glob("source*")} == {"source-001.jsonl", "source-002.jsonl.gz"}
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == first.stat().st_size + second.stat().st_size
    other = write_jsonl(tmp_path / "c.jsonl", [{"text": "t"}])
    with pytest.raises(DataError) as caught:
        import_files(workspace, [first, other], order)
    assert caught.value.code == "data.files_differ"


def test_another_format_or_columns_make_another_version(workspace: Workspace, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": "t", "frage": "q", "antwort": "a"}])
    plain = import_file(workspace, path)
    chosen = import_file(workspace, path, format="alpaca", columns={"instruction": "frage", "output": "antwort"})
    assert (plain.card.kind, chosen.card.kind) == ("text", "messages")
    assert plain.version != chosen.version
    assert chosen.rows()[0]["messages"][1] == {"role": "assistant", "content": "a"}
    again = import_file(workspace, path, columns={"output": "antwort", "instruction": "frage"}, format="alpaca")
    assert again.ref == chosen.ref


# -- what must leave nothing ------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("shared_out")
@pytest.mark.parametrize("after", [0, 1, 60])
def test_a_stop_leaves_nothing(workspace: Workspace, tmp_path: Path, after: int) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", conversations(20_000))
    looks = iter(range(10_000))

    def stop() -> None:
        if next(looks) >= after:
            raise StopRequested

    with pytest.raises(StopRequested):
        import_file(workspace, path, check_stop=stop)
    assert everything(workspace) == []
    assert children() == []


@pytest.mark.usefixtures("shared_out")
def test_a_full_disk_leaves_nothing_however_it_is_read(workspace: Workspace, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "noise.jsonl", [{"text": os.urandom(400).hex()} for _ in range(3000)])
    with no_file_above(200_000), pytest.raises(DataError) as caught:
        import_file(workspace, path)
    assert caught.value.code == "data.disk_full"
    assert everything(workspace) == []
    assert children() == []


def test_a_killed_import_is_swept_away_by_the_next(workspace: Workspace, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", conversations(60_000))
    code = (
        "import sys; from core.data.store.library import import_file; from core.workspace import Workspace\n"
        "import_file(Workspace(sys.argv[1]), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(workspace.path), str(path)]
    with subprocess.Popen(command, env=python_environment()) as process:
        deadline = time.monotonic() + 30
        while not any(workspace.datasets_dir.glob(".tmp-*/data.parquet")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert list_datasets(workspace) == []
    dataset = import_file(workspace, write_jsonl(tmp_path / "small.jsonl", conversations(3)))
    assert [path.name for path in workspace.datasets_dir.iterdir()] == [dataset.name]


def test_a_file_that_changes_meanwhile_is_not_imported(workspace: Workspace, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", conversations(50))

    def meddle(done: int, total: int) -> None:
        if done == total:
            path.write_text(path.read_text(encoding="utf-8").replace("ba", "be"), encoding="utf-8")

    with pytest.raises(DataError) as caught:
        import_file(workspace, path, on_progress=meddle)
    assert caught.value.code == "data.file_changed"
    assert everything(workspace) == []


# -- as a run ---------------------------------------------------------------------------------------------------------
def carried_out(workspace: Workspace, source: ImportSource, **rows: Any) -> tuple[Dataset, RunDir]:
    run = RunDir.create(workspace.runs_dir, "import")
    config = ImportConfig(source=source, rows=ImportRows(**rows))
    import_data.main(RunContext(run, workspace, config, Report(run)))
    produced = read_record(run.produced_file, Produced)
    assert produced is not None
    return open_dataset(workspace, produced.datasets[0]), run


def test_a_run_imports_a_file(workspace: Workspace, tmp_path: Path, capsys) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a"), chat("q", "a", "r")])
    dataset, run = carried_out(workspace, ImportSource(path=str(path)), name="mine", repair=True)
    assert (dataset.name, len(dataset), dataset.card.repaired) == ("mine", 2, 1)
    progress = run.progress()
    assert progress is not None
    assert (progress.phase, progress.step, progress.unit) == ("preparing", path.stat().st_size, "byte")
    assert "mine@" in capsys.readouterr().out
    with pytest.raises(DataError):
        carried_out(workspace, ImportSource(path=str(tmp_path / "none.jsonl")))


def test_a_run_imports_the_files_of_a_folder(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "set" / "more").mkdir(parents=True)
    for at, name in enumerate(("a.jsonl", "more/b.jsonl", "c[1].jsonl")):
        write_jsonl(tmp_path / "set" / name, [chat(f"q{at}", "a")])
    (tmp_path / "set" / "README.md").write_text("# rows", encoding="utf-8")
    dataset, _ = carried_out(workspace, ImportSource(path=str(tmp_path / "set")))
    assert (dataset.name, len(dataset)) == ("set", 3)
    chosen, _ = carried_out(workspace, ImportSource(path=str(tmp_path / "set"), files=["more/*", "c[1].jsonl"]))
    assert len(chosen) == 2


def test_a_run_imports_a_set_of_a_hub(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def fetch(repo: str, *, folder: Path, on_bytes: Any, check_stop: Any, **more: Any) -> list[Path]:
        asked.append({"repo": repo, **more})
        on_bytes(5, None)
        on_bytes(5, 10)
        write_record(folder / hub.FACTS, hub.Facts(repo=repo, hub="huggingface", commit="c0ffee", licence="apache-2.0"))
        return [write_jsonl(folder / "train.jsonl", conversations(4))]

    monkeypatch.setattr(hub, "fetch", fetch)
    source = ImportSource(repo="someone/medical", files=["finetune/*.json"])
    dataset, _ = carried_out(workspace, source)
    assert asked == [
        {"repo": "someone/medical", "hub": "huggingface", "revision": "main", "files": ["finetune/*.json"]}
    ]
    assert (dataset.name, dataset.card.licence) == ("medical", "apache-2.0")
    assert dataset.card.origin == "huggingface: someone/medical@c0ffee"
    assert (dataset.folder / "source.jsonl").is_file()
    assert not any((workspace.cache_dir / "downloads" / "datasets").iterdir())


def test_a_large_file_is_imported_by_a_run_that_is_followed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(bring_data, "INLINE_BYTES", 100)
    monkeypatch.setenv("GALEN_LOCK_DIR", str(tmp_path / "locks"))
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", conversations(20, seed)) for seed, name in enumerate("ab")]
    at = ["--workspace", str(workspace.path), "data", "add"]
    assert main([*at, *map(str, paths), "--name", "both", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (printed["name"], printed["rows"]) == ("both", 40)
    assert [run.stage for run in workspace.runs()] == ["import"]
    bad = write_jsonl(tmp_path / "bad.jsonl", [*conversations(20), chat("q")])
    assert main([*at, str(bad)]) == 2
    assert "1 of the 21 rows" in capsys.readouterr().err


def test_the_command_takes_columns(workspace: Workspace, tmp_path: Path, capsys) -> None:
    path = tmp_path / "table.csv"
    path.write_text("frage;antwort\nWas?;Das.\n", encoding="utf-8")
    at = ["--workspace", str(workspace.path), "data", "add", str(path), "--format", "alpaca", "--columns"]
    assert main([*at, "instruction=frage", "output=antwort"]) == 0
    assert open_dataset(workspace, "table").rows()[0]["messages"][0]["content"] == "Was?"
    assert main([*at, "instruction"]) == 2
    assert "key=value" in capsys.readouterr().err
    assert main(["--workspace", str(workspace.path), "data", "show", "table", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["first"][0]["messages"][1]["content"] == "Das."


def test_the_card_of_an_earlier_galen_is_read() -> None:
    made = {"name": "a", "version": "b", "kind": "text", "format": "", "container": "", "stages": [], "created": 0.0}
    read = {"rows": 0, "sha256": "", "source_name": "", "source_bytes": 0, "unheard_of": 1}
    card = DatasetCard.model_validate({**made, **read})
    assert (card.parents, card.recipe, card.steps, card.duplicates) == ([], None, [], None)
