"""`python -m core data check | add | list | rm`: files and datasets from the terminal."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from core.cli.output import SHOWN_PROBLEMS, print_json, size, table
from core.data.doctor import CheckReport, check_file
from core.data.library import Dataset, delete_dataset, import_file, list_datasets
from core.workspace import Workspace


def add(subparsers: Any) -> None:
    """Register `data` and its commands."""
    parser = subparsers.add_parser("data", help="check, add, list and remove datasets")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    check = commands.add_parser("check", help="say which rows of a file can be used; exit status 2 where one cannot")
    check.add_argument("file", type=Path)
    check.set_defaults(handler=_check)

    bring = commands.add_parser("add", help="make a file a dataset of the workspace")
    bring.add_argument("file", type=Path)
    bring.add_argument("--name", help="default: made from the file's name")
    bring.add_argument("--bad-rows", choices=("stop", "drop"), default="stop", help="default: stop, and list them")
    bring.set_defaults(handler=_add)

    commands.add_parser("list", help="the datasets of the workspace, newest first").set_defaults(handler=_list)

    remove = commands.add_parser("rm", help="delete a dataset (all versions) or one version (name@version)")
    remove.add_argument("name")
    remove.set_defaults(handler=_remove)


def _check(args: argparse.Namespace) -> int:
    report = check_file(args.file)
    _print_report(report)
    if args.json:
        print_json(report.as_dict())
    return 0 if report.ok else 2


def _add(args: argparse.Namespace) -> int:
    dataset = import_file(Workspace(args.workspace), args.file, args.name, bad_rows=args.bad_rows)
    card = dataset.card
    print(f"{dataset.ref}: {card.rows} rows for {', '.join(card.stages)}; {card.dropped} dropped")
    if args.json:
        print_json(_facts(dataset))
    return 0


def _list(args: argparse.Namespace) -> int:
    datasets = list_datasets(Workspace(args.workspace))
    if datasets:
        rows = [
            (d.ref, d.card.kind, len(d), d.card.dropped, size(d.card.source_bytes), _when(d), ", ".join(d.card.stages))
            for d in datasets
        ]
        print(table(("DATASET", "KIND", "ROWS", "DROPPED", "SOURCE", "ADDED", "STAGES"), rows))
    else:
        print("No dataset yet. Add one with `python -m core data add FILE`.")
    if args.json:
        print_json({"datasets": [_facts(dataset) for dataset in datasets]})
    return 0


def _remove(args: argparse.Namespace) -> int:
    delete_dataset(Workspace(args.workspace), args.name)
    print(f"{args.name} is deleted.")
    if args.json:
        print_json({"deleted": args.name})
    return 0


def _print_report(report: CheckReport) -> None:
    print(f"{report.path}: {report.rows} rows, {report.usable} usable")
    if report.evidence is not None:
        print(f"  {report.evidence.message}")
    if report.stages:
        print(f"  fits {', '.join(report.stages)}")
    for note in report.notes:
        print(f"  {note.message}")
    if report.counts:
        print(table(("ROWS", "PROBLEM"), [(count, code) for code, count in report.counts.most_common()]))
    for problem in report.problems[:SHOWN_PROBLEMS]:
        print(f"  {problem}")
        if problem.excerpt:
            print(f"      {problem.excerpt}")
    left = sum(report.counts.values()) - SHOWN_PROBLEMS
    if left > 0:
        print(f"  … and {left} more (--json lists the first thousand)")


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {"ref": dataset.ref, **dataset.card.model_dump()}


def _when(dataset: Dataset) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(dataset.card.created))
