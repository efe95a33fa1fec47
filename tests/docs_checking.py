"""How each command of the documents is run, or, where it would train, download or wait for somebody, looked through.

`complaint(place, command)` is empty where a reader could type the command:

- a stage is run with `--dry-run`, and its config is pinned, as its start would do it: what it names must be there;
- what is in `RUN` is run as it stands; what is in `LOOKED` is parsed, and its settings are read, for the reason given;
- another module or script must exist, with the options that are given to it; of other programs see `PROGRAMS`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import run_webui
from core.__main__ import build_parser, main
from core.cli.catalogue_data import config_of
from core.cli.model import fetch_config
from core.cli.serve import base_of
from core.configs.changes import refused
from core.configs.files import read_settings, resolve
from core.configs.sections import Devices
from core.configs.stages import STAGES
from core.errors import GalenError
from core.jobs.pinning import pin
from core.models.lineage import lora_weights
from core.models.runs import find_run
from core.serving.options import ChatOptions, ServeOptions, Weights
from core.workspace import Workspace
from tests.docs_names import (
    Names,
    known_variable,
    misnamed_script,
    module_file,
    options_in,
    path_of,
    torchrun_options,
)  # fmt: skip
from tests.docs_place import Place
from tests.docs_tools import ROOT, Command

Check = Callable[[argparse.Namespace, Workspace], str]

RUN = {
    ("fit",): (0, 1),  # 1: would not fit this machine
    ("jobs", "list"): (0,), ("jobs", "show"): (0,), ("jobs", "log"): (0,),
    ("data", "check"): (0,), ("data", "add"): (0,), ("data", "repair"): (0,), ("data", "list"): (0,),
    ("data", "show"): (0,), ("data", "rows"): (0,), ("data", "stats"): (0,), ("data", "tokens"): (0,),
    ("data", "clean"): (0,), ("data", "preview"): (0,), ("data", "dropped"): (0,), ("data", "split"): (0,),
    ("data", "mix"): (0,), ("data", "convert"): (0,), ("data", "hindsight"): (0,), ("data", "export"): (0,),
    ("data", "edit"): (0,), ("data", "catalogue"): (0,),
    ("model", "list"): (0,), ("model", "show"): (0,), ("model", "disk"): (0,), ("model", "card"): (0,),
    ("runs", "list"): (0,), ("runs", "note"): (0,), ("runs", "curves"): (0,), ("runs", "compare"): (0,),
    ("runs", "lineage"): (0,), ("runs", "disk"): (0,), ("runs", "export"): (0,),
    ("votes",): (0,),
    ("model", "push"): (2,),  # as far as without a token
}  # fmt: skip
NO_TOKEN = "push.no_token"


def _serve(args: argparse.Namespace, workspace: Workspace) -> str:
    return _answering(read_settings(ServeOptions, args.settings), workspace)


def _chat(args: argparse.Namespace, workspace: Workspace) -> str:
    return _answering(read_settings(ChatOptions, args.settings), workspace)


def _answering(options: Weights, workspace: Workspace) -> str:
    base_of(workspace, options)
    for name in options.lora_model:
        if name != "base":
            lora_weights(workspace, name)
    return ""


def _fetch(args: argparse.Namespace, workspace: Workspace) -> str:
    fetch_config(args, workspace)
    return ""


def _get(args: argparse.Namespace, workspace: Workspace) -> str:
    config_of(args, workspace)
    return ""


def _resume(args: argparse.Namespace, workspace: Workspace) -> str:
    run = _found(args.run, workspace)
    values = {f"{section}.{name}": value for section, each in run.config().items() for name, value in each.items()}
    now = resolve(run.stage, values=values, overrides=args.settings).model_dump(mode="json")
    return "; ".join(map(str, refused(run.config(), now, run.id)))


def _found(name: str, workspace: Workspace) -> Any:
    ref = find_run(workspace, name)
    return workspace.runs()[0] if name == "last" else workspace.run(ref.run if ref else name)


def _runs(args: argparse.Namespace, workspace: Workspace) -> str:
    for name in [args.run] if isinstance(args.run, str) else args.run:
        _found(name, workspace)
    return ""


def _parsed(args: argparse.Namespace, workspace: Workspace) -> str:
    return ""


LOOKED: dict[Names, tuple[str, Check]] = {  # why it is not run, and what is looked at besides its words
    ("serve",): ("answers until Ctrl-C", _serve),
    ("chat",): ("waits for questions", _chat),
    ("rate",): ("wants a person at a terminal", _runs),
    ("report",): ("wants finished evaluations; tests/test_report.py runs it", _parsed),
    ("votes", "dataset"): ("wants votes; tests/test_votes.py runs it", _parsed),
    ("votes", "export"): ("wants votes; tests/test_votes.py runs it", _parsed),
    ("model", "starter"): ("downloads 93 MB", _fetch),
    ("model", "import"): ("downloads a model", _fetch),
    ("model", "convert"): ("wants a published checkpoint of some GB; tests/test_model_convert.py runs it", _parsed),
    ("model", "rm"): ("deletes what other commands need", _parsed),
    ("model", "clean"): ("deletes what other commands need", _parsed),
    ("data", "get"): ("downloads a dataset", _get),
    ("data", "rm"): ("deletes what other commands need", _parsed),
    ("data", "pairs"): ("wants ranked answers; tests/test_steps_shape.py runs it", _parsed),
    ("jobs", "stop"): ("wants a run at work; tests/test_jobs_cli.py runs it", _runs),
    ("jobs", "kill"): ("wants a run at work; tests/test_jobs_cli.py runs it", _runs),
    ("jobs", "resume"): ("would train", _resume),
    ("jobs", "submit"): ("would train", _parsed),
    ("jobs", "delete"): ("deletes what other commands need", _runs),
}


def complaint(place: Place, command: Command) -> str:
    """What is wrong with the command; "" where nothing is."""
    wrong = [word for word in command.assigned if not known_variable(word.partition("=")[0])]
    if wrong:
        return f"nothing reads {wrong[0]}"
    if not command.words:
        return ""
    program, *words = command.words
    if program not in PROGRAMS:
        return f"say in tests/docs_checking.py how `{program}` is checked"
    try:
        with contextlib.chdir(place.folder):
            return PROGRAMS[program](place, tuple(words), command.assigned)
    except GalenError as error:
        return " ".join([error.message, *map(str, error.problems)])


# -- python -m core ---------------------------------------------------------------------------------------------------
def _core(place: Place, words: tuple[str, ...]) -> str:
    filled = place.filled(words)
    try:
        path, parser = path_of(filled)
    except ValueError as error:
        return str(error)
    everywhere = ["--workspace", str(place.workspace.path), "--json"]
    if "--dry-run" in parser._option_string_actions:
        return _dry(place, path, [*everywhere, *path, "--dry-run", *filled[len(path) :]])
    if path in LOOKED:
        try:
            with told() as output:
                args = build_parser().parse_args([*everywhere, *filled])
        except SystemExit:
            return output.getvalue()
        return LOOKED[path][1](args, place.workspace)
    if path not in RUN:
        return f"say in tests/docs_checking.py how `python -m core {' '.join(path)}` is checked"
    status, output = run([*everywhere, *filled])
    if path == ("fit",) and "device.unknown" in output:  # the reader has such GPUs
        status, output = run([*everywhere, *filled, "devices.use=[cpu,cpu]"])
    if path == ("model", "push") and json.loads(output.splitlines()[-1])["error"]["code"] != NO_TOKEN:
        return output
    return "" if status in RUN[path] else f"exit status {status}: {output[-500:]}"


def _dry(place: Place, path: Names, words: list[str]) -> str:
    """The stage's config, pinned as a start would; on the CPU, where the reader has GPUs."""
    status, output = run(words)
    if status != 0:
        return f"exit status {status}: {output[-500:]}"
    stage = STAGES.get(path[0])
    if stage is None:
        return ""
    config = stage.config.model_validate_json(output.splitlines()[-1])
    if any(device.startswith("cuda") for device in config.devices.use):
        here = ["cpu"] * min(2, len(config.devices.use))
        config = config.model_copy(update={"devices": Devices(use=here)})
    pin(place.workspace, stage, config)
    return ""


