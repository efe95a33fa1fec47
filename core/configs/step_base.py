"""What every step of a recipe has. The steps themselves are in `core.configs.clean_steps` and `shape_steps`."""

from __future__ import annotations

from typing import Any, ClassVar, get_origin

from pydantic import model_validator

from core.configs.sections import Section, setting


class Step(Section):
    """What every step has. A row's source is its dataset, or what its own `source` key said."""

    datasets: ClassVar[tuple[str, ...]] = ()  # settings that name a dataset: pinned to a version at the start
    runs: ClassVar[tuple[str, ...]] = ()  # settings that name a run whose losses are used
    files: ClassVar[tuple[str, ...]] = ()  # settings that name a file: its content goes into the result's version

    do: str
    only_sources: list[str] = setting([], "Touch only rows of these sources. Empty: all.", advanced=True)
    except_sources: list[str] = setting([], "Leave rows of these sources as they are.", advanced=True)

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, values: Any) -> Any:
        """`a, b` is short for `[a, b]` in every setting that is a list."""
        if not isinstance(values, dict):
            return values
        lists = {name for name, field in cls.model_fields.items() if get_origin(field.annotation) is list}
        return {
            name: [part.strip() for part in value.split(",") if part.strip()]
            if name in lists and isinstance(value, str)
            else value
            for name, value in values.items()
        }
