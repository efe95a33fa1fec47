"""A recipe while it is being written: what the browser holds and keeps, and the config that it means. No gradio.

The browser owns the draft (`recipe.js`): each change sends it whole, so that no two events can disagree. Values are
kept as typed; a wrong one stays in its field, with its message beside it. What arrives here may be of an older page or
of anybody's making, so it is read with care.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_origin

from pydantic.fields import FieldInfo

from core.configs.data import Recipe
from core.configs.files import dump_yaml, resolve
from core.configs.sections import inner, is_advanced
from core.configs.stages import PrepareConfig
from core.configs.step_base import Step
from core.configs.steps import STEPS
from core.data.recipe.plan import plan_recipe
from core.errors import ConfigError, GalenError, Problem
from core.workspace import Workspace
from webui.confine import outside

STAGE = "prepare"
MOST = 100  # steps, and inputs, that a draft may have
COMMON = set(Step.model_fields)
PLACE = re.compile(r"recipe\.(?P<list>steps|inputs)\[(?P<at>\d+)\](?:\.(?P<field>\w+))?.*")
Values = dict[str, Any]


@dataclass
class DraftStep:
    """`values` holds only what was typed; `id` stays with the step when it moves; `tried`: gaps are told of."""

    id: int
    do: str
    values: Values = field(default_factory=dict)
    tried: bool = False


@dataclass
class Mixed:
    """A further input."""

    dataset: str
    weight: str = "1"


@dataclass
class Draft:
    """`ref` is the dataset that the recipe is for, its first input."""

    ref: str
    steps: list[DraftStep] = field(default_factory=list)
    mixed: list[Mixed] = field(default_factory=list)
    weight: str = "1"
    output: str = ""
    seed: str = "42"
    token: str = ""  # changes where the server's draft is to replace the browser's

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def config_values(self) -> Values:
        """Dotted keys for `core.configs.files.resolve`."""
        inputs = [{"dataset": self.ref, "weight": self.weight or "1"}]
        inputs += [{"dataset": mixed.dataset, "weight": mixed.weight or "1"} for mixed in self.mixed]
        return {
            "recipe.inputs": inputs,
            "recipe.steps": [{"do": step.do, **read_values(step)} for step in self.steps],
            "recipe.output": self.output,
            "recipe.seed": self.seed or "42",
        }

    def resolve(self, workspace: Workspace) -> PrepareConfig:
        """The config it means. Raises ConfigError with every wrong setting."""
        config = resolve(STAGE, values=self.config_values(), workspace=workspace)
        assert isinstance(config, PrepareConfig)
        return config


# -- from the browser -------------------------------------------------------------------------------------------------
def read_draft(stored: Any, ref: str) -> Draft:
    """The draft in what a browser sent or kept; an empty one where that is none."""
    if isinstance(stored, str):
        try:
            stored = json.loads(stored)
        except ValueError:
            stored = None
    held: Mapping[str, Any] = stored if isinstance(stored, dict) and stored.get("ref") == ref else {}
    mixed = [
        Mixed(_text(entry.get("dataset")), _text(entry.get("weight"), "1"))
        for entry in _mappings(held.get("mixed"))
        if _text(entry.get("dataset"))
    ]
    return Draft(
        ref,
        _steps(held.get("steps")),
        mixed,
        _text(held.get("weight"), "1"),
        _text(held.get("output")),
        _text(held.get("seed"), "42"),
        _text(held.get("token")),
    )


def _steps(stored: Any) -> list[DraftStep]:
    steps: list[DraftStep] = []
    for entry in _mappings(stored):
        do, wanted = entry.get("do"), entry.get("id")
        if not isinstance(do, str) or do not in STEPS:
            continue
        taken = {step.id for step in steps}
        number = wanted if isinstance(wanted, int) and wanted not in taken else max(taken, default=0) + 1
        values = entry.get("values")
        known = fields_of_step(do)
        kept = {
            name: value if isinstance(value, bool) else str(value)
            for name, value in (values.items() if isinstance(values, dict) else ())
            if name in known and isinstance(value, str | bool | int | float)
        }
        steps.append(DraftStep(number, do, kept, entry.get("tried") is True))
    return steps


def _mappings(stored: Any) -> list[dict[str, Any]]:
    entries = stored if isinstance(stored, list) else []
    return [entry for entry in entries if isinstance(entry, dict)][:MOST]


def _text(value: Any, other: str = "") -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else other


# -- settings of a step -----------------------------------------------------------------------------------------------
def fields_of_step(do: str) -> dict[str, FieldInfo]:
    """Name → declaration of everything that can be set of a step, in the order declared; the common ones last."""
    own = {name: info for name, info in STEPS[do].model_fields.items() if name != "do"}
    return {name: own[name] for name in sorted(own, key=lambda name: (is_advanced(own[name]), name in COMMON))}


def default_text(info: FieldInfo) -> str | bool:
    """What a field holds before anything was typed."""
    return "" if info.is_required() else shown_value(info.get_default(call_default_factory=True))


def shown_value(value: Any) -> str | bool:
    """A config value as its field shows it: text, or a tick."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {part}" for key, part in value.items())
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return "" if value is None else str(value)


