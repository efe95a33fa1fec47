"""Files good and bad through the doctor: every kind of file, every kind of damage, with its line."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.__main__ import main
from core.data.check.doctor import KEPT_PROBLEMS, CheckReport, check_file
from core.data.files.containers import MAX_ROW_BYTES
from core.errors import DataError

ROWS = [{"instruction": f"问题 {i}\n第二行", "output": f'answer, "{i}"'} for i in range(5)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def found(report: CheckReport) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.code) for problem in report.problems]


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write(path: Path) -> Path:
    """`ROWS` in the format that the name says."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix == ".jsonl":
        plain.write_text(LINES, encoding="utf-8")
    elif plain.suffix == ".json":
        plain.write_text(json.dumps(ROWS, ensure_ascii=False, indent=1), encoding="utf-8")
    elif plain.suffix in (".csv", ".tsv"):
        with open(plain, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["instruction", "output"], delimiter="\t" if plain.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), plain)
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_kind_of_file_reads_the_same(tmp_path: Path, ending: str, packed: str) -> None:
    report = check_file(write(tmp_path / f"rows.{ending}{packed}"))
    assert report.ok
    assert (report.rows, report.usable, report.format, report.stages[0]) == (5, 5, "alpaca", "sft")


def test_txt_is_a_row_a_line(tmp_path: Path) -> None:
    report = check_file(put(tmp_path, "book.txt", "第一行\n\n{second}\r\nthird"))
    assert (report.rows, report.usable, report.kind, report.stages) == (3, 3, "text", ["pretrain"])


def test_content_decides_where_the_name_misleads(tmp_path: Path) -> None:
    assert check_file(put(tmp_path, "lines.json", LINES)).container == "jsonl"
    assert check_file(put(tmp_path, "array.jsonl", json.dumps(ROWS))).container == "json"
    printed = "\n".join(json.dumps(row, indent=2) for row in ROWS)
    report = check_file(put(tmp_path, "printed.json", printed))
    assert (report.container, report.usable) == ("json", 5)


def test_a_byte_order_mark_is_left_out_and_said(tmp_path: Path) -> None:
    for name, text in (("a.jsonl", LINES), ("a.json", json.dumps(ROWS)), ("a.csv", "question,answer\nq,a\n")):
        report = check_file(put(tmp_path, name, b"\xef\xbb\xbf" + text.encode()))
        assert report.ok, name
        assert [note.code for note in report.notes] == ["data.bom"]


