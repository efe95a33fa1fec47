"""A stage's config as components, and back: one widget a setting, built from its declaration alone.

The choice of widget is made here and nowhere else. Numbers are text fields, so that `2e-5` may be typed as it is and a
typo gets its message beside the field. Help appears while a field is pointed at or edited; advanced fields and those
that do not apply are hidden by style alone (`advanced`, `only-…`), so hiding costs no round trip.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from pydantic.fields import FieldInfo

from core.configs.files import fields_of, find_preset, flat, resolve, sections_of
from core.configs.sections import inner, is_advanced, lines_of
from core.configs.stages import STAGES, StageConfig
from core.data.encode.named import NAMED
from core.errors import ConfigError, InputError, Problem
from core.workspace import Workspace
from webui.confine import confine
from webui.field_shapes import (
    CLOSED,
    DEVICES,
    HALF,
    LAUNCH,
    LEFT_OUT,
    LISTED,
    ONLY_WHEN,
    PICKERS,
    SEGMENTED,
    SEGMENTS,
    TALL,
    TEMPLATES,
    WIDE,
)
from webui.figures import literal
from webui.labels import Labels
from webui.messages import problem_text
from webui.text import t
from webui.text_fields import choice_label, help_text, label, section_name

NOTHING: Mapping[str, Any] = {}


class Form:
    """The widgets of one stage. Place fields and sections in any order; `keys` and `components` run in parallel."""

    def __init__(self, stage: str, labels: Labels) -> None:
        self.stage = stage
        self.labels = labels
        self.config: type[StageConfig] = STAGES[stage].config
        self.known: dict[str, FieldInfo] = fields_of(self.config)
        self._placed: dict[str, Any] = {}
        self._classes: dict[str, list[str]] = {}
        self._more_help: dict[str, str] = {}
        self._devices: list[str] | None = None  # what the device picker offers
        self.folds: dict[str, gr.Accordion] = {}

    # -- building -----------------------------------------------------------------------------------------------------
    def section(self, name: str) -> None:
        """All fields of a section that have no place elsewhere, in a fold; nothing when none is left."""
        elsewhere = LAUNCH | LEFT_OUT | set(self._placed)
        keys = [key for key in self.known if key.startswith(f"{name}.") and key not in elsewhere]
        if not keys:
            return
        classes = ["section", *([ONLY_WHEN[name]] if name in ONLY_WHEN else [])]
        if all(is_advanced(self.known[key]) for key in keys):
            classes.append("advanced")
        fold = gr.Accordion(section_name(name, self.labels.lang), open=name not in CLOSED, elem_classes=classes)
        self.labels.add(fold, label=lambda lang: section_name(name, lang))
        with fold, gr.Column(elem_classes=["fields"]):
            for key in keys:
                self.place(key)
        self.folds[name] = fold

    def sections(self, *, skip: Sequence[str] = ()) -> None:
        for name in sections_of(self.config):
            if name not in skip:
                self.section(name)

    def place(self, key: str, *extra: str, placeholder: str = "", more_help: str = "", **options: Any) -> Any:
        """The widget of one setting. `extra`: style classes; `placeholder` and `more_help`, which goes on where the
        setting's own help ends: text keys; `options`: the component's."""
        assert key not in self._placed, f"{key} has two widgets"
        field = self.known[key]
        lang = self.labels.lang
        classes = ["field", f"f-{key.replace('.', '-')}", *extra]
        kind, _ = inner(field.annotation)
        classes += ["wide"] if key in WIDE or _lines(key, kind) > 1 else []
        classes += ["half"] if key in HALF else []
        classes += ["advanced"] if is_advanced(self.known[key]) else []
        classes += [ONLY_WHEN[key]] if key in ONLY_WHEN else []
        self._classes[key] = classes
        self._more_help[key] = more_help
        if key == DEVICES and "choices" in options:
            self._devices = [value for _, value in options["choices"]]
        says: dict[str, Callable[[str], Any]] = {
            "label": lambda lang: label(self.stage, key, lang),
            "info": lambda lang: self._help(key, lang),
        }
        if placeholder:
            says["placeholder"] = lambda lang: t(placeholder, lang)
        if get_origin(kind) is Literal:
            says["choices"] = lambda lang: [(choice_label(key, value, lang), value) for value in get_args(kind)]
        first = {name: say(lang) for name, say in says.items()}
        shared = {"interactive": True, "elem_classes": classes, "value": self.show_one(key, self.default(key))}
        component = _widget(key, kind)(**{**first, **shared, **options})
        self._placed[key] = self.labels.add(component, elem_classes=lambda _lang: classes, **says)
        return component

    def _help(self, key: str, lang: str) -> str:
        """The field's help; Gradio shows it as Markdown."""
        said = help_text(self.stage, key, self.known[key], lang)
        more = self._more_help[key]
        return literal(f"{said} {t(more, lang)}" if more else said)

    # -- values -------------------------------------------------------------------------------------------------------
    @property
    def keys(self) -> list[str]:
        return list(self._placed)

    @property
    def components(self) -> list[Any]:
        return list(self._placed.values())

    def component(self, key: str) -> Any:
        return self._placed[key]

    def default(self, key: str) -> Any:
        field = self.known[key]
        return None if field.is_required() else field.get_default(call_default_factory=True)

    def show_one(self, key: str, value: Any) -> Any:
        """A config value as its widget shows it."""
        kind, _ = inner(self.known[key].annotation)
        if key in PICKERS and get_origin(kind) is list:
            return list(value or [])
        if kind is bool or get_origin(kind) is Literal or key in PICKERS:
            return value
        if key == DEVICES:
            return list(value or [])
        if isinstance(value, list):
            return ("\n" if key in LISTED else ", ").join(map(str, value))
        if isinstance(value, float):
            return _number(value)
        return "" if value is None else str(value)

    def read(self, values: Sequence[Any]) -> dict[str, Any]:
        """What the widgets hold, as dotted keys with values that the config can be made from."""
        found = {}
        for key, value in zip(self.keys, values, strict=True):
            kind, optional = inner(self.known[key].annotation)
            text = value.strip() if isinstance(value, str) else value
            if text in (None, "", []):
                if self.known[key].is_required() or key == DEVICES:
                    continue
                found[key] = None if optional else [] if get_origin(kind) is list else ""
            else:
                found[key] = text
        return found

    def resolve(self, values: Sequence[Any], workspace: Workspace, given: Mapping[str, Any] = NOTHING) -> StageConfig:
        """The config of the form, beneath what is `given` by dotted key. Raises ConfigError with every wrong field,
        paths outside the roots among them."""
        read = {**self.read(values), **given}
        problems = confine(read, workspace)
        try:
            config = resolve(self.stage, values=read, workspace=workspace)
        except ConfigError as error:
            raise ConfigError([*error.problems, *problems]) from error
        if problems:
            raise ConfigError(problems)
        return config

    def fill(self, flat: Mapping[str, Any], *, keep: Iterable[str] = ()) -> list[Any]:
        """Updates that put `flat` (dotted keys) into the widgets, defaults elsewhere; keys in `keep` are left."""
        kept = set(keep)
        updates = []
        for key in self.keys:
            if key in kept and key not in flat:
                updates.append(gr.skip())
            else:
                value = self.show_one(key, flat.get(key, self.default(key)))
                updates.append(gr.update(value=self._choosable(key, value)))
        return updates

    def restore(self, stored: Any) -> list[Any]:
        """Updates from what the browser kept (widget values by key); foreign or missing keys are left alone."""
        held = stored if isinstance(stored, dict) else {}
        return [gr.update(value=self._choosable(key, held[key])) if key in held else gr.skip() for key in self.keys]

    def _choosable(self, key: str, value: Any) -> Any:
        """`value`, or what stands for it where a widget would refuse it: devices and choices that are not there now.

        Gradio answers no event of a form that holds such a value. A browser keeps forms by address, and behind the
        same one there may be another machine today.
        """
        kind, _ = inner(self.known[key].annotation)
        if key == DEVICES and self._devices is not None:
            named = value if isinstance(value, list) else []
            return [name for name in named if name in self._devices] or list(self.default(key))
        if get_origin(kind) is Literal and value not in get_args(kind):
            return self.default(key)
        return value

    # -- messages -----------------------------------------------------------------------------------------------------
    def mark(self, problems: Iterable[Problem], lang: str, before: Iterable[str] | None = None) -> list[Any]:
        """Updates that put each problem's text beside its field and clear the others.

        With `before` (the keys marked until now) fields whose message does not change are skipped.
        """
        said: dict[str, str] = {}
        for problem in problems:
            if problem.key in self._placed and problem.key is not None:
                said.setdefault(problem.key, problem_text(problem, lang))
        touched = set(self.keys) if before is None else set(before) | set(said)
        updates = []
        for key in self.keys:
            if key not in touched:
                updates.append(gr.skip())
            elif key in said:
                updates.append(gr.update(info=literal(said[key]), elem_classes=[*self._classes[key], "has-error"]))
            else:
                updates.append(gr.update(info=self._help(key, lang), elem_classes=self._classes[key]))
        return updates

    def marked(self, problems: Iterable[Problem]) -> list[str]:
        return list(dict.fromkeys(problem.key for problem in problems if problem.key and problem.key in self._placed))

    # -- the same from a terminal, and in the browser -----------------------------------------------------------------
    def command(self, values: Sequence[Any], preset: str | None, workspace: Workspace) -> str:
        """`python -m core STAGE …` with what differs from the defaults or the preset; wrong values as typed."""
        read = self.read(values)
        under: dict[str, Any] = {}
        words = self.opening(workspace, self.stage)
        if preset:
            try:
                under = flat(find_preset(self.stage, preset, workspace).read())
                words += ["--preset", preset]
            except InputError:
                under = {}
        for key, value in read.items():
            usual = self.show_one(key, under.get(key, self.default(key)))
            if self.show_one(key, value) != usual and value != usual:
                words.append(self.word(key, value))
        return shlex.join(words)

    @staticmethod
    def opening(workspace: Workspace, *command: str) -> list[str]:
        """The words that a command on this workspace begins with."""
        place = [] if workspace.path == Path("workspace").resolve() else ["--workspace", str(workspace.path)]
        return ["python", "-m", "core", *command, *place]

    def word(self, key: str, value: Any) -> str:
        """A setting as `key=value`."""
        listed = key in LISTED and get_origin(inner(self.known[key].annotation)[0]) is list
        return f"{key}={_word(lines_of(value) if listed else value)}"

    def keep_js(self) -> str:
        """JavaScript that keeps the widgets' values in the browser, as the object that `restore` reads."""
        pack = "Object.fromEntries(k.map((x, i) => [x, v[i]]))"
        keep = f"if (galen.ready) galen.keep('form.{self.stage}', {pack});"
        return f"(...v) => {{ const k = {json.dumps(self.keys)}; {keep} }}"


