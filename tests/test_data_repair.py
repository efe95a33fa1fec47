"""What a repair mends, what it leaves alone, and that it always says what it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.__main__ import main
from core.data.check.doctor import check_file
from core.data.check.faults import mended
from core.data.check.repair import MENDABLE, mend
from core.data.shapes.formats import shape_named
from core.data.store.library import import_file, open_dataset
from core.errors import DataError
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.test_data_doctor import chat, dialogue, pair

MENDED = [
    ("sharegpt", chat("q", "r", "a", roles="uua"), chat("q\nr", "a"), ["data.same_role_twice"]),
    ("sharegpt", chat("q", "a", "b", "q", "c", roles="uaaua"), chat("q", "a\nb", "q", "c"), ["data.same_role_twice"]),
    ("sharegpt", chat("q", "a", "r"), chat("q", "a"), ["data.no_answer"]),
    ("sharegpt", chat("q", "a", "r", "s", roles="uauu"), chat("q", "a"), ["data.no_answer", "data.same_role_twice"]),
    ("sharegpt", chat("\ufeffq", "a\u200bb\x07"), chat("q", "ab"),
     ["data.control_characters", "data.invisible_characters"]),
    ("sharegpt", chat("q", "\x1b[31mred\x1b[0m"), chat("q", "red"), ["data.control_characters"]),
    ("sharegpt", chat("CafÃ©?", "Ouiâ€¦ Ã  demain"), chat("CafÃ©?", "Ouiâ€¦ Ã  demain"), None),  # a byte was lost
    ("sharegpt", chat("CafÃ©?", "Oui, fermÃ©"), chat("Café?", "Oui, fermé"), ["data.double_encoded"]),
    ("alpaca", {"instruction": "é—®é¢˜", "output": "å›žç­”", "id": 3},
     {"instruction": "问题", "output": "回答", "id": 3}, ["data.double_encoded"]),
    ("preference", pair("a\x00", "b"), pair("a", "b"), ["data.control_characters"]),
    ("messages", {"messages": [*dialogue("q"), *dialogue("r", "a")]}, {"messages": dialogue("q\nr", "a")},
     ["data.same_role_twice"]),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "row", "after", "codes"), MENDED)
def test_a_row_is_mended_in_its_own_shape(shape: str, row: dict, after: dict, codes: list[str] | None) -> None:
    found = mend(shape_named(shape), row)
    if codes is None:
        assert found is None
        return
    assert found is not None
    assert (found.value, found.codes) == (after, codes)
    assert set(codes) <= MENDABLE


LEFT = [
    chat("q", "a"),  # nothing is wrong with it
    chat("q"),  # no answer would be left
    chat("q", "r", roles="uu"),
    chat("q", ""),
    chat("a", "q", "a", roles="aua"),
    chat("q", "\u200b"),  # nothing would be left of the answer
    chat("q", "\x07锟斤拷锟斤拷"),  # what is left is lost all the same
    chat("编码", "Ã© 是 UTF-8 被当作 Latin-1 的乱码"),  # it means what it says
]


@pytest.mark.parametrize("row", LEFT)
def test_what_cannot_be_mended_safely_is_left_alone(row: dict) -> None:
    assert mend(shape_named("sharegpt"), row) is None


@pytest.mark.parametrize("text", ["été à l’école — “x”", "问题：高血压（140/90）", "привет", "日本語テキスト", "🙂 ok"])
def test_decoding_again_is_exact(text: str) -> None:
    wrong = text.encode().decode("latin-1")
    assert mended(wrong, wrong) == (text, {"data.double_encoded"})
    twice = wrong.encode().decode("latin-1")
    assert mended(twice, twice)[0] == text
    assert mended(text, text) == (text, set())


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    faulty = [chat("q2", "r", "a", roles="uua"), chat("q3", "q3"), chat("q4", "a", "r"), chat("q5", "a\u200bb")]
    return write_jsonl(tmp_path / "rows.jsonl", [chat("q1", "a"), *faulty, chat("q6", "a")])


def test_the_doctor_counts_what_could_be_mended(rows: Path) -> None:
    report = check_file(rows)
    assert (report.rows, report.usable, report.repairable) == (6, 3, 3)


def test_a_repair_is_a_version_of_its_own_with_a_diff(workspace: Workspace, rows: Path) -> None:
    plain = import_file(workspace, rows, bad_rows="drop")
    repaired = import_file(workspace, rows, bad_rows="drop", repair=True)
    assert plain.name == repaired.name
    assert plain.version != repaired.version
    assert plain.card.sha256 != repaired.card.sha256
    assert (plain.card.repaired, plain.repaired(), len(plain)) == (0, [], 3)
    assert (repaired.card.repaired, repaired.card.dropped, len(repaired)) == (3, 1, 5)
    assert repaired.lines(range(5)) == [1, 2, 4, 5, 6]
    assert [row["messages"][0]["content"] for row in repaired.rows()] == ["q1", "q2\nr", "q4", "q5", "q6"]
    diff = repaired.repaired()
    assert [(row["line"], row["codes"]) for row in diff] == [
        (2, ["data.same_role_twice"]), (4, ["data.no_answer"]), (5, ["data.invisible_characters"]),
    ]  # fmt: skip
    assert json.loads(diff[1]["before"]) == chat("q4", "a", "r")
    assert json.loads(diff[1]["after"]) == chat("q4", "a")
    assert import_file(workspace, rows, bad_rows="drop", repair=True).ref == repaired.ref
    with pytest.raises(DataError):  # one row cannot be mended
        import_file(workspace, rows, repair=True)


def test_the_commands(workspace: Workspace, rows: Path, capsys) -> None:
    at = ["--workspace", str(workspace.path), "data"]
    assert main([*at, "repair", str(rows), "--bad-rows", "drop", "--name", "mine"]) == 0
    assert "3 mended" in capsys.readouterr().out
    assert main([*at, "show", "mine", "--repaired"]) == 0
    shown = capsys.readouterr().out
    assert "line 4: data.no_answer" in shown
    assert '{"from":"human","value":"r"}' in shown
    assert "a\\u200bb" in shown
    assert main([*at, "add", str(rows), "--bad-rows", "drop", "--name", "mine"]) == 0
    assert main([*at, "show", "mine", "--repaired"]) == 0
    assert "Nothing was mended" in capsys.readouterr().out
    assert main([*at, "repair", "mine", "--bad-rows", "drop", "--json"]) == 0  # from the file that it came from
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["repaired"] == 3
    assert open_dataset(workspace, "mine").card.name == "mine"
    assert main([*at, "repair", "nowhere.jsonl"]) == 2
