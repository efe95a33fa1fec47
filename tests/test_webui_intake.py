"""Files on their way into the workspace: checked and imported in threads, found again by another page."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.data.store.library import list_datasets
from core.errors import InputError
from core.jobs import store
from core.rundir import state_of
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from webui import intake as module
from webui.intake import Intake, Waiting
from webui.messages import reason
from webui.views_report import check_report, difference, findings


def until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sent(workspace: Workspace, file: Path) -> Path:
    """A file as a browser's upload leaves it."""
    folder = workspace.cache_dir / "uploads" / "abc"
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(file, folder / file.name))


def checked(intake: Intake, file: Path, *, uploaded: bool = False) -> Waiting:
    item = intake.take(file, uploaded=uploaded)
    until(lambda: not item.busy)
    return item


def test_an_upload_is_checked_imported_and_tidied_away(workspace: Workspace, chat_file: Path) -> None:
    intake = Intake(workspace)
    upload = sent(workspace, chat_file)
    item = checked(intake, upload, uploaded=True)
    assert not upload.exists()
    assert item.phase == "checked"
    assert item.report is not None
    assert item.report.ok
    intake.bring_in(item.key, "我的 chat", bad_rows="stop", repair=False)
    until(lambda: item.phase == "imported")
    [dataset] = list_datasets(workspace)
    assert (item.dataset, dataset.name, len(dataset)) == (dataset.ref, "我的 chat", 64)
    assert list(intake.folder.iterdir()) == []
    assert intake.made(item) is not None


def test_a_file_of_the_users_own_stays(workspace: Workspace, chat_file: Path) -> None:
    intake = Intake(workspace)
    item = checked(intake, chat_file)
    intake.discard(item.key)
    assert chat_file.is_file()
    assert intake.all() == []


def test_another_shape_and_columns(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("frage,antwort\nwarum?,darum\n", encoding="utf-8")
    intake = Intake(workspace)
    item = checked(intake, file)
    assert item.report is not None
    assert item.report.usable == 0
    intake.check(item.key, shape="alpaca", columns={"instruction": "frage", "output": "antwort"})
    until(lambda: not item.busy)
    assert (item.report.usable, item.report.format) == (1, "alpaca")
    intake.check(item.key, columns={"instruction": "no such column"})
    until(lambda: not item.busy)
    assert item.phase == "failed"
    assert "no such column" in str(item.error)


def test_bad_rows_stop_an_import_that_was_not_told_to_drop_them(workspace: Workspace, tmp_path: Path) -> None:
    rows = conversations(4)
    rows[1]["conversations"][1]["value"] = ""
    intake = Intake(workspace)
    item = checked(intake, write_jsonl(tmp_path / "bad.jsonl", rows))
    with pytest.raises(InputError) as error:
        intake.bring_in(item.key, "../out", bad_rows="drop", repair=False)
    assert error.value.code == "name.bad"
    intake.bring_in(item.key, "bad", bad_rows="stop", repair=False)
    until(lambda: not item.busy)
    assert (item.phase, getattr(item.error, "code", "")) == ("failed", "data.bad_rows")
    intake.bring_in(item.key, "bad", bad_rows="drop", repair=False)
    until(lambda: item.phase == "imported")
    assert list_datasets(workspace)[0].card.dropped == 1


def test_a_check_can_be_stopped(workspace: Workspace, tmp_path: Path) -> None:
    intake = Intake(workspace)
    with intake._turn:  # somebody else's work is at it
        item = intake.take(write_jsonl(tmp_path / "a.jsonl", conversations(4)), uploaded=False)
        assert (item.phase, item.done) == ("checking", (0, item.size))
        intake.stop(item.key)
        until(lambda: item.phase == "stopped")
    intake.check(item.key)
    until(lambda: item.phase == "checked")


def test_a_page_that_starts_anew_finds_what_waits(workspace: Workspace, chat_file: Path) -> None:
    first = checked(Intake(workspace), sent(workspace, chat_file), uploaded=True)
    again = Intake(workspace)
    [item] = again.all()
    assert (item.key, item.path) == (first.key, first.path)
    until(lambda: item.phase == "checked")


@pytest.mark.slow
def test_a_large_file_is_imported_by_a_run(
    workspace: Workspace, chat_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INLINE_BYTES", 100)
    intake = Intake(workspace)
    item = checked(intake, sent(workspace, chat_file), uploaded=True)
    intake.bring_in(item.key, "", bad_rows="stop", repair=False)
    [run] = workspace.runs()
    assert (item.phase, item.run, run.config()["run"]["name"]) == ("importing", run.id, "chat.jsonl")
    [found] = Intake(workspace).all()  # another page knows that it is under way
    assert (found.phase, found.run) == ("importing", run.id)
    until(lambda: not state_of(run).live)
    assert intake.settle() == [item.dataset]
    assert item.phase == "imported"
    assert item.dataset == list_datasets(workspace)[0].ref
    assert list(intake.folder.iterdir()) == []
    for one in workspace.runs():
        if state_of(one).live:
            store.kill(one)


# -- how it is shown --------------------------------------------------------------------------------------------------
def test_the_report_tells_errors_from_warnings(workspace: Workspace, tmp_path: Path) -> None:
    rows = conversations(6)
    rows[0]["conversations"][1]["value"] = "<p>ja</p><br/>"
    rows[1]["conversations"][1]["value"] = ""
    item = checked(Intake(workspace), write_jsonl(tmp_path / "x.jsonl", rows))
    assert item.report is not None
    shown = findings(item.report, "en")
    head, _, doubts = shown.partition("<details")
    assert "is empty" in head
    assert "1 warnings: these rows are kept" in doubts
    assert "&lt;p&gt;ja" in doubts
    assert "监督微调" in check_report(item.report, "zh")
    assert "对话" in check_report(item.report, "zh")


def test_what_a_repair_changed_is_marked() -> None:
    assert difference("a<b>c", "a<c") == ("a&lt;<del>b&gt;</del>c", "a&lt;c")
    before, after = difference("x" * 500, "x" * 500 + "!")
    assert (before, after) == ("…" + "x" * 120, "…" + "x" * 120 + "<ins>!</ins>")
    assert difference("same", "same") == ("same", "same")


def test_a_reason_without_its_blanks() -> None:
    assert reason("data.empty_turn", "en") == "Turn … (…) is empty."
    assert "{" not in reason("data.missing_key", "zh")
    assert reason("no.such_code", "en") == "no.such_code"
