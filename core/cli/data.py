"""`python -m core data list | show | rm`: the datasets of a workspace. Other `data` commands are in their modules."""

from __future__ import annotations

import argparse
import difflib
import time
from collections.abc import Iterator
from typing import Any

from core.cli import bring_data, catalogue_data, look_data, prepare_data, shape_data
from core.cli.output import cut, print_json, size, table
from core.data.check.repair import common_ends
from core.data.normal import row_text
from core.data.store.library import Dataset, delete_dataset, list_datasets, open_dataset
from core.workspace import Workspace

AROUND = 20  # characters shown before and behind what was changed
SHOWN_CHARS = 160
COMPARED_CHARS = 2000  # beyond, comparing character by character takes too long


def add(subparsers: Any) -> None:
    """Register `data` and its commands."""
    parser = subparsers.add_parser(
        "data", help="check files, make datasets of them, look at them, clean and shape them"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (bring_data, catalogue_data, look_data, prepare_data, shape_data):
        module.add(commands)

    commands.add_parser("list", help="the datasets of the workspace, newest first").set_defaults(handler=_list)

    show = commands.add_parser("show", help="what a dataset is, and its first rows")
    show.add_argument("name", help="name or name@version")
    show.add_argument("--rows", type=int, default=3, help="rows to show; default: 3")
    show.add_argument("--repaired", action="store_true", help="what an import with --repair has changed")
    show.set_defaults(handler=_show)

    remove = commands.add_parser("rm", help="delete a dataset (all versions) or one version (name@version)")
    remove.add_argument("name")
    remove.set_defaults(handler=_remove)


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


def _show(args: argparse.Namespace) -> int:
    dataset = open_dataset(Workspace(args.workspace), args.name)
    if args.repaired:
        rows = dataset.repaired()
        for row in rows[: args.rows]:
            print(f"line {row['line']}: {', '.join(row['codes'])}")
            for sign, text in _changed(row["before"], row["after"]):
                print(f"  {sign} {text}")
        if len(rows) > args.rows:
            print(f"… and {len(rows) - args.rows} more (--rows {len(rows)})")
        if not rows:
            print(f"Nothing was mended in {dataset.ref}.")
        if args.json:
            print_json({"ref": dataset.ref, "repaired": rows})
        return 0
    for name, value in _facts(dataset).items():
        if value not in (None, "", [], {}):
            print(f"{name:<16}{_when(dataset) if name == 'created' else value}")
    first = dataset.rows(0, args.rows)
    for line, row in zip(dataset.lines(range(len(first))), first, strict=True):
        print(f"line {line}:")
        print("\n".join(f"  {text}" for text in row_text(dataset.card.kind, row, "\n").splitlines()))
    if args.json:
        print_json({**_facts(dataset), "first": first})
    return 0


def _changed(before: str, after: str) -> Iterator[tuple[str, str]]:
    """The pieces of two JSON texts that differ, each with what stands round it: ("-", …) and ("+", …)."""
    first, rest = common_ends(before, after)
    old, new = before[first : len(before) - rest], after[first : len(after) - rest]
    pieces = [("replace", 0, len(old), 0, len(new))]
    if len(old) < COMPARED_CHARS and len(new) < COMPARED_CHARS:
        pieces = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for tag, start, stop, start_new, stop_new in pieces:
        if tag != "equal":
            yield "-", _piece(before, first + start, first + stop)
            yield "+", _piece(after, first + start_new, first + stop_new)


def _piece(text: str, start: int, stop: int) -> str:
    return cut(_visible(text[max(0, start - AROUND) : stop + AROUND]), SHOWN_CHARS)


def _visible(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {"ref": dataset.ref, **dataset.card.model_dump()}


def _when(dataset: Dataset) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(dataset.card.created))
