"""Whether what the documents name is there: commands, options, settings, presets, modules, files, variables."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, get_origin

from pydantic import TypeAdapter, ValidationError
from torch.distributed.run import get_args_parser

from core.__main__ import build_parser
from core.configs.files import fields_of, list_presets, parse_override, sections_of
from core.configs.stages import STAGES
from tests.docs_tools import ROOT

Names = tuple[str, ...]  # the commands that lead to one, such as ("data", "add")
SETTING = re.compile(r"([a-z]+\.(?!(?:csv|json|jsonl|md|py|svg|txt|yaml)\b)[a-z_]+)(=.*)?")  # not a file's name
OTHERS = ("core", "data", "docs", "presets", "tests", "webui", "benchmarks")  # folders whose files the documents name


# -- commands ---------------------------------------------------------------------------------------------------------
def _below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = next((each for each in parser._actions if isinstance(each, argparse._SubParsersAction)), None)
    return dict(found.choices) if found is not None else {}


def path_of(words: Sequence[str]) -> tuple[Names, argparse.ArgumentParser]:
    """The commands that the words begin with, and the last one's parser. Raises ValueError for one that is none."""
    parser = build_parser()
    path: list[str] = []
    for word in words:
        below = _below(parser)
        if not below or word.startswith("-"):
            break
        if word not in below:
            raise ValueError(f"there is no command `{' '.join([*path, word])}`")
        path.append(word)
        parser = below[word]
    return tuple(path), parser


@cache
def all_options() -> frozenset[str]:
    """Every option of every command, of the page, of the tests, and of torchrun."""
    found, left = set(torchrun_options()), [build_parser()]
    while left:
        parser = left.pop()
        found |= set(parser._option_string_actions)
        left += _below(parser).values()
    for file in ("run_webui.py", "tests/conftest.py"):
        found |= set(re.findall(r'"(--[a-z-]+)"', (ROOT / file).read_text(encoding="utf-8")))
    return frozenset(found)


def torchrun_options() -> set[str]:
    return set(get_args_parser()._option_string_actions)


def options_in(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def module_file(name: str) -> str:
    """The file of `python -m name`, from the root."""
    package = ROOT / name.replace(".", "/")
    return f"{name.replace('.', '/')}{'/__main__' if package.is_dir() else ''}.py"


def misnamed_script(name: str, words: Sequence[str]) -> str:
    """The script must be there, and it, or what it imports from beside it, must hold every option that it is given."""
    file = ROOT / name
    if not file.is_file():
        return f"there is no {name}"
    text = file.read_text(encoding="utf-8")
    beside = re.escape(".".join(file.relative_to(ROOT).parent.parts))
    for module in re.findall(rf"^from {beside}\.(\w+) import", text, re.MULTILINE):
        text += (file.parent / f"{module}.py").read_text(encoding="utf-8")
    return "".join(f"{name} has no option {word}; " for word in options_in(words) if f'"{word}"' not in text)


def misnamed(words: Sequence[str]) -> str:
    """What a `python` command that is only named, and perhaps not whole, names that is not there."""
    if words[0] != "-m":
        return misnamed_script(words[0], words[1:])
    if words[1] in ("pytest", "pip"):
        return ""
    if words[1] != "core":
        return misnamed_script(module_file(words[1]), words[2:])
    try:
        path, parser = path_of([word for word in words[2:] if word not in ("…", "COMMAND", "STAGE")])
    except ValueError as error:
        return str(error)
    rest = words[2 + len(path) :]
    wrong = [word for word in options_in(rest) if word not in parser._option_string_actions]
    stage = next((word for word in (*path, *rest) if word in STAGES), None)
    if stage is not None:
        keys = [found.group(1) for word in rest if (found := SETTING.fullmatch(word))]
        wrong += [key for key in keys if key not in fields_of(STAGES[stage].config)]
        presets = [preset.name for preset in list_presets(stage)]
        wrong += [name for word, name in itertools.pairwise(rest) if word == "--preset" and name not in presets]
    return f"no such option, setting or preset: {', '.join(wrong)}" if wrong else ""


# -- settings and presets ---------------------------------------------------------------------------------------------
@cache
def _declared() -> dict[str, list[Any]]:
    """Dotted key → its declaration in each stage that has it."""
    found: dict[str, list[Any]] = {}
    for stage in STAGES.values():
        for key, field in fields_of(stage.config).items():
            found.setdefault(key, []).append(field)
    return found


def wrong_setting(text: str) -> str:
    """What is wrong with `section.name` or `section.name=value`; "" for what is no setting at all."""
    found = SETTING.fullmatch(text)
    if found is None or found.group(1).partition(".")[0] not in _sections():
        return ""
    key, value = found.groups()
    if key not in _declared():
        return f"there is no setting {key}"
    if not value or value[1:].isupper() or value == "=…":
        return ""
    return "" if any(_takes(field, text) for field in _declared()[key]) else f"{key} does not take {value[1:]}"


@cache
def _sections() -> set[str]:
    return {name for stage in STAGES.values() for name in sections_of(stage.config)}


def _takes(field: Any, text: str) -> bool:
    value = parse_override(text, {text.partition("=")[0]: field})[1]
    kind = field.annotation
    if get_origin(kind) is list and isinstance(value, str):  # the sections take a word for a list of one
        return True
    try:
        TypeAdapter(Annotated[(kind, field)]).validate_python(value)
    except ValidationError:
        return False
    return True


def known_preset(name: str) -> bool:
    return any(preset.name == name for stage in STAGES for preset in list_presets(stage))


# -- files and variables ----------------------------------------------------------------------------------------------
def wrong_path(text: str) -> str:
    """A path from the root, such as `core/rules.py` or `data/sft/`, must lead to something; `*` stands for any name."""
    if not re.fullmatch(r"[\w.*{},/-]+", text) or text.partition("/")[0] not in OTHERS or "/" not in text:
        return ""
    patterns = [text]
    while any("{" in each for each in patterns):
        patterns = [
            each[: found.start()] + part + each[found.end() :]
            for each in patterns
            if (found := re.search(r"\{([^{}]*)\}", each))
            for part in found.group(1).split(",")
        ]
    gone = [each for each in patterns if not any(True for _ in ROOT.glob(each.rstrip("/")))]
    return f"there is no {', '.join(gone)}" if gone else ""


@cache
def _code() -> str:
    files = [*ROOT.glob("core/**/*.py"), *ROOT.glob("webui/*.py"), *ROOT.glob("tests/*.py"), ROOT / "run_webui.py"]
    return "".join(file.read_text(encoding="utf-8") for file in files if not file.name.startswith("test_docs"))


def known_variable(name: str) -> bool:
    """Whether the code names this variable of the environment."""
    return f'"{name}"' in _code() or f"'{name}'" in _code()
