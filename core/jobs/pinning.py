"""What a user wrote becomes what a run keeps: exact dataset versions, an existing model, named devices.

What costs nothing to look at comes first, and all that is wrong with it is told at once, each with its setting: the
model, the devices, the datasets, whether a file exists. Only when all of that is right are files imported, and what is
wrong with their rows is told. A file that could be used stays a dataset even if the other one could not.

A run may name others that have made nothing yet, if it waits for them (`run.after`): of these it is told what can be
told, and all of it is done once more when it starts (`core.jobs.handing_over`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from core.annotating.settling import settled, takes
from core.configs.data import Input, Recipe
from core.configs.models import Compared, FetchSource, Words
from core.configs.sections import weighted
from core.configs.stages import (
    AnnotateConfig,
    EvaluateConfig,
    FetchConfig,
    ImportConfig,
    PPOConfig,
    PredictConfig,
    PretrainConfig,
    Stage,
    StageConfig,
    TrainingConfig,
    VocabularyConfig,
)
from core.configs.starts import named_starts
from core.data.kinds import Kind, kinds_for
from core.data.recipe.plan import pinned
from core.data.red_flags import read_questions
from core.data.store.library import names_file, open_dataset, resolve
from core.errors import ConfigError, DataError, GalenError, InputError, Problem
from core.hardware import expand
from core.jobs import hosts
from core.jobs.pinning_predict import pin_predict
from core.models.awaited import Awaited, Awaiting, check_start, find_awaited, root_of
from core.models.context import answer_problems, context_problems
from core.models.families import check_type
from core.models.library import bottom_of, find_base
from core.models.runs import find_run
from core.models.sources import base_of, holds_adapter, understand, whole_model
from core.models.stages_of import stages_of
from core.rundir import State, state_of
from core.workspace import Workspace

NAME_LENGTH = 80
Start = Callable[..., str]  # `check_start`, told which workspace and what is awaited
HANDS_ON = ("merge", "push")  # stages that make nothing of their own of the run that they start from
# The settings of a section `data` that name datasets, or lists of them.
DATA_FIELDS = ("train", "mix", "validation", "general", "rows", "prompts", "dev")


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
        except (OSError, ValueError) as error:
            self.problems.append(_no_path(error, key))

    def check(self) -> None:
        """Raise ConfigError if anything was wrong so far."""
        if self.problems:
            raise ConfigError(self.problems)


def _no_path(error: OSError | ValueError, key: str) -> Problem:
    """`path.unusable` for what can be no path: a name too long for any file, or with a NUL. Raises what is not that."""
    if isinstance(error, ValueError) and "null byte" not in str(error):
        raise error
    path, detail = getattr(error, "filename", None) or key, getattr(error, "strerror", None) or str(error)
    return Problem("path.unusable", {"path": str(path)[:200], "detail": detail}, key=key)


def pin(workspace: Workspace, stage: Stage, config: StageConfig, awaiting: Awaiting | None = None) -> StageConfig:
    """`config` with its data, model, devices and name resolved. Raises ConfigError with every problem.

    awaiting: what may be named though it has made nothing yet; None: the unfinished runs of `run.after`.
    """
    pins = Pins()
    pins.pin("run.after", partial(_after, workspace, config.run.after))
    if awaiting is None:
        awaiting = awaited(workspace, pins.values.get("run.after", ()))
    start: Start = partial(check_start, workspace, awaiting)
    data = getattr(config, "data", None)
    if isinstance(config, FetchConfig):
        _pin_adapter(workspace, config.model, pins)
    elif isinstance(config, PredictConfig):
        pin_predict(workspace, config, pins, awaiting)
    elif isinstance(getattr(getattr(config, "model", None), "base", None), str):
        _pin_base(workspace, stage, config, pins, awaiting)
    if stage.uses_devices:
        pins.pin("devices.use", partial(expand, config.devices.use))
    pins.problems += hosts.problems(config)
    if isinstance(config, EvaluateConfig):
        _pin_comparison(workspace, config, pins, awaiting)
    if isinstance(config, PPOConfig):
        pins.pin("rewards.models", partial(_rewarding, start, config.rewards.models))
    if isinstance(config, AnnotateConfig):
        _pin_annotation(workspace, config, pins, start)
    kinds: Sequence[Kind] = kinds_for(stage.name) if isinstance(config, TrainingConfig | PPOConfig) else ()
    kinds = takes(config) if isinstance(config, AnnotateConfig) else kinds
    files: dict[str, Callable[[], str | list[str]]] = {}
    named = {f"data.{field}": getattr(data, field, None) for field in DATA_FIELDS}
    if isinstance(config, EvaluateConfig):
        named |= {"report.domain": config.report.domain, "report.general": config.report.general}
    for key, value in named.items():
        if value:
            refs = _mixed_refs if key == "data.mix" else _dataset_refs
            needed: Sequence[Kind] = ("choice",) if key == "data.dev" else kinds
            look = partial(refs, workspace, value, getattr(data, "bad_rows", "stop"), needed)
            texts = [value] if isinstance(value, str) else [weighted(text)[0] for text in value]
            if any(map(names_file, texts)):
                files[key] = look
            else:
                pins.pin(key, look)
    if isinstance(config, VocabularyConfig):
        _pin_words(workspace, config.words, pins, files)
    recipe = getattr(config, "recipe", None)
    if isinstance(recipe, Recipe):
        pins.pin("recipe", partial(pinned, workspace, recipe))
    pins.check()
    for key, bring_in in files.items():
        pins.pin(key, bring_in)
    if isinstance(config, EvaluateConfig) and "data.dev" in pins.values:
        pins.problems += _few_examples(workspace, pins.values["data.dev"], config.data.shots)
    pins.check()
    if isinstance(config, AnnotateConfig):
        pins.values |= settled(workspace, config, pins.values["data.rows"])
    if not config.run.name and "run.name" not in pins.values:
        pins.values["run.name"] = _default_name(workspace, stage.name, pins.values, config)
    return _with(config, pins.values)


def _pin_base(workspace: Workspace, stage: Stage, config: Any, pins: Pins, awaiting: Awaiting) -> None:
    """What the stage starts from, and whether lengths and type asked for are those of the model at its bottom."""
    base: str = config.model.base
    go_on = getattr(getattr(config, "lora", None), "start", "new") == "continue"
    pins.pin("model.base", partial(check_start, workspace, awaiting, stage.name, base, go_on=go_on))
    asked = getattr(config.model, "model_type", "")
    trains = isinstance(config, TrainingConfig | PPOConfig)
    if "model.base" in pins.values and (asked or trains):
        folder = root_of(workspace, base, awaiting)
        if asked and folder is not None:
            pins.pin("model.model_type", partial(_checked_type, folder, asked))
        if trains and folder is not None:
            pins.problems += _beyond_context(folder, config)


def awaited(workspace: Workspace, runs: Sequence[str]) -> dict[str, Awaited]:
    """Those of `runs` that have not succeeded."""
    found = [workspace.run(name) for name in runs]
    return {run.id: Awaited(run.stage, run.config()) for run in found if state_of(run) is not State.SUCCEEDED}


def waiting_for_live(workspace: Workspace, config: StageConfig) -> StageConfig:
    """`config` with the runs whose results it starts from, and that are still at work, in `run.after`. A checkpoint of
    such a run is there already.

    Raises InputError `run.bad_reference`.
    """
    found = [find_base(workspace, text) for text in named_starts(config.model_dump(mode="json"))]
    refs = [ref for ref in found if ref is not None and ref.which == "output"]
    live = [ref.run for ref in refs if state_of(workspace.run(ref.run)).live]
    after = list(dict.fromkeys([*config.run.after, *live]))
    return config.model_copy(update={"run": config.run.model_copy(update={"after": after})})


def _after(workspace: Workspace, texts: Sequence[str]) -> list[str]:
    """The ids of the runs that are waited for. Raises InputError `run.not_found`."""
    refs = [find_run(workspace, text) for text in texts]
    missing = next((text for text, ref in zip(texts, refs, strict=True) if ref is None), None)
    if missing is not None:
        raise InputError("run.not_found", run=missing)
    return list(dict.fromkeys(ref.run for ref in refs if ref is not None))


def _pin_annotation(workspace: Workspace, config: AnnotateConfig, pins: Pins, start: Start) -> None:
    """The models that answer, and the datasets whose questions are not to come again, as far as the task has them."""
    if config.annotator.kind == "model":
        pins.pin("annotator.base", partial(start, "annotate", config.annotator.base or ""))
    if config.task.kind == "rank" and config.answers.base:
        pins.pin("answers.base", partial(start, "annotate", config.answers.base))
    if config.task.kind == "instruct" and config.new.against:
        pins.pin("new.against", partial(_dataset_refs, workspace, config.new.against, config.data.bad_rows, ()))


def _pin_adapter(workspace: Workspace, model: FetchSource, pins: Pins) -> None:
    """The base that an adapter, or a difference, belongs to, and the name that an adapter's run is known by."""
    source = understand(model.source, model.folder)
    if source.kind == "folder" and holds_adapter(source.path):
        pins.pin("model.base", partial(base_of, workspace, source.path, model.base))
        pins.values["run.name"] = source.name
    elif model.base:
        pins.pin("model.base", partial(whole_model, workspace, model.base))
    if model.folder:
        pins.values["run.name"] = source.name


