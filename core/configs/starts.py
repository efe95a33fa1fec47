"""The settings that may name a run to start from, and what a config names there.

A chain that is being planned names its own earlier steps, as `{sft}`; they become runs' ids when it is queued.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from core.configs.sections import weighted

STARTS = (
    "model.base", "model.lora", "rewards.models", "models.chain", "models.runs", "judging.reward", "judging.base",
    "annotator.base", "answers.base",
)  # fmt: skip
WEIGHTED = ("rewards.models",)  # a weight may follow each name


def named_starts(config: Mapping[str, Any]) -> list[str]:
    """What a config, as JSON, names as starts, each once, in the order of `STARTS`."""
    found: list[str] = []
    for key in STARTS:
        section, _, name = key.partition(".")
        value = (config.get(section) or {}).get(name)
        texts = value if isinstance(value, list) else [value]
        found += [_name(key, text) for text in texts if isinstance(text, str) and text]
    return list(dict.fromkeys(found))


def _name(key: str, text: str) -> str:
    try:
        return weighted(text)[0] if key in WEIGHTED else text
    except ValueError:
        return text


def renamed(config: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    """A copy of `config`, as JSON, in which `rename` was done to every text of `STARTS`, weights and all."""
    made = copy.deepcopy(dict(config))
    for key in STARTS:
        section, _, name = key.partition(".")
        settings = made.get(section)
        value = settings.get(name) if isinstance(settings, dict) else None
        if isinstance(value, str):
            made[section][name] = rename(value)
        elif isinstance(value, list):
            made[section][name] = [rename(text) if isinstance(text, str) else text for text in value]
    return made
