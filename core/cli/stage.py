"""`python -m core STAGE [--preset P] [--config F] [--arguments F] [key=value …]`: submit a run and follow it.

There is no second way to run a stage: this starts the same supervisor as the page does, and may be closed at any time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.annotating.people import waits_for_person
from core.cli.follow import follow, on_interrupt, tell_started
from core.cli.output import print_json
from core.cli.rate import rate
from core.configs.article import Mapped, from_arguments
from core.configs.files import dump_yaml, list_presets, resolve
from core.configs.stages import STAGES, Stage, TrainingConfig
from core.errors import InputError
from core.jobs import store
from core.jobs.hosts import commands
from core.workspace import Workspace

OWN = ("predict",)  # stages whose command is a module of its own


def add(subparsers: Any) -> None:
    for stage in STAGES.values():
        if stage.name not in OWN:
            add_stage(subparsers, stage)


def add_stage(subparsers: Any, stage: Stage) -> argparse.ArgumentParser:
    """The command of one stage."""
    about = (stage.config.__doc__ or stage.name).strip().splitlines()[0]
    presets = ", ".join(preset.name for preset in list_presets(stage.name)) or "none"
    parser: argparse.ArgumentParser = subparsers.add_parser(
        stage.name, help=about, description=f"{about} Presets: {presets}."
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings, as in optim.learning_rate=2e-5")
    parser.add_argument("--preset", metavar="NAME", help="start from a preset")
    parser.add_argument("--config", metavar="FILE", type=Path, help="start from a YAML file, laid on the preset")
    if issubclass(stage.config, TrainingConfig):
        parser.add_argument(
            "--arguments",
            metavar="FILE",
            type=Path,
            help="take settings from training arguments of Transformers: JSON, YAML, or words of a script",
        )
    parser.add_argument("--detach", action="store_true", help="print the run's id and return")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and start nothing")
    parser.set_defaults(handler=start, stage=stage.name)
    return parser


def start(args: argparse.Namespace) -> int:
    """Resolve, submit, follow. Raises what `resolve` and `submit` raise; the caller prints it."""
    if getattr(args, "arguments", None) is None:
        return begin(args, {})
    mapped = from_arguments(args.stage, read_text(args.arguments))
    tell_mapped(mapped, str(args.arguments))
    return begin(args, mapped.values)


def begin(args: argparse.Namespace, values: Mapping[str, Any]) -> int:
    """The same, with settings by dotted key beneath those that were typed."""
    workspace = Workspace(args.workspace)
    config = resolve(
        args.stage,
        preset=args.preset,
        config_file=args.config,
        values=values,
        overrides=args.settings,
        workspace=workspace,
    )
    if args.dry_run:
        data = config.model_dump(mode="json")
        print_json(data) if args.json else print(dump_yaml(data), end="")
        return 0
    interrupts: list[float] = []
    with on_interrupt(lambda: interrupts.append(time.monotonic())):  # a run must not start without a word
        run = store.submit(workspace, args.stage, config)
    if args.detach or commands(run):
        return tell_started(run, json=args.json)
    print(f"{run.id}  {run.config()['run']['name']}", flush=True)
    status = follow(run, json=args.json, stop=bool(interrupts))
    if waits_for_person(run) and sys.stdin.isatty() and not args.json:
        return rate(workspace, run)
    return status


def read_text(path: Path) -> str:
    """Raises InputError `config.no_file`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("config.no_file", path=str(path)) from error


def tell_mapped(mapped: Mapped, source: str) -> None:
    """What became of each argument that `source` holds, on stderr."""
    print(f"{source}: {len(mapped.mapped)} arguments are settings here, {len(mapped.dropped)} are not", file=sys.stderr)
    for name, key, value in mapped.mapped:
        print(f"  {name} → {key}={value}", file=sys.stderr)
    reasons: dict[str, list[str]] = {}
    for name, _, why in mapped.dropped:
        reasons.setdefault(f"{why.message} {why.remedy}".strip(), []).append(name)
    for reason, names in reasons.items():
        print(f"  dropped {', '.join(names)}: {reason}", file=sys.stderr)
    if mapped.unknown:
        print(f"  nobody knows {', '.join(mapped.unknown)}", file=sys.stderr)
