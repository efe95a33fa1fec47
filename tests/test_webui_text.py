"""Both languages are complete and say the same things: page strings, settings, and core's messages."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from core.configs.files import fields_of, sections_of
from core.configs.stages import STAGES
from core.data.bring.export_forms import FORMS
from core.data.shapes.formats import SHAPES
from core.errors import ConfigError, ModelError, Problem
from core.messages import MESSAGES
from core.records import Result
from core.records_report import MEASURES
from core.rundir import State
from webui.answers import SAMPLING
from webui.messages import BY_KEY, DETAILS_ZH, by_label, code_text, error_text, problem_text, result_text
from webui.pages.runs import FILTERS
from webui.pages.stage import STAGE_TABS
from webui.run_panel import BUTTONS, FIRST, RENDER
from webui.text import TEXT, t
from webui.text_fields import CHOICES, FIELDS, SECTIONS, help_text, label
from webui.text_remedies import REMEDIES, SENTENCES
from webui.text_zh import MESSAGES_ZH
from webui.views_said import COLUMNS

WEBUI = Path(__file__).parents[1] / "webui"
OWN_WORDS = ("import", "prepare")  # stages whose settings are shown by a page of their own kind
OWN_STAGES = [name for name in STAGES if name not in OWN_WORDS]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_page_string_has_the_same_placeholders_in_both_languages() -> None:
    assert {key for key, (en, zh) in TEXT.items() if placeholders(en) != placeholders(zh)} == set()
    assert [key for key, both in TEXT.items() if not all(both)] == []


def test_core_messages_are_all_translated_with_their_placeholders() -> None:
    assert sorted(set(MESSAGES) - set(MESSAGES_ZH)) == []
    assert sorted(set(MESSAGES_ZH) - set(MESSAGES)) == []
    for code, (sentence, remedy) in MESSAGES.items():
        said, what_to_do = MESSAGES_ZH[code]
        assert placeholders(said) | placeholders(what_to_do) == placeholders(sentence) | placeholders(remedy), code
        assert bool(said) == bool(sentence), code


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_settings_are_named_as_their_fields_are(lang: str) -> None:
    """On the page no sentence asks for `section.key`: there is no such field to be seen."""
    for code, texts in {**MESSAGES, **MESSAGES_ZH}.items():
        blanks = {name: name for text in texts for name in placeholders(text)}
        for said in code_text(code, blanks, lang):
            named = {word for word in re.findall(r"[a-z_]+\.[a-z_]+", re.sub(r"`[^`]*`", "", said)) if word in FIELDS}
            assert not named or code in BY_KEY, (code, said)
    assert by_label("Set lora.targets=all-linear, or data.with_prompt=false.", "en") == (
        "Set “Target layers: all-linear”, or “Use template: off”."
    )
    assert by_label("请用 tuning.method=lora 或 full。", "zh") == "请用“微调方式：LoRA”或 full。"
    said = code_text("ppo.unusable_prompts", {"count": 3, "ref": "a@1", "max_length": 96}, "en")[1]
    assert f"“{label('ppo', 'data.max_length', 'en')}”" in said
    kept = "Run `python -m core sft model.base=x`, see /data/model.base or model.base/x."
    assert by_label(kept, lang) == kept
    late = Result(outcome="failed", code="gone", reason="Memory.", remedy="Lower data.max_length.", ended_at=0)
    assert result_text(late, lang) == ("Memory.", by_label("Lower data.max_length.", lang))


def test_where_nothing_is_near_nobody_asks_whether_it_was_meant() -> None:
    for code in (code for code, (english, _) in REMEDIES.items() if "{nearest}" in english):
        params = dict.fromkeys(placeholders("".join(MESSAGES[code])), "")
        ended = Result(outcome="failed", code=code, params=params, reason="r", remedy="", ended_at=0)
        for _, remedy in (result_text(ended, "en"), code_text(code, params, "en")):
            assert remedy
            assert "Did you mean" not in remedy


def test_every_setting_has_label_and_help_in_both_languages() -> None:
    for name in OWN_STAGES:
        config = STAGES[name].config
        for key, field in fields_of(config).items():
            assert all(FIELDS.get(f"{name}:{key}") or FIELDS[key]), key
            assert help_text(name, key, field, "en") == field.description
            assert label(name, key, "zh")
        assert set(sections_of(config)) <= set(SECTIONS)


def test_where_a_setting_means_something_else_both_languages_say_so() -> None:
    said: dict[str, dict[str, str]] = {}
    for name in OWN_STAGES:
        for key, field in fields_of(STAGES[name].config).items():
            chinese = help_text(name, key, field, "zh")
            assert said.setdefault(key, {}).setdefault(chinese, field.description or "") == field.description, key


def test_no_translation_is_left_of_a_setting_that_is_gone() -> None:
    known = {key for name in OWN_STAGES for key in fields_of(STAGES[name].config)}
    of_stage = {f"{name}:{key}" for name in OWN_STAGES for key in fields_of(STAGES[name].config)}
    assert set(FIELDS) <= known | of_stage
    assert {key for key, _ in CHOICES} <= known


def test_every_string_that_the_code_asks_for_is_declared() -> None:
    asked = set()
    for path in WEBUI.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        asked |= set(re.findall(r'\bt\(\s*"([a-z_]+\.[a-z_]+)"', source))
        asked |= set(re.findall(r'labels\.(?:button|tab|accordion)\(\s*"([a-z_.]+)"', source))
    assert asked - set(TEXT) == set()


def test_every_declared_string_is_asked_for() -> None:
    sources = {path: path.read_text("utf-8") for path in WEBUI.rglob("*.py") if not path.name.startswith("text")}
    said = set(re.findall(r"""["']([a-z]+\.[a-z_]+)["']""", "".join(sources.values())))
    said |= {f"chat.{name}" for name in SAMPLING} | {f"runs.{name}" for name in FILTERS}
    said |= {
        f"run.{name}"
        for name in (*BUTTONS, *FIRST, *RENDER, "items", *(name for tab in STAGE_TABS for name in tab.parts))
    }
    said |= {f"tax.{name}{end}" for name in MEASURES for end in ("", "_help")}
    said |= {f"tax.{verdict}" for verdict in ("better", "worse", "changed", "open")}
    said |= {f"said.{name}{end}" for name in COLUMNS for end in ("", "_help")}
    families = (
        "state.",
        "phase.",
        "stage.",
        "figure.",
        "role.",
        "shape.",
        "runs.col_",
        "chat.which_",
        "chat.drawer_",
        "chat.tab_",
        "predict.way_",
        "disk.is_",
        "tab.",
        "data.tab_",
        "kind.",
        "language.",
        "waiting.",
        "look.show_",
        "look.col_",
        "look.head_",
        "look.as_",
        "look.name_",
        "look.key_",
        "look.at_",
        "form.learns_",
        "ppo.method_",
        "fit.part_",
        "vocabulary.left_",
        "axis.",
        "board.",
        "ended.",
        "lineage.",
        "kept.col_",
    )
    assert {f"chat.{name}" for name in SAMPLING} <= set(TEXT)
    assert {key for key in TEXT if key not in said and not key.startswith(families)} == set()
    assert set(TEXT) & set(FIELDS) == set()  # a setting's key in the code is no use of a string


def test_the_shapes_of_rows_are_named() -> None:
    names = {shape.name for shape in SHAPES} | {form.name for form in FORMS}
    assert {f"shape.{name}" for name in names} == {key for key in TEXT if key.startswith("shape.")}


def test_what_the_settings_say_of_themselves_is_translated() -> None:
    declared = ("sections.py", "shape_steps.py", "clean_steps.py")
    source = "".join((WEBUI.parent / "core" / "configs" / name).read_text("utf-8") for name in declared)
    assert set(re.findall(r'raise ValueError\("([^"]+)"\)', source)) == set(DETAILS_ZH)
    assert (
        "两次"
        in code_text("config.wrong", {"value": "x", "detail": "a device is listed twice", "allowed": ""}, "zh")[0]
    )


def test_every_state_and_phase_is_named() -> None:
    assert all(t(f"state.{state.value}", "zh") for state in State)
    core = WEBUI.parent / "core"
    phases = {
        name for path in core.rglob("*.py") for name in re.findall(r'\.phase\(\s*"([a-z]+)"', path.read_text("utf-8"))
    }
    assert phases - {key.split(".")[1] for key in TEXT if key.startswith("phase.")} == set()


def test_page_text_of_errors() -> None:
    problem = Problem("config.wrong_type", {"value": "abc", "allowed": "a number > 0"}, key="optim.learning_rate")
    assert problem_text(problem, "en") == "'abc' cannot be used here. Allowed: a number > 0."
    assert problem_text(problem, "zh") == "“abc”不能用在这里。 允许：数字 > 0。"
    assert error_text(ConfigError([problem]), "zh")[0] == "有 1 项设置不正确。"
    assert "tiny" in error_text(ModelError("model.not_fetched", model="tiny"), "zh")[0]


def test_the_page_speaks_of_its_own_fields_and_not_of_a_terminal() -> None:
    for code, pair in {**REMEDIES, **SENTENCES}.items():
        known = placeholders("".join(MESSAGES[code]))
        assert placeholders(pair[0]) == placeholders(pair[1]), code
        assert placeholders(pair[0]) <= known, code
    for code in MESSAGES.keys() - {"convert.no_layout"}:  # which only the command line says
        params = {name: f"‹{name}›" for name in placeholders("".join(MESSAGES[code]))}
        for lang in ("en", "zh"):
            assert "python -m core" not in "".join(code_text(code, params, lang)), code
    said = code_text("adapter.base_unknown", {"path": "a", "base": "b", "known": "none"}, "en")[1]
    assert "Belongs to" in said
    assert "base=" not in said
    old = Result(
        outcome="failed", code="model.name_taken", params={}, reason="It is taken.", remedy="rm it", ended_at=0
    )
    assert "Models and disk" in result_text(old, "en")[1]


def test_a_missing_suggestion_is_left_out() -> None:
    params = {"model": "x", "known": "a", "nearest": ""}
    assert "是不是" not in code_text("model.not_in_workspace", params, "zh")[1]
    assert "{" not in "".join(code_text("model.not_in_workspace", params, "en"))


def test_an_unforeseen_error_shows_no_traceback_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    said, _ = error_text(ZeroDivisionError("secret detail"), "zh")
    assert "ZeroDivisionError" in said
    assert "secret detail" not in said
    assert "secret detail" in caplog.text


def test_a_runs_own_words_are_kept_where_its_code_is_unknown() -> None:
    result = Result(outcome="failed", code="", reason="It broke.", remedy="Mend it.", ended_at=0)
    assert result_text(result, "zh") == ("It broke.", "Mend it.")
