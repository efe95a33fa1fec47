"""`python -m core fit STAGE [--preset P] [--config F] [key=value …]`: whether that run would fit, and what to change.

The words are those that would start the run; nothing is started, imported or loaded. Exit status 0 where it fits or is
tight, 1 where it does not.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.cli.output import duration, print_json, size, table, words_of
from core.configs.files import list_presets, resolve
from core.configs.stages import STAGES
from core.fit.estimate import Fit, estimate
from core.workspace import Workspace

VERDICTS = {"fits": "fits", "tight": "is tight", "no": "does not fit"}


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("fit", help="whether a run would fit its devices, and how long it would take")
    named = sorted({preset.name for stage in STAGES for preset in list_presets(stage)})
    parser.add_argument("stage", choices=list(STAGES), metavar="STAGE", help="; ".join(STAGES))
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings, as for the stage itself")
    parser.add_argument("--preset", metavar="NAME", help=f"start from a preset ({', '.join(named)})")
    parser.add_argument("--config", metavar="FILE", type=Path, help="start from a YAML file, laid on the preset")
    parser.set_defaults(handler=tell)


def tell(args: argparse.Namespace) -> int:
    """Print the estimate. Raises what `resolve` and `estimate` raise; the caller prints it."""
    workspace = Workspace(args.workspace)
    config = resolve(
        args.stage, preset=args.preset, config_file=args.config, overrides=args.settings, workspace=workspace
    )
    fit = estimate(config, workspace)
    print_json(fit.as_dict()) if args.json else print(text_of(fit))
    return 1 if fit.verdict == "no" else 0


def text_of(fit: Fit) -> str:
    """The estimate in lines."""
    lines = [
        table(("part", "memory"), [(name, size(count)) for name, count in fit.parts.items()]),
        f"together {size(fit.total)} a process",
        "",
        *(
            f"{each.id}: {VERDICTS[each.verdict]} ({size(each.free)} free of {size(each.total)})"
            for each in fit.devices
        ),
    ]
    if fit.rows_per_step:
        steps = "" if fit.steps is None else f", {fit.steps} steps in about {duration(fit.seconds)}"
        lines.append(f"a step: {fit.rows_per_step} rows, about {fit.tokens_per_step:.0f} tokens{steps}")
    if fit.disk:
        lines.append(f"disk: {size(fit.disk)} of {size(fit.disk_free)} free")
    lines += [str(note) for note in fit.notes]
    for rung in fit.rungs:
        lines.append(f"  {size(rung.total)}, {VERDICTS[rung.verdict]}: {words_of(rung.changes)}")
    return "\n".join(lines)