def run(words: list[str]) -> tuple[int, str]:
    """Exit status and output of `python -m core`, in this process, where nobody is logged in anywhere."""
    token = os.environ.pop("HF_TOKEN", None)
    try:
        with told() as output:
            return main(words), output.getvalue()
    except SystemExit as error:  # argparse
        return int(error.code or 0), output.getvalue()
    finally:
        if token is not None:
            os.environ["HF_TOKEN"] = token


@contextlib.contextmanager
def told() -> Iterator[io.StringIO]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        yield output


# -- other programs ---------------------------------------------------------------------------------------------------
def _python(place: Place, words: tuple[str, ...], assigned: tuple[str, ...]) -> str:
    if words[0] == "-m":
        return _core(place, words[2:]) if words[1] == "core" else _module(words[1], words[2:])
    return _page(place, words[1:], assigned) if words[0] == "run_webui.py" else misnamed_script(words[0], words[1:])


def _module(name: str, words: Sequence[str]) -> str:
    return _files(words) if name in ("pytest", "pip") else misnamed_script(module_file(name), words)


def _page(place: Place, words: Sequence[str], assigned: Sequence[str]) -> str:
    try:
        with told() as output:
            args = run_webui.parse(place.filled(tuple(words)))
    except SystemExit:
        return output.getvalue()
    if not run_webui.is_local(args.host) and not any(word.startswith(run_webui.PASSWORD) for word in assigned):
        return f"{args.host} is refused without a password"
    return "" if args.chat is None else _answering(read_settings(Weights, args.chat), place.workspace)


