"""What the settings of an annotation become once its rows are known: the prompts in full, the name of the result."""

from __future__ import annotations

from typing import Any

from core.annotating.prompts import shipped
from core.annotating.tasks import HAVE_ANSWERS, TAKES
from core.configs.annotate_prompts import Of
from core.configs.stages import AnnotateConfig
from core.data.kinds import Kind
from core.data.store.library import open_dataset
from core.errors import ConfigError, InputError, Problem
from core.workspace import Workspace, check_name

NAME_LENGTH = 80
ENDS = {
    "rank": "ranked",
    "instruct": "new",
    "pairs": "pairs",
    "conversations": "improved",
}  # of a name that nobody gave


def takes(config: AnnotateConfig) -> tuple[Kind, ...]:
    """The kinds of rows that the task takes."""
    return TAKES[config.task.kind]


def settled(workspace: Workspace, config: AnnotateConfig, ref: str) -> dict[str, Any]:
    """The settings that stand only once the rows `ref` are known, by dotted key. Raises ConfigError."""
    dataset, task = open_dataset(workspace, ref), config.task
    of: Of = "documents" if dataset.card.kind == "text" else "rows"
    problems = []
    if task.kind == "rank" and not config.answers.base and dataset.card.kind not in HAVE_ANSWERS:
        problems.append(Problem("annotate.no_answers", {"ref": dataset.ref}, key="answers.base"))
    made = task.makes if task.kind == "improve" else task.kind
    name = config.data.output or f"{dataset.name}-{ENDS.get(made, made)}"[:NAME_LENGTH]
    try:
        check_name(name)
    except InputError as error:
        problems.append(Problem(error.code, error.params, key="data.output"))
    needed = {"documents": "{document}", "rows": "{answer}" if task.asks == "score" else "{examples}"}[of]
    values: dict[str, Any] = {"data.output": name}
    for language, own in (("en", task.prompt_en), ("zh", task.prompt_zh)):
        key = f"task.prompt_{language}"
        if own and task.asks in ("score", "instruct") and needed not in own:
            problems.append(Problem("annotate.prompt_lacks", {"names": needed, "task": task.kind}, key=key))
        values[key] = own or shipped(task.asks, of, "zh" if language == "zh" else "en")
    if problems:
        raise ConfigError(problems)
    return values
