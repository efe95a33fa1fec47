"""`python -m core data catalogue | get`: the field's public sets, and bringing one, or any set of a hub, in.

data catalogue huatuo --stage sft
data get shibing624-medical-sft-zh
data get owner/name --files 'finetune/*.json' --hub modelscope
"""

from __future__ import annotations

import argparse
import difflib
from typing import Any

from core.cli.bring_data import STAGE, carry_out
from core.cli.output import print_json, table
from core.configs.files import resolve
from core.configs.stages import StageConfig
from core.data.bring.catalogue import Entry, catalogue, entries, entry_named
from core.errors import InputError
from core.workspace import Workspace


def add(commands: Any) -> None:
    """Register the commands below `data`."""
    shown = commands.add_parser("catalogue", help="public sets of the field: rows, languages, licence, stages")
    shown.add_argument("words", nargs="*", metavar="WORD", help="what its name, id, licence or description must hold")
    shown.add_argument("--stage", default="", help="only sets for this stage")
    shown.add_argument("--language", default="", help="only sets with this language: zh, en, …")
    shown.set_defaults(handler=_catalogue)

    get = commands.add_parser("get", help="import a set of the catalogue, or any set of a hub, as a run")
    get.add_argument("name", metavar="NAME|OWNER/NAME")
    get.add_argument("--name", dest="called", default="", help="of the dataset; default: made from the set's")
    get.add_argument("--hub", choices=("huggingface", "modelscope"), default="huggingface")
    get.add_argument("--files", nargs="+", default=[], metavar="PATTERN", help="default: all data files")
    get.add_argument("--revision", default="main", help="branch, tag or commit")
    get.add_argument("--bad-rows", choices=("stop", "drop"), default="drop", help="default: drop, and record them")
    get.add_argument("--detach", action="store_true", help="print the run's id and return")
    get.set_defaults(handler=_get)


def _catalogue(args: argparse.Namespace) -> int:
    found = entries(text=" ".join(args.words), stage=args.stage, language=args.language)
    if found:
        heads = ("NAME", "SET", "ROWS", "MB", "LANGUAGES", "LICENCE", "STAGES")
        print(table(heads, [_row(entry) for entry in found]))
    else:
        print("No set of the catalogue fits. `data get OWNER/NAME` brings in any other set of a hub.")
    if args.json:
        print_json({"sets": [entry.model_dump() for entry in found]})
    return 0


def _row(entry: Entry) -> tuple[Any, ...]:
    languages, stages = ", ".join(entry.languages), ", ".join(entry.stages)
    return (entry.name, entry.repo, entry.rows or "?", entry.megabytes or "?", languages, entry.licence or "?", stages)


def _get(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    return carry_out(args, workspace, config_of(args, workspace))


def config_of(args: argparse.Namespace, workspace: Workspace) -> StageConfig:
    """The config of the run that brings it in.

    Raises InputError for a name that is neither in the catalogue nor an id of a hub.
    """
    entry = entry_named(args.name)
    if entry is not None:
        return entry.config(name=args.called)
    if args.name.count("/") != 1:
        near = difflib.get_close_matches(args.name, [known.name for known in catalogue()], 1)
        raise InputError("data.not_in_catalogue", name=args.name, nearest=near[0] if near else "")
    values = {
        "source.repo": args.name, "source.hub": args.hub, "source.revision": args.revision,
        "source.files": list(args.files), "rows.name": args.called, "rows.bad_rows": args.bad_rows,
    }  # fmt: skip
    return resolve(STAGE, values=values, workspace=workspace)
