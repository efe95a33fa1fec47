"""A chain: planned as a whole, then queued, so that nothing is queued of one that cannot be. Torch-free.

    wanted = [Wanted("sft", "sft", preset="starter-cpu", words=["data.train=FILE"]), Wanted("ppo", "ppo", …)]
    runs = queue(workspace, plan(workspace, wanted, base="starter"))

    1. each step is handed what earlier ones will make: `{sft}` stands for the run of the step `sft`
    2. every step is resolved, and checked as a submission is, as far as one can know; all problems are told at once
    3. the runs are submitted in order; each waits (`run.after`) for those that it names

What is handed over lies on presets and files of a stage, which cannot know the runs; a setting of the chain itself, or
a word, is never overruled. A chain has no record of its own: it is the runs, and what these name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.configs.files import fields_of, resolve, stage_of
from core.configs.stages import StageConfig
from core.configs.starts import named_starts, renamed
from core.errors import ConfigError, GalenError, Problem
from core.jobs import hosts, store
from core.jobs.pinning import pin
from core.models.awaited import Awaited
from core.rundir import RunDir, state_of
from core.workspace import Workspace

WRITES = ("ppo", "dpo", "sft", "pretrain")  # stages whose runs write answers, the best of a chain first
# What a stage starts from: the latest earlier step of one of these stages.
STARTS_FROM: dict[str, tuple[str, ...]] = {
    "pretrain": ("vocabulary",),
    "sft": ("pretrain", "vocabulary"),
    "reward": ("sft", "pretrain"),
    "ppo": ("sft", "pretrain"),
    "dpo": ("sft", "pretrain"),
    "score": ("reward",),
    "merge": WRITES,
    "predict": WRITES,
    "evaluate": WRITES,
}
HANDED = ("model.base", "rewards.models", "models.chain")  # the settings that `handed` gives
STEP = re.compile(r"\{([\w-]+)\}")


@dataclass(frozen=True)
class Wanted:
    """A step as somebody asks for it. `name`: what later steps call it, in braces.

    preset, file: as on the command line of the stage. form: settings by dotted key that a hand-over lies on; values:
    those that lie on the hand-over; words: `key=value`, over everything.
    """

    name: str
    stage: str
    preset: str | None = None
    file: Path | None = None
    form: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """A step that can be queued: `config` may name earlier steps in braces."""

    name: str
    stage: str
    config: StageConfig

    @property
    def needs(self) -> list[str]:
        """The names of the steps that it starts from."""
        texts = named_starts(self.config.model_dump(mode="json"))
        return list(dict.fromkeys(name for text in texts for name in STEP.findall(text)))


def plan(workspace: Workspace, wanted: Sequence[Wanted], base: str | None = None) -> list[Step]:
    """Steps 1 and 2. `base`: what a step starts from that no earlier one makes a start for.

    Raises ConfigError with every problem of every step, keys as `sft.data.train`.
    """
    steps: list[Step] = []
    problems: list[Problem] = []
    awaiting: dict[str, Awaited] = {}
    if not wanted:
        raise ConfigError([Problem("pipeline.no_steps")])
    for place, each in enumerate(wanted):
        awaiting_it = Awaited(each.stage, {})
        try:
            if any(each.name == earlier.name for earlier in wanted[:place]):
                raise ConfigError([Problem("pipeline.twice", {"name": each.name})])
            config = _resolved(workspace, each, handed(each.stage, wanted[:place], base))
            awaiting_it = Awaited(each.stage, config.model_dump(mode="json"))
            pinned = pin(workspace, stage_of(each.stage), config, awaiting)
            # Its default name says what it starts from, which is known when it is queued.
            own = pinned.run.model_copy(update={"name": config.run.name})
            step = Step(each.name, each.stage, pinned.model_copy(update={"run": own}))
            problems += [replace(problem, key=_key(each.name, problem.key)) for problem in _cannot_wait(step)]
            steps.append(step)
        except ConfigError as error:
            problems += [replace(problem, key=_key(each.name, problem.key)) for problem in error.problems]
        except GalenError as error:
            problems.append(Problem(error.code, error.params, key=each.name))
        awaiting[f"{{{each.name}}}"] = awaiting_it
    if problems:
        raise ConfigError(problems)
    return steps


def _cannot_wait(step: Step) -> list[Problem]:
    """What speaks against the step's waiting for those that it needs."""
    own = step.config.run.model_copy(update={"after": step.needs})
    return hosts.problems(step.config.model_copy(update={"run": own})) if step.needs else []


def _key(step: str, key: str | None) -> str:
    return f"{step}.{key}" if key else step


def _resolved(workspace: Workspace, wanted: Wanted, given: Mapping[str, Any]) -> StageConfig:
    return resolve(
        wanted.stage,
        preset=wanted.preset,
        config_file=wanted.file,
        values={**wanted.form, **given, **wanted.values},
        overrides=wanted.words,
        workspace=workspace,
    )


def handed(stage: str, earlier: Sequence[Wanted], base: str | None = None) -> dict[str, Any]:
    """Step 1: the settings, by dotted key, that a step of `stage` takes over from `earlier` ones."""
    start = _latest(earlier, STARTS_FROM.get(stage, ()))
    if stage == "evaluate":
        return {"models.chain": start} if start else {}
    known = fields_of(stage_of(stage).config)
    given: dict[str, Any] = {}
    if "model.base" in known and (start or base):
        given["model.base"] = start or base
    judge = _latest(earlier, ("reward",))
    if stage == "ppo" and judge:
        given["rewards.models"] = [judge]
    return given


def _latest(earlier: Sequence[Wanted], stages: Sequence[str]) -> str | None:
    found = [each.name for each in earlier if each.stage in stages]
    return f"{{{found[-1]}}}" if found else None


# -- step 3 -----------------------------------------------------------------------------------------------------------
def queue(workspace: Workspace, steps: Sequence[Step]) -> list[RunDir]:
    """Submit the steps. Raises as `store.submit`; what was submitted until then is taken back."""
    runs: dict[str, RunDir] = {}
    try:
        for step in steps:
            runs[step.name] = store.submit(workspace, step.stage, with_runs(step, runs))
    except BaseException:
        _take_back(workspace, list(runs.values()))
        raise
    return list(runs.values())


def with_runs(step: Step, runs: Mapping[str, RunDir]) -> StageConfig:
    """Its config with the ids of `runs` for the names of earlier steps, and waiting for those."""
    data = step.config.model_dump(mode="json")
    data = renamed(data, lambda text: STEP.sub(lambda found: runs[found[1]].id if found[1] in runs else found[0], text))
    data["run"]["after"] = [*data["run"]["after"], *(runs[name].id for name in step.needs)]
    return type(step.config).model_validate(data)


def _take_back(workspace: Workspace, runs: Sequence[RunDir]) -> None:
    """End and remove runs, the last first. One that cannot be removed stays: why the chain could not be queued is the
    news."""
    for run in reversed(runs):
        with suppress(GalenError):
            if state_of(run).live:
                store.kill(run)
            store.delete(workspace, run)
