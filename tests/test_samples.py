"""The rows that ship in `data/`: made by its script, usable, no two alike, and a test that training can teach."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from core.data.check.doctor import check_file

DATA = Path(__file__).resolve().parents[1] / "data"
STAGES = ("pretrain", "sft", "reward", "ppo", "evaluate")
LANGUAGES = ("zh", "en")
FILES = [f"{stage}/{language}.jsonl" for stage in STAGES for language in LANGUAGES]
LEAST_ROWS = 150
RUN = {"zh": 13, "en": 8}  # characters, words: as long a run of a test question must not stand in training text
SHORT = {"zh": 30, "en": 20}  # what the system turns of the quick rounds ask for, in one sentence: characters, words
TEXTS = ("ask", "short", "follow_question", "follow_answer", "unhelpful", "dishonest", "harmful")
LISTS = {"statements": 3, "questions": 3, "answers": 2, "tests": 2}

Row = dict[str, Any]


def _build() -> Any:
    spec = importlib.util.spec_from_file_location("samples_build", DATA / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def build() -> Any:
    return _build()


@pytest.fixture(scope="module")
def files() -> dict[str, list[Row]]:
    return {name: [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()] for name in FILES}


def texts(row: Row) -> list[str]:
    """What a model reads of a row."""
    if "conversations" in row:
        return [turn["value"] for turn in row["conversations"]]
    return [row[key] for key in ("text", "prompt", "chosen", "rejected", "question", *"ABCD") if key in row]


def units(text: str, language: str) -> list[str]:
    """Characters of a Chinese text and words of an English one, without case and punctuation."""
    return re.findall(r"\w" if language == "zh" else r"\w+", text.lower())


def runs(text: str, language: str) -> set[tuple[str, ...]]:
    parts = units(text, language)
    return {tuple(parts[start : start + RUN[language]]) for start in range(len(parts) - RUN[language] + 1)}


def grams(text: str, size: int) -> set[str]:
    joined = "".join(text.lower().split())
    return {joined[start : start + size] for start in range(len(joined) - size + 1)}


# -- the table and the script -----------------------------------------------------------------------------------------
def test_the_script_makes_the_files(build: Any) -> None:
    made = {name: build.as_lines(rows) for name, rows in build.compose().items()}
    assert sorted(made) == sorted(FILES)
    changed = [name for name, lines in made.items() if lines != (DATA / name).read_text("utf-8")]
    assert not changed, "run: python data/build.py"


def test_every_fact_is_complete_in_both_languages(build: Any) -> None:
    topics, _ = build.load()
    facts = [fact for topic in topics for fact in topic["facts"]]
    assert len(facts) >= 72
    assert len({fact["id"] for fact in facts}) == len(facts)
    for fact in facts:
        for language in LANGUAGES:
            said = fact[language]
            assert set(said) == {*TEXTS, *LISTS}, fact["id"]
            assert {key: len(said[key]) for key in LISTS} == LISTS, fact["id"]
            flat = [said[key] for key in TEXTS] + [text for key in LISTS if key != "tests" for text in said[key]]
            flat += [text for test in said["tests"] for text in (test["question"], *test["choices"])]
            assert all(isinstance(text, str) and text == text.strip() != "" for text in flat), fact["id"]
            assert all(len(set(test["choices"])) == 4 for test in said["tests"]), fact["id"]
            size = len(said["short"]) if language == "zh" else len(said["short"].split())
            assert size <= SHORT[language], (fact["id"], said["short"])
            assert len(re.findall(r"[。！？；]|[.!?;](?=\s|$)", said["short"])) == 1, (fact["id"], said["short"])


# -- the rows ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FILES)
def test_the_doctor_finds_nothing(name: str) -> None:
    report = check_file(DATA / name)
    assert report.ok
    assert report.usable == report.rows >= LEAST_ROWS
    assert not report.counts, report.problems[:3]
    assert name.split("/")[0] in report.stages
    assert report.duplicates is not None
    assert (report.duplicates.exact, report.duplicates.normalised) == (0, 0)


@pytest.mark.parametrize("name", FILES)
def test_no_two_rows_are_alike(name: str, files: dict[str, list[Row]]) -> None:
    seen = [grams("\n".join(texts(row)), 5) for row in files[name]]
    for first, second in combinations(seen, 2):
        both = len(first & second)
        assert both < 0.5 * (len(first) + len(second) - both)  # Jaccard; 0.9 would be the same row retouched


@pytest.mark.parametrize("name", FILES)
def test_rows_do_not_all_begin_alike(name: str, files: dict[str, list[Row]]) -> None:
    language = name.split("/")[1][:2]
    size = 4 if language == "zh" else 3
    ways = ["chosen", "rejected"] if "reward" in name else [None]
    for way in ways:
        said = [row[way] if way else texts(row)[-1 if "sft" in name else 0] for row in files[name]]
        openings = Counter(tuple(units(text, language)[:size]) for text in said)
        assert len(openings) > 0.6 * len(said)
        assert openings.most_common(1)[0][1] <= 0.06 * len(said)


@pytest.mark.parametrize("language", LANGUAGES)
def test_dialogues_have_one_and_many_turns_and_some_a_system_turn(language: str, files: dict[str, list[Row]]) -> None:
    said = [[turn["from"] for turn in row["conversations"]] for row in files[f"sft/{language}.jsonl"]]
    asked = Counter(turns.count("human") for turns in said)
    assert min(asked[1], asked[2]) >= 70
    assert asked[3] >= 20
    assert 0.2 < sum(turns[0] == "system" for turns in said) / len(said) < 0.6


@pytest.mark.parametrize("language", LANGUAGES)
def test_pairs_are_wrong_in_three_named_ways_and_not_told_by_length(
    language: str, files: dict[str, list[Row]], build: Any
) -> None:
    rows = files[f"reward/{language}.jsonl"]
    ways = Counter(row["wrong"] for row in rows)
    assert set(ways) == set(build.WRONG)
    assert len(set(ways.values())) == 1
    assert all(row["category"] == build.WRONG[row["wrong"]] for row in rows)
    assert 0.4 < sum(len(row["chosen"]) > len(row["rejected"]) for row in rows) / len(rows) < 0.6


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_category_is_the_topic_of_its_facts(language: str, files: dict[str, list[Row]], build: Any) -> None:
    topics, _ = build.load()
    own = {fact["id"]: topic["topic"][language] for topic in topics for fact in topic["facts"]}
    for stage in ("pretrain", "sft", "ppo", "evaluate"):
        rows = files[f"{stage}/{language}.jsonl"]
        assert {row["category"] for row in rows} == set(own.values())
        assert all({own[name] for name in row.get("facts", [row.get("fact")])} == {row["category"]} for row in rows)


# -- the test set -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("language", LANGUAGES)
def test_letters_and_lengths_give_no_answer_away(language: str, files: dict[str, list[Row]]) -> None:
    rows = files[f"evaluate/{language}.jsonl"]
    letters = Counter(row["answer"] for row in rows)
    assert set(letters) == set("ABCD")
    assert max(letters.values()) - min(letters.values()) <= 1
    for pick in (min, max):  # always taking the shortest or the longest choice, a tie counting by its share
        score = 0.0
        for row in rows:
            best = pick(len(row[letter]) for letter in "ABCD")
            tied = [letter for letter in "ABCD" if len(row[letter]) == best]
            score += (row["answer"] in tied) / len(tied)
        assert score / len(rows) < 0.33


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_wording_of_the_test_occurs_in_training(language: str, files: dict[str, list[Row]]) -> None:
    trained = {
        run
        for stage in STAGES[:-1]
        for row in files[f"{stage}/{language}.jsonl"]
        for text in texts(row)
        for run in runs(text, language)
    }
    for row in files[f"evaluate/{language}.jsonl"]:
        leaked = [text for text in texts(row) if runs(text, language) & trained]
        assert not leaked, (row["fact"], leaked)
    questions = sorted(row["question"] for row in files[f"evaluate/{language}.jsonl"])
    assert all(first != second for first, second in pairwise(questions))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_question_can_be_learnt(language: str, files: dict[str, list[Row]]) -> None:
    """Every fact of the test is taught, and what is taught resembles the right choice more than the wrong ones."""
    rows = files[f"evaluate/{language}.jsonl"]
    asked = Counter(row["fact"] for row in rows)
    assert min(asked.values()) >= 2
    taught: dict[str, set[str]] = {}
    size = 2 if language == "zh" else 4
    for stage in ("pretrain", "sft"):
        lessons = files[f"{stage}/{language}.jsonl"]
        assert set(asked) == {fact for row in lessons for fact in row["facts"]}
        for row in lessons:
            if len(row["facts"]) == 1:
                taught.setdefault(row["facts"][0], set()).update(grams("\n".join(texts(row)), size))
    right = 0
    for row in rows:
        near = {key: len(grams(row[key], size) & taught[row["fact"]]) / len(row[key]) for key in "ABCD"}
        right += all(near[row["answer"]] > near[key] for key in "ABCD" if key != row["answer"])
    assert right / len(rows) > 0.55  # 0.25 by guessing
