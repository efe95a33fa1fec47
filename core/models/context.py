"""Whether a model can read so many tokens at once. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.errors import ConfigError, Problem
from core.models import families


def context_problems(folder: Path, lengths: Mapping[str, int]) -> list[Problem]:
    """One problem for each setting (dotted key: tokens) that goes beyond the context of the model in `folder`.

    Raises ModelError as `families.read_config`.
    """
    context = families.context_length(families.read_config(folder))
    return [
        Problem("model.beyond_context", {"asked": asked, "context": context}, key=key)
        for key, asked in lengths.items()
        if context is not None and asked > context
    ]


def answer_problems(folder: Path, prompt: int, new: int | None) -> list[Problem]:
    """Where prompts of `data.max_length` tokens leave no room for `rollout.max_new_tokens`; None: for a single one."""
    problems = context_problems(folder, {"data.max_length": prompt})
    context = families.context_length(families.read_config(folder))
    if problems or (context is None and new is not None) or (context is not None and prompt + (new or 1) <= context):
        return problems
    return [Problem("ppo.no_room", {"prompt": prompt, "new": new or 1, "context": context or "?"},
                    key="rollout.max_new_tokens")]  # fmt: skip


def check_context(folder: Path, lengths: Mapping[str, int]) -> None:
    """Raise ConfigError with the `context_problems`, if there are any."""
    problems = context_problems(folder, lengths)
    if problems:
        raise ConfigError(problems)