def _checked_type(folder: Path, asked: str) -> str:
    check_type(folder, asked)
    return asked


def _beyond_context(folder: Path, config: TrainingConfig | PPOConfig) -> list[Problem]:
    """What goes beyond the tokens that the model in `folder` reads at once."""
    if isinstance(config, PretrainConfig):
        return context_problems(folder, {"data.block_size": config.data.block_size})
    if not isinstance(config, PPOConfig):
        return context_problems(folder, {"data.max_length": config.data.max_length})
    return answer_problems(folder, config.data.max_length, config.rollout.max_new_tokens)


def _pin_words(workspace: Workspace, words: Words, pins: Pins, files: dict[str, Callable[[], str | list[str]]]) -> None:
    """Where new tokens come from: at least one of corpus and list, and the list must be there."""
    if words.corpus:
        look = partial(_dataset_refs, workspace, words.corpus, "drop", ())
        if names_file(words.corpus):
            files["words.corpus"] = look
        else:
            pins.pin("words.corpus", look)
    if words.list:
        path = Path(words.list).expanduser().resolve()
        pins.values["words.list"] = str(path)
        if not path.is_file():
            pins.problems.append(Problem("vocabulary.list_missing", {"path": str(path)}, key="words.list"))
    if not words.corpus and not words.list:
        pins.problems.append(Problem("vocabulary.no_source", key="words.corpus"))


