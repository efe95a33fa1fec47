"""Export: importing the file again gives the same rows, in every kind and shape; half a file is never there."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from core.__main__ import main
from core.data.bring.export import export, export_to_cache, forms_of
from core.data.bring.export_forms import FORMS
from core.data.kinds import STAGES_OF
from core.data.store.dataset import Dataset
from core.data.store.library import import_file, open_dataset
from core.errors import DataError, StopRequested
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.test_data_formats import turns

ODD = 'a "quoted"\tline\n\n第二行\u2028 \\n  <b>&</b> 😀 '
ROWS: dict[str, list[dict]] = {
    "text": [{"text": ODD, "source": "book", "difficulty": 2.5}, {"text": "plain"}],
    "messages": [
        {"messages": turns(ODD, "a", "q2", ODD, system=" be kind "), "source": "clinic"},
        {"messages": turns("q", "a"), "difficulty": 1},
        {"messages": turns("Human: x\nAssistant: y", "a")},
    ],
    "prompt": [{"prompt": turns("q1", "a1", ODD, system="s")}, {"prompt": "q"}],
    "preference": [
        {"prompt": turns("q1", "a1", "q2", system="s"), "chosen": ODD, "rejected": "b"},
        {"prompt": "q", "chosen": "a", "rejected": ODD, "source": "raters"},
    ],
    "ranked": [
        {"prompt": turns("q1", "a1", "q2"), "answers": [{"content": ODD, "score": 4.5}, {"content": "b", "score": -2}]},
        {"prompt": "q", "answers": [{"content": "a", "score": 0}, {"content": "b", "score": 1}]},
    ],
    "choice": [
        {"question": ODD, "A": "A. lettered", "B": "b", "C": "c", "answer": "AC", "subject": "内科"},
        {"question": "q", "A": "1", "B": "2", "answer": "B", "source": "exam"},
    ],
}
ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet")


@pytest.fixture(params=ROWS)
def dataset(request: pytest.FixtureRequest, workspace: Workspace, tmp_path: Path) -> Dataset:
    made = import_file(workspace, write_jsonl(tmp_path / f"{request.param}.jsonl", ROWS[request.param]))
    assert made.card.kind == request.param
    return made


@pytest.mark.parametrize("ending", ENDINGS)
def test_importing_what_was_exported_gives_the_same_rows(
    workspace: Workspace, dataset: Dataset, tmp_path: Path, ending: str
) -> None:
    for form in forms_of(dataset.card.kind):
        done = export(dataset, tmp_path / f"out-{form}{ending}", form=form)
        assert (done.rows, done.bytes) == (len(dataset), done.path.stat().st_size)
        again = import_file(workspace, done.path, f"again-{form}")
        assert again.card.kind == dataset.card.kind
        assert again.rows() == dataset.rows()
        known = [[meta[1:] for meta in each.meta(range(len(dataset)))] for each in (dataset, again)]
        assert known[0] == known[1]


def test_every_kind_has_forms() -> None:
    assert {form.kind for form in FORMS} == set(STAGES_OF)


def test_a_form_is_what_its_name_says(workspace: Workspace, tmp_path: Path, chat_file: Path) -> None:
    dataset = import_file(workspace, chat_file)
    first = dataset.rows(0, 1)[0]["messages"]
    lines = {}
    for form in forms_of("messages"):
        export(dataset, tmp_path / f"{form}.jsonl", form=form)
        lines[form] = json.loads((tmp_path / f"{form}.jsonl").read_text().splitlines()[0])
    question, answer = first[0]["content"], first[1]["content"]
    assert lines == {
        "messages": {"messages": first},
        "sharegpt": {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]},
        "alpaca": {"instruction": question, "input": "", "output": answer},
        "prompt-response": {"prompt": question, "response": answer},
    }


def test_the_ending_says_how(workspace: Workspace, tmp_path: Path, chat_file: Path) -> None:
    dataset = import_file(workspace, chat_file)
    assert len(json.loads(export(dataset, tmp_path / "a.json").path.read_text())) == 64
    assert len(gzip.decompress(export(dataset, tmp_path / "a.jsonl.gz").path.read_bytes()).splitlines()) == 64
    assert pq.read_table(export(dataset, tmp_path / "a.parquet").path).column_names == ["messages"]
    for name in ("a.txt", "a", "a.parquet.gz", "a.gz"):
        with pytest.raises(DataError) as caught:
            export(dataset, tmp_path / name)
        assert caught.value.code == "data.export_ending"


def test_choices_of_different_number_share_a_table(workspace: Workspace, tmp_path: Path) -> None:
    dataset = import_file(workspace, write_jsonl(tmp_path / "c.jsonl", ROWS["choice"]))
    table = pq.read_table(export(dataset, tmp_path / "c.parquet").path)
    assert table.column_names == ["question", "A", "B", "C", "answer", "source", "category"]


def test_a_form_of_another_kind_is_refused(workspace: Workspace, tmp_path: Path, chat_file: Path) -> None:
    with pytest.raises(DataError) as caught:
        export(import_file(workspace, chat_file), tmp_path / "x.jsonl", form="preference")
    assert caught.value.code == "data.export_form"
    assert "alpaca" in caught.value.params["known"]


def test_a_file_is_not_written_over_unless_asked_for(workspace: Workspace, tmp_path: Path, chat_file: Path) -> None:
    dataset = import_file(workspace, chat_file)
    path = tmp_path / "x.jsonl"
    path.write_text("mine")
    with pytest.raises(DataError) as caught:
        export(dataset, path)
    assert (caught.value.code, path.read_text()) == ("data.export_exists", "mine")
    assert export(dataset, path, overwrite=True).rows == 64
    with pytest.raises(DataError) as caught:
        export(dataset, tmp_path / "nowhere" / "x.jsonl")
    assert caught.value.code == "data.no_folder"


def test_a_stopped_export_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    dataset = import_file(workspace, write_jsonl(tmp_path / "many.jsonl", [{"text": f"row {n}"} for n in range(4100)]))
    seen: list[int] = []

    def stop() -> None:
        if seen:
            raise StopRequested

    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "x.jsonl").write_text("before")
    with pytest.raises(StopRequested):
        export(
            dataset, folder / "x.jsonl", overwrite=True,
            on_progress=lambda done, total: seen.append(done), check_stop=stop,
        )  # fmt: skip
    assert seen == [2000]
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("x.jsonl", "before")]
    export(dataset, folder / "y.jsonl", on_progress=lambda done, total: seen.append(done))
    assert seen[-3:] == [2000, 4000, 4100]
    assert len((folder / "y.jsonl").read_bytes().splitlines()) == 4100


def test_a_row_that_would_be_read_back_as_another_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "Human: a\n\nAssistant: b"}
    row = {"prompt": turns("q"), "chosen": [answer], "rejected": [{**answer, "content": "c"}]}
    dataset = import_file(workspace, write_jsonl(tmp_path / "p.jsonl", [row]))
    with pytest.raises(DataError) as caught:
        export(dataset, tmp_path / "x.jsonl", form="preference-text")
    assert caught.value.code == "data.export_row"
    assert not (tmp_path / "x.jsonl").exists()
    assert import_file(workspace, export(dataset, tmp_path / "x.jsonl").path).rows() == dataset.rows()


def test_a_browser_gets_a_file_of_the_cache_once(
    workspace: Workspace, chat_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = import_file(workspace, chat_file)
    path = export_to_cache(workspace, dataset, form="alpaca")
    assert path.parent == workspace.cache_dir / "exports"
    assert path.name == f"chat-{dataset.version}-alpaca.jsonl"
    written = path.stat().st_ino
    assert export_to_cache(workspace, dataset, form="alpaca").stat().st_ino == written
    assert orjson.loads(path.read_bytes().splitlines()[0])["input"] == ""
    other = path.with_name("run.csv")  # a second name of an old file
    other.touch()
    os.utime(other, (0, 0))
    export_to_cache(workspace, dataset)
    assert other.exists()
    (path.parent / "curves-1").mkdir()
    (path.parent / "curves-1" / "loss-step.html").touch()
    later = time.time() + 2 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    newest = export_to_cache(workspace, dataset, container="parquet")
    assert list(path.parent.iterdir()) == [newest]


# -- from the terminal ------------------------------------------------------------------------------------------------
def run(workspace: Workspace, *words: str) -> int:
    return main(["--workspace", str(workspace.path), "data", *words])


def test_export_from_the_terminal(
    workspace: Workspace, chat_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = import_file(workspace, chat_file)
    out = tmp_path / "out.jsonl"
    assert run(workspace, "export", "chat", "--to", str(out), "--as", "alpaca", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "path": str(out), "dataset": dataset.ref, "form": "alpaca", "rows": 64,
    }  # fmt: skip
    assert run(workspace, "export", "chat", "--to", str(out)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(workspace, "export", "chat", "--to", str(out), "--overwrite") == 0
    assert run(workspace, "export", "nothing", "--to", str(tmp_path / "x.jsonl")) == 2


def test_recipes_of_one_step_from_the_terminal(
    workspace: Workspace, chat_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_file(workspace, chat_file)
    assert run(workspace, "split", "chat", "--validation", "0.25", "--apart", "--json") == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])["datasets"]
    assert [(each["name"], each["rows"]) for each in made] == [("chat-train", 48), ("chat-validation", 16)]
    assert run(workspace, "mix", "chat-train", "chat-validation:0.5", "--output", "mixed", "--shuffle") == 0
    assert "mixed@" in capsys.readouterr().out
    assert len(open_dataset(workspace, "mixed")) == 56
    assert run(workspace, "convert", "chat", "--to", "prompt") == 0
    assert open_dataset(workspace, "chat-prompt").card.kind == "prompt"
    assert open_dataset(workspace, "chat").card.kind == "messages"
    capsys.readouterr()
    assert run(workspace, "convert", "chat-prompt", "--to", "messages") == 2
    assert "recipe.steps[0]" in capsys.readouterr().err
    assert run(workspace, "mix", "chat", "chat-prompt:half", "--output", "m") == 2
    assert "recipe.inputs[1].weight" in capsys.readouterr().err
