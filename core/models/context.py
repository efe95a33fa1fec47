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


def check_context(folder: Path, lengths: Mapping[str, int]) -> None:
    """Raise ConfigError with the `context_problems`, if there are any."""
    problems = context_problems(folder, lengths)
    if problems:
        raise ConfigError(problems)
