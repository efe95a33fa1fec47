"""A run as one archive: what goes along, what comes back, and everything that is refused with nothing left behind."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.__main__ import main
from core.configs.files import flat, resolve
from core.errors import InputError, ModelError, RunError, StopRequested
from core.jobs import store
from core.jobs.locks import take_run
from core.jobs.summaries import summaries
from core.models.hashes import weight_hashes
from core.models.library import describe, write_card
from core.models.lineage import run_weights
from core.models.parents import check_start
from core.notes import change, read_notes
from core.references import RunRef
from core.rundir import RunDir, State, state_of
from core.runs import archive, bringing_in
from core.runs.bringing_in import bring_in
from core.runs.checkpoints import checkpoints
from core.workspace import Workspace
from tests.chain_tools import backbone_logits, train
from tests.runs_tools import falling, made

ID = "sft-20260101-120000-ab12"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "elsewhere")


def test_an_archive_carries_a_run_to_another_workspace(
    workspace: Workspace, elsewhere: Workspace, tmp_path: Path
) -> None:
    run = made(workspace, "sft", "first", rows=falling(50), checkpoints=[10], outcome="stopped")
    change(run, star=True, tags=["baseline"])
    (run.path / "attempts" / "1").mkdir()
    (run.path / "attempts" / "1" / "log").write_text("earlier")
    (run.path / "leak").symlink_to("/etc/hostname")
    (run.path / ".metrics.tmp").write_text("torn")
    told: list[tuple[int, int]] = []
    done = archive.export(run, tmp_path / "a.zip", on_progress=lambda *at: told.append(at))
    assert told[-1][0] == told[-1][1]
    with zipfile.ZipFile(done.path) as file:
        names = set(file.namelist())
    assert names == {
        f"run/{name}" for name in (
            "config.json", "config.yaml", "metrics.jsonl", "status.json", "result.json", "notes.json", "log/rank-0.log",
        )
    } | {archive.INDEX}  # fmt: skip
    came = bring_in(elsewhere, done.path)
    assert came.path == elsewhere.runs_dir / run.id
    assert came.metrics_file.read_bytes() == run.metrics_file.read_bytes()
    assert read_notes(came).tags == ["baseline"]
    (line,) = summaries(elsewhere)
    assert (line.state, line.imported, line.name) == (State.STOPPED, True, "first")
    assert store.resumable(run)
    assert not store.resumable(came)
    with pytest.raises(RunError) as caught:
        store.resume(elsewhere, came.id)
    assert caught.value.code == "run.imported"
    with pytest.raises(RunError) as caught:  # somebody else wrote these settings: addresses, code, paths
        store.replace(elsewhere, came, resolve("sft", values=flat(came.config())))
    assert caught.value.code == "run.imported"
    assert len(elsewhere.runs()) == 1
    again = archive.export(came, tmp_path / "b.zip")  # and further
    assert again.files == done.files
    store.delete(elsewhere, came)
    assert bring_in(elsewhere, again.path).id == run.id


def test_checkpoints_go_along_without_their_trainers_state(
    workspace: Workspace, elsewhere: Workspace, tmp_path: Path
) -> None:
    run = made(workspace, "sft", "first", checkpoints=[10, 20])
    (run.checkpoints / "tmp-step-30").mkdir()
    (run.checkpoints / "tmp-step-30" / "half").write_text("x")
    came = bring_in(elsewhere, archive.export(run, tmp_path / "a.zip", checkpoints=True).path)
    assert [each.step for each in came.complete_checkpoints()] == [10, 20]
    assert sorted(path.name for path in (came.checkpoints / "step-10").iterdir()) == [
        "COMPLETE", "adapter_model.safetensors"
    ]  # fmt: skip
    assert not any(kept.resumes for kept in checkpoints(elsewhere, came))
    assert (came.output / "adapter" / "adapter_model.safetensors").read_bytes() == bytes(20_000)


def test_a_run_that_came_says_the_same_on_the_same_base(
    workspace: Workspace, elsewhere: Workspace, tmp_path: Path, tiny_model: Path, chat_file: Path
) -> None:
    """It is served, merged and trained on from there; its base lies elsewhere, and is known by its hashes."""
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    run = train(workspace, base, chat_file)
    said = backbone_logits(workspace, run.id)
    packed_run = archive.export(run, tmp_path / "a.zip").path
    came = bring_in(elsewhere, packed_run)
    moved = elsewhere.models_dir / "mine"
    base.rename(moved)
    with pytest.raises(ModelError):  # its base is not here yet
        check_start(elsewhere, "merge", came.id)
    write_card(moved, describe(moved, "mine", "folder", "x", weights=weight_hashes(moved, elsewhere)))
    assert check_start(elsewhere, "merge", came.id) == came.id
    weights = run_weights(elsewhere, RunRef(run=came.id))
    assert (weights.base, weights.adapter) == (moved, came.output / "adapter")
    assert torch.equal(backbone_logits(elsewhere, came.id), said)


def test_an_export_leaves_nothing_where_it_fails(workspace: Workspace, tmp_path: Path) -> None:
    run = made(workspace, "sft", "first")
    target = tmp_path / "out"
    target.mkdir()
    (target / "there.zip").write_text("mine")

    def stop() -> None:
        raise StopRequested

    for name, code, options in (
        ("there.zip", "archive.exists", {}), ("no/a.zip", "archive.no_folder", {}),
        ("b.zip", "run.stopped", {"check_stop": stop}),
    ):  # fmt: skip
        with pytest.raises((InputError, StopRequested)) as caught:
            archive.export(run, target / name, **options)
        assert caught.value.code == code
    lock = take_run(run)
    with pytest.raises(RunError) as live:
        archive.export(run, target / "c.zip")
    assert live.value.code == "run.live"
    assert lock is not None
    assert [path.name for path in target.iterdir()] == ["there.zip"]


# -- what is refused --------------------------------------------------------------------------------------------------
Entries = dict[str, bytes]
CONFIG = json.dumps({"run": {"name": "x"}, "model": {"base": "b"}, "data": {"train": "d"}}).encode()


def packed(
    path: Path, files: Entries, *, index: dict[str, Any] | None = None, mode: int = stat.S_IFREG, kind: int = 8
) -> Path:
    """An archive by hand. index: what its index says otherwise. mode: of the last entry."""
    listed = [{"path": n, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for n, data in files.items()]
    said = {"version": 1, "run": ID, "exported_at": 0, "files": listed, **(index or {})}
    with zipfile.ZipFile(path, "w", kind) as file:
        for place, (name, data) in enumerate(files.items()):
            entry = zipfile.ZipInfo(f"run/{name}")
            entry.external_attr = (mode if place == len(files) - 1 else stat.S_IFREG) << 16
            entry.compress_type = kind
            file.writestr(entry, data)
        file.writestr(archive.INDEX, json.dumps(said))
    return path


def refused(workspace: Workspace, path: Path, *codes: str) -> None:
    """It is refused with one of `codes`, and the workspace is as before."""
    before = sorted(str(each) for each in workspace.path.rglob("*") if ".trash" not in each.parts)
    with pytest.raises(InputError) as caught:
        bring_in(workspace, path)
    assert caught.value.code in codes, caught.value
    after = sorted(str(each) for each in workspace.path.rglob("*") if ".trash" not in each.parts)
    assert after == before
    assert not list((workspace.path / ".trash").glob("*"))


def test_an_archive_by_hand_is_taken(workspace: Workspace, tmp_path: Path) -> None:
    assert bring_in(workspace, packed(tmp_path / "a.zip", {"config.json": CONFIG})).id == ID
    refused(workspace, tmp_path / "a.zip", "archive.is_here")


@pytest.mark.parametrize(
    "name",
    [
        "../../out", "/etc/out", "a/../../out", "a\\..\\out", "C:out", "a//b", "./a", "a/", ".hidden", "a/.b", "lock",
        "attempts/1/log", "imported.json", "checkpoints/step-1/optimizer.pt", "output/x.PKL", "CONFIG.json", "a\nb",
        "config.json/b", "x" * 300,
    ],
)  # fmt: skip
def test_a_name_that_no_run_has_is_refused(workspace: Workspace, tmp_path: Path, name: str) -> None:
    refused(workspace, packed(tmp_path / "a.zip", {"config.json": CONFIG, name: b"x"}), "archive.bad_name")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_what_is_no_plain_file_is_refused(workspace: Workspace, tmp_path: Path, mode: int) -> None:
    path = packed(tmp_path / "a.zip", {"config.json": CONFIG, "link": b"/etc/passwd"}, mode=mode)
    refused(workspace, path, "archive.bad_name")


@pytest.mark.parametrize(
    ("index", "code"),
    [
        ({"run": "../sft-20260101-120000-ab12"}, "archive.bad_name"), ({"run": "runs"}, "archive.bad_name"),
        ({"version": 2}, "archive.not_one"), ({"files": "x"}, "archive.not_one"),
        ({"files": []}, "archive.other_files"),
        ({"files": [{"path": "config.json", "size": len(CONFIG), "sha256": "0"}]}, "archive.wrong_content"),
        ({"files": [{"path": "config.json", "size": 10**15, "sha256": "0"}]}, "archive.other_files"),
        ({"run": "nosuchstage-20260101-120000-ab12"}, "config.unknown_stage"),
    ],
)  # fmt: skip
def test_an_index_that_lies_is_refused(workspace: Workspace, tmp_path: Path, index: dict, code: str) -> None:
    refused(workspace, packed(tmp_path / "a.zip", {"config.json": CONFIG}, index=index), code)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"log/a": b"x"}, "archive.not_one"), ({"config.json": b"[1]"}, "archive.wrong_content"),
        ({"config.json": b'{"run": ["a"]}'}, "archive.wrong_content"),
        ({"config.json": CONFIG, "output/manifest.json": b'{"run": 3}'}, "archive.wrong_content"),
        ({"config.json": CONFIG, "checkpoints/step-1/COMPLETE": b'{"path": "/etc"}'}, "archive.wrong_content"),
        ({"config.json": CONFIG, "checkpoints/step-1/COMPLETE": b"3"}, "archive.wrong_content"),
    ],
)  # fmt: skip
def test_what_pages_would_stumble_over_is_refused(workspace: Workspace, tmp_path: Path, files: dict, code: str) -> None:
    refused(workspace, packed(tmp_path / "a.zip", files), code)


def test_a_manifest_that_leads_out_of_its_run_is_refused(workspace: Workspace, elsewhere: Workspace) -> None:
    run = made(workspace, "sft", "first")
    said = json.loads(run.manifest_file.read_text())
    for key, value in (("adapter_root", "/etc"), ("adapter_stage", "../../other"), ("run", "another")):
        files = {"config.json": run.config_json.read_bytes(), "output/manifest.json": json.dumps(said | {key: value})}
        content = {name: data if isinstance(data, bytes) else data.encode() for name, data in files.items()}
        path = packed(workspace.path / "a.zip", content, index={"run": run.id})
        refused(elsewhere, path, "archive.wrong_content")


def test_bombs_are_refused_before_anything_is_written(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path / "bomb.zip", {"config.json": CONFIG, "log/zeros": bytes(80 << 20)})
    assert path.stat().st_size < 200_000
    refused(workspace, path, "archive.too_large")
    # A list of files that would not fit into memory is not even read.
    data = bytearray(packed(tmp_path / "list.zip", {"config.json": CONFIG}).read_bytes())
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<L", 3 << 30)
    (tmp_path / "list.zip").write_bytes(data)
    refused(workspace, tmp_path / "list.zip", "archive.not_one")
    monkeypatch.setattr(bringing_in, "MOST_FILES", 50)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as file:
        for number in range(60):
            file.writestr(f"run/{number}", b"")
        file.writestr(archive.INDEX, "{}")
    refused(workspace, tmp_path / "many.zip", "archive.not_one")


def test_a_name_that_comes_twice_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"config.json": CONFIG})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("run/config.json", CONFIG)
    refused(workspace, path, "archive.bad_name")


def test_another_compression_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    refused(workspace, packed(tmp_path / "a.zip", {"config.json": CONFIG}, kind=zipfile.ZIP_LZMA), "archive.bad_name")


def damages(data: bytes) -> list[Callable[[], bytes]]:
    cuts = [lambda at=at: data[:at] for at in range(0, len(data), max(1, len(data) // 30))]
    flips = [
        lambda at=at: data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        for at in range(0, len(data), max(1, len(data) // 150))
    ]
    return [*cuts, *flips]


def test_torn_and_damaged_archives_are_refused_or_right(
    workspace: Workspace, elsewhere: Workspace, tmp_path: Path
) -> None:
    """A byte that matters nowhere (a time) may be wrong; then what came is what was sent."""
    run = made(workspace, "sft", "first", rows=falling(10))
    data = archive.export(run, tmp_path / "a.zip").path.read_bytes()
    taken = 0
    for damage in damages(data):
        (tmp_path / "b.zip").write_bytes(damage())
        try:
            came = bring_in(elsewhere, tmp_path / "b.zip")
        except InputError:
            assert elsewhere.runs() == []
            assert not list((elsewhere.path / ".trash").glob("*"))
        else:
            taken += 1
            assert came.metrics_file.read_bytes() == run.metrics_file.read_bytes()
            store.delete(elsewhere, came)
    assert taken < 100


def test_the_command_line(workspace: Workspace, elsewhere: Workspace, tmp_path: Path,
                          capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    run = made(workspace, "sft", "first")
    path = str(tmp_path / "a.zip")
    assert main(["--workspace", str(workspace.path), "runs", "export", run.id, "--to", path]) == 0
    assert main(["--workspace", str(elsewhere.path), "runs", "import", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"run": run.id, "state": "succeeded"}
    assert main(["--workspace", str(elsewhere.path), "runs", "import", path]) == 2
    assert main(["--workspace", str(elsewhere.path), "runs", "import", str(tmp_path / "none.zip")]) == 2
    assert state_of(RunDir(elsewhere.runs_dir / run.id)) is State.SUCCEEDED
