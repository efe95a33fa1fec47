"""From files and `key=value` words to a stage config, and back: YAML, presets, overrides, all errors at once.

YAML is read by its 1.2 rules (`2e-5` is a number, `no` is a word, `012` is twelve). Later sources win: the stage's
defaults, then the preset, then the file, then `values` (the page's form), then the overrides, in the order given.
"""

from __future__ import annotations

import copy
import errno
import io
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from core.configs.problems import nearest, problem_of
from core.configs.sections import Section
from core.configs.stages import STAGES, Stage, StageConfig
from core.errors import ConfigError, InputError, Problem
from core.rundir import write_text
from core.workspace import Workspace, check_name

S = TypeVar("S", bound=Section)
SHIPPED = Path(__file__).resolve().parents[2] / "presets"


# -- YAML -------------------------------------------------------------------------------------------------------------
def parse_yaml(text: str) -> Any:
    """One YAML 1.2 document as plain Python values. Raises `ruamel.yaml.error.YAMLError`."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (ValueError, RecursionError) as error:  # of a date such as 2001-99-99; of a thousand brackets
        raise YAMLError(str(error).split("\n")[0]) from error


def dump_yaml(data: Any) -> str:
    """`data` as YAML, keys in the order given, characters unescaped."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.width = 4096
    writer.representer.sort_base_mapping_type_on_output = False
    stream = io.StringIO()
    writer.dump(data, stream)
    return stream.getvalue()


def read_config_file(path: Path) -> dict[str, Any]:
    """The nested mapping in a YAML file. Raises InputError with the line where the file is not YAML."""
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("config.no_file", path=str(path)) from error
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        detail = getattr(error, "problem", None) or str(error)
        raise InputError("config.not_yaml", path=str(path), line=line, detail=detail) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError("config.not_mapping", path=str(path), found=type(data).__name__)
    return data


# -- the declared fields ----------------------------------------------------------------------------------------------
def sections_of(config: type[StageConfig]) -> dict[str, type[BaseModel]]:
    """Section name → its model, in declaration order."""
    annotations = {name: field.annotation for name, field in config.model_fields.items()}
    return {name: kind for name, kind in annotations.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


def fields_of(config: type[StageConfig]) -> dict[str, FieldInfo]:
    """Dotted key → declaration, for every setting of a stage, with the stage's own default where it has one."""
    return {
        f"{section}.{name}": _with_default(field, config.model_fields[section].default, name)
        for section, model in sections_of(config).items()
        for name, field in model.model_fields.items()
    }


def _with_default(field: FieldInfo, section: Any, name: str) -> FieldInfo:
    """`field` with the value that the stage's default of its section gives it, where it gives one."""
    if not isinstance(section, BaseModel) or name not in section.model_fields_set:
        return field
    changed = copy.copy(field)
    changed.default = getattr(section, name)
    return changed


def _takes_text(annotation: Any) -> bool:
    """Whether a bare word is already a value of this type (`str`, `str | None`, a Literal of words)."""
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_takes_text(part) for part in get_args(annotation))
    return annotation is str


def stage_of(name: str) -> Stage:
    """The stage called `name`. Raises InputError with the nearest name."""
    if name not in STAGES:
        raise InputError("config.unknown_stage", stage=name, known=", ".join(STAGES), nearest=nearest(name, STAGES))
    return STAGES[name]


# -- overrides --------------------------------------------------------------------------------------------------------
def parse_override(word: str, known: Mapping[str, FieldInfo]) -> tuple[str, Any]:
    """`optim.learning_rate=2e-5` → its key and value. A text field keeps what was typed, any other is read as YAML."""
    key, equals, text = word.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ValueError(word)
    field = known.get(key)
    if field is not None and _takes_text(field.annotation):
        optional = text in ("null", "") and not field.is_required() and field.default is None
        return key, None if optional else text
    try:
        return key, parse_yaml(text)
    except YAMLError:
        return key, text


