"""Reading with several processes gives what reading alone gives; helpers die with whoever started them."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from core.data.check import parallel
from core.data.check.doctor import CheckReport, check_file, conclude, readable
from core.data.check.findings import KEPT_PROBLEMS
from core.data.check.scan import ROW, scan
from core.data.files import containers, lines
from core.data.files.reader import open_source
from core.data.normal import normal_text, row_key, row_text, tables
from core.errors import DataError, RunError, StopRequested
from core.system import python_environment
from tests.conftest import conversations, write_jsonl
from tests.test_data_doctor import chat

BAD = [chat("q"), chat("q", "r", "a", roles="uua"), chat("q", "a\x07"), chat("q", "甲<br>乙"), {"text": "t"}]


def mixed(count: int) -> list[dict]:
    """Good rows, with a fault in every seventh."""
    rows = conversations(count)
    for at in range(0, count, 7):
        rows[at] = BAD[at // 7 % len(BAD)]
    return rows


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PART_BYTES", 4000)


def report_of(path: Path, helpers: int) -> dict[str, Any]:
    report = CheckReport(path)
    for found in parallel.read(readable(report), helpers=helpers):
        report.merge(found)
    conclude(report)
    return report.as_dict()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "core.data.check.helper" in child.cmdline()]


def test_helpers_find_what_one_process_finds(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [*mixed(300), *conversations(50)])
    with open(path, "ab") as file:
        file.write(b'{"conversations": [\n\n   \n{"text" 1}\n\xff\xfe\n[1]\n{"conversations"')
    alone, shared = report_of(path, 0), report_of(path, 2)
    assert shared == alone
    assert alone["rows"] == 355
    assert alone["duplicates"]["exact"] > 0
    assert {"data.json_broken", "data.truncated_line", "data.not_utf8"} <= alone["counts"].keys()
    assert children() == []


@pytest.mark.parametrize("part_bytes", [1, 700, 10_000_000])
def test_no_stretch_is_too_small_or_too_large(tmp_path: Path, part_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PART_BYTES", part_bytes)
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(f"第{i}行" for i in range(60)).encode())
    alone = report_of(path, 0)
    assert report_of(path, 2) == alone
    assert (alone["rows"], [note["code"] for note in alone["notes"]]) == (60, ["data.bom"])


def test_only_the_first_thousand_problems_come_over_and_all_are_counted(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [*conversations(3), *[BAD[0]] * 2500])
    found = report_of(path, 2)
    assert found["counts"] == {"data.no_answer": 2500}
    assert [problem["line"] for problem in found["problems"]] == list(range(4, 4 + KEPT_PROBLEMS))


def test_large_files_are_shared_out_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PARALLEL_BYTES", 1000)
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    path = write_jsonl(tmp_path / "rows.jsonl", mixed(100))
    seen: list[tuple[int, int]] = []
    helpers: set[int] = set()

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        helpers.update(child.pid for child in children())

    report = check_file(path, on_progress=progress)
    assert (len(helpers), report.rows, seen[-1]) == (2, 100, (path.stat().st_size,) * 2)


def test_a_stop_ends_the_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PARALLEL_BYTES", 1000)
    monkeypatch.setattr(parallel, "cores", lambda: 2)

    def stop() -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        check_file(write_jsonl(tmp_path / "rows.jsonl", mixed(100)), check_stop=stop)
    assert children() == []


def test_a_helper_that_dies_is_told(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", mixed(2000))
    reading = readable(CheckReport(path))
    parts = parallel.read(reading, helpers=2)
    next(parts)
    os.kill(children()[0].pid, signal.SIGKILL)
    with pytest.raises(RunError) as caught:
        list(parts)
    assert (caught.value.code, caught.value.params["how"]) == ("run.helper_failed", "signal 9")
    assert children() == []


@pytest.mark.parametrize("change", ["grows", "goes"])
def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path, change: str) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", mixed(50))

    def meddle(done: int, total: int) -> None:
        if change == "goes":
            path.unlink(missing_ok=True)
        else:
            with open(path, "a", encoding="utf-8") as file:
                file.write("{}\n")

    with pytest.raises(DataError) as caught:
        check_file(path, on_progress=meddle)
    assert caught.value.code == "data.file_changed"


def test_helpers_end_with_a_killed_parent(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", mixed(3000))
    script = """
        import sys, time
        from pathlib import Path
        from core.data.check import parallel
        from core.data.check.doctor import CheckReport, readable
        parallel.PART_BYTES = 2000
        parts = parallel.read(readable(CheckReport(Path(sys.argv[1]))), helpers=2)
        next(parts)
        print("ready", flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=python_environment()) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        helpers = psutil.Process(parent.pid).children()
        assert len(helpers) == 2
        parent.kill()
    deadline = time.monotonic() + 5
    while any(helper.is_running() for helper in helpers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(helper.is_running() for helper in helpers)


def test_a_helper_loads_no_torch() -> None:
    code = "import sys, core.data.check.helper; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=python_environment()).returncode == 0


# -- lines ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [1, 3, 64, 1 << 20])
def test_chunks_of_any_size_give_the_same_lines(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 50)
    monkeypatch.setattr(containers, "MAX_ROW_BYTES", 50)
    content = '{"text": "a"}\r\n\n{"text": "' + "长" * 40 + '"}\n  \n{"text": "b"}\n{"text": "' + "x" * 90 + '"}'
    plain, packed = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.gz"
    plain.write_text(content, encoding="utf-8")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        raws = [raw for batch in open_source(path).batches(size=size) for raw in batch.raws()]
        found = [(raw.line, raw.problem.code if raw.problem else raw.value["text"]) for raw in raws]
        assert found == [(1, "a"), (3, "data.row_too_long"), (5, "b"), (6, "data.row_too_long")]


# -- texts of many rows at once ---------------------------------------------------------------------------------------
def test_the_normal_form_leaves_out_case_width_spaces_and_punctuation() -> None:
    assert normal_text("Ｈello， World！\n_") == "helloworld"
    assert normal_text("cafe\u0301 ①ﬁ") == normal_text("CAFÉ １ｆｉ") == "café1fi"
    assert normal_text("हिन्दी, 한국어。") == "हिन्दी한국어"
    assert normal_text("，。！") == ""
    assert normal_text("高血压😀") == "高血压😀"


def test_the_quick_way_is_the_way_of_unicode() -> None:
    """Mapping each character gives what normalising the whole text first would give."""
    after = tables()[1]

    def slowly(text: str) -> str:
        codes = np.frombuffer(unicodedata.normalize("NFKC", text).encode("utf-16-le"), dtype="<u2")
        mapped = after[codes]
        return mapped[mapped != 0].tobytes().decode("utf-16-le")

    rng = random.Random(1)
    ranges = [(0x20, 0x250), (0x300, 0x370), (0x900, 0x980), (0x1100, 0x1200), (0x2000, 0x2200), (0x3000, 0x3400),
              (0x4E00, 0x4E40), (0xAC00, 0xAC40), (0xF900, 0xFB10), (0xFF00, 0xFFF0)]  # fmt: skip
    characters = [chr(code) for start, stop in ranges for code in range(start, stop)]
    for _ in range(5000):
        text = "".join(rng.choices(characters, k=6))
        assert normal_text(text) == slowly(text), text.encode("unicode_escape")


def test_rows_scanned_together_get_the_keys_they_get_alone() -> None:
    said = ["", "a", "Ａ!", "cafe\u0301", "café", f"a{ROW}b", "\ufdd8x", "ﷺ", "😀", "\ud800", "长" * 1000, "a\nb", "٣"]
    rows = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "x"}]} for text in said]
    found = scan([row_text("messages", row) for row in rows])
    assert found.keys.tolist() == [row_key("messages", row) for row in rows]
    assert len(set(found.exact.tolist())) == len(said)
    assert found.keys[1] == found.keys[2]
    assert found.keys[3] == found.keys[4]
    assert len(scan([]).keys) == 0


def test_a_system_message_makes_a_row_another_one() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    system = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    keys = [row_key("messages", {"messages": rows}) for rows in (turns, system)]
    assert keys[0] != keys[1]
    assert row_key("text", {"text": "ab"}) != row_key("messages", {"messages": turns})


def test_json_of_a_report_is_plain(tmp_path: Path) -> None:
    json.dumps(check_file(write_jsonl(tmp_path / "rows.jsonl", mixed(20))).as_dict())
