"""Opens the page: `python run_webui.py`, then http://127.0.0.1:7860.

    python run_webui.py --workspace ~/galen --root /data --lang zh
    GALEN_PASSWORD=… python run_webui.py --host 0.0.0.0 --user doctor
    python run_webui.py --chat lora_model=RUN              the chat alone, with these models, to show them to others

It listens on this machine only unless `--host` says otherwise, and refuses that without a password (GALEN_PASSWORD, or
the file `password` in the workspace, readable by you alone). Without one it answers only to the names of this machine.
Runs go on when it is stopped.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.output import fail
from core.errors import GalenError
from core.workspace import Workspace

if TYPE_CHECKING:
    import gradio as gr

PASSWORD = "GALEN_PASSWORD"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' data: blob:; "
    "frame-ancestors 'self'"
)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Open Galen's page in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: 7860)")
    parser.add_argument(
        "--workspace", help="folder of runs, datasets and models (default: $GALEN_WORKSPACE or ./workspace)"
    )
    parser.add_argument("--root", action="append", default=[], help="another folder the page may read from; repeatable")
    parser.add_argument(
        "--lang", choices=("auto", "zh", "en"), default="auto", help="language before anybody switches it"
    )
    parser.add_argument("--user", default="galen", help="name to log in with, where a password is set")
    parser.add_argument(
        "--chat",
        nargs="*",
        metavar="KEY=VALUE",
        help="only the chat, with base_model=… and lora_model=a,b; other settings: those of `python -m core serve`",
    )
    parser.add_argument("--open", action="store_true", help="open a browser window, too")
    return parser.parse_args(words)


def is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_password(workspace: Path) -> str | None:
    """From the environment, else from the workspace's file. Raises SystemExit where others may read that file."""
    if os.environ.get(PASSWORD):
        return os.environ[PASSWORD]
    file = workspace / "password"
    if not file.is_file():
        return None
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SystemExit(f"error: others may read {file}. Run: chmod 600 {file}")
    return file.read_text(encoding="utf-8").strip() or None


def build(workspace: Workspace, args: argparse.Namespace) -> tuple[gr.Blocks, dict[str, Any]]:
    """The page, whole or the chat alone, and what its `launch` needs. Raises GalenError for models that cannot be
    shown."""
    if args.chat is None:
        from webui.app import build_app, launch_options

        return build_app(workspace, args.lang), launch_options(workspace)
    from core.configs.files import read_settings
    from core.serving.options import Weights
    from webui import alone

    models = alone.check_models(workspace, read_settings(Weights, args.chat))
    return alone.build_chat(workspace, models, args.lang), alone.launch_options(workspace)


def main(words: list[str] | None = None) -> int:
    args = parse(words)
    workspace = Workspace(args.workspace, roots=args.root)
    password = find_password(workspace.path)
    if not is_local(args.host) and password is None:
        print(
            f"error: {args.host} can be reached by others, and no password is set. Set {PASSWORD}, or write one into "
            f"{workspace.path / 'password'} (chmod 600), or leave out --host.",
            file=sys.stderr,
        )
        return 2
    try:
        app, options = build(workspace, args)
    except GalenError as error:
        return fail(error)
    from starlette.middleware import Middleware

    from webui.front_end import QuickFrontEnd
    from webui.policy import LOCAL_NAMES, LocalNamesOnly, SecurityHeaders

    middleware = [Middleware(SecurityHeaders, policy=POLICY)]
    if password is None:
        middleware.append(Middleware(LocalNamesOnly, names={*LOCAL_NAMES, args.host}))
    middleware.append(Middleware(QuickFrontEnd))  # within the others
    print(f"Galen: http://{args.host}:{args.port}  (workspace {workspace.path})", flush=True)
    app.launch(
        server_name=args.host,
        server_port=args.port,
        inbrowser=args.open,
        quiet=True,
        auth=(args.user, password) if password else None,
        app_kwargs={"middleware": middleware},
        **options,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
