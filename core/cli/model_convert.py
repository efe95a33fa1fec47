"""`python -m core model convert`: a published checkpoint as a native folder, or a run's adapter for such a checkpoint.

    python -m core model convert FOLDER TARGET             Baichuan, ChatGLM and their like, as `model import` has them
    python -m core model convert RUN TARGET --published    an adapter of a converted base, for the published one

Nothing comes into the workspace. The target appears when it is whole.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

from core.children import run_child
from core.cli.output import print_json
from core.disk import require_space
from core.errors import ModelError
from core.models.conversions import find_layout
from core.models.families import read_config
from core.models.making import gather
from core.models.parents import resolve_parent
from core.models.weights import PUBLISHED
from core.rundir import read_json
from core.system import folder_size, python_command
from core.workspace import Workspace


def add(commands: Any) -> None:
    about = "rewrite a published checkpoint (Baichuan, ChatGLM) as a native one, outside of the workspace"
    parser = commands.add_parser("convert", help=about, description=f"{about}.")
    parser.add_argument("source", metavar="FOLDER", help="the published folder; with --published: a run")
    parser.add_argument("target", metavar="TARGET", help="a folder that does not exist yet")
    about = "the other way: a run's adapter as one of the published checkpoint that its base was converted from"
    parser.add_argument("--published", action="store_true", help=about)
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    target = Path(args.target).expanduser().resolve()
    if target.exists():
        raise ModelError("convert.target_exists", path=str(target))
    building = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    building.mkdir(parents=True)
    try:
        if args.published:
            _published(Workspace(args.workspace), args.source, building)
        else:
            _native(Path(args.source).expanduser().resolve(), building)
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    print_json({"folder": str(target)}) if args.json else print(f"written to {target}")
    return 0


def _native(source: Path, building: Path) -> None:
    """Raises ModelError `convert.no_layout` for what can be brought in as it is, or as `core.models.convert`."""
    config = read_config(source)
    if find_layout(config) is None:
        _child("kind", source)
        raise ModelError("convert.no_layout", path=str(source), kind=config.get("model_type", "?"))
    require_space(building, folder_size(source))
    gather(source, building)
    _child("native", source, building)


def _published(workspace: Workspace, text: str, building: Path) -> None:
    parent = resolve_parent(workspace, text, hashed=False)
    if len(parent.adapters) != 1 or not isinstance(read_json(parent.folder / PUBLISHED), dict):
        raise ModelError("convert.not_published", run=text)
    _child("publish", parent.adapters[0], building, parent.folder)


def _child(kind: str, *paths: Path) -> None:
    command = python_command("core.models.convert", kind, *map(str, paths))
    run_child(command, check_stop=lambda: None, on_line=_tell).raise_error(ModelError)


def _tell(line: dict[str, Any]) -> None:
    if "progress" in line:
        done, total = line["progress"]
        print(f"{done} of {total} files of weights", file=sys.stderr, flush=True)
