"""A recipe against a workspace: which datasets, which kind of rows at which step, and the hash that names the result.

Everything that can be wrong before the first row is read is told at once, each with its setting
(`recipe.inputs[1].dataset`, `recipe.steps[2]`).
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.configs.data import Recipe
from core.configs.shape_steps import Source
from core.configs.step_base import Step
from core.data.kinds import Kind
from core.data.recipe.losses import losses_file
from core.data.steps import KIND_AFTER, OVERALL, PARTING, PER_ROW
from core.data.store.dataset import Dataset
from core.data.store.library import open_dataset
from core.errors import ConfigError, GalenError, InputError, Problem
from core.workspace import Workspace, check_name

PREPARE_VERSION = 1  # goes into every version: to be raised when the same recipe would give other rows


@dataclass(frozen=True)
class Plan:
    """`kinds[n]` is the kind of rows that step n gets; the last one is the kind of the result."""

    inputs: list[Dataset]
    weights: list[float]
    steps: list[Any]
    kinds: list[Kind]
    output: str
    seed: int
    sha256: str

    @property
    def version(self) -> str:
        return self.sha256[:10]

    @property
    def kind(self) -> Kind:
        return self.kinds[-1]

    @property
    def parts(self) -> bool:
        """Whether the recipe ends in several datasets."""
        return bool(self.steps) and self.steps[-1].do in PARTING


def plan_recipe(workspace: Workspace, recipe: Recipe) -> Plan:
    """Look everything up that `recipe` names. Raises ConfigError with every problem and its key."""
    problems: list[Problem] = []
    inputs = []
    for number, each in enumerate(recipe.inputs):
        try:
            inputs.append(open_dataset(workspace, each.dataset))
        except GalenError as error:
            problems.append(Problem(error.code, error.params, key=f"recipe.inputs[{number}].dataset"))
    if problems:
        raise ConfigError(problems)
    kinds = [inputs[0].card.kind]
    for number, dataset in enumerate(inputs):
        if dataset.card.kind != kinds[0]:
            params = {"first": inputs[0].ref, "kind": kinds[0], "other": dataset.ref, "other_kind": dataset.card.kind}
            problems.append(Problem("step.kinds_differ", params, key=f"recipe.inputs[{number}].dataset"))
    for number, step in enumerate(recipe.steps):
        problems += _problems_of(workspace, number, recipe, inputs)
        kinds.append(kinds[-1])
        try:
            if step.do in KIND_AFTER and not problems:
                kinds[-1] = KIND_AFTER[step.do](step, kinds[-2])
        except GalenError as error:
            problems.append(Problem(error.code, error.params, key=f"recipe.steps[{number}]"))
    changed = f"-{kinds[-1]}" if kinds[-1] != kinds[0] else ""  # a name holds rows of one kind
    output = recipe.output or f"{inputs[0].name}{changed}"
    try:
        check_name(output)
    except InputError as error:
        problems.append(Problem(error.code, error.params, key="recipe.output"))
    if problems:
        raise ConfigError(problems)
    weights = [each.weight for each in recipe.inputs]
    sha256 = _sha256(workspace, recipe, inputs)
    return Plan(inputs, weights, list(recipe.steps), kinds, output, recipe.seed, sha256)


def pinned(workspace: Workspace, recipe: Recipe) -> Recipe:
    """`recipe` with every dataset that it names as name@version. Raises ConfigError as `plan_recipe` does."""
    plan = plan_recipe(workspace, recipe)
    inputs = [
        each.model_copy(update={"dataset": found.ref}) for each, found in zip(recipe.inputs, plan.inputs, strict=True)
    ]
    steps = []
    for step in recipe.steps:
        refs = {name: open_dataset(workspace, ref).ref for name in step.datasets if (ref := getattr(step, name))}
        steps.append(step.model_copy(update=refs))
    return recipe.model_copy(update={"inputs": inputs, "steps": steps})


def _problems_of(workspace: Workspace, number: int, recipe: Recipe, inputs: list[Dataset]) -> list[Problem]:
    """What is wrong with a step, but for the rows it gets."""
    step: Step = recipe.steps[number]
    last = number == len(recipe.steps) - 1
    key = f"recipe.steps[{number}]"
    found = []
    if step.do not in PER_ROW and step.do not in OVERALL and step.do not in PARTING:
        found.append(Problem("step.unknown", {"step": step.do}, key=key))
    if step.do in PARTING and not last:
        found.append(Problem("step.not_last", {"step": step.do}, key=key))
    for field in step.datasets:
        try:
            if ref := getattr(step, field):
                open_dataset(workspace, ref)
        except GalenError as error:
            found.append(Problem(error.code, error.params, key=f"{key}.{field}"))
    for field in step.runs:
        try:
            if run := getattr(step, field):
                losses_file(workspace, run)
        except GalenError as error:
            found.append(Problem(error.code, error.params, key=f"{key}.{field}"))
    for field in step.files:
        path = getattr(step, field)
        if path and not Path(path).expanduser().is_file():
            found.append(Problem("data.no_file", {"file": path}, key=f"{key}.{field}"))
    renamed = {each.new for each in recipe.steps[:number] if isinstance(each, Source)}
    return found + list(_unknown_sources(key, step, inputs, renamed))


def _unknown_sources(key: str, step: Step, inputs: list[Dataset], renamed: set[str]) -> Iterator[Problem]:
    """Sources that no row can have, so that a misspelt name does not leave a step without rows in silence."""
    known = {name for dataset in inputs for name in (*dataset.card.sources, dataset.name)} | renamed
    for field in ("only_sources", "except_sources"):
        for name in getattr(step, field):
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                params = {"source": name, "known": ", ".join(sorted(known)[:20]), "nearest": near[0] if near else ""}
                yield Problem("step.no_source", params, key=f"{key}.{field}")


def _sha256(workspace: Workspace, recipe: Recipe, inputs: list[Dataset]) -> str:
    """Of all that decides the result: contents and weights of the inputs, settings and what they point to."""
    taken = [(d.card.sha256, d.name, each.weight) for d, each in zip(inputs, recipe.inputs, strict=True)]
    contents = []
    for step in recipe.steps:
        contents += [open_dataset(workspace, ref).card.sha256 for name in step.datasets if (ref := getattr(step, name))]
        paths = [Path(path).expanduser() for name in step.files if (path := getattr(step, name))]
        paths += [losses_file(workspace, run) for name in step.runs if (run := getattr(step, name))]
        contents += [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    steps = [step.model_dump(mode="json") for step in recipe.steps]
    whole = {"version": PREPARE_VERSION, "inputs": taken, "steps": steps, "seed": recipe.seed, "contents": contents}
    return hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).hexdigest()
