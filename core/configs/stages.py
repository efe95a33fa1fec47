"""The table of stages: what each is called, how it is configured, and which recipe runs it."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Literal

from pydantic import field_validator

from core.configs import data, sections
from core.configs.sections import Section, setting

PLUGINS = "GALEN_PLUGINS"


class StageConfig(Section):
    """A stage's settings: nothing but sections, in the order of the page. Every stage has `run` and `devices`."""

    run: sections.Run = sections.Run()
    devices: sections.Devices = sections.Devices()


class SFTConfig(StageConfig):
    """Supervised fine-tuning on conversations."""

    model: sections.Model
    data: sections.Data
    run: sections.Run = sections.Run()
    tuning: sections.Tuning = sections.Tuning()
    lora: sections.Lora = sections.Lora()
    schedule: sections.Schedule = sections.Schedule()
    optim: sections.Optim = sections.Optim()
    evaluation: sections.Evaluation = sections.Evaluation()
    saving: sections.Saving = sections.Saving()
    logging: sections.Logging = sections.Logging()
    devices: sections.Devices = sections.Devices()


class FetchSource(Section):
    source: str = setting("starter", "starter, a hub id, a folder, or a GGUF file.", min_length=1)
    hub: Literal["huggingface", "modelscope"] = setting("huggingface", "Which hub a hub id belongs to.")
    revision: str = setting("main", "Branch, tag or commit on the hub.", advanced=True)
    folder: str = setting("", "Name of the model in the workspace. Empty: made from the source.", max_length=80)


class FetchConfig(StageConfig):
    """Bringing a base model into the workspace: a run like any other, so it can be followed, stopped and resumed."""

    model: FetchSource = FetchSource()


class ImportConfig(StageConfig):
    """Making a file, or a dataset of a hub, a dataset of the workspace."""

    source: data.ImportSource = data.ImportSource()
    rows: data.ImportRows = data.ImportRows()


class PrepareConfig(StageConfig):
    """Cleaning and shaping datasets by a recipe: steps in the order given, a new version as the result."""

    recipe: data.Recipe


class PerplexityConfig(StageConfig):
    """How surprising a model finds the answers of a dataset: a verdict that the step `quality` takes by `run`."""

    model: sections.Model
    data: data.Scored
    run: sections.Run = sections.Run()
    devices: sections.Devices = sections.Devices()

    @field_validator("devices")
    @classmethod
    def _one(cls, value: sections.Devices) -> sections.Devices:
        if len(value.use) > 1:
            raise ValueError("it computes on one device")
        return value


@dataclass(frozen=True)
class Stage:
    """`recipe` is imported by name, and only by the process that runs it. `uses_devices`: waits for its devices."""

    name: str
    config: type[StageConfig]
    recipe: str
    uses_devices: bool = True


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("sft", SFTConfig, "core.recipes.sft"),
        Stage("fetch", FetchConfig, "core.recipes.fetch", uses_devices=False),
        Stage("import", ImportConfig, "core.recipes.import_data", uses_devices=False),
        Stage("prepare", PrepareConfig, "core.recipes.prepare", uses_devices=False),
        Stage("perplexity", PerplexityConfig, "core.recipes.perplexity"),
    )
}

# A module named in GALEN_PLUGINS adds stages of its own: it holds `STAGES`, a list of Stage.
for _module in filter(None, os.environ.get(PLUGINS, "").split(",")):
    STAGES.update({stage.name: stage for stage in importlib.import_module(_module).STAGES})
