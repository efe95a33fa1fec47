"""The short forms of the attacks: each a few rounds of what `python -m tests.attack.NAME` does for long.

What the long forms found, and what was changed, is in docs/reliability.md. A kill in the middle of a training has short
forms of its own (test_sft_killed, test_predict_killed).
"""

from __future__ import annotations

import gzip
import io
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.configs.article import from_arguments
from core.configs.files import dump_yaml, fields_of, parse_override, parse_yaml
from core.configs.files import resolve as stage_config
from core.configs.problems import shown
from core.configs.stages import STAGES
from core.configs.starts import STARTS
from core.data.check.doctor import check_file
from core.data.files.containers import BATCH_ROWS, parquet_rows
from core.data.store.library import open_dataset, resolve
from core.errors import ConfigError, GalenError, InputError, StopRequested
from core.jobs import store
from core.jobs.locks import take_run
from core.jobs.pinning import DATA_FIELDS, pin
from core.models.sources import understand
from core.records import Status
from core.report import Report
from core.rundir import RunDir, State, append_jsonl, read_jsonl, state_of, write_record
from core.workspace import Workspace
from tests import drill
from tests.attack import (
    binds,
    browsers,
    clock,
    damaged_parquet,
    disk,
    handlers,
    kills,
    leaks,
    markup,
    pages,
    paths,
    properties,
    uploads,
)
from tests.attack.tools import Tally
from webui.confine import NAMING
from webui.field_shapes import PICKERS

