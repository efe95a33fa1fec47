"""What the tests of annotating share: small datasets, and the recipe called as a run's process calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.configs.files import resolve
from core.configs.stages import STAGES
from core.data.store.dataset import Dataset
from core.data.store.library import import_file, open_dataset
from core.jobs.attempts import set_aside
from core.jobs.pinning import pin
from core.recipes import annotate as recipe
from core.records import Produced
from core.report import Report, RunContext
from core.rundir import RunDir, read_jsonl, read_record, write_json
from core.workspace import Workspace
from tests.conftest import write_jsonl


def chats(count: int) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": f"answer {n}"}]}
        for n in range(count)
    ]


def dataset(workspace: Workspace, folder: Path, name: str, rows: list[dict[str, Any]]) -> Dataset:
    return import_file(workspace, write_jsonl(folder / f"{name}.jsonl", rows))


def submitted(workspace: Workspace, *words: str) -> RunContext:
    config = pin(workspace, STAGES["annotate"], resolve("annotate", overrides=["devices.use=cpu", *words]))
    run = RunDir.create(workspace.runs_dir, "annotate")
    write_json(run.config_json, config.model_dump(mode="json"))
    return RunContext(run, workspace, config, Report(run))


def again(context: RunContext) -> None:
    """A resume."""
    set_aside(context.run)
    recipe.main(context)


def made_by(context: RunContext) -> Dataset:
    made = read_record(context.run.produced_file, Produced)
    assert made is not None
    return open_dataset(context.workspace, made.datasets[0])


def annotated(workspace: Workspace, url: str, *words: str) -> Dataset:
    """What a run with an endpoint makes."""
    context = submitted(workspace, f"annotator.url={url}", "annotator.model=m", "annotator.timeout=5", *words)
    recipe.main(context)
    return made_by(context)


def figures(context: RunContext) -> dict[str, Any]:
    return read_jsonl(context.run.metrics_file)[0][-1]


def rows_of(made: Dataset) -> list[dict[str, Any]]:
    return made.take(range(len(made)))


def column(made: Dataset, name: str) -> list[Any]:
    import pyarrow.parquet as pq

    values: list[Any] = pq.read_table(made.folder / "data.parquet", columns=[name]).column(name).to_pylist()
    return values
