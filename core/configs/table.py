"""docs/settings.md, from the declarations themselves: `python -m core.configs.table > docs/settings.md`."""

from __future__ import annotations

from core.configs.files import allowed_text, sections_of
from core.configs.stages import STAGES, Stage

HEAD = """# Settings

Written by `python -m core.configs.table > docs/settings.md`. Each is set as `section.name=value`.
"""


def settings_page() -> str:
    """`docs/settings.md`, whole; a test compares it with the file."""
    return HEAD + "".join(_stage(stage) for stage in STAGES.values())


def _stage(stage: Stage) -> str:
    lines = [f"\n## {stage.name}\n\n{(stage.config.__doc__ or '').strip()}\n"]
    for name, section in sections_of(stage.config).items():
        lines += [f"\n### {name}\n", "| setting | default | allowed | meaning |", "|---|---|---|---|"]
        for field_name, field in section.model_fields.items():
            default = "**needed**" if field.is_required() else _code(field.get_default(call_default_factory=True))
            meaning = (field.description or "").replace("|", "\\|")
            lines.append(f"| `{name}.{field_name}` | {default} | {allowed_text(field)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _code(value: object) -> str:
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`[{', '.join(map(str, value))}]`" if isinstance(value, list) else f"`{value}`"


if __name__ == "__main__":
    print(settings_page(), end="")