def _nest(flat: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat:
        *parents, leaf = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                break
        else:
            place[leaf] = value
    return nested


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """{section: {name: value}} as {"section.name": value}."""
    return {
        f"{section}.{name}": value
        for section, values in nested.items()
        if isinstance(values, Mapping)
        for name, value in values.items()
    }


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, mapping by mapping; lists and scalars are replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = merge(below, value)
        else:
            result[key] = value
    return result


# -- resolving --------------------------------------------------------------------------------------------------------
def resolve(
    stage: str,
    *,
    preset: str | None = None,
    config_file: Path | None = None,
    values: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    workspace: Workspace | None = None,
) -> StageConfig:
    """The config of `stage` from all its sources.

    `values` maps dotted keys to values as a form gives them. Raises ConfigError with every problem at once (bad
    words, unknown keys with the nearest right name, wrong values with what is allowed), and InputError for a preset
    or file that cannot be read.
    """
    config = stage_of(stage).config
    known = fields_of(config)
    problems: list[Problem] = []
    flat: list[tuple[str, Any]] = list((values or {}).items())
    for word in overrides:
        try:
            flat.append(parse_override(word, known))
        except ValueError:
            problems.append(Problem("config.not_key_value", {"word": word}))
    data: dict[str, Any] = {}
    if preset is not None:
        data = merge(data, find_preset(stage, preset, workspace).read())
    if config_file is not None:
        data = merge(data, read_config_file(config_file))
    data = merge(data, _nest(flat))
    try:
        resolved = config.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        raise ConfigError([*problems, *(problem_of(detail, config) for detail in details)]) from error
    if problems:
        raise ConfigError(problems)
    return resolved


def read_settings(kind: type[S], words: Iterable[str]) -> S:
    """A flat group of settings from `key=value` words (chat, serve). Raises ConfigError with every problem at once."""
    known = dict(kind.model_fields)
    problems: list[Problem] = []
    data: dict[str, Any] = {}
    for word in words:
        try:
            key, value = parse_override(word, known)
        except ValueError:
            problems.append(Problem("config.not_key_value", {"word": word}))
            continue
        data[key] = value
        if key not in known:
            del data[key]
            params = {"nearest": nearest(key, known), "known": ", ".join(known)}
            problems.append(Problem("config.unknown_name", params, key=key))
    try:
        settings = kind.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        raise ConfigError([*problems, *(problem_of(detail, kind) for detail in details)]) from error
    if problems:
        raise ConfigError(problems)
    return settings


# -- presets ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Preset:
    """A YAML file of differences from the defaults. `own`: the user saved it; `about`: its leading comment."""

    name: str
    path: Path
    own: bool

    @property
    def about(self) -> str:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        comment = [line[1:].strip() for line in lines if line.startswith("#")]
        return "\n".join(comment)

    def read(self) -> dict[str, Any]:
        return read_config_file(self.path)


def list_presets(stage: str, workspace: Workspace | None = None) -> list[Preset]:
    """Shipped presets first, then the user's own; an own one of the same name hides the shipped one."""
    found = {path.stem: Preset(path.stem, path, own=False) for path in sorted((SHIPPED / stage).glob("*.yaml"))}
    if workspace is not None:
        own = sorted((workspace.presets_dir / stage).glob("*.yaml"))
        found.update({path.stem: Preset(path.stem, path, own=True) for path in own})
    return list(found.values())


def find_preset(stage: str, name: str, workspace: Workspace | None = None) -> Preset:
    presets = {preset.name: preset for preset in list_presets(stage, workspace)}
    if name not in presets:
        known = ", ".join(presets) or "none"
        raise InputError("config.no_preset", stage=stage, preset=name, known=known, nearest=nearest(name, presets))
    return presets[name]


def save_preset(stage: str, name: str, values: Mapping[str, Any], workspace: Workspace) -> Preset:
    """Save a form's settings (dotted keys) as the user's preset; only what differs from the defaults is written.

    Raises ConfigError where a value is wrong; a value that a preset may leave open (a required one) may be missing.
    InputError `disk.filled`.
    """
    known = fields_of(stage_of(stage).config)
    filled = {key: value for key, value in values.items() if value not in (None, "") or not known[key].is_required()}
    placeholders = {key: "-" for key, field in known.items() if field.is_required() and key not in filled}
    resolved = resolve(stage, values={**filled, **placeholders}).model_dump(mode="json")
    kept = []
    for key, field in known.items():
        section, leaf = key.split(".", 1)
        value = resolved[section][leaf]
        if key in filled and (field.is_required() or value != field.get_default(call_default_factory=True)):
            kept.append((key, value))
    path = workspace.presets_dir / stage / f"{check_name(name)}.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, dump_yaml(_nest(kept)))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError("disk.filled", folder=str(path.parent)) from error
    return Preset(name, path, own=True)
