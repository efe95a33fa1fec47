"""What a user wrote becomes what a run keeps: exact dataset versions, an existing model, named devices.

What costs nothing to look at comes first, and all that is wrong with it is told at once, each with its setting: the
model, the devices, the datasets, whether a file exists. Only when all of that is right are files imported, and what is
wrong with their rows is told. A file that could be used stays a dataset even if the other one could not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from core.configs.data import Input, Recipe
from core.configs.stages import ImportConfig, Stage, StageConfig
from core.data.recipe.plan import pinned
from core.data.store.library import resolve
from core.errors import ConfigError, GalenError, Problem
from core.hardware import expand
from core.models.library import resolve_base
from core.workspace import Workspace

NAME_LENGTH = 80


class Pins:
    """Collects the pinned values and the problems, by dotted key."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.problems: list[Problem] = []

    def pin(self, key: str, look: Callable[[], Any]) -> None:
        """Note what `look` finds as the value of `key`, or what it complains about."""
        try:
            self.values[key] = look()
        except ConfigError as error:  # its problems have keys of their own
            self.problems.extend(error.problems)
        except GalenError as error:
            whole = Problem(error.code, error.params, key=key)
            self.problems.extend([whole, *(replace(problem, key=problem.key or key) for problem in error.problems)])

    def check(self) -> None:
        """Raise ConfigError if anything was wrong so far."""
        if self.problems:
            raise ConfigError(self.problems)


def pin(workspace: Workspace, stage: Stage, config: StageConfig) -> StageConfig:
    """`config` with its data, model, devices and name resolved. Raises ConfigError with every problem."""
    pins = Pins()
    model, data = getattr(config, "model", None), getattr(config, "data", None)
    base = getattr(model, "base", None)
    if isinstance(base, str):
        pins.pin("model.base", partial(_model_name, workspace, base))
    if stage.uses_devices:
        pins.pin("devices.use", partial(expand, config.devices.use))
    files: dict[str, Callable[[], str]] = {}
    for field in ("train", "validation", "rows"):
        text = getattr(data, field, None)
        if isinstance(text, str) and text:
            look = partial(_dataset_ref, workspace, text, getattr(data, "bad_rows", "stop"))
            if Path(text).expanduser().is_file():
                files[f"data.{field}"] = look
            else:
                pins.pin(f"data.{field}", look)
    recipe = getattr(config, "recipe", None)
    if isinstance(recipe, Recipe):
        pins.pin("recipe", partial(pinned, workspace, recipe))
    pins.check()
    for key, bring_in in files.items():
        pins.pin(key, bring_in)
    pins.check()
    if not config.run.name:
        pins.values["run.name"] = _default_name(stage.name, pins.values, config)
    return _with(config, pins.values)


def _dataset_ref(workspace: Workspace, text: str, bad_rows: Any) -> str:
    return resolve(workspace, text, bad_rows=bad_rows).ref


def _model_name(workspace: Workspace, text: str) -> str:
    """The model's name where it lies in the workspace, else its absolute path."""
    folder = resolve_base(workspace, text)
    return folder.name if folder.parent == workspace.models_dir else str(folder)


def _default_name(stage: str, values: dict[str, Any], config: StageConfig) -> str:
    """Model, stage and dataset, as far as there are any: `SmolLM2-135M sft medical`."""
    model = str(values.get("model.base") or "") or getattr(getattr(config, "model", None), "source", "")
    used = [values[key] for key in ("data.train", "data.rows") if key in values]
    used += [each.dataset for each in _inputs(values)]
    if isinstance(config, ImportConfig):
        used.append(config.rows.name or config.source.repo or Path(config.source.path).name)
    dataset = " + ".join(ref.split("@")[0] for ref in used)
    return " ".join(part for part in (Path(model).name, stage, dataset) if part)[:NAME_LENGTH].strip()


def _inputs(values: dict[str, Any]) -> list[Input]:
    recipe = values.get("recipe")
    return recipe.inputs if isinstance(recipe, Recipe) else []


def _with(config: StageConfig, values: dict[str, Any]) -> StageConfig:
    """A copy of `config` with these dotted keys set, validated again."""
    data = config.model_dump()
    for key, value in values.items():
        section, _, field = key.partition(".")
        if field:
            data[section][field] = value
        else:
            data[section] = value.model_dump()
    return type(config).model_validate(data)
