"""`python -m core predict …`: a file of prompts answered by a run, in this project's words or in the article's.

    python -m core predict model.base=RUN data.file=questions.jsonl
    python -m core predict base_model=starter lora_model=RUN data_file=questions.txt predictions_file=answers.jsonl
    python -m core predict --base_model starter --data_file questions.txt --use_cpu --with_prompt
    python -m core predict --arguments "--model_type llama --base_model M --lora_model L --interactive"

What each of the article's words becomes is said by `docs/arguments.md`; a setting that is given twice is what its own
name says. `interactive` leads to the terminal chat (`core.cli.chat`), `single_turn` to one that forgets each answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.cli import chat
from core.cli.stage import add_stage, begin, read_text, tell_mapped
from core.configs.arguments import ARGUMENTS, INFERENCE, TALKING
from core.configs.article import Mapped, from_arguments, read_arguments
from core.configs.files import fields_of, parse_override
from core.configs.stages import STAGES
from core.errors import ConfigError, Problem

STAGE = "predict"
FLAGS = ("with_prompt", "use_cpu", *TALKING)
OFF = "arguments.off"  # of a switch: it is as it is without a word


def add(subparsers: Any) -> None:
    parser = add_stage(subparsers, STAGES[STAGE])
    given = parser.add_argument_group("the article's arguments", "also as key=value, without the two dashes")
    for argument in INFERENCE:
        if argument.name not in FLAGS:
            given.add_argument(f"--{argument.name}", metavar="VALUE", help=f"the same as {argument.keys[0]}")
    for name in FLAGS:
        given.add_argument(f"--{name}", action="store_true", default=None)
    parser.add_argument(
        "--arguments", metavar="WORDS", help="take the arguments of such a script from a text, or from a file"
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Submit and follow, or talk. Raises ConfigError for what none of the settings takes."""
    printed = arguments_of(args.arguments) if args.arguments is not None else {}
    typed = {name: value for name in (*ARGUMENTS, *TALKING) if (value := getattr(args, name, None)) is not None}
    settings, named, preset = split(args.settings)
    typed |= named
    args.settings, args.preset = settings, preset or args.preset
    talking = {name: bool(given.pop(name)) for given in (printed, typed) for name in TALKING if name in given}
    mapped = from_arguments(STAGE, printed)
    if printed:
        tell_mapped(mapped, "--arguments")
    values = {**mapped.values, **taken(from_arguments(STAGE, typed))}
    if talking.get("interactive") or talking.get("single_turn"):
        return chat.run(args, talk_words(values, args, single=talking.get("single_turn", False)))
    return begin(args, values)


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments in a file, or in a text that is no file's name."""
    return read_arguments(text if text.lstrip().startswith("-") else read_text(Path(text)))


def split(words: Iterable[str]) -> tuple[list[str], dict[str, Any], str | None]:
    """(settings by dotted key, the article's arguments, the preset) of `key=value` words. Only a setting has a dot."""
    known = fields_of(STAGES[STAGE].config)
    own = {name: known[key] for name, each in ARGUMENTS.items() if (key := next(iter(each.keys), "")) in known}
    settings: list[str] = []
    given: dict[str, Any] = {}
    preset = None
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        if equals and name == "preset":
            preset = text
        elif equals and (name in own or name in TALKING):
            given[name] = parse_override(word, own)[1]
        else:
            settings.append(word)
    return settings, given, preset


def taken(mapped: Mapped) -> dict[str, Any]:
    """The settings that were typed. Raises ConfigError for those that cannot be taken: none may go without a word."""
    problems = [
        Problem("predict.gpus", {"value": str(value)}, key=name) if name == "gpus" and why.code.endswith("no_choice")
        else Problem(why.code, why.params, key=name)
        for name, value, why in mapped.dropped
        if why.code not in (OFF, "arguments.decided")
    ]  # fmt: skip
    if problems:
        raise ConfigError(problems)
    return mapped.values


# -- talking instead --------------------------------------------------------------------------------------------------
def talk_words(values: Mapping[str, Any], args: argparse.Namespace, *, single: bool) -> list[str]:
    """The words of `python -m core chat` that say the same. What belongs to a file is left out."""
    known = fields_of(STAGES[STAGE].config)
    typed = [parse_override(word, known) for word in args.settings if "=" in word]
    words = [f"preset={args.preset}"] if args.preset else []
    words += ["single_turn=true"] if single else []
    for key, value in {**values, **dict(typed)}.items():
        name = chat.NAMES.get(key)
        if name is not None and value not in (None, ""):
            listed = isinstance(value, list)
            text = ",".join(map(str, value)) if listed else str(value).lower() if isinstance(value, bool) else value
            words.append(f"{name}={text}")
        elif name is None and not key.startswith("data."):
            words.append(f"{key}={value}")  # what nobody knows is told there
    return words
