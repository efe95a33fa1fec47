"""`python -m core data clean | preview | dropped`: recipes that clean a dataset, and what they took out.

    data preview medical --preset medical-clean
    data clean medical --preset medical-clean --step "contamination against=exam" --output medical-clean
    data clean medical --step exact --step "near threshold=0.7" --step "length min_answer_chars=20"
    data dropped medical-clean

A preset or a file gives the first steps, `--step` adds more behind them, in the order given.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from core.cli.output import print_json, table
from core.cli.recipe import carry_out
from core.configs.files import list_presets, parse_override, resolve
from core.configs.stages import PrepareConfig
from core.configs.steps import STEPS
from core.data.files.containers import excerpt
from core.data.recipe.preview import StepPreview, preview
from core.data.store.library import open_dataset
from core.errors import ConfigError, InputError, Problem
from core.workspace import Workspace

STAGE = "prepare"
EXAMPLES = 5  # dropped and changed rows that a preview shows of each step
SHOWN_CHARS = 100


def add(commands: Any) -> None:
    """Register the commands below `data`."""
    presets = ", ".join(preset.name for preset in list_presets(STAGE)) or "none"
    steps = "\n".join(f"  {name:14} {(kind.__doc__ or '').strip().splitlines()[0]}" for name, kind in STEPS.items())
    told = f"Presets: {presets}.\n\nSteps (settings of each: docs/fields/prepare.md):\n{steps}"
    for name, handler, about in (
        ("clean", _clean, "make a new version by a recipe: de-duplicate, filter, mask, score"),
        ("preview", _preview, "what a recipe would drop and change, and why, on a part of the rows"),
    ):
        parser = commands.add_parser(
            name, help=about, description=about, epilog=told, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("name", nargs="+", help="datasets of one kind: name or name@version")
        parser.add_argument("--preset", metavar="P", help="start from the steps of a preset")
        parser.add_argument("--config", metavar="F", type=Path, help="start from the steps of a YAML file")
        parser.add_argument("--step", action="append", default=[], metavar="STEP", help='such as "near threshold=0.8"')
        parser.add_argument("--seed", type=int, help="seed of every choice")
        parser.set_defaults(handler=handler)
        if name == "clean":
            parser.add_argument("--output", metavar="NAME", help="name of the result; default: a new version")
        else:
            parser.add_argument("--rows", type=int, default=2000, metavar="N", help="rows looked at; default: 2000")

    dropped = commands.add_parser("dropped", help="the rows that are not in a dataset, and why")
    dropped.add_argument("name", help="name or name@version")
    dropped.add_argument("--step", type=int, metavar="N", help="only those of step N of the recipe")
    dropped.add_argument("--limit", type=int, default=20, metavar="N", help="rows listed; default: 20")
    dropped.set_defaults(handler=_dropped)


def read_step(text: str) -> dict[str, Any]:
    """`near threshold=0.8` as the mapping that a recipe holds. Raises InputError `step.not_words`."""
    try:
        name, *words = shlex.split(text)
        known = STEPS[name].model_fields if name in STEPS else {}
        return {"do": name, **dict(parse_override(word, known) for word in words)}
    except ValueError as error:
        raise InputError("step.not_words", text=text) from error


def _recipe(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the recipe that the command line asks for."""
    given: dict[str, Any] = {"inputs": args.name, "steps": []}
    if args.preset or args.config:
        workspace = Workspace(args.workspace)
        values = {"recipe.inputs": args.name}
        config = resolve(STAGE, preset=args.preset, config_file=args.config, values=values, workspace=workspace)
        assert isinstance(config, PrepareConfig)
        given.update(config.recipe.model_dump(mode="json", exclude={"inputs"}))
    given["steps"] = [*given["steps"], *map(read_step, args.step)]
    if not given["steps"]:
        raise ConfigError([Problem("config.missing", {}, key="recipe.steps")])
    if getattr(args, "output", None):
        given["output"] = args.output
    if args.seed is not None:
        given["seed"] = args.seed
    return given


def _clean(args: argparse.Namespace) -> int:
    return carry_out(args, _recipe(args))


def _preview(args: argparse.Namespace) -> int:
    values = {f"recipe.{name}": value for name, value in _recipe(args).items()}
    config = resolve(STAGE, values=values)
    assert isinstance(config, PrepareConfig)
    steps = preview(Workspace(args.workspace), config.recipe, limit=args.rows)
    for number, step in enumerate(steps, 1):
        _tell(number, step)
    if args.json:
        print_json({"steps": [step.as_dict() for step in steps]})
    return 0


def _tell(number: int, step: StepPreview) -> None:
    of = " of a part" if step.sampled else ""
    changed = f", {step.changed} changed" if step.changed else ""
    print(f"{number}. {step.do}: {step.before} rows{of} before, {step.after} after{changed}")
    for example in step.dropped[:EXAMPLES]:
        print(f"     line {example.line}: {example.problem.message if example.problem else ''}")
        print(f"         {excerpt(example.row)[:SHOWN_CHARS]}")
    left = sum(step.reasons.values()) - EXAMPLES
    if left > 0:
        print(f"     … and {left} more")
    for example in step.changed_rows[:EXAMPLES]:
        before, after = _difference(example.row, example.after)
        print(f"     line {example.line}: {before}\n         → {after}")
    for suffix, count in step.parts.items():
        print(f"     {suffix}: {count} rows")


def _difference(before: dict[str, Any], after: list[dict[str, Any]]) -> tuple[str, str]:
    """Where a row first differs from what it became, some characters of both."""
    old, new = _json(before), " | ".join(map(_json, after))
    at = next((place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
    start = max(0, at - 20)
    return old[start : start + SHOWN_CHARS], new[start : start + SHOWN_CHARS]


def _json(row: dict[str, Any]) -> str:
    return orjson.dumps(row).decode()


def _dropped(args: argparse.Namespace) -> int:
    dataset = open_dataset(Workspace(args.workspace), args.name)
    rows = [row for row in dataset.dropped() if args.step is None or row["step"] == args.step]
    print(f"{dataset.ref}: {len(dataset)} rows, {len(rows)} dropped")
    if rows:
        print(table(("STEP", "REASON", "ROWS"), _counted(rows)))
    for row in rows[: args.limit]:
        print(f"  line {row['line']}: {row['message']}")
        print(f"      {row['excerpt'] or ''}")
    if len(rows) > args.limit:
        print(f"  … and {len(rows) - args.limit} more (--limit)")
    if args.json:
        print_json({"dataset": dataset.ref, "rows": len(dataset), "dropped": [_unpacked(row) for row in rows]})
    return 0


def _counted(rows: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """(step, code, rows), in the order of the steps."""
    counts: dict[tuple[int, str], int] = {}
    for row in rows:
        key = (row["step"] or 0, row["code"])
        counts[key] = counts.get(key, 0) + 1
    return [(step or "–", code, count) for (step, code), count in sorted(counts.items())]


def _unpacked(row: dict[str, Any]) -> dict[str, Any]:
    """A dropped row with its own row and parameters as objects."""
    return {**row, **{key: orjson.loads(row[key]) if row[key] else None for key in ("row", "params")}}
