"""`python -m webui.field_pages` writes docs/fields: for every stage a page of its settings, in both languages.

Types, defaults, bounds and English help are the declarations' own (`core.configs`), labels and Chinese help the page's
(`text_fields`), which is why this stands here and not in `core`. What the page has no words for is said in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.configs.files import fields_of, list_presets, sections_of
from core.configs.problems import allowed_text
from core.configs.sections import is_advanced
from core.configs.stages import STAGES, Stage
from core.configs.step_base import Step
from core.configs.steps import STEPS
from core.rundir import write_text
from core.serving.options import ChatOptions, ServeOptions
from webui.messages import allowed_zh
from webui.recipe_draft import fields_of_step
from webui.text import has, t
from webui.text_field_pages import ABOUT_ZH, WORDS
from webui.text_fields import FIELDS, help_text, label, section_name
from webui.text_steps import step_help, step_label

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "fields"
LANGUAGES = ("en", "zh")
FLAT: dict[str, type[BaseModel]] = {"chat": ChatOptions, "serve": ServeOptions}  # no stages: settings without sections
ADVANCED = "°"


def pages() -> dict[str, str]:
    """File name → text of everything in `docs/fields`; a test compares them with the files."""
    found = {file_of("README", lang): _index(lang) for lang in LANGUAGES}
    for stage in STAGES.values():
        found |= {file_of(stage.name, lang): _page(stage, lang) for lang in LANGUAGES}
    return found | {file_of(name, "en"): _flat_page(name, kind) for name, kind in FLAT.items()}


def file_of(name: str, lang: str) -> str:
    return f"{name}.zh.md" if lang == "zh" else f"{name}.md"


def say(key: str, lang: str, **params: str) -> str:
    return WORDS[key][lang == "zh"].format(**params)


def _index(lang: str) -> str:
    links = [f"| [{stage.name}]({file_of(stage.name, lang)}) | {_about(stage, lang)} |" for stage in STAGES.values()]
    flat = " · ".join(f"[{name}]({file_of(name, 'en')})" for name in FLAT)
    other = say("other", lang, file=file_of("README", "en" if lang == "zh" else "zh"))
    return _joined(
        f"# {say('index', lang)}",
        f"{say('written', lang)} {other}",
        "\n".join([say("stage_head", lang), "|---|---|", *links]),
        f"{say('talk', lang)}: {flat}",
    )


def _page(stage: Stage, lang: str) -> str:
    other = say("other", lang, file=file_of(stage.name, "en" if lang == "zh" else "zh"))
    parts = [
        f"# {say('title', lang, name=stage.name)}",
        _about(stage, lang),
        say("use", lang, name=stage.name),
        f"{say('written', lang)} {say('all', lang, file=file_of('README', lang))} · {other}",
        *_presets(stage.name, lang),
    ]
    known = fields_of(stage.config)
    for name, section in sections_of(stage.config).items():
        lines = [_line(stage.name, f"{name}.{leaf}", known[f"{name}.{leaf}"], lang) for leaf in section.model_fields]
        title = section_name(name, lang) if lang == "zh" else name
        parts += [f"## {title}", _table(lines, lang)]
    if stage.name == "prepare":
        parts += [f"## {say('steps', lang)}", say("steps_about", lang), *(_step(do, lang) for do in STEPS)]
    return _joined(*parts)


def _flat_page(name: str, kind: type[BaseModel]) -> str:
    fields: Mapping[str, FieldInfo] = kind.model_fields
    named = {key: t(f"chat.{key}", "en") if has(f"chat.{key}") else "–" for key in fields}
    lines = [_cells(key, named[key], field, field.description or "", "en") for key, field in fields.items()]
    return _joined(
        f"# {say('title', 'en', name=name)}",
        say("flat", "en", name=name),
        f"{say('written', 'en')} {say('all', 'en', file='README.md')}",
        _table(lines, "en"),
    )


def _about(stage: Stage, lang: str) -> str:
    said = " ".join((stage.config.__doc__ or "").split())
    return ABOUT_ZH.get(stage.name, said) if lang == "zh" else said


def _presets(stage: str, lang: str) -> list[str]:
    """Each preset with what the head of its file says, but for the command."""
    lines = []
    for preset in list_presets(stage):
        about = " ".join(line for line in preset.about.splitlines() if not line.startswith("python "))
        lines.append(f"| `{preset.name}` | {_plain(about)} |")
    table = "\n".join([say("preset_head", lang), "|---|---|", *lines])
    return [f"## {say('presets', lang)}", table] if lines else []


def _line(stage: str, key: str, field: FieldInfo, lang: str) -> str:
    named = f"{stage}:{key}" in FIELDS or key in FIELDS
    shown = f"{label(stage, key, lang) if named else '–'}{f' {ADVANCED}' if is_advanced(field) else ''}"
    return _cells(key, shown, field, help_text(stage, key, field, lang), lang)


def _step(do: str, lang: str) -> str:
    lines = [
        _cells(name, step_label(do, lang, name), field, step_help(do, lang, name), lang)
        for name, field in fields_of_step(do).items()
        if name not in Step.model_fields or do == next(iter(STEPS))  # what every step takes is said once
    ]
    about = step_help(do, lang) if lang == "zh" else " ".join((STEPS[do].__doc__ or "").split())
    parts = [f"### {do}", _plain(about), *([_table(lines, lang)] if lines else [])]
    return "\n\n".join(parts)


def _cells(key: str, shown: str, field: FieldInfo, meaning: str, lang: str) -> str:
    takes = allowed_text(field) if lang == "en" else allowed_zh(allowed_text(field))
    return f"| `{key}` | {shown} | {takes} | {_default(field, lang)} | {_plain(meaning)} |"


def _default(field: FieldInfo, lang: str) -> str:
    if field.is_required():
        return say("needed", lang)
    value = field.get_default(call_default_factory=True)
    if value is None or value == "":
        return say("empty", lang)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else " ".join(str(value).split())
    return f"`{text}`".replace("|", "\\|")


def _plain(text: str) -> str:
    """`text` as a cell of a table that is shown as it is."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(lines: list[str], lang: str) -> str:
    return "\n".join([say("head", lang), "|---|---|---|---|---|", *lines])


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def write() -> None:
    """Make `FOLDER` hold these pages and no other."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = pages()
    for file in FOLDER.glob("*.md"):
        if file.name not in made:
            file.unlink()  # of a stage that is gone
    for name, text in made.items():
        write_text(FOLDER / name, text)


if __name__ == "__main__":
    write()