KEPT = ("GALEN_PLUGINS", "GALEN_LOCK_DIR", "GALEN_CPU_SLOTS", "GALEN_CLOCK_BACK")


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attacks set variables of the environment for what they start, and a stage; these go with the test."""
    for name in KEPT:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setitem(STAGES, "drill", drill.STAGES[0])
    monkeypatch.delitem(STAGES, "drill")


def nothing_found(tally: Tally) -> None:
    assert tally.findings == []
    assert tally.done or "skipped" in tally.figures.values()


# -- the short forms --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("prove", properties.PROPERTIES, ids=lambda prove: prove.__name__)
def test_a_property_holds(prove) -> None:
    properties.holds(prove, 15, seed=7)


def test_uploads() -> None:
    nothing_found(uploads.attack(30, seed=3))


def test_damaged_parquet() -> None:
    nothing_found(damaged_parquet.attack(1500, seed=0))


def test_kills_of_a_torch_free_run() -> None:
    nothing_found(kills.attack(3, seed=5))


def test_a_clock_set_back() -> None:
    nothing_found(clock.attack(1, seed=0))


@pytest.mark.slow
def test_full_disks() -> None:
    nothing_found(disk.attack(2, seed=0))


@pytest.mark.slow
def test_hostile_texts_in_every_field() -> None:
    nothing_found(handlers.attack(20, seed=0, every=320))


@pytest.mark.slow
def test_paths_in_sound_forms(tmp_path: Path) -> None:
    tally = Tally()
    paths.look(tmp_path, 3, 1, tally)
    nothing_found(tally)


def test_every_setting_that_names_something_is_confined() -> None:
    of_data = {f"data.{field}" for field in DATA_FIELDS}
    known = {key for stage in STAGES.values() for key in fields_of(stage.config)}
    files = {
        "words.list",
        "safety.file",
        "model.tokenizer",
        "model.source",
        "data.file",
    }  # a run reads them as they are
    assert files <= known
    assert (of_data | set(STARTS) | PICKERS | files) & known <= set(NAMING)


def test_a_full_workspace() -> None:
    nothing_found(pages.attack(1, seed=0, limit=2.0))  # the machine that tests has other work: 0.3 s is measured alone


@pytest.mark.slow
def test_browsers_that_watch(tmp_path: Path) -> None:
    tally = Tally()
    browsers.look(tmp_path, 4, tally)
    nothing_found(tally)


@pytest.mark.slow
def test_secrets_are_written_nowhere() -> None:
    nothing_found(leaks.attack(2, seed=0))


def test_public_addresses_are_refused() -> None:
    nothing_found(binds.attack(1, seed=1))


@pytest.mark.browser
@pytest.mark.slow
def test_markup_stays_text(browser, tmp_path: Path) -> None:
    tally = Tally()
    markup.look(browser, tmp_path, 2, tally)
    nothing_found(tally)


# -- what the long forms found ----------------------------------------------------------------------------------------
def test_a_text_that_a_parquet_file_holds_once_is_not_read_two_thousand_times(tmp_path: Path) -> None:
    long = "长" * 200_000  # 600 KB
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * BATCH_ROWS, pa.int32()), pa.array([long]))
    out = io.BytesIO()
    pq.write_table(pa.table({"text": cells}), out, store_schema=False)
    before = pa.total_allocated_bytes()
    rows = parquet_rows(io.BufferedReader(out))
    assert next(rows).value == {"text": long}
    assert pa.total_allocated_bytes() - before < 100_000_000
    rows.close()


@pytest.mark.parametrize("header", [b"text\rlabel,b", b"a," * 40_000, b'"a' + b"x" * 9_000_000])
def test_a_first_line_that_is_no_header_is_told(tmp_path: Path, header: bytes) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(header + b"\nx,y\n")
    start = time.process_time()
    report = check_file(file)
    assert time.process_time() - start < 5
    assert report.usable == 0
    assert report.counts


def test_a_check_can_be_stopped_within_a_line_without_an_end(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"text": "' + b"x" * 60_000_000, 1))
    calls = 0

    def check_stop() -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise StopRequested

    with pytest.raises(StopRequested):
        check_file(file, check_stop=check_stop)


@pytest.mark.parametrize("word", ["2001-99-99", "!!int x", "!!int", "[" * 700, "9" * 5000])
def test_what_no_reader_of_yaml_takes_is_a_word(word: str) -> None:
    assert parse_override(f"some.key={word}", {}) == ("some.key", word)
    with pytest.raises(InputError):
        from_arguments("sft", f"learning_rate: {word}\nlearning_rate: 1")


@pytest.mark.parametrize("text", ["-" * 5000, "a\0b"], ids=["too long", "NUL"])
def test_what_can_be_no_name_is_refused_in_words(workspace: Workspace, text: str) -> None:
    for look in (partial(open_dataset, workspace), partial(resolve, workspace), workspace.allowed, understand):
        with pytest.raises(GalenError):
            look(text)
    config = stage_config("sft", values={"model.base": text, "data.train": text, "devices.use": ["cpu:0"]})
    with pytest.raises(ConfigError) as caught:
        pin(workspace, STAGES["sft"], config)
    assert {problem.key for problem in caught.value.problems} == {"model.base", "data.train"}


def test_line_breaks_of_unicode_come_back() -> None:
    data = {"system": "a\x85b\u2028c\u2029", "\x85": None}
    assert parse_yaml(dump_yaml(data)) == data


def test_a_value_that_names_itself_over_and_over_is_shown_short() -> None:
    laugh: list = ["ha"] * 9
    for _ in range(12):
        laugh = [laugh] * 9
    assert len(shown(laugh)) <= 60
    assert shown(16**6000) == "…"


def test_a_run_that_starts_on_a_nearly_full_disk_says_so(tmp_path: Path) -> None:
    tally = Tally()
    kills.prepare(tmp_path)
    with disk.small_disk(tmp_path) as small:
        if small is None:
            pytest.skip("mounting a small file system needs root on Linux")
        disk.run_on_a_full_disk(small, 6, tally)
    nothing_found(tally)


def test_a_row_that_finds_no_room_leaves_no_half_of_it(tmp_path: Path) -> None:
    with disk.small_disk(tmp_path) as small:
        if small is None:
            pytest.skip("mounting a small file system needs root on Linux")
        file = small / "metrics.jsonl"
        append_jsonl(file, {"step": 1})
        with disk.pages_left(small, 1), pytest.raises(OSError, match="No space"):
            append_jsonl(file, {"step": 2, "note": "x" * 9000})
        append_jsonl(file, {"step": 3})
        assert [row["step"] for row in read_jsonl(file)[0]] == [1, 3]


def test_a_run_trains_whatever_the_clock_says(workspace: Workspace) -> None:
    run = RunDir.create(workspace.runs_dir, "sft")
    lock = take_run(run)
    later = time.time() + 3600
    write_record(run.status_file, Status(supervisor_pid=1, supervisor_started=1, submitted_at=later, started_at=later))
    Report(run).phase("training", total=9)
    assert state_of(run) is State.RUNNING
    assert lock is not None
    assert store.stop_deadline(run) is None
