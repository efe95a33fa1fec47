"""The general rows that ship: usable, in eight fields, and about other things than what is trained."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from core.data.check.doctor import check_file

DATA = Path(__file__).resolve().parents[1] / "data"
MEDICAL = {
    "en": ("doctor", "disease", "medicine", "vaccine", "blood", "fever", "symptom", "patient", "dose"),
    "zh": ("医", "病", "药", "疫苗", "血", "发烧", "症状", "患者", "剂量"),
}


def rows(language: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / "general" / f"{language}.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_rows_are_usable_and_evenly_spread(language: str) -> None:
    report = check_file(DATA / "general" / f"{language}.jsonl")
    assert report.ok
    assert not report.counts
    assert set(Counter(row["category"] for row in rows(language)).values()) == {6}
    asked = [row["conversations"][0]["value"] for row in rows(language)]
    assert len(set(asked)) == len(asked) == 48


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_of_it_is_medical(language: str) -> None:
    texts = [turn["value"].lower() for row in rows(language) for turn in row["conversations"]]
    assert [text for text in texts if any(word in text for word in MEDICAL[language])] == []
