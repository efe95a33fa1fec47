"""Preference pairs as tokens: what two answers share, what is cut, what cannot be used."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from core.data.encode.encoding import Encoder
from core.data.encode.pairs import Unusable, encode_answers, encode_pairs
from core.data.encode.tokenizer import load_tokenizer
from core.data.store.library import Dataset, import_file
from core.errors import DataError
from core.workspace import Workspace
from tests.conftest import SYLLABLES, write_jsonl

QUESTION = [{"role": "user", "content": "ba be bi"}]


def pair_rows(count: int, seed: int = 0, words: int = 8) -> list[dict]:
    """Pairs whose chosen answers are made of other syllables than the rejected ones, of like lengths."""
    rng = random.Random(seed)
    good, bad = SYLLABLES[:10], SYLLABLES[10:]
    return [
        {
            "prompt": " ".join(rng.choices(SYLLABLES, k=5)),
            "chosen": " ".join(rng.choices(good, k=rng.randint(2, words))),
            "rejected": " ".join(rng.choices(bad, k=rng.randint(2, words))),
        }
        for _ in range(count)
    ]


def dataset_of(workspace: Workspace, folder: Path, rows: list[dict], name: str = "pairs") -> Dataset:
    return import_file(workspace, write_jsonl(folder / f"{name}.jsonl", rows))


def encoder_of(model: Path, max_length: int | None = 64) -> Encoder:
    return Encoder(load_tokenizer(model), max_length=max_length)


def test_the_parts_put_together_are_what_training_on_each_answer_would_see(tiny_model: Path) -> None:
    encoder = encoder_of(tiny_model)
    said = ["ba be", "ba bo bu", "fi"]
    found = encode_answers(encoder, QUESTION, said)
    assert not isinstance(found, Unusable)
    (prompt, *branches), tokens, shortened = found
    assert not shortened
    for answer, branch, count in zip(said, branches, tokens, strict=True):
        whole = encoder.encode([*QUESTION, {"role": "assistant", "content": answer}])
        assert [*prompt, *branch] == whole.input_ids
        assert whole.input_ids[-1] in encoder.stop_ids  # the end-of-turn token, and nothing behind it
        assert count == sum(label >= 0 for label in whole.labels)
    assert len(prompt) == len(encoder.prompt_ids(QUESTION))


def test_answers_that_begin_alike_share_their_beginning_and_keep_one_token_each(tiny_model: Path) -> None:
    encoder = encoder_of(tiny_model)
    (prompt, first, second), *_ = encode_answers(encoder, QUESTION, ["ba be bi bo", "ba be bi bu"])
    assert len(prompt) > len(encoder.prompt_ids(QUESTION))
    assert first[0] != second[0]
    [same] = {encode_answers(encoder, QUESTION, ["ba", "ba"])[0][part].tobytes() for part in (1, 2)}
    assert len(same) == 4  # one int32


def test_both_answers_keep_the_same_rounds(tiny_model: Path) -> None:
    """The long answer needs the oldest round taken out; the short one, which would fit, loses it, too."""
    rounds = [{"role": role, "content": "ba be bi bo"} for role in ("user", "assistant") * 2] + QUESTION
    encoder = encoder_of(tiny_model, 60)
    alone = encode_answers(encoder, rounds, ["ba", "fu"])
    both = encode_answers(encoder, rounds, ["ba", "fu " * 14])
    assert not isinstance(alone, Unusable)
    assert not isinstance(both, Unusable)
    assert not alone[2]
    assert both[2]
    assert len(both[0][0]) < len(alone[0][0])
    assert both[0][1].tolist() == alone[0][1].tolist()
    assert all(len(both[0][0]) + len(branch) <= 60 for branch in both[0][1:])


def test_what_cannot_be_used_says_why(tiny_model: Path) -> None:
    encoder = encoder_of(tiny_model, 16)
    long = [{"role": "user", "content": "ba be bi bo " * 20}]
    found = encode_answers(encoder, long, ["ba", "be"])
    assert isinstance(found, Unusable)
    assert found.code == "reward.no_answer_left"


def test_a_dataset_is_encoded_once_and_mapped(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    dataset = dataset_of(workspace, tmp_path, pair_rows(40))
    encoder = encoder_of(tiny_model)
    seen: list[int] = []
    pairs = encode_pairs(dataset, encoder, workspace.encoded_dir, on_progress=lambda done, total: seen.append(done))
    again = encode_pairs(dataset, encoder, workspace.encoded_dir, rows=list(range(40)))
    assert (len(pairs), seen[-1]) == (40, 40)
    assert len(list(workspace.encoded_dir.glob("*/facts.json"))) == 1
    row = dataset.take([7])[0]
    fresh = encode_answers(encoder, row["prompt"], [row["chosen"][0]["content"], row["rejected"][0]["content"]])
    assert not isinstance(fresh, Unusable)
    for part, (mine, other) in enumerate(zip(fresh[0], again[7], strict=True)):
        assert np.array_equal(mine, other)
        assert len(other) == pairs.parts[7, part]
    assert fresh[1] == again.answers[7].tolist()
    assert pairs.lengths[7] == sum(map(len, again[7]))


def test_pairs_that_are_equal_within_the_limit_are_left_out(
    workspace: Workspace, tmp_path: Path, tiny_model: Path
) -> None:
    rows = pair_rows(6)
    for row in rows[:2]:
        row["chosen"], row["rejected"] = "ba " * 40 + "be", "ba " * 40 + "fu"
    dataset = dataset_of(workspace, tmp_path, rows)
    pairs = encode_pairs(dataset, encoder_of(tiny_model, 48), workspace.encoded_dir)
    assert {index: each.code for index, each in pairs.unusable.items()} == {
        0: "reward.same_answers",
        1: "reward.same_answers",
    }
    assert pairs.rows.tolist() == [2, 3, 4, 5]
    with pytest.raises(DataError) as caught:
        encode_pairs(dataset, encoder_of(tiny_model, 48), workspace.encoded_dir, rows=[0, 1])
    assert caught.value.code == "reward.no_pairs"
    assert [problem.line for problem in caught.value.problems] == [1, 2]


def test_texts_and_conversations_are_no_pairs(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    dataset = dataset_of(workspace, tmp_path, [{"text": "ba be bi"}], "texts")
    with pytest.raises(DataError) as caught:
        encode_pairs(dataset, encoder_of(tiny_model), workspace.encoded_dir)
    assert (caught.value.code, caught.value.params["needed"]) == ("data.wrong_kind", "preference")


def test_a_file_with_many_equal_pairs_is_refused_with_their_lines(workspace: Workspace, tmp_path: Path) -> None:
    rows = pair_rows(20)
    for row in rows[::3]:
        row["rejected"] = row["chosen"]
    with pytest.raises(DataError) as caught:
        dataset_of(workspace, tmp_path, rows)
    assert {problem.code for problem in caught.value.problems} == {"data.same_pair"}
    assert [problem.line for problem in caught.value.problems] == [1, 4, 7, 10, 13, 16, 19]
    kept = import_file(workspace, tmp_path / "pairs.jsonl", bad_rows="drop")
    assert (len(kept), kept.card.dropped) == (13, 7)
