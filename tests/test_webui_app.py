"""The page without a browser: what it imports, how large it is, how it starts, and what its handlers answer."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import run_webui
from core.data.store.library import import_file
from core.report import Report
from core.rundir import RunDir
from core.workspace import Workspace
from tests.webui_tools import serve
from webui.confine import confine
from webui.figures import literal
from webui.forms import DEVICES, LAUNCH, LEFT_OUT, Form
from webui.labels import Labels
from webui.model_shelf import ModelShelf
from webui.text_fields import label

ROOT = Path(__file__).parents[1]


def python(code: str, **environment: str) -> str:
    words, variables = [sys.executable, "-c", code], {**os.environ, **environment}
    done = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- what it costs ----------------------------------------------------------------------------------------------------
def test_the_page_loads_no_torch_and_stays_small(tmp_path: Path) -> None:
    out = python(
        "import sys\nfrom core.workspace import Workspace\nfrom webui.app import build_app\n"
        f"blocks = build_app(Workspace({str(tmp_path)!r}))\n"
        "import psutil\n"
        "heavy = {'torch', 'transformers', 'plotly', 'matplotlib', 'datasets'} & set(sys.modules)\n"
        "print(sorted(heavy), len(blocks.blocks), psutil.Process().memory_info().rss // 10**6)"
    )
    heavy, components, megabytes = re.fullmatch(r"(\[.*\]) (\d+) (\d+)\n", out).groups()
    assert heavy == "[]"
    assert int(components) < 1530  # those of tabs and methods that were never in front are not mounted
    assert int(megabytes) < 350


def test_views_and_charts_need_no_gradio() -> None:
    names = ("views", "views_lists", "views_chat", "views_contest", "answers", "charts", "messages")
    code = f"import sys, {', '.join(f'webui.{name}' for name in names)}; "
    assert python(code + "print('gradio' in sys.modules)") == "False\n"


def test_nothing_on_the_page_points_outside(workspace: Workspace) -> None:
    with serve(workspace) as url:
        with urllib.request.urlopen(url) as response:
            page = response.read().decode()
            assert "default-src 'self'" in response.headers["content-security-policy"]
        served = "".join(re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)"', page))
        assert served == ""
        assert "fonts.googleapis" not in page


# -- who may reach it -------------------------------------------------------------------------------------------------
def test_a_public_address_needs_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(run_webui.PASSWORD, raising=False)
    assert run_webui.main(["--host", "0.0.0.0", "--workspace", str(tmp_path)]) == 2
    assert "GALEN_PASSWORD" in capsys.readouterr().err


def test_the_password_file_must_be_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(run_webui.PASSWORD, raising=False)
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    file.chmod(0o644)
    with pytest.raises(SystemExit, match="chmod 600"):
        run_webui.find_password(tmp_path)
    file.chmod(0o600)
    assert run_webui.find_password(tmp_path) == "s3cret"
    assert run_webui.find_password(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)]
)
def test_local_addresses(host: str, local: bool) -> None:
    assert run_webui.is_local(host) is local


def test_with_a_password_nobody_gets_in_without(workspace: Workspace) -> None:
    with serve(workspace, GALEN_PASSWORD="s3cret") as url, pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url + "config")


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:{port}", None, 200),
        ("localhost:9999", "http://localhost:9999", 200),
        ("[::1]", None, 200),
        ("evil.example:{port}", None, 403),
        ("127.0.0.1.evil.example", None, 403),
        ("127.0.0.1:{port}", "http://evil.example", 403),
        ("127.0.0.1:{port}", "null", 403),
    ],
)
def test_without_a_password_only_this_machines_names_are_answered(
    local_page: str, host: str, origin: str | None, status: int
) -> None:
    port = local_page.rstrip("/").rsplit(":", 1)[1]
    headers = {"Host": host.format(port=port), **({"Origin": origin} if origin else {})}
    request = urllib.request.Request(local_page, headers=headers)
    if status == 200:
        urllib.request.urlopen(request).close()
        return
    with pytest.raises(urllib.error.HTTPError, match="403") as caught:
        urllib.request.urlopen(request)
    said = caught.value.read().decode()
    assert "localhost" in said
    assert "GALEN_PASSWORD" in said
    assert "default-src" in caught.value.headers["content-security-policy"]


@pytest.fixture(scope="module")
def local_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(Workspace(tmp_path_factory.mktemp("local"))) as url:
        yield url


# -- the form ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def form() -> Form:
    import gradio as gr

    with gr.Blocks():
        form = Form("sft", Labels("en"))
        form.sections()
        for key in LAUNCH:
            form.place(key)
    return form


def values_of(form: Form, **changes: object) -> list[object]:
    values = {key: form.show_one(key, form.default(key)) for key in form.keys}
    return list({**values, **changes}.values())


def test_every_setting_has_exactly_one_widget_and_its_default_resolves(form: Form, workspace: Workspace) -> None:
    assert sorted(form.keys) == sorted(form.known.keys() - LEFT_OUT)
    values = values_of(form, **{"model.base": "m", "data.train": "d"})
    config = form.resolve(values, workspace).model_dump()
    defaults = form.config.model_validate({"model": {"base": "m"}, "data": {"train": "d"}}).model_dump()
    assert config == defaults


def test_a_config_survives_the_way_through_the_widgets(form: Form, workspace: Workspace) -> None:
    changes = {
        "model.base": "m", "data.train": "d", "optim.learning_rate": "2e-5", "schedule.max_steps": "7",
        "evaluation.steps": "",
        "evaluation.prompts": "一？\ntwo", "lora.targets": "q_proj, v_proj", "data.validation_split": "0.1",
        "tuning.gradient_checkpointing": True, "devices.use": ["cpu:0", "cpu:1"], "run.name": "x",
    }  # fmt: skip
    config = form.resolve(values_of(form, **changes), workspace)
    assert config.optim.learning_rate == 2e-5
    assert config.schedule.max_steps == 7
    assert config.evaluation.steps is None
    assert config.evaluation.prompts == ["一？", "two"]
    assert config.lora.targets == ["q_proj", "v_proj"]
    shown = [form.show_one(key, getattr(getattr(config, key.split(".")[0]), key.split(".")[1])) for key in form.keys]
    assert form.resolve(shown, workspace) == config
    command = form.command(values_of(form, **changes), None, workspace)
    assert "optim.learning_rate=2e-5" in command
    assert "schedule.epochs" not in command


def test_each_wrong_field_gets_its_own_message(form: Form, workspace: Workspace) -> None:
    from core.errors import ConfigError

    wrong = values_of(form, **{"optim.learning_rate": "abc", "lora.rank": "0", "data.train": "d"})
    with pytest.raises(ConfigError) as caught:
        form.resolve(wrong, workspace)
    assert set(form.marked(caught.value.problems)) == {"optim.learning_rate", "lora.rank", "model.base"}
    updates = dict(zip(form.keys, form.mark(caught.value.problems, "zh", before=["saving.limit"]), strict=True))
    assert "“abc”" in updates["optim.learning_rate"]["info"]
    assert "has-error" in updates["lora.rank"]["elem_classes"]
    assert "has-error" not in updates["saving.limit"]["elem_classes"]  # marked before, right now
    assert "info" not in updates["schedule.epochs"]


def test_paths_outside_the_roots_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    read = {"model.base": "/etc", "data.train": str(workspace.path / "x.jsonl"), "data.validation": "../../etc/passwd"}
    assert {problem.key for problem in confine(read, workspace)} == {"model.base", "data.validation"}
    assert confine({"model.base": "Qwen/Qwen3-0.6B"}, workspace) == []
    assert confine({"model.base": str(tmp_path)}, Workspace(tmp_path / "other", [tmp_path])) == []


@pytest.mark.parametrize(
    "text", ["etc/hostname", "etc", "no/such/file", "~nobody-here/x", "a\0b/c", "./etc", "x" * 5000 + "/"]
)
def test_a_path_is_told_by_what_it_is_not_by_its_looks(
    text: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert [problem.key for problem in confine({"data.train": text}, workspace)] == ["data.train"]


def test_what_the_workspace_knows_is_no_path(
    workspace: Workspace, chat_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = import_file(workspace, chat_file, "etc")  # called like a folder that lies there
    monkeypatch.chdir("/")
    assert confine({"data.train": "etc", "data.validation": dataset.ref, "model.source": "starter"}, workspace) == []
    assert [problem.key for problem in confine({"model.base": "etc", "model.source": "usr/bin"}, workspace)] == [
        "model.base",
        "model.source",
    ]
    monkeypatch.chdir(workspace.path)
    assert confine({"model.base": "models"}, workspace) == []


def test_what_is_not_there_any_more_does_not_stop_the_form() -> None:
    import gradio as gr

    with gr.Blocks():
        form = Form("sft", Labels("en"))
        form.sections()
        form.place(DEVICES, choices=[("auto", "auto"), ("cpu", "cpu:0")])
    at = {key: index for index, key in enumerate(form.keys)}
    stored = {DEVICES: ["cuda:5", "cpu:0"], "tuning.method": "magic", "lora.rank": "4"}
    updates = form.restore(stored)
    assert updates[at[DEVICES]]["value"] == ["cpu:0"]
    assert updates[at["tuning.method"]]["value"] == "lora"
    assert updates[at["lora.rank"]]["value"] == "4"
    assert form.restore({DEVICES: ["cuda:5"]})[at[DEVICES]]["value"] == ["auto"]
    assert form.restore({DEVICES: 7})[at[DEVICES]]["value"] == ["auto"]
    assert form.fill({DEVICES: ["cuda:1", "cuda:0"]})[at[DEVICES]]["value"] == ["auto"]


def test_help_and_messages_are_safe_from_markdown() -> None:
    assert re.search(r"[<>_*]", literal("a<b>_x_*y* 1.\n# b")) is None
    assert literal("两次 abc") == "两次 abc"


# -- models -----------------------------------------------------------------------------------------------------------
def shelf_of(workspace: Workspace) -> tuple[ModelShelf, list[object]]:
    from webui.app import App

    app = App(workspace, "en")
    app.build()
    shelf = app.stages["sft"].shelf
    return shelf, [shelf.form.show_one(key, shelf.form.default(key)) for key in shelf.form.keys]


@pytest.mark.parametrize(
    ("source", "said"),
    [("", "This is empty"), ("etc/passwd", "outside"), ("what ever", "is no folder"), ("{path}", "has no config")],
)
def test_a_source_that_cannot_be_one_is_told_beside_its_field(
    workspace: Workspace, source: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    shelf, values = shelf_of(workspace)
    (workspace.path / "empty").mkdir()
    values[0] = source.format(path=workspace.path / "empty")
    updates = shelf.fetch("en", *values)
    assert said in html.unescape(updates[5]["info"])
    assert "has-error" in updates[5]["elem_classes"]
    assert workspace.runs() == []


def test_a_model_that_was_brought_in_is_chosen(workspace: Workspace, tiny_model: Path) -> None:
    shelf, values = shelf_of(workspace)
    shelf.page.workspace.roots.append(tiny_model.parent)
    values[0] = str(tiny_model)
    updates = shelf.fetch("en", *values)
    awaited = updates[2]
    assert awaited.startswith("fetch-")
    deadline = time.monotonic() + 60
    while not (arrived := shelf.news(shelf.page.catalog.read(fresh=True), "en", awaited))[4].get("value"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert arrived[4]["value"] == tiny_model.name
    assert arrived[2] == ""
    again = shelf.fetch("en", *values)
    assert "already in the workspace" in again[0]
    assert again[4]["value"] == tiny_model.name
    assert len(workspace.runs()) == 1


def test_labels_differ_between_the_languages() -> None:
    assert label("sft", "optim.learning_rate", "zh") == "学习率"
    assert label("sft", "optim.learning_rate", "en") == "Learning rate"


def test_what_was_said_once_is_gone_in_the_other_language(workspace: Workspace) -> None:
    from webui.app import App

    app = App(workspace, "en")
    app.build()
    updates = dict(zip([each._id for each in app.labels.components], app.labels.updates("zh"), strict=True))
    for note in (app.runs.note, app.data.note, *(stage.panel.note for stage in app.stages.values())):
        assert updates[note._id]["value"] == ""
    for question in (app.runs.confirm, app.data.confirm):
        assert updates[question._id]["visible"] is False


# -- large workspaces -------------------------------------------------------------------------------------------------
def test_a_page_of_two_hundred_runs_and_a_run_of_many_rows(workspace: Workspace, chat_file: Path) -> None:
    from webui.app import App
    from webui.run_panel import Memo

    import_file(workspace, chat_file)
    for number in range(200):
        run = RunDir.create(workspace.runs_dir, "sft")
        run.config_json.write_text(json.dumps({"run": {"name": f"run {number}"}, "data": {"train": "chat"}}))
        Report(run).phase("training", total=9)
    with open(run.metrics_file, "w") as file:
        file.writelines(f'{{"step": {step}, "epoch": 1.0, "time": 1.0, "loss": 2.5}}\n' for step in range(100_000))
    app = App(workspace, "en")
    app.build()
    values = [None] * sum(len(listener.inputs) for listener in app.page.listeners)
    assert not app.timer.active, "a tick before the kept forms are restored would fill in what nobody chose"
    assert app.pulse("en", None, *values)[1]["active"]
    panel = app.stages["sft"].panel
    told = panel.refresh(run.id, "en", None)
    for _ in range(3):  # the free memory, in whole gigabytes, may be another at the next tick
        assert isinstance(told, list)
        assert isinstance(told[0], Memo)
        told = panel.refresh(run.id, "en", told[0])
        if isinstance(told, dict):
            break
    assert isinstance(told, dict)  # an idle tick: one gr.skip() for everything
