"""The page without a browser: what it imports, how large it is, how it starts, and what its handlers answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import run_webui
from core.data.library import import_file
from core.report import Report
from core.rundir import RunDir
from core.workspace import Workspace
from tests.webui_tools import serve
from webui.forms import LAUNCH, Form, confine
from webui.labels import Labels
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
    assert int(components) < 600
    assert int(megabytes) < 350


def test_views_and_charts_need_no_gradio() -> None:
    code = "import sys, webui.views, webui.views_lists, webui.views_chat, webui.charts, webui.messages; "
    assert python(code + "print('gradio' in sys.modules)") == "False\n"


def test_the_first_answer_comes_in_time_and_nothing_points_outside(workspace: Workspace) -> None:
    start = time.monotonic()
    with serve(workspace) as url:
        assert time.monotonic() - start < 6
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
    assert sorted(form.keys) == sorted(form.known)
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


def test_labels_differ_between_the_languages() -> None:
    assert label("sft", "optim.learning_rate", "zh") == "学习率"
    assert label("sft", "optim.learning_rate", "en") == "Learning rate"


# -- large workspaces -------------------------------------------------------------------------------------------------
def test_a_page_of_two_hundred_runs_answers_in_time(workspace: Workspace, chat_file: Path) -> None:
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
    app.pulse("en", None, *values)
    panel = app.sft.panel
    panel.refresh(run.id, "en", None)
    start = time.perf_counter()
    app.pulse("en", None, *values)
    memo = panel.refresh(run.id, "en", None)[0]
    assert time.perf_counter() - start < 0.3
    assert isinstance(memo, Memo)
    start = time.perf_counter()
    assert isinstance(panel.refresh(run.id, "en", memo), dict)  # an idle tick: one gr.skip() for everything
    assert time.perf_counter() - start < 0.05
