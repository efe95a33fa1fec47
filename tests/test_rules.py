"""Rules: what each gives, what a line of a config may say, and that no text whatever breaks one."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.configs.ppo import Rewards
from core.rules import RULES, Answer, read_rule, rule, rules_page

ROOT = Path(__file__).resolve().parents[1]
LINES = {  # every rule, with the settings that it needs
    "length": "length low=5 high=10",
    "repetition": "repetition",
    "language": "language",
    "format": "format pattern=a",
    "mention": "mention words=a",
    "avoid": "avoid words=a",
    "match": "match",
    "number": "number",
}


def worth(line: str, text: str = "", reference: str | None = None, tokens: int = 10) -> float:
    return read_rule(line).score(Answer(text, "question", reference, tokens, True))


@pytest.fixture
def own_rules() -> Iterator[None]:
    """Rules that a test declares are gone after it."""
    kept = dict(RULES)
    yield
    RULES.clear()
    RULES.update(kept)


# -- each rule --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("tokens", "score"), [(0, 0), (10, 0.5), (20, 1), (57, 1), (100, 1), (150, 0.5), (200, 0), (9999, 0)]
)
def test_length_is_a_window_with_slopes(tokens: int, score: float) -> None:
    assert worth("length low=20 high=100", tokens=tokens) == pytest.approx(score)
    assert worth("length low=0 high=100", tokens=tokens) >= score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("", 0),
        ("no", 0),
        ("糖尿病是一种慢性病，请及时就医。", 0),
        ("The cat sat on the mat, and the dog lay by the door.", 0),
        ("是的" * 100, -0.99),
        ("the cat sat here " * 100, -0.99),
        ("haha" * 200, -0.97),
        ("。" * 100, -0.99),
    ],
)
def test_repetition_is_counted_in_words_or_characters(text: str, score: float) -> None:
    assert worth("repetition", text) == pytest.approx(score, abs=0.02)


def test_repetition_grows_with_every_copy() -> None:
    scores = [worth("repetition", "请多喝水，注意休息。" * copies) for copies in (1, 2, 4, 8)]
    assert scores[0] == 0
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("text", "zh", "en"),
    [
        ("请就医。", 1, 0),
        ("See a doctor!", 0, 1),
        ("服用ab", 0.5, 0.5),
        ("12 % …", 0, 0),
        ("Café", 0, 1),
        ("врач", 0, 0),
    ],
)
def test_language_is_a_share_of_letters(text: str, zh: float, en: float) -> None:
    assert worth("language", text) == zh
    assert worth("language wanted=en", text) == en


def test_a_format_is_found_or_not() -> None:
    assert worth(r'format pattern="^\d+ mg$"', "250 mg") == 1
    assert worth(r'format pattern="^\d+ mg$"', "take 250 mg") == 0
    assert worth(r"format pattern=\d{3}", "x250") == 1  # a backslash needs no quotes


def test_an_expression_that_would_never_end_is_given_up() -> None:
    began = time.monotonic()
    assert worth('format pattern="^(a|aa)+$"', "a" * 5000 + "b") == 0
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("words", "text", "share"),
    [
        ("see a doctor", "Please SEE  a\ndoctor.", 1),
        ("就医|120", "请就医", 0.5),
        ("120", "1200", 0),
        ("aspirin", "服用Ａspirin片", 1),
        ("aspirin", "aspirins", 0),
        ("C++|(x)", "c++ and (x)", 1),
        ("врач|", "вызовите врача", 0),
    ],
)
def test_words_are_found_whole_whatever_their_case_and_width(words: str, text: str, share: float) -> None:
    assert worth(f'mention words="{words}"', text) == share
    assert worth(f'avoid words="{words}"', text) == -(share > 0)


def test_match_looks_past_blanks_case_and_width() -> None:
    assert worth("match", " Ｔype  2 Diabetes\n", "type 2 diabetes") == 1
    assert worth("match", "type 2 diabetes.", "type 2 diabetes") == 0
    assert worth("match", "", None) == 0


@pytest.mark.parametrize(
    ("text", "reference", "score"),
    [
        ("第1步…… 答案是１２．５毫克", "12.5", 1),
        ("about 1,250 ml", "= 1250", 1),
        ("2.5-3", "3", 1),
        ("it is −3", "-3", 1),
        ("3.0001", "3", 1),
        ("3.1", "3", 0),
        ("12, as vitamin B6 and COVID-19", "12", 1),
        ("1e3", "1000", 1),
        ("none", "3", 0),
        ("3", "none", 0),
        ("3", None, 0),
        ("9" * 500, "9" * 500, 0),  # infinite
    ],
)
def test_the_last_number_counts(text: str, reference: str | None, score: float) -> None:
    assert worth("number", text, reference) == score


def test_the_tolerance_is_a_share_of_the_reference() -> None:
    assert worth("number tolerance=0.1", "109", "100") == 1
    assert worth("number tolerance=0.1", "111", "100") == 0
    assert worth("number tolerance=0", "0", "0.0") == 1


@pytest.mark.parametrize("name", RULES)
def test_no_text_breaks_a_rule(name: str) -> None:
    bound, rng = read_rule(LINES[name]), random.Random(0)
    odd = ["", "\0", "\ud800", "\n\n", "🙂" * 50, "９" * 400, "1,234" * 99, "ﷺ", "a" * 20_000, "%s{}\\(", "\u202e1"]
    for _ in range(200):
        odd.append("".join(chr(rng.randrange(rng.choice((128, 0x3000, 0x110000)))) for _ in range(60)))
    for text in odd:
        for reference in (None, "", text):
            score = bound.score(Answer(text, text, reference, len(text), False))
            assert -1 <= score <= 1


# -- reading a line ---------------------------------------------------------------------------------------------------
def test_a_line_is_read() -> None:
    bound = read_rule('mention words="see a doctor|急诊" weight=0.5')
    assert (bound.label, bound.weight, bound.settings) == ("mention", 0.5, {"words": "see a doctor|急诊"})
    assert read_rule("length").weight == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lenght", "no rule 'lenght'; did you mean 'length'"),
        ("zzz", "there are length, "),
        ("", "names no rule"),
        ("length lo=3", "no setting 'lo'; did you mean 'low'"),
        ("length low=many", "low is a whole number"),
        ("length low=1.5", "low is a whole number"),
        ("length low=9 high=3", "high neither 0 nor below it"),
        ("length low=1 low=2", "twice"),
        ("length 20", "name=value"),
        ("length weight=0", "above 0"),
        ("length weight=-1", "above 0"),
        ("length weight=101", "at most 100"),
        ("length weight=nan", "no number"),
        ("number tolerance=inf", "tolerance is a number"),
        ("language wanted=fr", "zh or en"),
        ("format", "needs pattern"),
        ("format pattern=(", "no regular expression"),
        ("format pattern=a{9999999999999}", "no regular expression"),
        ("mention words=", "needs words"),
        ("mention words=||", "no word"),
        ('mention words="a', "not closed"),
        ("repetition size=0", "at least 1"),
    ],
)
def test_a_wrong_line_is_told_in_a_sentence(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_rule(line)
    with pytest.raises(ValueError, match="rules"):
        Rewards(rules=[line, "length"])


# -- a team's own -----------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("own_rules")
def test_a_rule_of_ones_own_takes_five_lines() -> None:
    @rule
    def polite(answer: Answer, word: str = "您", often: bool = False, least: float = 1) -> float:
        """1 where the word occurs, 0 otherwise."""
        return float(answer.text.count(word) >= (2 if often else least))

    assert worth("polite", "您好") == 1
    assert worth("polite often=true", "您好") == 0
    assert worth("polite word=请 weight=3", "您好") == 0
    assert RULES["polite"].help == "1 where the word occurs, 0 otherwise."
    with pytest.raises(ValueError, match="often is true or false, not 'maybe'"):
        read_rule("polite often=maybe")
    assert "polite" not in rules_page()


@pytest.mark.usefixtures("own_rules")
def test_what_is_no_rule_is_refused_where_it_is_declared() -> None:
    def unset(answer: Answer, words: str) -> float:
        return 0.0

    def listed(answer: Answer, words: list = []) -> float:  # noqa: B006
        return 0.0

    def heavy(answer: Answer, weight: float = 1.0) -> float:
        return 0.0

    for function in (unset, listed, heavy):
        with pytest.raises(TypeError, match=function.__name__):
            rule(function)
        assert function.__name__ not in RULES

    @rule
    def broken(answer: Answer) -> float:
        return 1 / len(answer.text)

    with pytest.raises(ValueError, match="broken fails on an empty answer"):
        read_rule("broken")


def test_a_plugins_rule_is_known_to_configs(tmp_path: Path) -> None:
    source = "from core.rules import rule\n\nSTAGES = []\n\n@rule\ndef short(answer, most: int = 3) -> float:\n"
    (tmp_path / "team_rules.py").write_text(source + "    return float(len(answer.text) <= most)\n", encoding="utf-8")
    code = "import core.configs.stages, core.configs.ppo as ppo; print(ppo.Rewards(rules='short most=5').rules)"
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "GALEN_PLUGINS": "team_rules"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['short most=5']", done.stderr


# -- the list for people ----------------------------------------------------------------------------------------------
def test_the_list_of_rules_is_what_the_declarations_say() -> None:
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == rules_page()
    assert all(f"\n## {name}\n" in rules_page() for name in LINES)
    assert set(RULES) == set(LINES)
