"""import: make files, or a set of a hub, a dataset. Run it with `python -m core data add FILE`, or `… import`.

    1. find the files: one, those of a folder, or those of a hub's set, which are downloaded to cache/downloads first
    2. read, convert and write them (`core.data.bring.importing`), as one dataset
    3. note the dataset, so that whoever follows the run can open it; remove the download

Torch-free. A stop, a kill or a full disk leaves no half dataset; a download goes on where it ended.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from core.configs.data import ImportSource
from core.configs.stages import ImportConfig
from core.data.bring import hub
from core.data.bring.importing import Order, import_files, name_from
from core.data.store.dataset import Dataset
from core.errors import DataError
from core.records import Produced
from core.report import Report, RunContext
from core.rundir import write_record
from core.workspace import Workspace


def main(context: RunContext) -> None:
    """Bring `source` in. Raises what `core.data.bring.hub.fetch` and `core.data.bring.importing.import_files` raise."""
    config, report = context.config, context.report
    assert isinstance(config, ImportConfig)
    source, rows = config.source, config.rows
    downloads = _downloads(context.workspace, source)
    paths = _fetched(source, downloads, report) if source.repo else _local(source)  # 1
    known = hub.facts(downloads) if source.repo else None
    order = Order(
        name=rows.name or name_from(source.repo.rpartition("/")[2] or Path(source.path).name),
        bad_rows=rows.bad_rows,
        repair=rows.repair,
        format=rows.format or None,
        columns=rows.columns or None,
        licence=known.licence if known else "",
        origin=f"{source.hub}: {source.repo}@{known.commit}" if known else "",
    )
    dataset = _read(context.workspace, paths, order, report)  # 2
    context.run.output.mkdir(parents=True, exist_ok=True)
    write_record(context.run.produced_file, Produced(datasets=[dataset.ref]))  # 3
    if source.repo:
        shutil.rmtree(downloads, ignore_errors=True)
    card = dataset.card
    print(f"{dataset.ref}: {card.rows} rows for {', '.join(card.stages) or 'no stage yet'}; {card.dropped} dropped")


def _downloads(workspace: Workspace, source: ImportSource) -> Path:
    """Of every choice of files a folder of its own, so that one import never reads what another has fetched."""
    chosen = "--".join([source.hub, source.repo.replace("/", "--"), source.revision, *source.files])
    safe = "".join(char if char.isalnum() or char in "-._" else "_" for char in chosen)
    return workspace.cache_dir / "downloads" / "datasets" / safe[:150]


def _fetched(source: ImportSource, folder: Path, report: Report) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    report.phase("downloading", unit="byte")
    return hub.fetch(
        source.repo,
        hub=source.hub,
        revision=source.revision,
        files=source.files,
        folder=folder,
        on_bytes=lambda done, total: report.progress(done, **({} if total is None else {"total": total})),
        check_stop=report.check_stop,
    )


def _local(source: ImportSource) -> list[Path]:
    """The file; of a folder, the files that `files` names, or all that hold data."""
    path = Path(source.path).expanduser()
    if not source.path or not path.exists():
        raise DataError("data.no_file", file=source.path or "–")
    if path.is_file():
        return [path]
    names = {str(each.relative_to(path)): each for each in sorted(path.rglob("*")) if each.is_file()}
    if source.files:
        chosen = [names[name] for name in names if _named(name, source.files)]
    else:
        chosen = [each for name, each in names.items() if hub.is_data(name)]
    if not chosen:
        raise DataError("data.no_file", file=str(path / ", ".join(source.files or ["*"])))
    return chosen


def _named(name: str, patterns: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _read(workspace: Workspace, paths: Sequence[Path], order: Order, report: Report) -> Dataset:
    report.phase("preparing", total=sum(path.stat().st_size for path in paths), unit="byte")
    return import_files(
        workspace,
        paths,
        order,
        on_progress=lambda done, total: report.progress(done, total=total),
        check_stop=report.check_stop,
    )
