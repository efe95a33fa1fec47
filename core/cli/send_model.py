"""`python -m core model card | push`: what a finished run hands to others, and sending it to a hub."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from core.cli.follow import follow
from core.cli.output import print_json
from core.configs.files import resolve
from core.errors import InputError
from core.jobs import store
from core.models.card import model_card
from core.models.parents import check_start
from core.models.publish import require_token
from core.rundir import RunDir, write_text
from core.workspace import Workspace


def add(commands: Any) -> None:
    card = commands.add_parser("card", help="the model card of a finished run, to be read and edited before it is sent")
    card.add_argument("run", metavar="RUN")
    card.add_argument("--out", metavar="FILE", type=Path, help="write it there")
    card.set_defaults(handler=_card)

    push = commands.add_parser("push", help="send a finished run's adapter or model to Hugging Face (token: HF_TOKEN)")
    push.add_argument("run", metavar="RUN")
    push.add_argument("repo", metavar="OWNER/NAME", help="made, and private, unless it is there")
    push.add_argument("--card", metavar="FILE", type=Path, help="the model card; default: what `model card RUN` prints")
    push.add_argument("--public", action="store_true", help="let everybody see it")
    push.add_argument("--revision", default="main", help="branch; default: main")
    push.add_argument("--message", default="", help="of the commit; default: the run's name")
    push.add_argument("--detach", action="store_true", help="print the id of the run that sends it and return")
    push.set_defaults(handler=_push)


def _card(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    text = model_card(workspace, _run(workspace, args.run))
    if args.out is not None:
        write_text(args.out, text)
        print(f"written to {args.out}; send it with `model push … --card {args.out}`", file=sys.stderr)
    if args.json:
        print_json({"card": text})
    elif args.out is None:
        print(text, end="")
    return 0


def _push(args: argparse.Namespace) -> int:
    """Submit a push run, as the page's button does, and follow it. Mistakes that can be seen here become no run."""
    workspace = Workspace(args.workspace)
    values = {
        "model.base": _run(workspace, args.run).id, "model.card": "" if args.card is None else _read(args.card),
        "to.repo": args.repo, "to.private": not args.public, "to.revision": args.revision,
        "to.message": args.message,
    }  # fmt: skip
    config = resolve("push", values=values, workspace=workspace)
    require_token()
    run = store.submit(workspace, "push", config)
    if args.detach:
        print_json({"run": run.id, "path": str(run.path)}) if args.json else print(run.id)
        return 0
    return follow(run, json=args.json)


def _run(workspace: Workspace, text: str) -> RunDir:
    return workspace.run(check_start(workspace, "push", text))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError("path.unusable", path=str(path), detail="it is no UTF-8 text") from error
