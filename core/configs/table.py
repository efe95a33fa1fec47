"""docs/settings.md, from the declarations themselves: `python -m core.configs.table > docs/settings.md`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic.fields import FieldInfo

from core.configs.files import fields_of, sections_of
from core.configs.problems import allowed_text
from core.configs.stages import STAGES, Stage
from core.configs.step_base import Step
from core.configs.steps import STEPS

HEAD = """# Settings

Written by `python -m core.configs.table > docs/settings.md`. Each is set as `section.name=value`.
"""
STEPS_HEAD = """
## Steps of a recipe

What `recipe.steps` of the stage prepare is made of, as `- do: near` and below it its settings. Every step also takes
`only_sources` and `except_sources`: lists of the sources whose rows it touches, or leaves as they are.
"""


def settings_page() -> str:
    """`docs/settings.md`, whole; a test compares it with the file."""
    return HEAD + "".join(_stage(stage) for stage in STAGES.values()) + STEPS_HEAD + "".join(map(_step, STEPS.values()))


def _stage(stage: Stage) -> str:
    lines = [f"\n## {stage.name}\n\n{(stage.config.__doc__ or '').strip()}\n"]
    known = fields_of(stage.config)
    for name, section in sections_of(stage.config).items():
        own = {leaf: known[f"{name}.{leaf}"] for leaf in section.model_fields}
        lines += [f"\n### {name}\n", *_table(f"{name}.", own)]
    return "\n".join(lines) + "\n"


def _step(step: type[Step]) -> str:
    own = {name: field for name, field in step.model_fields.items() if name not in Step.model_fields}
    about = [f"\n### {step.model_fields['do'].default}\n", (step.__doc__ or "").strip()]
    return "\n".join([*about, *(["", *_table("", own)] if own else [])]) + "\n"


def _table(prefix: str, fields: Mapping[str, FieldInfo]) -> list[str]:
    lines = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = "**needed**" if field.is_required() else _code(field.get_default(call_default_factory=True))
        meaning = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{prefix}{name}` | {default} | {allowed_text(field)} | {meaning} |")
    return lines


def _code(value: object) -> str:
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`[{', '.join(map(str, value))}]`" if isinstance(value, list) else f"`{value}`"


if __name__ == "__main__":
    print(settings_page(), end="")
