"""`python -m core data check | add | repair`: what a file is worth, and how it becomes a dataset.

    data check chat.jsonl --stage sft --model SmolLM2-135M-Instruct --max-length 512
    data add chat.jsonl --name medical --bad-rows drop
    data add table.csv --format alpaca --columns instruction=question output=answer
    data repair chat.jsonl

A small file is imported here, a large one by a run of `import`, which goes on when this terminal is closed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.cli.follow import follow
from core.cli.output import SHOWN_PROBLEMS, Teller, print_json, table
from core.configs.files import resolve
from core.configs.stages import StageConfig
from core.data.bring.importing import INLINE_BYTES, Order, import_files, name_from
from core.data.check.doctor import CheckReport, check_file
from core.data.check.fit import Fit
from core.data.check.severity import severity_of
from core.data.check.verdicts import STAGES, evidence_text
from core.data.shapes.formats import SHAPES
from core.data.store.dataset import Dataset
from core.data.store.library import open_dataset
from core.errors import ConfigError, DataError, Problem
from core.jobs import store
from core.jobs.summaries import summary
from core.records import Produced
from core.rundir import read_json, read_record
from core.workspace import Workspace

STAGE = "import"


def add(commands: Any) -> None:
    """Register the commands below `data`."""
    check = commands.add_parser("check", help="say which rows of a file can be used; exit status 2 where one cannot")
    check.add_argument("file", type=Path)
    _shape_options(check)
    check.add_argument("--stage", choices=STAGES, help="what the rows are wanted for")
    check.add_argument("--model", help="whether the rows fit it: a model of the workspace, or a folder")
    check.add_argument("--max-length", type=int, metavar="TOKENS", help="tokens a row may have; default: the model's")
    check.set_defaults(handler=_check)

    bring = commands.add_parser("add", help="make a file, or several of one shape, a dataset of the workspace")
    bring.add_argument("file", type=Path, nargs="+")
    bring.add_argument("--repair", action="store_true", help="mend what can be mended safely, and record the changes")
    repair = commands.add_parser("repair", help="the same as `add --repair`; of a dataset, from the file it came from")
    repair.add_argument("file", type=Path, nargs="+", metavar="FILE|DATASET")
    for command in (bring, repair):
        command.add_argument("--name", help="default: made from the file's name")
        command.add_argument(
            "--bad-rows", choices=("stop", "drop"), default="stop", help="default: stop, and list them"
        )
        command.add_argument("--detach", action="store_true", help="of a large file: print the run's id and return")
        _shape_options(command)
    bring.set_defaults(handler=_add)
    repair.set_defaults(handler=_repair)


def _shape_options(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(shape.name for shape in SHAPES)
    parser.add_argument("--format", metavar="SHAPE", help=f"the row shape, where the detected one is wrong: {names}")
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="KEY=COLUMN", help="the shape's keys and your names for them"
    )


def _columns(words: Sequence[str]) -> dict[str, str]:
    wrong = [word for word in words if not all(word.partition("="))]
    if wrong:
        raise ConfigError([Problem("config.not_key_value", {"word": word}, key="columns") for word in wrong])
    return {key: own for key, _, own in (word.partition("=") for word in words)}


# -- check ------------------------------------------------------------------------------------------------------------
def _check(args: argparse.Namespace) -> int:
    fit = _fit(args) if args.model else None
    report = check_file(
        args.file,
        format=args.format,
        columns=_columns(args.columns),
        stage=args.stage,
        fit=fit,
        on_progress=_told("checking"),
    )
    _print_report(report)
    if args.json:
        print_json(report.as_dict())
    return 0 if report.ok else 2


def _fit(args: argparse.Namespace) -> Fit:
    from core.data.encode.encoding import Encoder  # with the tokenizers, a second that only this command needs
    from core.data.encode.tokenizer import load_tokenizer
    from core.models.library import resolve_base

    folder = resolve_base(Workspace(args.workspace), args.model)
    config = read_json(folder / "config.json") or {}
    context = config.get("max_position_embeddings") or (config.get("text_config") or {}).get("max_position_embeddings")
    return Fit(Encoder(load_tokenizer(folder), max_length=args.max_length or context), context)


def _print_report(report: CheckReport) -> None:
    print(f"{report.path}: {report.rows} rows, {report.usable} usable")
    if report.evidence is not None:
        print(f"  {evidence_text(report.evidence, report.kind)}")
    for stage in [report.stage] if report.stage else report.stages:
        found = report.verdicts[stage]
        print(f"  {stage}: {'yes' if found.fits else 'no'}. {found.why.message}")
    if report.duplicates is not None and report.duplicates.normalised:
        exact, normalised = report.duplicates.exact, report.duplicates.normalised
        print(f"  {normalised} rows say the same as an earlier one, {exact} of them letter by letter")
    if report.repairable:
        print(f"  {report.repairable} rows can be mended: python -m core data repair {report.path}")
    for note in report.notes:
        print(f"  {note.message} {note.remedy}".rstrip())
    if report.counts:
        rows = [(count, severity_of(code), code) for code, count in report.counts.most_common()]
        print(table(("ROWS", "", "PROBLEM"), sorted(rows, key=lambda row: row[1])))
    listed = sorted(report.problems, key=lambda problem: severity_of(problem.code))  # errors first, else by line
    for problem in listed[:SHOWN_PROBLEMS]:
        print(f"  {problem}")
        if problem.excerpt:
            print(f"      {' ⏎ '.join(problem.excerpt.splitlines())}")
    left = sum(report.counts.values()) - SHOWN_PROBLEMS
    if left > 0:
        print(f"  … and {left} more (--json lists the first thousand)")


# -- add and repair ---------------------------------------------------------------------------------------------------
def _repair(args: argparse.Namespace) -> int:
    if len(args.file) == 1 and not args.file[0].exists():
        dataset = open_dataset(Workspace(args.workspace), str(args.file[0]))
        args.file = sorted(dataset.folder.glob("source*"))
        args.name = args.name or dataset.name
        if not args.file:
            raise DataError("data.no_file", file=str(dataset.folder / "source.*"))
    args.repair = True
    return _add(args)


def _add(args: argparse.Namespace) -> int:
    paths: list[Path] = args.file
    for path in paths:
        if not path.is_file():
            raise DataError("data.no_file", file=str(path))
    workspace = Workspace(args.workspace)
    columns = _columns(args.columns)
    name = args.name or name_from(paths[0].name)
    if sum(path.stat().st_size for path in paths) > INLINE_BYTES:
        return _by_run(args, workspace, paths, name, columns)
    order = Order(name, args.bad_rows, args.repair, args.format, columns)
    _tell_made(import_files(workspace, paths, order, on_progress=_told("importing")), json=args.json)
    return 0


def _by_run(
    args: argparse.Namespace, workspace: Workspace, paths: Sequence[Path], name: str, columns: dict[str, str]
) -> int:
    """Submit the run that the page would submit, and follow it."""
    whole = [path.resolve() for path in paths]
    folder = Path(os.path.commonpath([path.parent for path in whole]))
    values: dict[str, Any] = {
        "run.name": name,
        "source.path": str(whole[0] if len(whole) == 1 else folder),
        "source.files": [] if len(whole) == 1 else [str(path.relative_to(folder)) for path in whole],
        "rows.name": name,
        "rows.format": args.format or "",
        "rows.columns": columns,
        "rows.bad_rows": args.bad_rows,
        "rows.repair": args.repair,
    }
    return carry_out(args, workspace, resolve(STAGE, values=values, workspace=workspace))


def carry_out(args: argparse.Namespace, workspace: Workspace, config: StageConfig) -> int:
    """Submit an import, and follow it unless `args.detach`; tells the dataset that it made. The exit status."""
    run = store.submit(workspace, STAGE, config)
    if args.detach:
        print_json({"run": run.id, "path": str(run.path)}) if args.json else print(run.id)
        return 0
    print(f"{run.id}  {run.config()['run']['name']}", flush=True)
    status = follow(run)
    produced = read_record(run.produced_file, Produced)
    if status == 0 and produced is not None:
        _tell_made(open_dataset(workspace, produced.datasets[0]), json=args.json)
    elif args.json:
        print_json(summary(run).as_dict())
    return status


def _tell_made(dataset: Dataset, *, json: bool) -> None:
    card = dataset.card
    mended = f", {card.repaired} mended (data show {dataset.ref} --repaired)" if card.repaired else ""
    stages = ", ".join(card.stages) or "no stage yet"
    print(f"{dataset.ref}: {card.rows} rows for {stages}; {card.dropped} dropped{mended}")
    if json:
        print_json({"ref": dataset.ref, **card.model_dump()})


def _told(doing: str) -> Teller:
    return Teller(lambda done, total: f"{doing}: {100 * done // max(1, total)} %")
