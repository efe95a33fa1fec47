"""`python -m core COMMAND …`: everything the page can do, from a terminal.

Exit status: 0 success, 1 a run failed, 2 bad config or input, 130 stopped.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from core.cli.output import fail
from core.errors import GalenError, InputError

# Modules of core.cli, in the order of the help.
COMMANDS = (
    "stage", "predict", "pipeline", "report", "fit", "jobs", "runs", "rate", "data", "model", "chat", "votes", "serve",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. `--workspace` and `--json` may stand before or after the command."""
    parser = argparse.ArgumentParser(prog="python -m core", description="Train a domain language model in stages.")
    everywhere = argparse.ArgumentParser(add_help=False)
    for place, default in ((parser, None), (everywhere, argparse.SUPPRESS)):
        place.add_argument(
            "--workspace", metavar="DIR", default=default, help="default: $GALEN_WORKSPACE or ./workspace"
        )
        place.add_argument(
            "--json",
            action="store_true",
            default=default or False if place is parser else default,
            help="print one JSON object as the last line",
        )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_command_class(everywhere))
    for name in COMMANDS:
        importlib.import_module(f"core.cli.{name}").add(commands)
    return parser


def _command_class(everywhere: argparse.ArgumentParser) -> type[argparse.ArgumentParser]:
    """Sub-parsers (and theirs) that all know the global options."""

    class Command(argparse.ArgumentParser):
        def __init__(self, **options: object) -> None:
            super().__init__(parents=[everywhere], **options)  # type: ignore[arg-type]  # passed on as argparse gave it

    return Command


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(args, "settings") or any(word.startswith("-") for word in rest)):
        parser.error(f"there is no such word here: {' '.join(rest)}")
    if rest:
        args.settings += rest  # settings behind an option, which argparse does not put together
    try:
        return int(args.handler(args))
    except GalenError as error:
        return fail(error, json=args.json)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone (`… | head`): nothing left to say
        return 0
    except OSError as error:
        path, detail = error.filename or args.workspace or "", error.strerror or str(error)
        return fail(InputError("path.unusable", path=str(path), detail=detail), json=args.json)


if __name__ == "__main__":
    sys.exit(main())
