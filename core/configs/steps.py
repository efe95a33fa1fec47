"""The steps that a recipe for a dataset is made of, as settings: `do` names the step, the rest are its parameters.

    recipe:
      steps:
      - do: exact
      - do: near
        threshold: 0.8
      - do: length
        min_chars: 10
        except_sources: [code]

What each step does with rows is in `core.data.steps`. To add one: declare its settings in `clean_steps` or
`shape_steps`, name it in the list at the end of that file, and write its function in `core.data.steps`.
"""

from __future__ import annotations

from typing import Annotated, Any, Union

from pydantic import Field

from core.configs.clean_steps import CLEANING
from core.configs.shape_steps import SHAPING
from core.configs.step_base import Step

STEPS: dict[str, type[Step]] = {step.model_fields["do"].default: step for step in (*CLEANING, *SHAPING)}
AnyStep: Any = Annotated[Union[tuple(STEPS.values())], Field(discriminator="do")]  # noqa: UP007  # built from the table