def _widget(key: str, kind: Any) -> Callable[..., Any]:
    """Which component shows a setting of type `kind`."""
    options: dict[str, Any] = {}
    component: Any = gr.Textbox
    if key == DEVICES:
        component = gr.CheckboxGroup
    elif get_origin(kind) is Literal:
        short = len(get_args(kind)) <= SEGMENTS or key in SEGMENTED
        component, options = (gr.Radio, {}) if short else (gr.Dropdown, {"filterable": False})
    elif kind is bool:
        component = gr.Checkbox
    elif key in TEMPLATES:
        component, options = gr.Dropdown, {"choices": list(NAMED), "allow_custom_value": True}
    elif key in PICKERS:
        several = get_origin(kind) is list
        component, options = gr.Dropdown, {"choices": [], "allow_custom_value": True, "multiselect": several}
    else:
        options = {"lines": _lines(key, kind), "max_lines": _lines(key, kind)}
    return partial(component, **options)


def _lines(key: str, kind: Any) -> int:
    """How many lines of a text are shown at once. One stage's list may be another's number."""
    return LISTED.get(key, 1) if get_origin(kind) is list else TALL.get(key, 1) if kind is str else 1


def _number(value: float) -> str:
    """The shortest form a person would type: 3, 0.03, 2e-4."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if abs(value) >= 1e-3:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _word(value: Any) -> str:
    """A value as `key=value` takes it: YAML for lists and booleans, plain text otherwise."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
