"""`python -m core pipeline …` and `python -m core rehearse …`: a chain of stages, queued once; and its rehearsal.

    python -m core pipeline chain.yaml
    python -m core pipeline sft=starter-cpu sft.data.train=FILE ppo=starter-cpu ppo.data.train=FILE evaluate …
    python -m core rehearse                                  the samples, the tiny model: everything, in a minute or two
    python -m core rehearse model.base=starter               the samples, that model
    python -m core rehearse chain.yaml                       will that chain run?
    python -m core rehearse --delete                         remove the runs of all rehearsals

Either follows its runs one after another; Ctrl-C asks the one at work to stop, which holds the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from core.cli.follow import follow, plain
from core.cli.output import duration, print_json, table
from core.configs.files import dump_yaml, stage_of
from core.errors import GalenError
from core.evaluation.report_files import table as report_lines
from core.jobs import store
from core.jobs.summaries import summary
from core.pipeline import rehearsal
from core.pipeline.plan import Step, plan, queue
from core.pipeline.reading import read_words
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace

PAGE = "http://127.0.0.1:7860/"  # where run_webui.py opens unless it is told otherwise
WORDS = "CHAIN.yaml, STAGE, STAGE=PRESET, STAGE=FILE, STAGE.section.key=value, model.base=MODEL"


def add(subparsers: Any) -> None:
    chain = subparsers.add_parser("pipeline", help="queue a chain of stages, each starting from what the last one made")
    chain.set_defaults(handler=pipeline)
    about = "a few steps of every stage: will the real chain run?"
    trial = subparsers.add_parser("rehearse", help=about, description=f"{about} Without words: the samples that ship.")
    trial.add_argument("--language", choices=("en", "zh"), default="en", help="of the samples (default en)")
    trial.add_argument("--stages", metavar="A,B,…", default="", help="only these stages of the samples' chain")
    trial.add_argument("--delete", action="store_true", help="remove the runs of all rehearsals, and do nothing else")
    trial.set_defaults(handler=rehearse)
    for parser in (chain, trial):
        parser.add_argument("settings", nargs="*", metavar="WORD", help=WORDS)
        parser.add_argument(
            "--config", action="append", default=[], metavar="STAGE=FILE", help="a stage's YAML file; may be repeated"
        )
        parser.add_argument("--detach", action="store_true", help="print the runs' ids and return")
        parser.add_argument("--dry-run", action="store_true", help="print the resolved chain and start nothing")


def pipeline(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    wanted, base = read_words(args.settings, args.config)
    steps = plan(workspace, wanted, base)
    if args.dry_run:
        return _show(steps, args.json)
    runs = queue(workspace, steps)
    return _announced(runs, args.json) if args.detach else _follow_all(runs, args.json)


def rehearse(args: argparse.Namespace) -> int:
    """Raises as `plan` and `queue`."""
    workspace = Workspace(args.workspace)
    if args.delete:
        gone = rehearsal.remove(workspace)
        print_json({"deleted": gone}) if args.json else print(f"{len(gone)} runs were removed")
        return 0
    wanted, base = read_words(args.settings, args.config)
    if wanted:
        steps = rehearsal.limited(plan(workspace, wanted, base))
    else:
        stages = [stage_of(name).name for name in args.stages.split(",") if name]
        steps = rehearsal.samples(workspace, base or rehearsal.tiny(workspace), args.language, stages)
    if args.dry_run:
        return _show(steps, args.json)
    runs = rehearsal.start(workspace, steps)
    if args.detach:
        return _announced(runs, args.json)
    status = _follow_all(runs, False)
    _stop_held(runs)
    _tell(workspace, runs, args.json)
    return status


def _show(steps: Sequence[Step], json: bool) -> int:
    data = {step.name: {"stage": step.stage, **step.config.model_dump(mode="json")} for step in steps}
    print_json(data) if json else print(dump_yaml(data), end="")
    return 0


def _announced(runs: Sequence[RunDir], json: bool) -> int:
    if json:
        print_json({"runs": [{"run": run.id, "stage": run.stage, "path": str(run.path)} for run in runs]})
    else:
        print("\n".join(run.id for run in runs))
    return 0


def _follow_all(runs: Sequence[RunDir], json: bool) -> int:
    """Follow one after another, up to the first that does not succeed; its exit status."""
    status = 0
    for run in runs:
        print(f"{run.id}  {run.config()['run']['name']}", flush=True)
        status = follow(run)
        if status:
            break
    left = [summary(run) for run in runs if state_of(run).live]
    for now in left:
        print(f"{now.id} {now.held or now.state}", file=sys.stderr)
    if json:
        print_json({"runs": [summary(run).as_dict() for run in runs]})
    return status


# -- what came of a rehearsal -----------------------------------------------------------------------------------------
def _stop_held(runs: Sequence[RunDir]) -> None:
    """Nobody resumes a rehearsal: what waits for a failed step of it is ended."""
    for run in reversed(runs):
        if state_of(run) is State.QUEUED and summary(run).held is not None:
            try:
                store.kill(run)
            except GalenError:  # it has ended meanwhile
                continue


def _tell(workspace: Workspace, runs: Sequence[RunDir], json: bool) -> None:
    """Each stage with its end and its time; the report; where to talk to what was made."""
    found, rows = rehearsal.outcome(workspace, runs), [summary(run) for run in runs]
    if json:
        report = found.report.model_dump() if found.report is not None else None
        print_json({"runs": [row.as_dict() for row in rows], "report": report, "chat": found.chat})
        return
    print()
    print(table(("STAGE", "STATE", "TIME", "RUN"), [(r.stage, r.state, duration(r.duration), r.id) for r in rows]))
    for row in rows:
        if row.why is not None:
            print(plain(f"{row.stage}: {row.why.reason} {row.why.remedy}".rstrip()))
    for line in report_lines(found.report) if found.report is not None else ():
        print(line)
    if found.chat:
        print(f"side by side, once run_webui.py runs: {PAGE}{found.chat}")
        print(f"or here: python -m core chat base_model={found.base} lora_model={found.tuned}")
    print("remove it all: python -m core rehearse --delete")