def _ref(workspace: Workspace, text: str, bad_rows: Any, kinds: Sequence[Kind]) -> str:
    """`name@version`. Raises DataError `data.wrong_kind` for rows of another kind than `kinds`, where there are any."""
    dataset = resolve(workspace, text, bad_rows=bad_rows)
    if kinds and dataset.card.kind not in kinds:
        raise DataError("data.wrong_kind", ref=dataset.ref, kind=dataset.card.kind, needed=" | ".join(kinds))
    return dataset.ref


def _dataset_refs(
    workspace: Workspace, value: str | list[str], bad_rows: Any, kinds: Sequence[Kind]
) -> str | list[str]:
    """`name@version` for a text, or for each text of a list."""
    if isinstance(value, str):
        return _ref(workspace, value, bad_rows, kinds)
    return list(dict.fromkeys(_ref(workspace, text, bad_rows, kinds) for text in value))


def _mixed_refs(workspace: Workspace, lines: list[str], bad_rows: Any, kinds: Sequence[Kind]) -> list[str]:
    """`name@version: weight` for each line of a mixture."""
    return [f"{_ref(workspace, name, bad_rows, kinds)}: {weight:g}" for name, weight in map(weighted, lines)]


def _rewarding(start: Start, lines: list[str]) -> list[str]:
    """`name: weight`, with the lasting name, of each reward model. Raises ConfigError with all that cannot be used."""
    found: dict[str, float] = {}
    problems = []
    for text, weight in map(weighted, lines):
        try:
            name = start("score", text)
        except GalenError as error:
            problems.append(Problem(error.code, error.params, key="rewards.models"))
            continue
        if name in found:
            problems.append(Problem("ppo.reward_twice", {"run": name}, key="rewards.models"))
        found[name] = weight
    if problems:
        raise ConfigError(problems)
    return [f"{name}: {weight:g}" for name, weight in found.items()]


