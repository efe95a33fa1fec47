"""`python -m core data split | mix | convert | pairs | hindsight | export`: recipes of one step, and files of datasets.

A recipe of several steps is a config: `python -m core prepare --config FILE`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.cli.output import print_json, rows_told, size
from core.cli.recipe import carry_out
from core.data.bring.export import export, forms_of
from core.data.kinds import STAGES_OF
from core.data.store.library import open_dataset
from core.workspace import Workspace

KINDS = ("text", "messages", "prompt", "preference")


def add(commands: Any) -> None:
    """Register the commands below `data`."""
    split = _recipe_command(commands, "split", "part a dataset into NAME-train, NAME-validation and NAME-test", _split)
    for name in ("validation", "test", "train"):
        split.add_argument(f"--{name}", metavar="SIZE", help="a share below 1, or a number of rows")
    split.add_argument("--apart", action="store_true", help="do not look for rows that are nearly the same")

    mix = _recipe_command(commands, "mix", "mix datasets: A B:0.5 takes all of A and half of B", _mix, several=True)
    mix.add_argument("--shuffle", action="store_true", help="bring the rows into a random order")

    convert = _recipe_command(commands, "convert", "turn rows into another kind", _convert)
    convert.add_argument("--to", required=True, choices=KINDS)
    convert.add_argument("--prompts", choices=("first", "last", "every"), help="of a dialogue's questions")
    convert.add_argument("--no-role-names", action="store_true", help="in text: without who speaks")

    pairs = _recipe_command(commands, "pairs", "make preference pairs of ranked answers", _pairs)
    pairs.add_argument("--which", choices=("all", "best-worst", "adjacent"))
    pairs.add_argument("--min-gap", metavar="GAP", help="by how much the scores must differ")

    hindsight = _recipe_command(commands, "hindsight", "turn pairs into dialogues in hindsight", _hindsight)
    hindsight.add_argument("--order", choices=("bad-good", "good-bad", "both", "all"))

    out = commands.add_parser("export", help="write a dataset to a file: JSONL, JSON or Parquet")
    out.add_argument("name", help="name or name@version")
    out.add_argument("--to", type=Path, required=True, metavar="FILE", help=".jsonl, .json, .parquet, .jsonl.gz")
    forms = dict.fromkeys(form for kind in STAGES_OF for form in forms_of(kind))
    out.add_argument("--as", dest="form", metavar="FORM", help=f"one of {', '.join(forms)}; default: the usual one")
    out.add_argument("--overwrite", action="store_true", help="write over a file that is there")
    out.set_defaults(handler=_export)


def _recipe_command(
    commands: Any,
    name: str,
    about: str,
    handler: Callable[[argparse.Namespace], int],
    *,
    several: bool = False,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about)
    if several:
        parser.add_argument("names", nargs="+", metavar="NAME[:WEIGHT]")
    else:
        parser.add_argument("names", nargs=1, metavar="NAME", help="name or name@version")
    parser.add_argument(
        "--output", metavar="NAME", required=several, help="the new dataset; default: made from the input's name"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.set_defaults(handler=handler)
    return parser


# -- recipes ----------------------------------------------------------------------------------------------------------
def _split(args: argparse.Namespace) -> int:
    sizes = {name: getattr(args, name) for name in ("validation", "test", "train") if getattr(args, name) is not None}
    if "test" in sizes:
        sizes.setdefault("validation", 0)
    return _make(args, {"do": "split", **sizes, "together": not args.apart})


def _mix(args: argparse.Namespace) -> int:
    return _make(args, *([{"do": "shuffle"}] if args.shuffle else []))


def _convert(args: argparse.Namespace) -> int:
    more = {"prompts": args.prompts} if args.prompts else {}
    return _make(args, {"do": "convert", "to": args.to, "role_names": not args.no_role_names, **more}, into=args.to)


def _pairs(args: argparse.Namespace) -> int:
    settings = {"which": args.which, "min_gap": args.min_gap}
    given = {name: value for name, value in settings.items() if value is not None}
    return _make(args, {"do": "pairs", **given}, into="pairs")


def _hindsight(args: argparse.Namespace) -> int:
    return _make(args, {"do": "hindsight", **({"order": args.order} if args.order else {})}, into="hindsight")


def _make(args: argparse.Namespace, *steps: dict[str, Any], into: str = "") -> int:
    """`into` ends the name of what is of another kind: under the old name it would hide the rows it was made of."""
    inputs = [dict(zip(("dataset", "weight"), _weighed(name), strict=False)) for name in args.names]
    output = args.output or args.names[0].partition("@")[0] + (f"-{into}" if into else "")
    recipe = {"inputs": inputs, "steps": list(steps), "output": output, "seed": args.seed}
    return carry_out(args, recipe)


def _weighed(name: str) -> tuple[str, ...]:
    """`B:0.5` → ("B", "0.5"), `A` → ("A",). What is no weight is told where the recipe is read."""
    dataset, colon, weight = name.rpartition(":")
    return (dataset, weight) if colon else (name,)


# -- export -----------------------------------------------------------------------------------------------------------
def _export(args: argparse.Namespace) -> int:
    dataset = open_dataset(Workspace(args.workspace), args.name)
    told = rows_told("writing")
    done = export(dataset, args.to, form=args.form, overwrite=args.overwrite, on_progress=told)
    print(f"{done.path}: {done.rows} rows of {dataset.ref} as {done.form}, {size(done.bytes)}")
    if args.json:
        print_json({"path": str(done.path), "dataset": dataset.ref, "form": done.form, "rows": done.rows})
    return 0
