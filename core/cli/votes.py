"""`python -m core votes`: what people preferred in the Chat tab.

votes                          win rates of every two models, with 95 % intervals; ties and "both bad" stand beside them
votes dataset [--name NAME]    the votes as a dataset of preference pairs, for reward models and DPO
votes export --to FILE.jsonl   the same rows as a file
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.cli.output import print_json, table
from core.errors import InputError
from core.votes import DATASET, Left, Pairing, make_dataset, votes, win_rates, write_pairs
from core.workspace import Workspace


def add(subparsers: Any) -> None:
    about = "win rates of the chat's votes, and their pairs as a dataset"
    parser = subparsers.add_parser("votes", help=about, description=about)
    parser.set_defaults(handler=_rates)
    commands = parser.add_subparsers(metavar="COMMAND")
    dataset = commands.add_parser(
        "dataset", help="make the votes a dataset of preference pairs, or a new version of it"
    )
    dataset.add_argument("--name", default=DATASET, help=f"default: {DATASET}")
    dataset.set_defaults(handler=_dataset)
    export = commands.add_parser("export", help="write the preference pairs as JSONL")
    export.add_argument("--to", metavar="FILE", type=Path, required=True)
    export.set_defaults(handler=_export)


def _rates(args: argparse.Namespace) -> int:
    found = votes(Workspace(args.workspace))
    rates = win_rates(found)
    if args.json:
        print_json({"votes": len(found), "pairs": [each.as_dict() for each in rates]})
    elif not rates:
        print("no votes yet: ask two models in the Chat tab and say which answer is better")
    else:
        print(table(("MODEL", "AGAINST", "WON", "LOST", "TIES", "BOTH BAD", "WIN RATE", "95 %"), map(_row, rates)))
    return 0


def _row(each: Pairing) -> list[Any]:
    rate = "–" if each.rate is None else f"{each.rate:.0%}"
    sure = "–" if each.interval is None else "{:.0%} to {:.0%}".format(*each.interval)
    return [each.first, each.second, each.wins, each.losses, each.ties, each.bad, rate, sure]


def _dataset(args: argparse.Namespace) -> int:
    dataset, made = make_dataset(Workspace(args.workspace), args.name)
    if args.json:
        dropped = dataset.card.dropped
        print_json({"dataset": dataset.ref, "rows": len(dataset), "dropped": dropped, "left": made.left._asdict()})
    else:
        print(f"{dataset.ref}: {len(dataset)} pairs, {dataset.card.dropped} unusable{_left(made.left)}")
    return 0


def _export(args: argparse.Namespace) -> int:
    if not args.to.absolute().parent.is_dir():
        raise InputError("path.unusable", path=str(args.to), detail="its folder does not exist")
    made = write_pairs(votes(Workspace(args.workspace)), args.to)
    if args.json:
        print_json({"file": str(args.to), "rows": len(made.rows), "left": made.left._asdict()})
    else:
        print(f"{args.to}: {len(made.rows)} pairs{_left(made.left)}")
    return 0


def _left(left: Left) -> str:
    """What gave no row, in words."""
    said = {"ties": "ties", "bad": "both bad", "histories": "to different histories", "same": "of the same text"}
    counted = [f"{count} {said[name]}" for name, count in left._asdict().items() if count]
    return f"; left out: {', '.join(counted)}" if counted else ""
