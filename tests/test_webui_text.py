"""Both languages are complete and say the same things: page strings, settings, and core's messages."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from core.configs.files import fields_of, sections_of
from core.configs.stages import STAGES
from core.errors import ConfigError, ModelError, Problem
from core.messages import MESSAGES
from core.rundir import Result, State
from webui.messages import code_text, error_text, problem_text, result_text
from webui.text import TEXT, t
from webui.text_fields import CHOICES, FIELDS, SECTIONS, help_text, label
from webui.text_zh import MESSAGES_ZH

WEBUI = Path(__file__).parents[1] / "webui"
OWN_STAGES = ("sft", "fetch")


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


def test_every_setting_has_label_and_help_in_both_languages() -> None:
    for name in OWN_STAGES:
        config = STAGES[name].config
        for key, field in fields_of(config).items():
            assert key in FIELDS, key
            assert all(FIELDS[key]), key
            assert help_text(name, key, field, "en") == field.description
            assert label(name, key, "zh")
        assert set(sections_of(config)) <= set(SECTIONS)


def test_no_translation_is_left_of_a_setting_that_is_gone() -> None:
    known = {key for name in OWN_STAGES for key in fields_of(STAGES[name].config)}
    assert set(FIELDS) <= known
    assert {key for key, _ in CHOICES} <= known


def test_every_string_that_the_code_asks_for_is_declared() -> None:
    asked = set()
    for path in WEBUI.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        asked |= set(re.findall(r'\bt\(\s*"([a-z_]+\.[a-z_]+)"', source))
        asked |= set(re.findall(r'labels\.(?:button|tab|accordion)\(\s*"([a-z_.]+)"', source))
    assert asked - set(TEXT) == set()


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