def _pin_comparison(workspace: Workspace, config: EvaluateConfig, pins: Pins, awaiting: Awaiting) -> None:
    """Who is compared, on what, and who judges. A chain becomes its models, before those that are named besides; one
    that is awaited stays a chain."""
    start: Start = partial(check_start, workspace, awaiting)
    chain = find_awaited(workspace, config.models.chain or "", awaiting)
    if chain is not None:
        pins.pin("models.chain", partial(start, "evaluate", chain))
    else:
        pins.values["models.chain"] = None
    models = config.models if chain is None else config.models.model_copy(update={"chain": None})
    pins.pin("models.runs", partial(_compared, workspace, models, start))
    report, judging, data = config.report, config.judging, config.data
    flagged = config.safety.questions != "none" or config.safety.file is not None
    if not (data.rows or data.prompts or report.domain or report.general or flagged):
        pins.problems.append(Problem("evaluate.nothing", key="data.rows"))
    if bool(data.shots) != bool(data.dev):
        code, key = ("evaluate.no_dev", "data.dev") if data.shots else ("evaluate.no_shots", "data.shots")
        pins.problems.append(Problem(code, {"shots": data.shots}, key=key))
    if judging.reward is not None:
        pins.pin("judging.reward", partial(start, "score", judging.reward))
    if judging.by == "model" and judging.base is not None:
        pins.pin("judging.base", partial(start, "perplexity", judging.base))
    if config.safety.file is not None:
        pins.pin("safety.file", partial(_red_flags, config.safety.file))


def _red_flags(text: str) -> str:
    """The whole path. Raises DataError with every line of the file that is no red-flag question."""
    path = Path(text).expanduser().resolve()
    read_questions(path)
    return str(path)


def _compared(workspace: Workspace, models: Compared, start: Start) -> list[str]:
    """The lasting names of the models of a comparison, each once. Raises ConfigError with all that cannot be used."""
    names: list[str] = []
    problems = []
    of_chain: list[str] = []
    try:
        of_chain = stages_of(workspace, models.chain) if models.chain else []
    except GalenError as error:
        problems.append(Problem(error.code, error.params, key="models.chain"))
    for key, texts in (("models.chain", of_chain), ("models.runs", models.runs)):
        for text in texts:
            try:
                names.append(start("evaluate", text))
            except GalenError as error:
                problems.append(Problem(error.code, error.params, key=key))
    if problems:
        raise ConfigError(problems)
    return list(dict.fromkeys(names))


def _few_examples(workspace: Workspace, dev: str, shots: int) -> list[Problem]:
    rows = len(open_dataset(workspace, dev))
    wrong = Problem("evaluate.few_examples", {"ref": dev, "rows": rows, "shots": shots}, key="data.shots")
    return [wrong] if rows < shots else []


def _default_name(workspace: Workspace, stage: str, values: dict[str, Any], config: StageConfig) -> str:
    """Model, stage and dataset, as far as there are any: `SmolLM2-135M sft medical`. Of a run, its root's model; what
    hands a run on (`HANDS_ON`) bears the run's own name."""
    model = str(values.get("model.base") or "") or getattr(getattr(config, "model", None), "source", "")
    ref = find_base(workspace, model)
    if ref is not None and stage in HANDS_ON:
        return f"{_name_of(workspace, ref.run)} {stage}"[:NAME_LENGTH].strip()
    if ref is not None:
        model = bottom_of(workspace, model)
    keys = ("data.train", "data.rows", "data.prompts", "report.domain", "report.general", "words.corpus")
    named = [values[key] for key in keys if key in values]
    used = [ref for each in named for ref in ([each] if isinstance(each, str) else each)]
    used += [each.dataset for each in _inputs(values)]
    if isinstance(config, ImportConfig):
        used.append(config.rows.name or config.source.repo or Path(config.source.path).name)
    dataset = " + ".join(ref.split("@")[0] for ref in used)
    return " ".join(part for part in (Path(model).name, stage, dataset) if part)[:NAME_LENGTH].strip()


def _name_of(workspace: Workspace, run: str) -> str:
    return str((workspace.run(run).config().get("run") or {}).get("name") or run)


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
