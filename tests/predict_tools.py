"""What the tests of prediction share: runs on the tiny model, in this process or through the supervisor."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import torch

from core.configs.files import resolve
from core.configs.stages import STAGES, PredictConfig
from core.evaluation.predicting import Way, Windows, answer_window
from core.evaluation.predictor import load_speaker
from core.evaluation.prompt_files import open_prompts
from core.jobs import store
from core.jobs.pinning import pin
from core.models.answering import find_answerer
from core.recipes import predict
from core.records_predict import Summary, predictions_file, summary_file, windows_folder
from core.report import Report, RunContext
from core.rundir import RunDir, read_record, state_of, write_text
from core.workspace import Workspace

SHORT = ("model.dtype=fp32", "generation.max_new_tokens=6", "devices.use=[cpu]")


def config_of(workspace: Workspace, base: Path | str, file: Path | str, *words: str) -> PredictConfig:
    config = resolve("predict", overrides=[f"model.base={base}", f"data.file={file}", *SHORT, *words])
    assert isinstance(config, PredictConfig)
    return config


def answer(workspace: Workspace, base: Path | str, file: Path | str, *words: str, run: RunDir | None = None) -> RunDir:
    """A run in this process; `run`: one that has begun. Raises what the recipe raises."""
    context = _context(workspace, base, file, *words, run=run)
    predict.main(context)
    return context.run


def _context(
    workspace: Workspace, base: Path | str, file: Path | str, *words: str, run: RunDir | None = None
) -> RunContext:
    run = run or RunDir.create(workspace.runs_dir, "predict")
    config = pin(workspace, STAGES["predict"], config_of(workspace, base, file, *words))
    write_text(run.config_json, orjson.dumps(config.model_dump(mode="json")).decode())
    return RunContext(run, workspace, config, Report(run))


def begin(workspace: Workspace, base: Path | str, file: Path | str, *words: str, batches: int) -> RunDir:
    """A run as one that was killed leaves it: so many batches are answered, one after the other."""
    context = _context(workspace, base, file, *words)
    config = context.config
    assert isinstance(config, PredictConfig)
    stop = context.report.check_stop
    prompts = open_prompts(workspace, config.data.file, config.data.max_rows, stop)
    found = find_answerer(workspace, config.model.base, config.model.lora)
    scratch = context.run.path / "adapter-0"
    speaker = load_speaker(found, config.model, scratch, with_prompt=True, device="cpu", dtype=torch.float32)
    windows = Windows(windows_folder(context.run.path))
    plan = predict.agree(context, config, prompts, speaker, windows)
    way = Way(speaker, config.generation, config.data.system, config.run.seed, plan.tokens, lambda ended: stop())
    made = (
        (number, batch)
        for number, window in enumerate(prompts.windows(config.data.window))
        for batch in answer_window(way, prompts, window, number * config.data.window, 0)
    )
    for number, batch in islice(made, batches):
        windows.append(number, batch)
    return context.run


def submit(workspace: Workspace, base: Path | str, file: Path | str, *words: str) -> RunDir:
    return store.submit(workspace, "predict", config_of(workspace, base, file, *words))


def lines(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in predictions_file(run.output).read_text(encoding="utf-8").splitlines()]


def summary(run: RunDir) -> Summary:
    found = read_record(summary_file(run.output), Summary)
    assert found is not None
    return found


def codes(run: RunDir) -> dict[int, str]:
    """The error of every line that has one."""
    return {row["line"]: row["error"]["code"] for row in lines(run) if "error" in row}


def wait(run: RunDir, reached: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, (state_of(run), run.progress(), run.result(), run.log_file(0).read_text())
        time.sleep(0.01)
