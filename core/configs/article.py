"""Arguments that somebody printed become settings: the article's JSON, a YAML file, or words of a script.

    mapped = from_arguments("sft", '{"learning_rate": 2e-05, "per_device_train_batch_size": 8, "no_cuda": false}')
    mapped.values    {"optim.learning_rate": 2e-05, "schedule.batch_size": 8}
    mapped.dropped   [("no_cuda", False, Problem("arguments.off"))]

Nothing is dropped without its reason, and a name that nobody knows is told, too. The table is
`core.configs.arguments`; `python -m core.configs.article > docs/arguments.md` writes it down. Left out: the model and
the data, which the article's arguments do not name.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml.error import YAMLError

from core.configs.arguments import ARGUMENTS, BESIDE, GONE, INFERENCE, PRINTED, TALKING, Argument, Unfit
from core.configs.files import fields_of, parse_yaml, stage_of
from core.configs.problems import allowed_text, shown
from core.errors import InputError, Problem
from core.messages import sentence

HIDDEN = "…"  # in place of a password


@dataclass(frozen=True)
class Mapped:
    """`values` by dotted key, as `files.resolve` takes them. `mapped` has (argument, key, the setting's value),
    `dropped` (argument, value, why), `unknown` names."""

    values: dict[str, Any] = field(default_factory=dict)
    mapped: list[tuple[str, str, Any]] = field(default_factory=list)
    dropped: list[tuple[str, Any, Problem]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        dropped = [{"argument": name, "value": value, **why.as_dict()} for name, value, why in self.dropped]
        mapped = [{"argument": name, "key": key, "value": value} for name, key, value in self.mapped]
        return {"values": self.values, "mapped": mapped, "dropped": dropped, "unknown": self.unknown}


def from_arguments(stage: str, given: str | Mapping[str, Any]) -> Mapped:
    """The settings of `stage` that `given` stands for: a text as `read_arguments` takes it, or names and values.

    Raises InputError `arguments.unreadable`, and `config.unknown_stage`.
    """
    known = fields_of(stage_of(stage).config)
    arguments = read_arguments(given) if isinstance(given, str) else dict(given)
    result = Mapped()
    for name, value in arguments.items():
        argument = ARGUMENTS.get(name)
        if argument is None:
            result.unknown.append(name)
            continue
        try:
            key = _key(argument, stage, known)
            taken = _checked(argument.take.of(value, arguments), known[key])
        except Unfit as unfit:
            result.dropped.append((name, HIDDEN if argument.secret and value else value, unfit.problem))
            continue
        result.values[key] = taken
        result.mapped.append((name, key, taken))
    return result


def _key(argument: Argument, stage: str, known: Mapping[str, FieldInfo]) -> str:
    if argument.why:
        raise Unfit(argument.why)
    for key in argument.keys:
        if key in known:
            return key
    if argument.keys == ("evaluation.best_by",):
        raise Unfit("arguments.best")
    raise Unfit("arguments.other_stage", stage=stage)


def _checked(value: Any, setting: FieldInfo) -> Any:
    """The value as the setting holds it. Raises Unfit where the setting does not take it."""
    kind: Any = Annotated[(setting.annotation, *setting.metadata)] if setting.metadata else setting.annotation
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        raise Unfit("config.out_of_bounds", value=shown(value), allowed=allowed_text(setting)) from None


# -- reading ----------------------------------------------------------------------------------------------------------
def read_arguments(text: str) -> dict[str, Any]:
    """Names and values from a text that holds them as JSON (with words round it), a Python dict, `--name value` words
    of a script, or YAML. Raises InputError `arguments.unreadable` with the place where it ends to make sense."""
    text = text.strip().lstrip("\ufeff")
    found: dict[str, Any] = {}
    if "{" in text and not re.match(r"\w+ *:", text):
        found = _from_braces(text)
    elif re.search(r"(^|\s)--\w", text):
        found = _from_words(text)
    else:
        found = _from_yaml(text)
    if not found:
        raise InputError("arguments.unreadable", line=1, detail="it names no argument")
    return found


def _from_braces(text: str) -> dict[str, Any]:
    start = text.index("{")
    try:
        return dict(json.JSONDecoder().raw_decode(text, start)[0])
    except json.JSONDecodeError as error:
        try:  # as Python prints it: None, True, single quotes
            found = ast.literal_eval(text[start : text.rindex("}") + 1])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found = None
        if isinstance(found, dict):
            return {str(name): value for name, value in found.items()}
        raise InputError("arguments.unreadable", line=error.lineno, detail=error.msg) from error


def _from_words(text: str) -> dict[str, Any]:
    """`--fp16 --learning_rate 2e-5 --target_modules q_proj v_proj`, with the line ends of a shell."""
    try:
        words = shlex.split(text.replace("\\\r\n", " ").replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise InputError("arguments.unreadable", line=text.count("\n") + 1, detail=str(error)) from error
    found: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            name = name.replace("-", "_")
            found[name] = _value(value) if equals else True
        elif name:
            before = found[name]
            found[name] = _value(word) if before is True else [*_listed(before), _value(word)]
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _value(word: str) -> Any:
    try:
        return parse_yaml(word)
    except YAMLError:
        return word


def _from_yaml(text: str) -> dict[str, Any]:
    try:
        found = parse_yaml(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 if mark is None else mark.line + 1
        raise InputError(
            "arguments.unreadable", line=line, detail=getattr(error, "problem", "") or str(error)
        ) from error
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}


# -- docs/arguments.md ------------------------------------------------------------------------------------------------
HEAD = """# Training arguments

Written by `python -m core.configs.article > docs/arguments.md`.

What becomes of the training arguments of Transformers here: of the {count} that the article on MedicalGPT prints,
{kept} become a setting of every training stage, and {dropped} are dropped, each for the reason given. {gone} of the
{count} are gone from Transformers 5 itself (marked †). Paste them into a stage's page, or give them to
`python -m core sft --arguments FILE`: as JSON, YAML, or the words of a script.

| argument | the article's value | becomes | why |
|---|---|---|---|
"""
TAIL = """
## What stands beside them

| argument | becomes | why |
|---|---|---|
"""
INFERENCE_TAIL = """
## Arguments of inference

What `python -m core predict` makes of the arguments of the article's `inference.py`, as words of a script
(`python -m core predict --base_model M --data_file F --use_cpu`), as `key=value`, or with `--arguments FILE`.
`use_cpu` and the number formats stand above. `{talking}` lead to the terminal chat (`python -m core chat`).
`with_prompt` is on here unless it is turned off, where the article's script wants it said.

| argument | becomes | why |
|---|---|---|
"""


def arguments_page() -> str:
    """`docs/arguments.md`, whole; a test compares it with the file."""
    kept = sum(1 for argument in PRINTED if argument.keys)
    head = HEAD.format(count=len(PRINTED), kept=kept, dropped=len(PRINTED) - kept, gone=len(GONE))
    printed = [
        f"| `{a.name}`{'†' if a.name in GONE else ''} | `{json.dumps(a.printed)}` | {_becomes(a)} |\n" for a in PRINTED
    ]
    beside = [f"| `{a.name}` | {_becomes(a)} |\n" for a in BESIDE]
    inference = [f"| `{a.name}` | {_becomes(a)} |\n" for a in INFERENCE]
    talking = INFERENCE_TAIL.format(talking="` and `".join(TALKING))
    return "".join([head, *printed, TAIL, *beside, talking, *inference])


def _becomes(argument: Argument) -> str:
    if argument.keys:
        return f"{' or '.join(f'`{key}`' for key in argument.keys)} | {argument.take.how}"
    return f"– | {sentence(argument.why, {})[0]}"


if __name__ == "__main__":
    print(arguments_page(), end="")
