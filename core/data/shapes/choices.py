"""Row shapes of multiple-choice questions. Ids and explanations that stand beside them are left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.data.dialogue import RowError, Value, kind_of, text_of
from core.data.kinds import LETTERS, Row
from core.data.shapes.dialogues import present

QUESTION = ("question", "Question")
OPTIONS = ("options", "option", "Options", "choices")
ANSWER = ("answer_idx", "answer", "Answer", "answerKey")
OPTION = re.compile(r"^[ \t]*[(（]?([A-Z])[)）]?[ \t]*[.．、:：]?[ \t]*(?=\S)", re.MULTILINE)
WRITTEN = re.compile(r"^[(（]([A-Z])[)）]|^([A-Z])[.．、:：]")  # "(B) …" or "B. …"
MEDMCQA = ("opa", "opb", "opc", "opd")
FILE_NAME = re.compile(r"(?P<subject>.+?)(_(dev|val|test|train))?(\.(csv|tsv|txt|gz))+", re.IGNORECASE)


def columns(row: Value) -> Row:
    """C-Eval and CMMLU: the columns A to D (or more), and the answer as a letter."""
    named = {key: row[key] for key in LETTERS if row.get(key) is not None}
    return _row(row, named, str(row[present(row, ("answer", "Answer"))]))


def subject_of(name: str) -> str | None:
    """The subject that a file of C-Eval (`law_dev.csv`) or CMMLU (`anatomy.csv`) is called after."""
    found = FILE_NAME.fullmatch(name)
    return found["subject"] if found else None


def options(row: Value) -> Row:
    """Options as an object, a list of texts, a list of `{key, value}`, `{text, label}`, or one text with a line each.

    CMB, CMExam, MedQA, MMLU and ARC write theirs so. A numeric answer counts the choices from 0.
    """
    key = present(row, OPTIONS)
    value = row[key]
    named = _named(value)
    if len(named) < 2:
        raise RowError("data.choices", found=kind_of(value))
    answer = row[next((name for name in ANSWER if row.get(name) not in (None, "")), ANSWER[0])]
    if isinstance(answer, int) and not isinstance(answer, bool):
        return _row(row, named, LETTERS[answer] if 0 <= answer < len(named) else str(answer))
    return _row(row, named, _letter(value, named, str(answer or "").strip()))


def _named(value: Any) -> dict[str, Any]:
    """Letter → text of a choice, from however the options are written; {} where they cannot be read."""
    if isinstance(value, str):
        parts = OPTION.split(value)
        return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        return dict(zip(LETTERS, value["text"], strict=False))
    if isinstance(value, dict):
        return {str(key).strip().upper(): value[key] for key in value if value[key] not in (None, "")}
    if not isinstance(value, list):
        return {}
    if all(isinstance(one, dict) and "key" in one and "value" in one for one in value):
        return {str(one["key"]).strip().upper(): one["value"] for one in value}
    return {letter: _bare(one, letter) for letter, one in zip(LETTERS, value, strict=False)}


def _bare(choice: Any, letter: str) -> Any:
    """A listed choice without the letter that some sets write before it: `(B) 土地`."""
    found = WRITTEN.match(choice) if isinstance(choice, str) else None
    return choice[found.end() :].strip() if found and letter in found.groups() else choice


def _letter(value: Any, named: Mapping[str, Any], answer: str) -> str:
    """The answer as letters, where it is a label of its own, the text of a choice, or a text with its letter."""
    if isinstance(value, dict) and isinstance(value.get("label"), list):
        labels = [str(label) for label in value["label"]]
        return LETTERS[labels.index(answer)] if answer in labels else answer
    if set(_letters(answer)) <= set(named):
        return answer
    written = WRITTEN.match(answer)
    text_as = next((letter for letter, choice in named.items() if choice == answer), answer)
    return (written[1] or written[2]) if written else text_as


def _letters(answer: str) -> str:
    return re.sub(r"[\s,，、;；]+", "", answer).upper()


def counts_from_zero(row: Value) -> bool:
    """-1 stands where the answer is kept secret: such rows are told one by one."""
    return str(row.get("cop")).strip() in ("-1", "0", "1", "2", "3")


def counts_from_one(row: Value) -> bool:
    return str(row.get("cop")).strip() in ("1", "2", "3", "4")


def medmcqa(row: Value) -> Row:
    """MedMCQA as the hubs have it: `cop` counts from 0."""
    return _medmcqa(row, 0)


def medmcqa_from_one(row: Value) -> Row:
    """MedMCQA as its authors published it: `cop` counts from 1. Which one a file is, its first rows tell."""
    return _medmcqa(row, 1)


def _medmcqa(row: Value, first: int) -> Row:
    found = str(row["cop"]).strip()
    place = int(found) - first if found.isdigit() else -1
    named = {letter: row[key] for letter, key in zip(LETTERS, MEDMCQA, strict=False) if row.get(key) is not None}
    return _row(row, named, LETTERS[place] if 0 <= place < len(MEDMCQA) else found)


def _row(row: Value, named: Mapping[str, Any], answer: str) -> Row:
    names = sorted(name for name in named if named[name] not in (None, ""))
    if len(names) < 2:
        raise RowError("data.choices", found=kind_of(dict(named)))
    letters = _letters(answer)
    if not letters or names != list(LETTERS[: len(names)]) or any(letter not in names for letter in letters):
        raise RowError("data.choice_answer", answer=answer, names=", ".join(names))
    choices = [text_of(named, name) for name in names]
    question = text_of(row, present(row, QUESTION))
    return {"question": question, "choices": choices, "answer": "".join(sorted(set(letters)))}
