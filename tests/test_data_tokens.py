"""A row as the model sees it: the same ids and labels as training, exact text, what is cut off, packs."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from core.data.encode.encoding import Encoder, encode_dataset
from core.data.encode.packing import deal, order_of, pack, step_with, steps_of
from core.data.encode.tokenizer import load_tokenizer
from core.data.look.packs import pack_with
from core.data.look.pieces import Mark, Spelling
from core.data.look.tokens import RowReader
from core.errors import DataError, ModelError
from core.workspace import Workspace
from tests.conftest import build_tokenizer
from tests.look_tools import make_dataset, said


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return load_tokenizer(folder)


def kept_of(reading) -> tuple[list[int], list[int]]:
    """(ids, labels) as the pieces that remain have them."""
    pieces = [piece for piece in reading.pieces if not piece.cut]
    ids = [number for piece in pieces for number in piece.ids]
    return ids, [number if piece.labelled else -100 for piece in pieces for number in piece.ids]


@pytest.mark.parametrize("limit", [None, 200, 60, 24, 12])
@pytest.mark.parametrize("train_on", ["assistant", "all"])
def test_pieces_are_what_training_sees(tokenizer, limit: int | None, train_on) -> None:
    rng = random.Random(3)
    words = ["ba", "be", "发烧", "糖尿病", "🙂", "a<b>", "<|im_end|>", "\n\n", "饕餮"]
    reader = RowReader(tokenizer, max_length=limit, train_on=train_on)
    whole = RowReader(tokenizer, train_on=train_on)
    for turns in (1, 2, 5):
        for _ in range(8):
            row = said(*(" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(2 * turns)))
            [reading] = reader.read("messages", row, "sft")
            encoded = reader.encoder.encode(row["messages"])
            assert kept_of(reading) == (encoded.input_ids, encoded.labels)
            assert reading.tokens == len(encoded.input_ids)
            assert reading.labels == sum(label >= 0 for label in encoded.labels[1:])
            assert reading.truncated == encoded.truncated
            [full] = whole.read("messages", row, "sft")
            every = [number for piece in reading.pieces for number in piece.ids]
            assert every == [number for piece in full.pieces for number in piece.ids]  # nothing goes unseen
            assert "".join(piece.text for piece in full.pieces) == whole.encoder.template.render(
                row["messages"]
            ).rstrip("\n")


def test_a_typed_control_token_is_shown_as_text(tokenizer) -> None:
    [reading] = RowReader(tokenizer).read("messages", said("a <|im_end|> b", "ok"), "sft")
    specials = [piece.text for piece in reading.pieces if piece.special]
    assert specials == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"]
    assert "a <|im_end|> b" in "".join(piece.text for piece in reading.pieces)


def test_characters_of_several_tokens_are_one_piece_and_halves_are_bytes(tokenizer) -> None:
    spelling = Spelling(tokenizer.backend_tokenizer)
    ids = tokenizer.backend_tokenizer.encode("饕🙂x", add_special_tokens=False).ids
    pieces = spelling.pieces(Mark(number, False, cut=False) for number in ids)
    assert [piece.text for piece in pieces] == ["饕", "🙂", "x"]
    assert [len(piece.ids) for piece in pieces[:2]] == [3, 4]
    torn = spelling.pieces([*(Mark(number, True, cut=False) for number in ids[:2]), Mark(ids[2], False, cut=True)])
    assert [(piece.text, piece.raw) for piece in torn] == [("", "E9"), ("", "A5"), ("", "95")]
    assert "\ufffd" not in "".join(piece.text for piece in torn)
    real = tokenizer.backend_tokenizer.encode("\ufffd", add_special_tokens=False).ids
    [shown] = spelling.pieces(Mark(number, False, cut=False) for number in real)
    assert shown.text == "\ufffd"  # one that was in the text


def test_other_spellings() -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocab = {"<unk>": 0, "<0xE4>": 1, "<0xB8>": 2, "<0x80>": 3, "▁a": 4, "b": 5, "a": 6, "▁": 7}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[("▁", "a")], byte_fallback=True, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens([AddedToken("<s>", special=True)])
    pieces = Spelling(core).pieces(Mark(number, False, cut=False) for number in (8, 4, 5, 1, 2, 3, 99))
    assert [(piece.text, piece.special) for piece in pieces][:4] == [
        ("<s>", True),
        (" a", False),
        ("b", False),
        ("一", False),
    ]


def test_every_stage_has_its_view(tokenizer) -> None:
    reader = RowReader(tokenizer, max_length=30)
    dialogue = said("ba be", "bi", "bo", "bu " * 30)
    [prompt] = reader.read("messages", dialogue, "ppo")
    assert kept_of(prompt)[0] == reader.encoder.prompt_ids(dialogue["messages"][:3])
    assert (prompt.labels, prompt.cut) == (0, 0)
    [text] = reader.read("messages", dialogue, "pretrain")
    assert text.cut == 0
    assert text.labels == text.tokens - 1
    assert text.borders == list(range(30, text.tokens, 30))
    [plain] = reader.read("text", {"text": "发烧 <|im_end|>"}, "pretrain")
    assert "".join(piece.text for piece in plain.pieces) == "发烧 <|im_end|><|im_end|>"
    assert [piece.special for piece in plain.pieces].count(True) == 1  # the one that ends the text
    [asked] = reader.read("choice", {"question": "q?", "choices": ["x", "y"], "answer": "B"}, "evaluate")
    assert "".join(piece.text for piece in asked.pieces).startswith("q?\nA. x\nB. y\nB")
    with pytest.raises(DataError) as refused:
        reader.read("text", {"text": "x"}, "sft")
    assert refused.value.code == "data.not_shown_for"


def test_chosen_and_rejected_end_where_their_score_is_read(tokenizer) -> None:
    row = {
        "prompt": [{"role": "user", "content": "ba"}],
        "chosen": [{"role": "assistant", "content": "be"}],
        "rejected": [{"role": "assistant", "content": "bi " * 40}],
    }
    chosen, rejected = RowReader(tokenizer, max_length=40).read("preference", row, "reward")
    assert (chosen.name, rejected.name) == ("chosen", "rejected")
    assert [piece.labelled for piece in chosen.pieces] == [False] * (len(chosen.pieces) - 1) + [True]
    assert chosen.pieces[-1].text == "<|im_end|>"
    assert (chosen.labels, chosen.cut, rejected.tokens) == (1, 0, 40)
    assert rejected.cut > 0
    short, _ = RowReader(tokenizer, max_length=8).read(
        "preference", {**row, "prompt": [{"role": "user", "content": "ba " * 20}]}, "reward"
    )
    assert short.labels == 0  # no token of the answer is left to read a score at
    chosen, rejected = RowReader(tokenizer, max_length=40).read("preference", row, "dpo")
    learnt = "".join(piece.text for piece in chosen.pieces if piece.labelled)
    assert (learnt, chosen.labels) == ("be<|im_end|>", sum(piece.labelled for piece in chosen.pieces))
    assert rejected.labels > 10
    ranked = {"prompt": row["prompt"], "answers": [{"content": "be", "score": 2.0}, {"content": "bi", "score": 1.0}]}
    assert [each.score for each in RowReader(tokenizer).read("ranked", ranked, "reward")] == [2.0, 1.0]


def test_text_needs_no_template_and_dialogues_say_that_they_do(tmp_path: Path) -> None:
    build_tokenizer(tmp_path, template=None)
    reader = RowReader(load_tokenizer(tmp_path))
    assert reader.read("text", {"text": "ba"}, "pretrain")[0].tokens == 2
    with pytest.raises(ModelError) as refused:
        reader.read("messages", said("a", "b"), "sft")
    assert refused.value.code == "model.no_template"


# -- packs ------------------------------------------------------------------------------------------------------------
def test_steps_cover_an_epoch_and_find_their_rows() -> None:
    seen = np.concatenate(list(steps_of(23, 5, seed=1, epoch=2)))
    assert seen.tolist() == order_of(23, 1, 2).tolist()
    for row in range(23):
        step, members = step_with(row, 23, 5, seed=1, epoch=2)
        assert row in members
        assert members.tolist() == seen[step * 5 : step * 5 + 5].tolist()


@pytest.mark.parametrize("encoded_before", [False, True])
def test_the_shown_pack_is_the_trainers(workspace: Workspace, tokenizer, encoded_before: bool) -> None:
    rng = random.Random(5)
    rows = [said("ba " * rng.randint(1, 30), "be " * rng.randint(1, 30)) for _ in range(37)]
    rows[11] = said("ba " * 300, "be")  # leaves nothing to learn within the limit
    dataset = make_dataset(workspace, rows)
    encoder = Encoder(tokenizer, max_length=64)
    encoded = encode_dataset(dataset, encoder, workspace.path / "reference")
    cache = workspace.path / "reference" if encoded_before else workspace.path / "empty"
    options = {"batch_size": 2, "accumulation": 3, "seed": 9}
    used = encoded.rows if encoded_before else np.arange(37)
    lengths = dict(zip(encoded.rows.tolist(), encoded.lengths.tolist(), strict=True))
    packs = []
    for members in steps_of(len(used), 6, 9, 0):
        known = np.array([lengths.get(int(row), 64) for row in used])
        hand = deal(members, known, 1)[0]
        packs += [[int(used[hand[at]]) for at in each] for each in pack([int(known[row]) for row in hand], 128)]
    for index in range(37):
        shared = pack_with(dataset, index, encoder, cache, **options)
        if index == 11 and encoded_before:
            assert shared is None
            continue
        assert shared is not None
        assert [row for row, _ in shared.rows] == next(each for each in packs if index in each)
        assert (shared.steps, shared.capacity, shared.known) == (-(-len(used) // 6), 128, encoded_before)


def test_chunks_side_by_side_give_what_row_by_row_gives(
    workspace: Workspace, tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.data.encode.encoded.CHUNK_ROWS", 7)
    rng = random.Random(1)
    words = ["ba", "发烧", "<|im_end|>", "🙂", "be " * 30]
    rows = [said(*(" ".join(rng.choices(words, k=3)) for _ in range(2 * rng.randint(1, 4)))) for _ in range(60)]
    encoder = Encoder(tokenizer, max_length=48)
    told: list[tuple[int, int]] = []
    encoded = encode_dataset(
        make_dataset(workspace, rows), encoder, workspace.cache_dir, on_progress=lambda *at: told.append(at)
    )
    alone = [encoder.encode(row["messages"]) for row in rows]
    kept = [at for at, each in enumerate(alone) if any(label >= 0 for label in each.labels)]
    assert encoded.rows.tolist() == kept
    assert encoded.unlabelled == [at for at in range(60) if at not in kept]
    for place, at in enumerate(kept):
        assert encoded[place][0].tolist() == alone[at].input_ids
        assert encoded[place][1].tolist() == alone[at].labels
    assert encoded.truncated == sum(alone[at].truncated for at in kept)
    assert told[-1] == (60, 60)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
