"""`python -m core serve base_model=… lora_model=…`: an OpenAI-compatible server, in this terminal, until Ctrl-C."""

from __future__ import annotations

import argparse
from typing import Any

from core.configs.files import read_settings
from core.models.families import check_type
from core.models.library import STARTER, resolve_base
from core.models.lineage import lora_weights
from core.serving.options import ServeOptions, Weights
from core.workspace import Workspace


def add(subparsers: Any) -> None:
    about = "serve a base and any number of its adapters, OpenAI-compatible"
    parser = subparsers.add_parser("serve", help=about, description=about)
    names = ", ".join(ServeOptions.model_fields)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=f"any of {names}")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from core.serving.process import ServerSpec, serve
    from core.serving.session import choose_device

    options = read_settings(ServeOptions, args.settings)
    workspace = Workspace(args.workspace)
    spec = ServerSpec(
        workspace=str(workspace.path),
        base=base_of(workspace, options),
        runs=[name for name in options.lora_model if name != "base"],
        device=choose_device(options.place, workspace),
        dtype=options.dtype,
        trust_remote_code=options.trust_remote_code,
        host=options.host,
        port=options.port,
    )
    serve(spec)
    return 0


def base_of(workspace: Workspace, options: Weights) -> str:
    """The base that the options name: their own, else that of the first run, else the starter.

    Raises ModelError `model.type_differs`, or as `lora_weights`.
    """
    runs = [name for name in options.lora_model if name != "base"]
    base = options.base_model or STARTER
    if runs and not options.base_model:
        weights = lora_weights(workspace, runs[0])
        base = str(weights.base or weights.model)
    if options.model_type:
        check_type(resolve_base(workspace, base), options.model_type)
    return base
