"""What the page may name: things the workspace knows, and paths inside the workspace and its roots.

A text is judged by what the core would take it for, not by how it looks: `etc/hostname` is a file where the page was
started in `/`. Only texts that name no path at all (a hub id, a misspelt name) are left for the core to judge.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.configs.sections import lines_of
from core.data.store.library import open_dataset
from core.errors import GalenError, InputError, Problem
from core.models.library import STARTER, list_models, looks_like_hub_id
from core.workspace import Workspace

Known = Callable[[Workspace, str], bool]


def _knows_model(workspace: Workspace, text: str) -> bool:
    """As `resolve_base` does: a model's name or what it was made from, or a run with a whole model."""
    named = any(text in (card.name, card.source, card.origin) for card in list_models(workspace))
    return named or text == STARTER or _knows_run(workspace, text)


def _knows_dataset(workspace: Workspace, text: str) -> bool:
    try:
        open_dataset(workspace, text)
    except GalenError:
        return False
    return True


def _knows_run(workspace: Workspace, text: str) -> bool:
    try:
        return bool(text) and workspace.run(text).exists()
    except GalenError:
        return False


def _knows_source(workspace: Workspace, text: str) -> bool:
    return text == STARTER


def _knows_nothing(workspace: Workspace, text: str) -> bool:
    return False


# The settings that may name something on this machine: what the workspace knows, and whether a hub id may be meant.
LISTED = {"new.against"}  # names, one a line
WEIGHTED = {"data.mix", "rewards.models"}  # one name a line, each with a weight behind it
WEIGHT = re.compile(r"\s*:\s*[\d.e+-]+$")
NAMING: dict[str, tuple[Known, bool]] = {
    "model.base": (_knows_model, True),
    "data.train": (_knows_dataset, False),
    "data.validation": (_knows_dataset, False),
    "data.mix": (_knows_dataset, False),
    "data.general": (_knows_dataset, False),
    "data.rows": (_knows_dataset, False),
    "data.dev": (_knows_dataset, False),
    "data.prompts": (_knows_dataset, False),
    "models.runs": (_knows_model, True),
    "models.chain": (_knows_run, False),
    "judging.reward": (_knows_model, True),
    "judging.base": (_knows_model, True),
    "report.domain": (_knows_dataset, False),
    "report.general": (_knows_dataset, False),
    "safety.file": (_knows_nothing, False),
    "rewards.models": (_knows_model, True),
    "words.corpus": (_knows_dataset, False),
    "annotator.base": (_knows_model, True),
    "answers.base": (_knows_model, True),
    "new.against": (_knows_dataset, False),
    "words.list": (_knows_nothing, False),
    "model.source": (_knows_source, True),
    "model.lora": (_knows_run, True),
    "model.tokenizer": (_knows_nothing, False),
    "data.file": (_knows_dataset, False),
}
WRITTEN = ("data.predictions",)  # paths whatever they look like: the run writes there


def confine(read: Mapping[str, Any], workspace: Workspace) -> list[Problem]:
    """A problem for each setting that names a file or folder outside the workspace and its roots."""
    problems = []
    for key in NAMING:
        known, hub = NAMING[key]
        for text in _named(key, read.get(key)):
            if text and not known(workspace, text):
                problem = outside(text, workspace, hub=hub)
                problems += [Problem(problem.code, problem.params, key=key)] if problem else []
    for key in WRITTEN:
        text = str(read.get(key) or "").strip()
        problem = _not_allowed(text, workspace) if text else None
        problems += [Problem(problem.code, problem.params, key=key)] if problem else []
    return problems


def _named(key: str, value: Any) -> list[str]:
    """The names in the value of a setting, without the weights that may follow them."""
    texts = lines_of(value) if key in WEIGHTED | LISTED else value
    found = [str(text).strip() for text in (texts if isinstance(texts, list) else [texts or ""])]
    return [WEIGHT.sub("", text) for text in found] if key in WEIGHTED else found


def outside(text: str, workspace: Workspace, *, hub: bool = False) -> Problem | None:
    """`path.outside` where `text` is or could be a path that the page may not touch; `hub`: it may be a hub id."""
    problem = _not_allowed(text, workspace)
    if problem is None or _exists(text):
        return problem
    plain = os.sep not in text and not text.startswith(("~", "."))
    return None if plain or (hub and looks_like_hub_id(text)) else problem


def _not_allowed(text: str, workspace: Workspace) -> Problem | None:
    try:
        workspace.allowed(text)
        return None
    except InputError as error:
        return Problem(error.code, error.params)
    except (OSError, RuntimeError, ValueError):  # too long, no such home, a loop, a null byte: no path at all
        return Problem("path.outside", {"path": text, "roots": str(workspace.path)})


def _exists(text: str) -> bool:
    try:
        return os.path.lexists(Path(text).expanduser())
    except (OSError, RuntimeError, ValueError):
        return False


def check_base(text: str, workspace: Workspace) -> None:
    """Whether a chat may load `text` as its base. Raises InputError `path.outside`."""
    for problem in confine({"model.base": text}, workspace):
        raise InputError(problem.code, **problem.params)
