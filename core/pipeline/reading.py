"""A chain from a YAML file, and from the words of a command line. Torch-free.

    base: starter                     python -m core pipeline chain.yaml
    sft:                              python -m core pipeline sft=starter-cpu sft.data.train=FILE \\
      preset: starter-cpu                 reward=starter-cpu reward.data.train=PAIRS model.base=starter
      data: {train: FILE}
    reward: {preset: starter-cpu, data: {train: PAIRS}}
    judge: {stage: evaluate, models: {runs: ["{sft}"]}, data: {rows: [TEST]}}

A step's name is its stage unless it says another (`stage:`). `preset` and `config` (a file, from the chain file's own
folder) are what lies beneath; `{name}` in quotes is the run of an earlier step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.configs.files import read_config_file, stage_of
from core.configs.stages import STAGES
from core.errors import ConfigError, InputError, Problem
from core.pipeline.plan import Wanted

FILES = (".yaml", ".yml")
BASE = "model.base"
OWN = ("stage", "preset", "config")  # what a step of a chain file has beside its sections


def read_chain(path: Path) -> tuple[list[Wanted], str | None]:
    """(steps, base) of a chain file. Raises InputError as `read_config_file`; ConfigError for what is no step."""
    data = read_config_file(path)
    base = data.pop("base", None)
    problems = [] if base is None or isinstance(base, str) else [Problem("pipeline.not_step", {"name": "base"})]
    steps = []
    for name, body in data.items():
        body = {} if body is None else body
        if not isinstance(body, dict) or not all(isinstance(body.get(key, ""), str) for key in OWN):
            problems.append(Problem("pipeline.not_step", {"name": str(name)}, key=str(name)))
            continue
        stage = stage_of(body.get("stage", str(name))).name
        file = path.parent / body["config"] if "config" in body else None
        sections = {key: value for key, value in body.items() if key not in OWN}
        steps.append(Wanted(str(name), stage, body.get("preset"), file, values=_flat(sections)))
    if problems:
        raise ConfigError(problems)
    return steps, base


def _flat(sections: dict[str, Any]) -> dict[str, Any]:
    """{section: {name: value}} by dotted keys; anything else is left to whoever checks it."""
    found: dict[str, Any] = {}
    for section, values in sections.items():
        if isinstance(values, dict) and values:
            found |= {f"{section}.{name}": value for name, value in values.items()}
        else:
            found[section] = values
    return found


def read_words(words: Iterable[str], configs: Iterable[str] = ()) -> tuple[list[Wanted], str | None]:
    """(steps, base) of `CHAIN.yaml`, `STAGE`, `STAGE=PRESET`, `STAGE=FILE`, `STEP.section.key=value`, `model.base=…`.

    configs: further `STAGE=FILE`. Raises InputError for a stage that there is not, ConfigError for another word.
    """
    steps: dict[str, Wanted] = {}
    base: str | None = None
    problems: list[Problem] = []
    for word in [*words, *configs]:
        name, equals, value = word.partition("=")
        step, dot, key = name.partition(".")
        if not equals and Path(name).suffix in FILES:
            found, base_of_chain = read_chain(Path(name))
            steps |= {each.name: each for each in found}
            base = base or base_of_chain
        elif name == BASE and equals:
            base = value
        elif not dot:
            wanted = steps.get(name) or Wanted(name, stage_of(name).name)
            steps[name] = _beneath(wanted, value)
        elif equals and (step in steps or step in STAGES):
            wanted = steps.get(step) or Wanted(step, step)
            steps[step] = replace(wanted, words=(*wanted.words, f"{key}={value}"))
        else:
            problems.append(Problem("pipeline.bad_word", {"word": word, "stages": ", ".join(STAGES)}))
    if problems:
        raise ConfigError(problems)
    return list(steps.values()), base


def _beneath(wanted: Wanted, value: str) -> Wanted:
    """The step on a preset or a file. Raises InputError `config.no_file`."""
    if not value:
        return wanted
    path = Path(value).expanduser()
    if path.suffix in FILES or path.is_file():
        if not path.is_file():
            raise InputError("config.no_file", path=value)
        return replace(wanted, file=path)
    return replace(wanted, preset=value)
