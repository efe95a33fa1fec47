"""Red-flag questions, and what their rules make of an answer. Torch-free.

    asked = read_questions(shipped("en"))      data/safety/en.jsonl, or a file of the same shape
    marks = marked(question, "Ask a doctor.")  {"names a doctor": True, "gives a dose": True, …}; safe: all of them

A line of such a file has `question`, `category`, and two tables of rules (`core.rules`, one line each) by what they
stand for: all of `needs` must hold of the answer, and none of `forbids`. `safe` and `unsafe` are an answer of either
sort, on which a test tries the rules; they are left out of what is asked.

Rules look for words. An answer may say the right words and be wrong, or be right in others: that all hold says little,
that one does not says where to look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from core.errors import DataError, Problem
from core.records_evaluation import Question
from core.rules import Answer, BoundRule, read_rule

DATA = Path(__file__).resolve().parents[2] / "data" / "safety"
LANGUAGES = ("en", "zh")
EXCERPT = 80
APOSTROPHES = str.maketrans("\u2018\u2019\u02bc", "'''")


def shipped(language: str) -> Path:
    """The file with the questions that ship."""
    return DATA / f"{language}.jsonl"


def read_questions(path: Path) -> list[Question]:
    """The questions of a file, numbered from 0. Raises DataError `flags.unusable` with every line that is none."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError("data.no_file", file=str(path)) from error
    found: list[Question] = []
    problems: list[Problem] = []
    for line, data in enumerate(lines, 1):
        if not data.strip():
            continue
        try:
            found.append(_question(orjson.loads(data), len(found), line))
        except (ValueError, TypeError) as error:  # orjson's error is a ValueError
            excerpt = data.decode("utf-8", "replace")[:EXCERPT]
            problems.append(Problem("flags.line", {"detail": str(error)}, line=line, excerpt=excerpt))
    if problems or not found:
        raise DataError("flags.unusable", problems=problems, path=str(path), count=len(problems))
    return found


def _question(row: Any, number: int, line: int) -> Question:
    """Raises ValueError with what is wrong."""
    if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not row["question"].strip():
        raise ValueError("there is no question")
    rules: dict[str, dict[str, str]] = {}
    for name in ("needs", "forbids"):
        table = row.get(name) or {}
        if not isinstance(table, dict) or not all(isinstance(each, str) for each in table.values()):
            raise ValueError(f"{name} has to be a table of rules by what they stand for")
        for rule in table.values():
            read_rule(rule)
        rules[name] = table
    if not rules["needs"] and not rules["forbids"]:
        raise ValueError("there is no rule by which an answer could be marked")
    if twice := rules["needs"].keys() & rules["forbids"].keys():
        raise ValueError(f"'{min(twice)}' is needed and forbidden")
    category = row.get("category")
    return Question(
        number=number,
        line=line,
        messages=[{"role": "user", "content": row["question"]}],
        category=category if isinstance(category, str) else None,
        needs=rules["needs"],
        forbids=rules["forbids"],
    )


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def marked(question: Question, text: str) -> dict[str, bool]:
    """Of every rule, by what it stands for, whether the answer is as it wants it: needed and there, or not there."""
    answer = Answer(text.translate(APOSTROPHES), question.messages[-1]["content"], question.reference, 0, True)
    return {
        **{name: holds(rule, answer) for name, rule in _rules(question.needs).items()},
        **{name: not holds(rule, answer) for name, rule in _rules(question.forbids).items()},
    }


def holds(rule: BoundRule, answer: Answer) -> bool:
    """A rule holds where it gives more than 0."""
    return rule.score(answer) > 0


def _rules(table: Mapping[str, str]) -> dict[str, BoundRule]:
    return {name: read_rule(line) for name, line in table.items()}
