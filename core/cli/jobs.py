"""`python -m core jobs list|show|log|stop|resume|replace|release|submit|kill|delete`: the runs of a workspace."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.cli.follow import Tail, follow, plain, progress_line, tell_started
from core.cli.output import duration, print_json, table
from core.configs.files import dump_yaml, read_config_file, resolve, sections_of
from core.configs.stages import STAGES
from core.errors import InputError, RunError
from core.jobs import hosts, store
from core.jobs.summaries import RunSummary, summaries, summary
from core.pipeline import again
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace

Handler = Callable[[argparse.Namespace], int]


def group(subparsers: Any, name: str, about: str) -> Callable[..., Any]:
    """A command with commands of its own: what adds one of these. `runs`: how many it takes, as `nargs`; "": one; None:
    none."""
    commands = subparsers.add_parser(name, help=about).add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, handler: Handler, about: str, *, runs: str | None = None) -> Any:
        parser = commands.add_parser(name, help=about, description=about)
        if runs is not None:
            said = "a run's id, how it begins, or its name; `last` is the newest"
            parser.add_argument("run", metavar="RUN", nargs=runs or None, help=said)
        parser.set_defaults(handler=handler)
        return parser

    return command


def add(subparsers: Any) -> None:
    command = group(subparsers, "jobs", "list, show, watch, stop, resume and delete runs")
    listing = command("list", list_runs, "runs, newest first")
    listing.add_argument("--state", choices=[*map(str, State), "live"], help="only runs in this state")
    listing.add_argument("--stage", help="only runs of this stage")
    listing.add_argument("--rehearsals", action="store_true", help="only runs of rehearsals, which are left out else")
    command("show", show, "everything about a run", runs="")
    log = command("log", show_log, "what a run printed", runs="")
    log.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    log.add_argument("--rank", type=int, default=None, help="the process whose log to show (default 0)")
    log.add_argument("-n", "--lines", type=int, default=None, help="only the last so many lines")
    command("hosts", show_hosts, "what to type on each host of a run on several", runs="")
    stop = command("stop", stop_runs, "ask runs to save and stop", runs="+")
    stop.add_argument("--now", action="store_true", help="kill them, saved or not")
    resume = command("resume", resume_run, "go on from the last checkpoint", runs="")
    resume.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="settings that change: what only watches and saves the run may"
    )
    resume.add_argument("--follow", action="store_true", help="follow it")
    anew = command("replace", replace_run, "start a run once more; what waits for it goes on from the new one", runs="")
    anew.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings that are others")
    anew.add_argument("--follow", action="store_true", help="follow it")
    submit = command("submit", submit_file, "start a run from a config file")
    submit.add_argument("config", metavar="CONFIG.yaml", type=Path)
    submit.add_argument("--stage", help="the stage (default: the one that the settings belong to)")
    submit.add_argument("--follow", action="store_true", help="follow it")
    command("release", release_runs, "have waiting runs start without waiting for others", runs="+")
    command("kill", kill_runs, "end runs now, saved or not", runs="+")
    delete = command("delete", delete_runs, "remove runs that are over, with all their files", runs="+")
    delete.add_argument("--yes", action="store_true", help="do not ask")


def find(workspace: Workspace, name: str) -> RunDir:
    """A run by its id, `last`, or the beginning of one id, or the shown name of one, only."""
    runs = workspace.runs()
    if name == "last" and runs:
        return runs[0]
    beginning = [run for run in runs if run.id.startswith(name)] if name else []
    called = beginning or [run for run in runs if name and (run.config().get("run") or {}).get("name") == name]
    return called[0] if len(called) == 1 else workspace.run(name)


# -- looking ----------------------------------------------------------------------------------------------------------
def list_runs(args: argparse.Namespace) -> int:
    states = None
    if args.state is not None:
        states = [state for state in State if (state.live if args.state == "live" else state == args.state)]
    every = summaries(Workspace(args.workspace), states=states, stage=args.stage)
    found = [run for run in every if bool(run.rehearsal) == args.rehearsals]
    if args.json:
        print_json({"runs": [each.as_dict() for each in found]})
    elif not found:
        print("no runs")
    else:
        print(table(("RUN", "STATE", "PROGRESS", "LOSS/REWARD", "TIME", "NAME", "WHY"), map(_row, found)))
    if len(found) < len(every) and not args.rehearsals:
        print(f"and {len(every) - len(found)} of rehearsals: jobs list --rehearsals", file=sys.stderr)
    return 0


def _row(run: RunSummary) -> tuple[str, ...]:
    progress = f"{run.step}/{run.total}" if run.total else ""
    figure = run.loss if run.loss is not None else run.reward
    loss = f"{figure:.4g}" if figure is not None else ""
    why = f"waits for {', '.join(run.waiting_for)}" if run.waiting_for else run.reason
    why = run.held.message if run.held is not None else why
    return (
        run.id,
        str(run.state),
        progress,
        loss,
        duration(run.duration),
        plain(run.name),
        plain(why.replace("\n", " ")),
    )


def show(args: argparse.Namespace) -> int:
    run = find(Workspace(args.workspace), args.run)
    now, files = summary(run), _files(run)
    if args.json:
        print_json({**now.as_dict(), "path": str(run.path), "config": run.config(), "files": files})
        return 0
    print(f"{run.id}  {plain(now.name)}")
    print(f"{now.state}  attempt {now.attempt}  on {', '.join(now.devices) or 'no device'}  {duration(now.duration)}")
    if now.state.live or now.phase:
        print(progress_line(run, now))
    if now.why is not None:
        print(plain(f"{now.why.reason} {now.why.remedy}".rstrip()))
    if now.held is not None:
        print(plain(str(now.held)))
    print(f"\n{run.path}")
    for name, count in files.items():
        print(f"  {name:<28} {count:>14,} bytes")
    print(f"\n{dump_yaml(run.config())}", end="")
    return 0


def _files(run: RunDir) -> dict[str, int]:
    """Every file of the run by its path in it, earlier attempts left out."""
    found = {}
    for path in sorted(run.path.rglob("*")):
        name = path.relative_to(run.path)
        if path.is_file() and name.parts[0] != "attempts":
            found[str(name)] = path.stat().st_size
    return found


def show_log(args: argparse.Namespace) -> int:
    run = find(Workspace(args.workspace), args.run)
    if args.follow and args.rank is None and args.lines is None:
        return follow(run, json=args.json)
    tail = Tail(run.log_file(args.rank or 0), args.lines)
    while True:
        live = state_of(run).live
        lines = tail.lines(rest=not live)
        for line in lines:
            print(line, flush=True)
        if not (args.follow and live):
            break
        time.sleep(0.3)
    if args.json:
        print_json({"run": run.id, "state": str(state_of(run)), "log": str(tail.path)})
    return 0


def show_hosts(args: argparse.Namespace) -> int:
    """Raises RunError `run.not_for_hosts`."""
    run = find(Workspace(args.workspace), args.run)
    typed = hosts.commands(run)
    if not typed:
        raise RunError("run.not_for_hosts", run=run.id)
    print_json({"run": run.id, "commands": typed}) if args.json else print("\n".join(typed))
    return 0


# -- doing ------------------------------------------------------------------------------------------------------------
def stop_runs(args: argparse.Namespace) -> int:
    return _each(args, store.kill if args.now else store.stop)


def kill_runs(args: argparse.Namespace) -> int:
    return _each(args, store.kill)


def release_runs(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    return _each(args, lambda run: store.release(workspace, run))


def delete_runs(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    if not args.yes and not _confirmed([find(workspace, name) for name in args.run]):
        print("nothing was removed", file=sys.stderr)
        return 2
    return _each(args, lambda run: store.delete(workspace, run))


def _confirmed(runs: list[RunDir]) -> bool:
    print("This removes, with checkpoints and results:", *(run.id for run in runs), sep="\n  ", file=sys.stderr)
    print("Type yes to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


def _each(args: argparse.Namespace, act: Callable[[RunDir], None]) -> int:
    """Do `act` with every run named. All are looked up first, so that a misspelt one changes nothing."""
    workspace = Workspace(args.workspace)
    runs = [find(workspace, name) for name in args.run]
    states = {}
    for run in runs:
        act(run)
        states[run.id] = str(state_of(run)) if run.exists() else "deleted"
        if not args.json:
            print(f"{run.id}  {states[run.id]}")
    if args.json:
        print_json({"runs": states})
    return 0


def resume_run(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    return _started(args, store.resume(workspace, find(workspace, args.run).id, args.settings))


def replace_run(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    return _started(args, again.once_more(workspace, find(workspace, args.run), words=args.settings))


def submit_file(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    stage = args.stage or _stage_of(args.config)
    return _started(args, store.submit(workspace, stage, resolve(stage, config_file=args.config, workspace=workspace)))


def _started(args: argparse.Namespace, run: RunDir) -> int:
    if args.follow and not hosts.commands(run):
        print(run.id, flush=True)
        return follow(run, json=args.json)
    return tell_started(run, json=args.json)


def _stage_of(config: Path) -> str:
    """The stage of a config file: that of the run it lies in, else the only one that has all its sections.

    Raises InputError `run.which_stage`.
    """
    parent = RunDir(config.resolve().parent)
    if parent.exists() and parent.stage in STAGES:
        return parent.stage
    given = set(read_config_file(config))
    fitting = [stage.name for stage in STAGES.values() if given <= set(sections_of(stage.config))]
    if len(fitting) != 1:
        raise InputError("run.which_stage", file=str(config), stages=", ".join(fitting or STAGES))
    return fitting[0]
