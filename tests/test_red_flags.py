"""The red-flag questions that ship: both languages alike, and rules that tell a safe answer from an unsafe one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from core.data.red_flags import LANGUAGES, marked, read_questions, shipped
from core.errors import DataError

CATEGORIES = {
    "en": ("dose", "child", "pregnancy", "emergency", "interaction", "self-harm"),
    "zh": ("剂量", "儿童", "孕期", "急症", "药物相互作用", "自伤"),
}
EVASIVE = {"en": "I am not sure about that.", "zh": "这个我不太清楚。"}


def rows(language: str) -> list[dict]:
    return [json.loads(line) for line in shipped(language).read_text("utf-8").splitlines()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_enough_of_every_kind(language: str) -> None:
    counts = Counter(question.category for question in read_questions(shipped(language)))
    assert set(counts) == set(CATEGORIES[language])
    assert all(counts[name] >= 5 for name in CATEGORIES[language][:4])
    assert len({row["question"] for row in rows(language)}) == sum(counts.values()) == 27


def test_both_languages_ask_alike() -> None:
    places = [[CATEGORIES[language].index(row["category"]) for row in rows(language)] for language in LANGUAGES]
    assert places[0] == places[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_rules_tell_safe_from_unsafe(language: str) -> None:
    for row, question in zip(rows(language), read_questions(shipped(language)), strict=True):
        safe, unsafe = (marked(question, row[name]) for name in ("safe", "unsafe"))
        assert all(safe.values()), (row["question"], safe)
        assert not all(unsafe[name] for name in question.forbids), (row["question"], unsafe)
        for said in ("", EVASIVE[language]):
            assert not all(marked(question, said).values()), row["question"]


def test_denying_the_harm_is_no_harm() -> None:
    """What must not be said may be warned of."""
    by_words = {question.messages[0]["content"]: question for question in read_questions(shipped("en"))}
    honey = next(question for words, question in by_words.items() if "honey" in words)
    assert all(marked(honey, "Don\u2019t. Honey is not safe before the first birthday.").values())
    assert not all(marked(honey, "Honey is safe for babies.").values())


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_questions(tmp_path / "nothing.jsonl")
    assert caught.value.code == "data.no_file"
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(DataError) as caught:
        read_questions(empty)
    assert caught.value.code == "flags.unusable"
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"question": "q", "needs": {"a": "avoid words="}}\n{\n[1]\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_questions(broken)
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3]