BROKEN = [
    ("empty.jsonl", b"", [(None, "data.empty_file")]),
    ("blank.jsonl", b"\n \n", [(None, "data.empty_file")]),
    ("empty-array.json", b"[]", [(None, "data.empty_file")]),
    ("header.csv", b"question,answer\n", [(None, "data.empty_file")]),
    ("wide.jsonl", LINES.encode("utf-32"), [(None, "data.wide_encoding")]),
    ("book.xlsx", b"PK\x03\x04\0\0", [(None, "data.unknown_container")]),
    ("no.parquet", b"not at all", [(None, "data.unknown_container")]),
    ("torn.parquet", b"PAR1 and no more", [(None, "data.parquet_broken")]),
    ("cut.jsonl", LINES.encode()[:-12], [(5, "data.truncated_line")]),
    ("cut.json", json.dumps(ROWS, indent=1).encode()[:-12], [(18, "data.truncated_line")]),
    ("bad.jsonl", LINES.replace('"output": "answer, \\"2\\""', '"output" 2').encode(), [(3, "data.json_broken")]),
    ("bad.json", json.dumps(ROWS, indent=1).replace('"output"', "output", 1).encode(), [(4, "data.json_ends")]),
    ("latin.jsonl", LINES.encode().replace("问题 1".encode(), "问题 1".encode("gb18030")), [(2, "data.not_utf8")]),
    ("latin.csv", b"question,answer\nq,a\n\"\xff\",a\nq,a\n", [(3, "data.not_utf8")]),
    ("latin.txt", b"a\n\xff\n", [(2, "data.not_utf8")]),
    ("cells.csv", b'question,answer\n"q\nq",a\nq,a,b\nq,a\n', [(4, "data.csv_cells")]),
    ("quote.csv", b'question,answer\nq,a\nq,"a\n', [(3, "data.csv_broken")]),
    ("list.jsonl", LINES.encode() + b"[1]\n", [(6, "data.not_object")]),
    ("keys.jsonl", LINES.encode() + b'{"text": "t"}\n', [(6, "data.missing_key")]),
    ("zero.jsonl", LINES.replace("answer, ", "answer\0 ", 1).encode(), [(1, "data.json_broken")]),
    ("twice.jsonl", LINES.encode() + b'{"instruction": "q", "output": "a", "output" : "b"}\n',
     [(6, "data.duplicate_key")]),
    ("deep.jsonl", LINES.encode() + b'{"instruction": "q", "output": ' + b"[" * 900 + b"]" * 900 + b"}\n",
     [(6, "data.turn_not_object")]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_damage_is_found_on_its_line(tmp_path: Path, name: str, content: bytes, expected: list) -> None:
    report = check_file(put(tmp_path, name, content))
    assert found(report) == expected
    assert not report.ok
    for problem in report.problems:
        assert problem.message != problem.code
        assert "{" not in problem.message
        assert len(problem.excerpt or "") <= 120


def test_a_cut_archive_gives_what_came_before(tmp_path: Path) -> None:
    report = check_file(put(tmp_path, "half.jsonl.gz", gzip.compress(LINES.encode() * 2000)[:-20]))
    assert report.counts == {"data.gzip_broken": 1}
    assert report.usable > 0
    assert report.problems[0].line is not None


def test_a_ten_megabyte_line_costs_itself_only(tmp_path: Path) -> None:
    for name, text in (("big.jsonl", LINES + '{"instruction": "' + "长" * (MAX_ROW_BYTES // 2) + '"}\n' + LINES),
                       ("big.txt", "a\n" * 5 + "b" * (MAX_ROW_BYTES + 5) + "\n" + "a\n" * 5)):  # fmt: skip
        report = check_file(put(tmp_path, name, text))
        assert (report.rows, report.usable) == (11, 10)
        assert found(report) == [(6, "data.row_too_long")]
        assert len(report.problems[0].excerpt or "") == 120


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.txt", "rows.json", "rows.csv.gz"])
def test_a_file_in_another_encoding_is_read_as_that_and_says_so(tmp_path: Path, name: str, encoding: str) -> None:
    texts = {
        "jsonl": LINES,
        "json": json.dumps(ROWS, ensure_ascii=False, indent=1),
        "csv": "question,answer\n" + "一岁宝宝发烧能吃啥药？,多喝水\n" * 5,
        "txt": "一岁宝宝发烧，多喝水。\n" * 5,
    }
    content = texts[name.split(".")[1]].encode(encoding)
    report = check_file(put(tmp_path, name, gzip.compress(content) if name.endswith(".gz") else content))
    assert report.ok, [str(problem) for problem in report.problems]
    assert report.usable == report.rows >= 3
    [note] = [note for note in report.notes if note.code == "data.read_as"]
    assert note.params["encoding"].startswith(("GB18030", "UTF-16"))


def test_western_text_is_not_taken_for_chinese(tmp_path: Path) -> None:
    report = check_file(put(tmp_path, "west.csv", "question,answer\nété,naïve café\n".encode("latin-1")))
    assert report.counts == {"data.not_utf8": 1}


def test_all_rows_unusable_says_what_would_fit(tmp_path: Path) -> None:
    report = check_file(put(tmp_path, "odd.jsonl", '{"Instruct": "a", "Output": "b"}\n' * 1500))
    assert (report.rows, report.usable, report.format) == (1500, 0, None)
    assert report.counts == {"data.unknown_shape": 1500}
    assert len(report.problems) == KEPT_PROBLEMS
    assert "alpaca" in report.problems[0].remedy


def test_progress_ends_at_the_whole_file(tmp_path: Path) -> None:
    path = put(tmp_path, "many.jsonl", LINES * 400)
    seen: list[tuple[int, int]] = []
    check_file(path, on_progress=lambda *at: seen.append(at))
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    assert seen == sorted(seen)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        check_file(tmp_path / "none.jsonl")
    assert caught.value.code == "data.no_file"


# -- the command ------------------------------------------------------------------------------------------------------
def test_check_prints_one_object_and_says_by_its_status(tmp_path: Path, capsys) -> None:
    good = write(tmp_path / "good.jsonl")
    bad = put(tmp_path, "bad.jsonl", LINES + '{"instruction": "i", "output": ""}\n')
    assert main(["data", "check", str(good)]) == 0
    assert "5 rows, 5 usable" in capsys.readouterr().out
    assert main(["data", "check", str(bad), "--json"]) == 2
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (printed["rows"], printed["usable"], printed["format"]) == (6, 5, "alpaca")
    assert printed["counts"] == {"data.empty_value": 1}
    [problem] = printed["problems"]
    assert problem.keys() == {"line", "code", "message", "excerpt", "remedy", "severity"}
    assert (problem["line"], problem["code"]) == (6, "data.empty_value")
    assert main(["data", "check", str(tmp_path / "none")]) == 2


def test_a_row_may_be_nested_deeper_than_can_be_written(tmp_path: Path) -> None:
    deep = '{"instruction": "q", "output": "a", "more": ' + '{"a": ' * 600 + "1" + "}" * 600 + "}\n"
    report = check_file(put(tmp_path, "deep.jsonl", LINES + deep))
    assert (report.rows, report.usable, report.ok) == (6, 6, True)


def test_many_columns_are_named_in_part(tmp_path: Path) -> None:
    report = check_file(put(tmp_path, "wide.jsonl", json.dumps({f"c{at}": "x" for at in range(20_000)}) + "\n"))
    assert found(report) == [(1, "data.unknown_shape")]
    assert len(report.problems[0].message) < 500


def test_a_cell_that_cannot_be_read_costs_its_row(tmp_path: Path) -> None:
    offsets = pa.py_buffer(np.array([0, 1, 3], dtype=np.int32))
    broken = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xffb")])
    table = pa.table({"question": broken, "answer": ["x", "y"]})
    pq.write_table(table, tmp_path / "text.parquet")
    late = pa.array([2**50, 1], pa.timestamp("s"))
    pq.write_table(pa.table({"question": ["a", "b"], "answer": ["x", "y"], "at": late}), tmp_path / "date.parquet")
    assert found(check_file(tmp_path / "text.parquet")) == [(2, "data.cell_unreadable")]
    assert found(check_file(tmp_path / "date.parquet")) == [(1, "data.cell_unreadable")]


def test_a_file_may_have_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = put(tmp_path, os.fsdecode(b"odd\xff.jsonl"), LINES)
    command = [sys.executable, "-m", "core", "data", "add", path, "--workspace", tmp_path / "workspace", "--json"]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert (ended.returncode, json.loads(ended.stdout.splitlines()[-1])["rows"]) == (0, 5)
