"""What is wrong with a config, in words: pydantic's findings as `Problem`s with the key that a user would write.

recipe.steps[2].threshold: '1.4' is out of bounds. Allowed: a number > 0, ≤ 1.
"""

from __future__ import annotations

import difflib
import reprlib
import types
from collections.abc import Iterable, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from core.errors import Problem

SHORT = reprlib.Repr()  # a few lines of YAML can name a value that is gigabytes long when it is written out
SHORT.maxlevel, SHORT.maxlist, SHORT.maxdict, SHORT.maxstring, SHORT.maxother = 4, 20, 20, 100, 100
OUT_OF_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def problem_of(detail: ErrorDetails, model: type[BaseModel]) -> Problem:
    """One of pydantic's findings about `model` (a stage's config, or a flat group of settings)."""
    key, field, inside = _place(model, detail["loc"])
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind == "conflict":  # of sections with each other: the validator has said it in full
        return Problem(context["code"], context["params"], key=context["key"])
    if kind == "extra_forbidden":
        return _unknown(key, model, inside)
    if kind == "union_tag_invalid":
        known = [word.strip("'") for word in str(context.get("expected_tags", "")).split(", ")]
        tag = str(context.get("tag", ""))
        params = {"value": shown(tag), "known": ", ".join(known), "nearest": nearest(tag, known)}
        return Problem("config.unknown_choice", params, key=f"{key}.{_discriminator(context)}")
    if kind == "missing":
        needed = [name for name, each in _settings(field).items() if each.is_required()]
        return Problem("config.missing", {}, key=f"{key}.{needed[0]}" if needed else key)
    if kind == "union_tag_not_found":
        return Problem("config.missing", {}, key=f"{key}.{_discriminator(context)}")
    if kind in ("string_too_short", "too_short"):
        return Problem("config.missing", {}, key=key)
    params = {
        "value": shown(detail.get("input")),
        "allowed": allowed_text(field) if field is not None and not _settings(field) else "a group of settings",
    }
    if kind in OUT_OF_BOUNDS:
        return Problem("config.out_of_bounds", params, key=key)
    if kind in ("string_too_long", "too_long"):
        return Problem("config.too_long", {"limit": context.get("max_length", "")}, key=key)
    if kind == "value_error":
        return Problem("config.wrong", {**params, "detail": str(context.get("error", ""))}, key=key)
    return Problem("config.wrong_type", params, key=key)


def _discriminator(context: Mapping[str, Any]) -> str:
    """The setting that says which member of a union is meant."""
    return str(context.get("discriminator", "")).strip("'")


def _unknown(key: str, model: type[BaseModel], inside: type[BaseModel]) -> Problem:
    """A name that is no setting, with the nearest that is one: of the whole stage, or of the group it stands in."""
    sections = {name: section for name, each in model.model_fields.items() if (section := _section(each)) is not None}
    if inside is model or inside in sections.values():
        known = [f"{name}.{leaf}" for name, section in sections.items() for leaf in section.model_fields]
        near = nearest(key, [*(known or model.model_fields), *sections])
        return Problem("config.unknown_key", {"nearest": near, "sections": ", ".join(sorted(sections))}, key=key)
    params = {"nearest": nearest(key.rpartition(".")[2], inside.model_fields), "known": ", ".join(inside.model_fields)}
    return Problem("config.unknown_name", params, key=key)


def _place(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, FieldInfo | None, type[BaseModel]]:
    """The key of a place as a user writes it, the setting there (if it is one), and the group it stands in.

    Pydantic's places name the members of a union (`recipe.steps.2.near.threshold`); these are left out.
    """
    key, field, inside = "", None, model
    annotation: Any = model
    for part in loc:
        if isinstance(part, int):
            key += f"[{part}]"
            annotation = next(iter(get_args(_list_of(annotation))), Any)
            field = None if _models(annotation) else field  # what is wrong with a word is told by what its list takes
            continue
        members = _models(annotation)
        tagged = [member for member in members if len(members) > 1 and part in _tags(member)]
        if tagged:
            annotation = tagged[0]
            continue
        if not members and annotation is not Any and get_origin(_list_of(annotation)) is not dict:
            continue  # the name of a member of a union of plain types
        key += f".{part}" if key else part
        inside = members[0] if members else inside
        field = inside.model_fields.get(part) if members else None
        annotation = field.annotation if field is not None else Any
    return key, field, inside


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The settings models that a value of this type may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType) or hasattr(annotation, "__metadata__"):
        return [member for part in get_args(annotation) for member in _models(part)]
    return []


def _list_of(annotation: Any) -> Any:
    """`annotation` without `| None` around a list or mapping."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next((part for part in get_args(annotation) if get_origin(part) in (list, dict)), annotation)
    return annotation


def _tags(model: type[BaseModel]) -> list[Any]:
    """The words that choose this member of a union: the values of its fields that take exactly one."""
    return [each.default for each in model.model_fields.values() if len(get_args(each.annotation)) == 1]


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _settings(field: FieldInfo | None) -> Mapping[str, FieldInfo]:
    """The settings of a field that is a group of them; none of any other."""
    section = None if field is None else _section(field)
    return {} if section is None else section.model_fields


# -- words ------------------------------------------------------------------------------------------------------------
def allowed_text(field: FieldInfo) -> str:
    """What a setting takes, in words: its type, its bounds or its choices."""
    parts = (
        get_args(field.annotation) if get_origin(field.annotation) in (Union, types.UnionType) else (field.annotation,)
    )
    words = []
    for part in parts:
        if get_origin(part) is not None and get_args(part) and all(isinstance(arg, str) for arg in get_args(part)):
            words.append("one of " + ", ".join(get_args(part)))
        elif get_origin(part) is list:
            choices = get_args(next(iter(get_args(part)), None))
            texts = bool(choices) and all(isinstance(choice, str) for choice in choices)
            words.append(f"a list of {', '.join(choices)}" if texts else "a list such as [a, b]")
        elif get_origin(part) is dict:
            words.append("names and values such as {a: b}")
        else:
            names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "empty"}
            words.append(names.get(part, str(part)))
    return " or ".join(words) + bounds_text(field)


def bounds_text(field: FieldInfo) -> str:
    """` ≥ 1, ≤ 1024`, from the field's own bounds; empty without any."""
    signs = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
    found = [f"{sign} {getattr(m, name)}" for m in field.metadata for name, sign in signs if hasattr(m, name)]
    return f" {', '.join(found)}" if found else ""


def shown(value: Any) -> str:
    """A value as an error shows it: at most 60 characters."""
    try:
        text = value if isinstance(value, str) else SHORT.repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        text = "…"
    return text if len(text) <= 60 else text[:57] + "…"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known name that is most like `word`: the whole key first, then its last part; empty when none is."""
    known = list(known)
    close = difflib.get_close_matches(word, known, 1, 0.6)
    if not close:
        leaves = {name.rsplit(".", 1)[-1]: name for name in known}
        close = [leaves[leaf] for leaf in difflib.get_close_matches(word.rsplit(".", 1)[-1], leaves, 1, 0.6)]
    return close[0] if close else ""