def read_values(step: DraftStep) -> Values:
    """The typed values of a step as pydantic takes them; empty fields mean the default, or nothing."""
    found: Values = {}
    for name, info in fields_of_step(step.do).items():
        typed = step.values.get(name)
        if typed is None or typed == default_text(info):
            continue
        kind, optional = inner(info.annotation)
        text = typed.strip() if isinstance(typed, str) else typed
        if get_origin(kind) is list:
            found[name] = [part.strip() for part in re.split(r"[,，、\n]", str(text)) if part.strip()]
        elif get_origin(kind) is dict:
            found[name] = _pairs(str(text))
        elif text == "":
            if not info.is_required() and (optional or kind is str):
                found[name] = None if optional else ""
        else:
            found[name] = text
    return found


def _pairs(text: str) -> Any:
    """`zh: 2, en: 1` as a mapping; what is no pair is left for the declaration to refuse."""
    parts = [part.strip() for part in re.split(r"[,，、\n]", text) if part.strip()]
    pairs = [re.split(r"[:：=]", part, maxsplit=1) for part in parts]
    return {pair[0].strip(): pair[1].strip() for pair in pairs} if all(len(pair) == 2 for pair in pairs) else text


def step_from(plain: Mapping[str, Any], number: int) -> DraftStep | None:
    """A step of a preset or of a card's recipe as one of a draft; None for one that this Galen does not know."""
    do = plain.get("do")
    if not isinstance(do, str) or do not in STEPS:
        return None
    known = fields_of_step(do)
    values = {name: shown_value(value) for name, value in plain.items() if name in known}
    changed = {name: value for name, value in values.items() if value != default_text(known[name])}
    return DraftStep(number, do, changed)


def steps_from(plain: Any) -> list[DraftStep]:
    """The steps of a recipe as YAML or JSON holds them."""
    found = [step_from(entry, at + 1) for at, entry in enumerate(_mappings(plain))]
    return [step for step in found if step is not None]


# -- problems ---------------------------------------------------------------------------------------------------------
@dataclass
class Complaints:
    """Problems by where they are told: a step's field, an input, the recipe's own fields, or above everything."""

    steps: dict[tuple[int, str], Problem] = field(default_factory=dict)  # (id, field; "" for the step itself)
    inputs: dict[int, Problem] = field(default_factory=dict)
    own: dict[str, Problem] = field(default_factory=dict)
    other: list[Problem] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.steps) + len(self.inputs) + len(self.own) + len(self.other)


def sort_problems(problems: Iterable[Problem], draft: Draft) -> Complaints:
    """Each problem at its place. Fields that nobody has filled in yet are not complained of until somebody tries."""
    told = Complaints()
    for problem in problems:
        found = PLACE.fullmatch(problem.key or "")
        at = int(found["at"]) if found else -1
        if found and found["list"] == "steps" and at < len(draft.steps):
            step = draft.steps[at]
            name = found["field"] if found["field"] in fields_of_step(step.do) else ""
            if step.tried or not name or name in step.values:
                told.steps.setdefault((step.id, name), problem)
        elif found and found["list"] == "inputs" and at <= len(draft.mixed):
            told.inputs.setdefault(at, problem)
        elif problem.key in ("recipe.output", "recipe.seed"):
            told.own.setdefault(problem.key.removeprefix("recipe."), problem)
        else:
            told.other.append(problem)
    return told


def check_draft(draft: Draft, workspace: Workspace) -> tuple[PrepareConfig | None, Complaints, GalenError | None]:
    """The config of a draft, or what is wrong with it: with its settings, or with the datasets and rows they meet."""
    config: PrepareConfig | None = None
    try:
        config = draft.resolve(workspace)
        confine_files(config.recipe, workspace)
        plan_recipe(workspace, config.recipe)
    except GalenError as error:
        problems = error.problems or [Problem(error.code, error.params)]
        return None, sort_problems(problems, draft), error
    return config, Complaints(), None


def confine_files(recipe: Recipe, workspace: Workspace) -> None:
    """Raises ConfigError for files outside the workspace and its roots, which the page may not read."""
    problems = []
    for at, step in enumerate(recipe.steps):
        for name in step.files:
            path = getattr(step, name)
            found = outside(path, workspace) if path else None
            if found is not None:
                problems.append(Problem(found.code, found.params, key=f"recipe.steps[{at}].{name}"))
    if problems:
        raise ConfigError(problems)


# -- the same from a terminal -----------------------------------------------------------------------------------------
def plain_recipe(recipe: Recipe) -> Values:
    """A recipe as a person would write it: only what differs from the defaults."""
    plain: Values = {"inputs": [_plain_input(entry.model_dump()) for entry in recipe.inputs]}
    if recipe.steps:
        plain["steps"] = [plain_step(step) for step in recipe.steps]
    if recipe.output:
        plain["output"] = recipe.output
    if recipe.seed != Recipe.model_fields["seed"].default:
        plain["seed"] = recipe.seed
    return plain


def _plain_input(entry: Mapping[str, Any]) -> Any:
    return entry["dataset"] if entry["weight"] == 1 else dict(entry)


def plain_step(step: Any) -> Values:
    """`do`, and the settings that differ from their defaults."""
    kept = {name: value for name, value in step.model_dump(mode="json", exclude_defaults=True).items() if name != "do"}
    return {"do": step.do, **kept}


def recipe_yaml(recipe: Recipe) -> str:
    """The file that `python -m core prepare --config FILE` takes."""
    return dump_yaml({"recipe": plain_recipe(recipe)})
