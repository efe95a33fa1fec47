"""`python -m core report RUN [RUN…]`: what training gained in the domain and lost elsewhere, from what runs measured.

Of one run its report is made again, in its own output; of several a new one, in `--out`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.cli.output import print_json
from core.errors import InputError
from core.evaluation.report import make
from core.evaluation.report_files import table, write
from core.intervals import RESAMPLES
from core.models.runs import find_run
from core.records_report import report_file
from core.rundir import RunDir, state_of
from core.workspace import Workspace


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("report", help="the alignment tax, from finished runs of the stage evaluate")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="runs of the stage evaluate; the first one's base is it")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="folder for the files; of one run its own output unless it is given"
    )
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help=f"default {RESAMPLES}")
    parser.set_defaults(handler=report)


def report(args: argparse.Namespace) -> int:
    """Raises InputError for a run that is unknown, at work, or has compared nothing."""
    workspace = Workspace(args.workspace)
    runs = [_finished(workspace, text) for text in args.runs]
    seed = (runs[0].config().get("run") or {}).get("seed", 42)
    made = make(runs, resamples=max(100, args.resamples), seed=seed)
    for line in table(made):
        print(line)
    folder = args.out or (runs[0].output if len(runs) == 1 else None)
    if folder is not None:
        write(folder, made)
        print(report_file(folder, "md"))
    if args.json:
        print_json(made.model_dump())
    return 0


def _finished(workspace: Workspace, text: str) -> RunDir:
    ref = find_run(workspace, text)
    if ref is None:
        raise InputError("run.not_found", run=text)
    run = workspace.run(ref.run)
    if state_of(run).live:
        raise InputError("report.live", run=run.id)
    return run
