"""Figures of a row: lengths, turns, language by script; and of a whole dataset."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from core.data.encode.tokenizer import load_tokenizer
from core.data.figures import figures_of, language_of
from core.data.look.statistics import histogram, row_figures, token_figures
from core.data.look.tokens import RowReader
from core.data.look.view import View
from core.data.store.dataset import Meta
from core.errors import DataError
from core.workspace import Workspace
from tests.conftest import build_tokenizer
from tests.look_tools import make_dataset, said


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("一岁宝宝发烧能吃啥药？", "zh"),
        ("患者服用 aspirin 后好转，血压 120/80。", "zh"),
        ("What are the early signs of diabetes?", "en"),
        ("Quels sont les premiers signes du diabète ?", "en"),
        ("The word 医 means medicine, and it is used in many other words of the language.", "en"),
        ("请翻译 the patient was given insulin every day and improved", "mixed"),
        ("写一个函数：\n```python\nprint(1)\nprint(2)\nprint(3)\nprint(4)\n```", "code"),
        ("12345 !!", "other"),
        ("", "other"),
        ("свинья и свинец", "other"),
        ("これは日本語のテキストです。ひらがなとカタカナ", "other"),
        ("안녕하세요 저는 의사입니다", "other"),
        ("مرحبا كيف حالك", "other"),
    ],
)
def test_languages_are_told_by_their_scripts(text: str, language: str) -> None:
    assert language_of(text) == language


def test_a_rows_figures() -> None:
    row = {"messages": [{"role": "system", "content": "医生"}, *said("发烧怎么办", "多喝水")["messages"]]}
    figures = figures_of("messages", row)
    assert (figures.chars, figures.answer_chars, figures.turns, figures.language) == (10, 3, 2, "zh")
    assert figures.key == figures_of("messages", row).key != figures_of("messages", said("发烧怎么办", "多喝水")).key
    assert figures_of("text", {"text": "abc"})[:4] == (3, 3, 1, "en")
    pair = {
        "prompt": [{"role": "user", "content": "ab"}],
        "chosen": [{"role": "assistant", "content": "cde"}],
        "rejected": [{"role": "assistant", "content": "f"}],
    }
    assert figures_of("preference", pair)[:3] == (6, 4, 2)
    assert figures_of("prompt", {"prompt": pair["prompt"]})[:3] == (2, 0, 1)
    ranked = {"prompt": pair["prompt"], "answers": [{"content": "x", "score": 1.0}, {"content": "yz", "score": 0.0}]}
    assert figures_of("ranked", ranked)[:3] == (5, 3, 2)
    choice = {"question": "q?", "choices": ["a", "bc"], "answer": "B"}
    assert figures_of("choice", choice)[:3] == (5, 0, 1)


def test_a_histogram_counts_every_value_once() -> None:
    values = np.array([*range(1, 200), 100_000])
    found = histogram(values)
    assert sum(found["counts"]) + found["over"] == len(values)
    assert found["max"] == 100_000
    assert found["edges"][-1] < 1000
    assert histogram(np.zeros(0, dtype=np.int64))["counts"] == []
    assert sum(histogram(np.array([7, 7, 7]))["counts"]) == 3


def test_figures_of_a_dataset(workspace: Workspace) -> None:
    rows = [
        said("头疼怎么办", "休息。"),
        said("头疼怎么办？", "休息"),
        said("hello there", "good day"),
        said("a", "b", "c", "d"),
    ]
    metas = [Meta(1, "web", 0.5, None), Meta(2, "web", None, None), Meta(3), Meta(4)]
    found = row_figures(View(workspace, make_dataset(workspace, rows, metas=metas)))
    assert found["rows"] == 4
    assert found["duplicates"] == 1
    assert found["languages"] == {"zh": 2, "en": 2}
    assert found["sources"] == {"web": 2, "rows": 2}
    assert found["turns"] == {"2": 3, "4": 1}
    assert found["difficulty"]["rows"] == 1
    assert "score" not in found


def test_tokens_of_a_dataset(workspace: Workspace, tmp_path: Path) -> None:
    build_tokenizer(tmp_path / "tokenizer")
    rows = [said("ba be", "bi"), said("ba " * 200, "bi bo"), said("ba", "bi " * 100)]
    dataset = make_dataset(workspace, rows)
    reader = RowReader(load_tokenizer(tmp_path / "tokenizer"), max_length=40)
    found = token_figures(dataset, reader, "sft")
    encoded = [reader.encoder.encode(row["messages"]) for row in rows]
    assert found["kept"] == sum(len(each.input_ids) for each in encoded)
    assert found["labels"] == sum(label >= 0 for each in encoded for label in each.labels[1:])
    assert (found["truncated"], found["empty"], found["refused"], found["sampled"]) == (2, 1, 0, False)
    assert math.isclose(found["label_share"], found["labels"] / found["kept"])
    sample = token_figures(dataset, reader, "pretrain", sample=2)
    assert (sample["rows"], sample["sampled"], sample["truncated"]) == (2, True, 0)
    with pytest.raises(DataError) as refused:
        token_figures(dataset, reader, "reward")
    assert refused.value.code == "data.not_shown_for"
