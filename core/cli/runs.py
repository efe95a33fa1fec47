"""`python -m core runs …`: runs beside each other. To start, stop and resume them is `python -m core jobs`.

list · note · curves · compare · lineage · clone · disk · clean · export · import
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.cli.follow import follow, plain
from core.cli.jobs import find, group
from core.cli.output import Teller, print_json, size, table
from core.errors import InputError
from core.jobs import store
from core.jobs.summaries import RunSummary, summaries
from core.notes import change
from core.rundir import RunDir, state_of
from core.runs import archive, checkpoints, curve_files, curves, differences, lineage
from core.runs.bringing_in import bring_in
from core.runs.clone import cloned
from core.runs.search import fits
from core.workspace import Workspace


def add(subparsers: Any) -> None:
    about = "runs beside each other: notes, curves, settings, lineage, disk, archives"
    command = group(subparsers, "runs", about)
    listing = command("list", list_runs, "runs by name, tag, note, model or data, newest first")
    listing.add_argument("words", nargs="*", help="each has to be there; #tag means a tag")
    listing.add_argument("--star", action="store_true", help="only those with a star")
    note = command("note", note_run, "star, tags and a note of a run", runs="")
    note.add_argument("--star", action=argparse.BooleanOptionalAction, help="give it a star, or take it")
    note.add_argument("--tag", action="append", default=[], metavar="TAG", help="add a tag")
    note.add_argument("--untag", action="append", default=[], metavar="TAG", help="take a tag away")
    note.add_argument("--note", metavar="TEXT", help="the note, in place of the one that is there")
    _add_curves(command)
    compare = command("compare", compare_runs, "the settings of runs side by side, where they differ", runs="+")
    compare.add_argument("--all", action="store_true", help="every setting")
    command("lineage", show_lineage, "what a run came from, and what came of it", runs="")
    clone = command("clone", clone_run, "start a new run with a run's settings", runs="")
    clone.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings that are others")
    clone.add_argument("--follow", action="store_true", help="follow it")
    _add_files(command)


def _add_curves(command: Callable[..., Any]) -> None:
    parser = command("curves", draw, "one figure of several runs, as HTML, SVG or CSV", runs="+")
    parser.add_argument("--metric", default="", help="default: the loss, or whatever the runs have logged")
    parser.add_argument("--axis", choices=curves.AXES, default="step")
    parser.add_argument("--smoothing", type=float, default=0.0, metavar="0-0.99", help="weight of the moving average")
    parser.add_argument("--log", action="store_true", help="a logarithmic scale")
    parser.add_argument(
        "--to", type=Path, metavar="FILE", help="the ending says what is written; else a table is shown"
    )


def _add_files(command: Callable[..., Any]) -> None:
    command("disk", show_disk, "what runs take; of one run, its checkpoints", runs="?")
    clean = command("clean", clean_run, "remove checkpoints of a run that is over", runs="")
    clean.add_argument("checkpoints", nargs="*", metavar="CHECKPOINT", help="such as step-20")
    clean.add_argument("--all", action="store_true", help="all of them")
    clean.add_argument("--but-last", action="store_true", help="all but the newest and the best")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    out = command("export", export_run, "a run that is over as one archive", runs="")
    out.add_argument("--to", type=Path, metavar="FILE.zip", help="default: RUN.zip here")
    out.add_argument("--checkpoints", action="store_true", help="with its checkpoints, without their trainer's state")
    out.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    command("import", import_run, "the run of an archive").add_argument("file", type=Path, metavar="FILE.zip")


# -- lists and notes --------------------------------------------------------------------------------------------------
def list_runs(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    found = [run for run in summaries(workspace) if (run.star or not args.star) and fits(run, " ".join(args.words))]
    if args.json:
        print_json({"runs": [run.as_dict() for run in found]})
    elif not found:
        print("no runs")
    else:
        print(table(("", "RUN", "STATE", "NAME", "TAGS", "NOTE"), map(_row, found)))
    return 0


def _row(run: RunSummary) -> tuple[str, ...]:
    note = plain(run.note.replace("\n", " "))
    return "★" if run.star else "", run.id, str(run.state), plain(run.name), plain(" ".join(run.tags)), note


def note_run(args: argparse.Namespace) -> int:
    run = find(Workspace(args.workspace), args.run)
    notes = change(run, star=args.star, note=args.note, add=args.tag, remove=args.untag)
    if args.json:
        print_json({"run": run.id, **notes.model_dump()})
    else:
        print(run.id, "★" if notes.star else "☆", plain(", ".join(notes.tags)))
        print(plain(notes.note), end="\n" if notes.note else "")
    return 0


# -- side by side -----------------------------------------------------------------------------------------------------
def draw(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    runs = [find(workspace, name) for name in args.run]
    known = curves.metrics_of(runs)
    metric = args.metric or curves.first_metric(known)
    if metric not in known:
        raise InputError("runs.no_metric", metric=metric, known=", ".join(known) or "–")
    wanted = curves.Wanted.of({**vars(args), "metric": metric})
    if args.to is not None:
        curve_files.write(args.to, runs, wanted)
        print_json({"file": str(args.to)}) if args.json else print(args.to)
        return 0
    if args.json:
        found = [each.__dict__ for each in curves.overlay(runs, wanted)]
        print_json({"metric": metric, "axis": wanted.axis, "metrics": known, "curves": found})
        return 0
    whole = curves.overlay(runs, wanted, points=sys.maxsize)  # what is drawn are means
    rows = [(each.run, *_ends(each), plain(each.name)) for each in whole]
    print(table(("RUN", "FIRST", "LEAST", "MOST", "LAST", "NAME"), rows))
    return 0


def _ends(curve: curves.RunCurve) -> tuple[str, ...]:
    values = [y for _, y in curve.points]
    return tuple(f"{value:.4g}" for value in (values[0], min(values), max(values), values[-1])) if values else ("",) * 4


def compare_runs(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    runs = [find(workspace, name) for name in args.run]
    if len(runs) < 2:
        raise InputError("runs.too_few")
    rows = [row for row in differences.settings(runs) if args.all or row.differs]
    said = [(row.key, *(differences.in_words(value) for value in row.values)) for row in rows]
    if args.json:
        print_json({"runs": [run.id for run in runs], "settings": {key: values for key, *values in said}})
    else:
        print(table(("SETTING", *(run.id for run in runs)), ((key, *map(plain, values)) for key, *values in said)))
    return 0


def show_lineage(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    run = find(workspace, args.run)
    graph = lineage.family(lineage.Graph.read(workspace), run.id)
    if args.json:
        print_json(
            {
                "nodes": [node.as_dict() for node in graph.nodes.values()],
                "edges": [edge.__dict__ for edge in graph.edges],
            }
        )
    else:
        print(*map(plain, lineage.tree(graph, run.id)), sep="\n")
    return 0


def clone_run(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    old = find(workspace, args.run)
    run = store.submit(workspace, old.stage, cloned(workspace, old, args.settings))
    if args.follow:
        print(run.id, flush=True)
        return follow(run, json=args.json)
    print_json({"run": run.id, "path": str(run.path)}) if args.json else print(run.id)
    return 0


# -- disk -------------------------------------------------------------------------------------------------------------
def show_disk(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    if args.run is not None:
        return _show_checkpoints(args, workspace, find(workspace, args.run))
    found = checkpoints.taken(workspace)
    if args.json:
        print_json({"runs": [{**each.__dict__, "state": str(each.state)} for each in found]})
        return 0
    rows = [
        (each.run, str(each.state), size(each.total), size(each.checkpoints), each.count, size(each.output),
         plain(each.name))
        for each in found
    ]  # fmt: skip
    print(table(("RUN", "STATE", "ALL", "CHECKPOINTS", "", "OUTPUT", "NAME"), rows))
    print(f"{size(sum(each.total for each in found))} in all")
    return 0


def _show_checkpoints(args: argparse.Namespace, workspace: Workspace, run: RunDir) -> int:
    found = checkpoints.checkpoints(workspace, run)
    if args.json:
        print_json({"run": run.id, "checkpoints": [each.__dict__ for each in found]})
    else:
        print(table(("CHECKPOINT", "SIZE", "IT IS"), [(each.name, size(each.size), _good_for(each)) for each in found]))
    return 0


def _good_for(kept: checkpoints.Kept) -> str:
    said = ["torn"] if not kept.whole else []
    said += ["what the run resumes from"] if kept.resumes else []
    said += ["the best"] if kept.best else []
    said += ["not needed: the result is a copy"] if kept.delivered else []
    said += [f"named by {', '.join(kept.used_by)}"] if kept.used_by else []
    return "; ".join(said)


def clean_run(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    run = find(workspace, args.run)
    found = checkpoints.checkpoints(workspace, run)
    names = list(args.checkpoints)
    if args.all or args.but_last:
        stays = {each.name for each in found if args.but_last and (each is found[-1] or each.best)}
        names += [each.name for each in found if each.name not in stays]
    if not args.yes and names and not _confirmed([each for each in found if each.name in names]):
        print("nothing was removed", file=sys.stderr)
        return 2
    freed = checkpoints.remove(workspace, run, names)
    print_json({"run": run.id, "removed": names, "bytes": freed}) if args.json else print(f"{size(freed)} given back")
    return 0


def _confirmed(found: list[checkpoints.Kept]) -> bool:
    print("This removes:", file=sys.stderr)
    for each in found:
        print(f"  {each.name}  {size(each.size)}  {_good_for(each)}".rstrip(), file=sys.stderr)
    print("Type yes to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


# -- archives ---------------------------------------------------------------------------------------------------------
def _told(doing: str) -> Teller:
    return Teller(lambda done, total: f"{doing}: {size(done)} of {size(total)}")


def export_run(args: argparse.Namespace) -> int:
    run = find(Workspace(args.workspace), args.run)
    path = (args.to or Path(f"{run.id}.zip")).expanduser()
    done = archive.export(
        run, path, checkpoints=args.checkpoints, overwrite=args.overwrite, on_progress=_told("packing")
    )  # fmt: skip
    if args.json:
        print_json({"run": run.id, "file": str(done.path), "files": done.files, "bytes": done.bytes})
    else:
        print(f"{done.path}  {done.files} files, {size(done.bytes)}")
    return 0


def import_run(args: argparse.Namespace) -> int:
    run = bring_in(Workspace(args.workspace), args.file.expanduser(), on_progress=_told("unpacking"))
    print_json({"run": run.id, "state": str(state_of(run))}) if args.json else print(f"{run.id}  {state_of(run)}")
    return 0
