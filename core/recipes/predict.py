"""predict: a file of prompts answered, one output line for each of its lines, in their order.

    1  look at the input: how many lines, and their hash
    2  load the model, its chain merged, and an adapter of another program laid on it
    3  agree on a plan: the first attempt writes it, a later one must find the same
    4  window by window, those that are this process's: answer what is not answered yet, and append it
    5  once all are there, write output/predictions.jsonl in the order of the lines, its copy, and the summary

Run it with `python -m core predict model.base=RUN data.file=F`, or with the article's own words (`base_model=…
data_file=… predictions_file=…`). A line that cannot be asked gets the reason in its place. Several devices share the
windows; each holds the whole model. A kill or a stop loses the batch under way and nothing else, and changes no text as
long as the CPU computes with as many threads as before.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.configs.files import sections_of
from core.configs.stages import PredictConfig
from core.disk import flush_folder, require_space
from core.errors import DataError, InputError
from core.evaluation.predicting import Way, Windows, answer_window, line_of
from core.evaluation.predictor import Speaker, load_speaker
from core.evaluation.prompt_files import Prompts, open_prompts
from core.models.answering import find_answerer
from core.models.loading import resolve_dtype
from core.records_predict import PLAN, Plan, Prediction, Summary, predictions_file, summary_file, windows_folder
from core.report import RunContext
from core.rundir import read_record, write_record
from core.training.delivery import device_name

PACKAGES = ("torch", "transformers", "peft", "tokenizers")
FREE = ("run.name", "run.retries", "devices.use", "data.predictions")  # may be others when a run goes on
NAP = 0.2  # seconds between two looks at what other devices have done


def main(context: RunContext) -> None:
    """Answer `data.file`. Raises DataError and ModelError for what cannot be used, InputError `predict.changed`."""
    config = PredictConfig.model_validate(context.config.model_dump())
    report, data = context.report, config.data

    # 1
    report.phase("counting")
    prompts = open_prompts(context.workspace, data.file, data.max_rows, report.check_stop)
    require_space(context.run.path, _size(data.file))
    print(f"{prompts.name}: {prompts.total} lines")

    # 2
    report.phase("loading")
    found = find_answerer(context.workspace, config.model.base, config.model.lora)
    speaker = load_speaker(
        found,
        config.model,
        context.run.path / f"adapter-{context.rank}",
        with_prompt=data.with_prompt,
        device=context.device,
        dtype=resolve_dtype(config.model.dtype, context.device),
    )

    # 3
    windows = Windows(windows_folder(context.run.path))
    plan = agree(context, config, prompts, speaker, windows)

    # 4
    share = Share(context, prompts, windows, data.window)
    share.answer(Way(speaker, config.generation, data.system, config.run.seed, plan.tokens, share.look_up))

    # 5
    if context.rank == 0:
        first = Summary(
            base=found.parent.root.source,
            adapters=list(speaker.adapters),
            weights=speaker.weights,
            template=speaker.template,
            dtype=str(speaker.model.dtype).removeprefix("torch."),
            device=device_name(context),
            generation={**config.generation.model_dump(), "seed": config.run.seed},
            packages={name: importlib.metadata.version(name) for name in PACKAGES},
            copy_at=data.predictions,
        )
        deliver(context, windows, -(-prompts.total // data.window), prompts.total, first)


def _size(file: str) -> int:
    path = Path(file)
    return path.stat().st_size if path.is_file() else 0


# -- step 3 -----------------------------------------------------------------------------------------------------------
def agree(context: RunContext, config: PredictConfig, prompts: Prompts, speaker: Speaker, windows: Windows) -> Plan:
    """The plan of all attempts and devices.

    Raises InputError `predict.changed` or `predict.weights_changed`, DataError `predict.file_changed`.
    """
    path = windows.folder / PLAN
    settings = _deciding(config)
    found = read_record(path, Plan)
    if found is None and context.rank == 0:
        tokens = config.data.tokens or speaker.tokens_at_once()
        found = Plan(settings=settings, sha256=prompts.sha256, weights=speaker.weights, tokens=tokens)
        write_record(path, found)
    while found is None:
        context.report.check_stop()
        time.sleep(NAP)
        found = read_record(path, Plan)
    changed = sorted(key for key in settings if found.settings.get(key) != settings[key])
    same = (found.sha256, found.weights) == (prompts.sha256, speaker.weights)
    if same and not changed:
        return found
    done = sum(windows.done(number)[1] for number in range(-(-prompts.total // config.data.window)))
    if changed:
        raise InputError("predict.changed", count=done, keys=", ".join(changed))
    if found.sha256 != prompts.sha256:
        raise DataError("predict.file_changed", file=prompts.name, count=done)
    raise InputError("predict.weights_changed", count=done)


def _deciding(config: PredictConfig) -> dict[str, Any]:
    """The settings that decide what is said."""
    flat = {
        f"{section}.{name}": value
        for section, values in config.model_dump(mode="json").items()
        if section in sections_of(PredictConfig)
        for name, value in values.items()
    }
    return {key: value for key, value in flat.items() if key not in FREE}


# -- step 4 -----------------------------------------------------------------------------------------------------------
@dataclass
class Share:
    """The windows of one process: every so many of them; `done` lines are answered, `now` of them in this attempt."""

    context: RunContext
    prompts: Prompts
    windows: Windows
    size: int
    done: int = 0
    now: int = 0
    tokens: int = 0
    began: float = field(default_factory=time.monotonic)
    open_elsewhere: set[int] = field(default_factory=set)

    def answer(self, way: Way) -> None:
        """Answer what is left; rank 0 returns when the other processes have theirs, too."""
        context, total = self.context, self.prompts.total
        count = -(-total // self.size)
        self.open_elsewhere = {number for number in range(count) if number % context.world_size != context.rank}
        before = {number: self.windows.done(number) for number in range(count) if number not in self.open_elsewhere}
        self.done = sum(lines for _, lines in before.values())
        if self.done:
            print(f"{self.done} lines are answered already")
        context.report.phase("predicting", total=total, unit="row", step=self.done)
        for number, window in enumerate(self.prompts.windows(self.size)):
            batches, lines = before.get(number, (0, len(window)))
            if lines < len(window):
                self._answer(way, number, window, batches)
        while context.rank == 0 and self._elsewhere() and self.open_elsewhere:
            context.report.check_stop()
            context.report.progress(self.done)
            time.sleep(NAP)
        context.report.progress(total)

    def look_up(self, ended: int) -> None:
        """Between two tokens: `ended` lines of the batch under way have their answer. Raises StopRequested."""
        self.context.report.check_stop()
        self.context.report.progress(self.done + ended)

    def _answer(self, way: Way, number: int, window: list[Any], done: int) -> None:
        first = number * self.size
        self.windows.mend(number)
        for batch in answer_window(way, self.prompts, window, first, done):
            self.windows.append(number, batch)
            self._note([row for _, row in batch.rows])
        self._elsewhere()
        failed = sum(row.error is not None for each in self.windows.batches(number) for _, row in each.rows)
        told = f", {failed} without an answer" if failed else ""
        print(f"lines {first + 1} to {first + len(window)} are done{told}: {self._pace()}", flush=True)

    def _note(self, rows: list[Prediction]) -> None:
        self.done += len(rows)
        self.now += len(rows)
        self.tokens += sum(row.tokens for row in rows)
        spent = time.monotonic() - self.began
        left = (self.prompts.total - self.done) * spent / self.now
        self.context.report.progress(self.done, tokens=self.tokens, eta_seconds=left)

    def _pace(self) -> str:
        spent = max(1e-9, time.monotonic() - self.began)
        return f"{self.now / spent:.2f} lines/s, {self.tokens / spent:.0f} tokens/s"

    def _elsewhere(self) -> bool:
        """Count the windows that other processes have finished since the last look."""
        for number in sorted(self.open_elsewhere):
            expected = min(self.size, self.prompts.total - number * self.size)
            if self.windows.done(number)[1] < expected:
                break
            self.open_elsewhere.discard(number)
            self.done += expected
            self.now += expected
        return True


# -- step 5 -----------------------------------------------------------------------------------------------------------
def deliver(context: RunContext, windows: Windows, count: int, total: int, summary: Summary) -> None:
    """All lines in one file, in order, and a copy where one was asked for. Raises DataError `predict.nothing`."""
    output = context.run.output
    context.report.phase("delivering", total=total, unit="row")
    output.mkdir(parents=True, exist_ok=True)
    first = put_together(windows, count, predictions_file(output), summary)
    assert summary.lines == total, f"{summary.lines} of {total} lines"
    context.report.progress(total)
    flush_folder(output)
    if summary.copy_at:
        copy_whole(predictions_file(output), Path(summary.copy_at))
    write_record(summary_file(output), summary)
    shutil.rmtree(windows.folder)
    for line in told(summary, predictions_file(output)):
        print(line)
    if not summary.answered:
        raise DataError("predict.nothing", count=total, detail=first)


def put_together(windows: Windows, count: int, target: Path, summary: Summary) -> str:
    """Write `target` whole or not at all, and count its lines. Returns the first reason why one has no answer."""
    temporary, first = windows.folder / ".predictions.tmp", ""
    try:
        with open(temporary, "wb") as file:
            for row, seconds in windows.lines(count):
                file.write(line_of(row))
                tally(summary, row, seconds)
                first = first or (row.error.sentence if row.error is not None else "")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return first


def tally(summary: Summary, row: Prediction, seconds: float) -> None:
    summary.lines += 1
    summary.seconds = round(summary.seconds + seconds, 3)
    summary.tokens += row.tokens
    if row.error is not None:
        summary.failed[row.error.code] = summary.failed.get(row.error.code, 0) + 1
        return
    summary.answered += 1
    summary.cut_off += row.finish == "length"


def copy_whole(source: Path, target: Path) -> None:
    """A copy that is there whole or not at all. Raises InputError `disk.no_space`, OSError."""
    require_space(target.parent, source.stat().st_size)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def told(summary: Summary, path: Path) -> list[str]:
    """What the log says last."""
    pace = f", {summary.lines / summary.seconds:.2f} lines/s" if summary.seconds else ""
    lines = [f"{summary.answered} of {summary.lines} lines answered, {summary.cut_off} cut off at the limit{pace}"]
    reasons: Mapping[str, int] = summary.failed
    lines += [f"    {count} without an answer: {code}" for code, count in sorted(reasons.items())]
    return [*lines, f"the answers: {path}", *([f"    and {summary.copy_at}"] if summary.copy_at else [])]