def _pip(place: Place, words: tuple[str, ...], assigned: tuple[str, ...]) -> str:
    return _files(words)


def _files(words: Sequence[str]) -> str:
    """Files of the project that are named must be there."""
    named = [word for word in words if "/" in word or word.endswith(".txt")]
    return "".join(f"there is no {word}; " for word in named if not (ROOT / word.partition("::")[0]).exists())


def _ssh(place: Place, words: tuple[str, ...], assigned: tuple[str, ...]) -> str:
    """There is no machine to reach; the port must be the page's, or the server's."""
    ports = {str(run_webui.parse([]).port), str(ServeOptions().port)}
    ends = {text.rpartition(":")[2] for word in words for text in re.findall(r"\d+:[\w.]+:\d+", word)}
    return "" if ends and ends <= ports else f"forwards {sorted(ends)}, not {sorted(ports)}"


def _curl(place: Place, words: tuple[str, ...], assigned: tuple[str, ...]) -> str:
    """No server runs here; the route must be one of its own."""
    text = (ROOT / "core" / "serving" / "server.py").read_text(encoding="utf-8")
    routes = [found for word in words for found in re.findall(r"https?://[^/\s]+(/[\w/]+)", word)]
    return "" if routes and all(f'"{route}"' in text for route in routes) else f"no such route: {routes}"


def _torchrun(place: Place, words: tuple[str, ...], assigned: tuple[str, ...]) -> str:
    """There are no other hosts; its options must be torch's, and the module must be there."""
    at = words.index("-m") if "-m" in words else len(words)
    wrong = [word for word in options_in(words[:at]) if word not in torchrun_options()]
    there = at + 1 < len(words) and (ROOT / module_file(words[at + 1])).is_file()
    return f"torchrun has no option {wrong[0]}" if wrong else "" if there else "there is no such module"


def _export(place: Place, words: tuple[str, ...], assigned: tuple[str, ...]) -> str:
    return "".join(f"nothing reads {word}; " for word in words if not known_variable(word.partition("=")[0]))


PROGRAMS: dict[str, Callable[[Place, tuple[str, ...], tuple[str, ...]], str]] = {
    "python": _python, "pip": _pip, "torchrun": _torchrun, "ssh": _ssh, "curl": _curl, "export": _export,
}  # fmt: skip
