"""Documents as tokens and blocks: nothing is lost, nothing is predicted twice, nothing needs much memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from core.data.bring.importing import Order, import_file, import_files
from core.data.encode.blocks import blocks_of, fill, pieces
from core.data.encode.documents import SLICE, Blocks, DocumentEncoder, Heads, encode_documents
from core.data.encode.drawing import draw_for_tokens
from core.data.encode.tokenizer import load_tokenizer
from core.errors import DataError, ModelError
from core.training.attention import alike_in_length, attend_padded, attend_whole
from core.training.batching import Pack, Packing
from core.training.mixing import Mixture
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl


def sentencepiece() -> PreTrainedTokenizerFast:
    """Pieces with ▁ for blanks, bytes for the rest, and <s> before every text, as Llama's tokenizer has them."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{byte:02X}>": 3 + byte for byte in range(256)}}
    for piece in ("▁", "a", "b", "糖", "▁a", "ab", "▁ab"):
        vocabulary[piece] = len(vocabulary)
    core = Tokenizer(
        models.BPE(vocabulary, [("▁", "a"), ("a", "b"), ("▁a", "b")], unk_token="<unk>", byte_fallback=True)
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens(["<s>", "</s>"])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture
def encoder(tiny_model: Path) -> DocumentEncoder:
    return DocumentEncoder(load_tokenizer(tiny_model))


# -- blocks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("packing", ["isolated", "joined"])
@pytest.mark.parametrize("block_size", [8, 13, 64])
def test_every_token_but_a_documents_first_is_predicted_once(block_size: int, packing: str) -> None:
    lengths = np.random.default_rng(0).integers(1, 90, 200)
    plan = blocks_of(lengths, block_size, packing)
    assert plan.block_lengths.max() <= block_size
    seen = np.concatenate(
        [np.arange(at + 1, at + size) for at, size in zip(plan.starts.tolist(), plan.lengths.tolist(), strict=True)]
    )
    firsts = np.cumsum(lengths) - lengths if packing == "isolated" else [0]
    assert sorted(seen.tolist()) == sorted(set(range(int(lengths.sum()))) - set(np.asarray(firsts).tolist()))
    assert plan.label_counts.sum() == len(seen)
    if packing == "isolated":  # no piece reaches over a border
        document = np.repeat(np.arange(200), lengths)
        assert (document[plan.starts] == document[plan.starts + plan.lengths - 1]).all()


def test_blocks_are_nearly_full() -> None:
    lengths = np.random.default_rng(1).lognormal(4, 1, 5000).astype(np.int64) + 2
    plan = blocks_of(lengths, 256, "isolated")
    _, sizes = pieces(lengths, 256)
    assert len(plan) <= 1.01 * np.ceil(sizes.sum() / 256) + 1


def test_filling_places_every_piece_and_overfills_no_block() -> None:
    lengths = np.array([10, 3, 7, 10, 2, 5, 5, 8])
    order, counts = fill(lengths, 10)
    assert sorted(order.tolist()) == list(range(8))
    assert [int(part.sum()) for part in np.split(lengths[order], np.cumsum(counts)[:-1])] == [10, 10, 10, 10, 10]


def test_no_documents_make_no_blocks() -> None:
    for packing in ("isolated", "joined"):
        assert len(blocks_of([], 16, packing)) == len(blocks_of([1], 16, packing)) == 0
        assert blocks_of([1], 16, packing).block_lengths.sum() == 0


# -- text to tokens ---------------------------------------------------------------------------------------------------
def test_a_control_token_in_a_text_stays_text(encoder: DocumentEncoder) -> None:
    [ids] = encoder.encode(["ba<|endoftext|>be"])
    assert ids[-1] == encoder.end_id
    assert encoder.end_id not in ids[:-1].tolist()


def test_the_end_mark_is_that_of_texts_and_not_of_answers(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    assert tokenizer.eos_token == "<|im_end|>"
    assert DocumentEncoder(tokenizer).end_id == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    [bare] = DocumentEncoder(tokenizer, end_mark=False).encode(["ba be"])
    assert bare.tolist() == tokenizer("ba be")["input_ids"]


def test_a_document_begins_as_the_tokenizer_begins_a_text() -> None:
    tokenizer = sentencepiece()
    encoder = DocumentEncoder(tokenizer)
    [ids] = encoder.encode(["ab ab"])
    assert ids.tolist() == [*tokenizer("ab ab")["input_ids"], 2]
    assert encoder.prompt_ids("ab") == tokenizer("ab")["input_ids"]


def test_a_tokenizer_without_an_end_mark_can_do_without(tiny_model: Path) -> None:
    core = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="?")
    with pytest.raises(ModelError, match="no token that ends a text"):
        DocumentEncoder(tokenizer)
    [ids] = DocumentEncoder(tokenizer, end_mark=False).encode(["a b a"])
    assert ids.tolist() == [0, 1, 0]


@pytest.mark.parametrize("text", ["ba be 糖尿病 🙂 café\n\n  x", "ab ab 糖 €"])
def test_token_bytes_add_up_to_the_text(encoder: DocumentEncoder, text: str) -> None:
    [ids] = encoder.encode([text])
    assert encoder.token_bytes[ids].sum() == len(text.encode())
    pieced = DocumentEncoder(sentencepiece())
    [ids] = pieced.encode([text])
    assert pieced.token_bytes[ids].sum() == len(text.encode()) + 1  # the blank that it puts before every text


def test_a_long_text_is_encoded_in_parts_and_loses_nothing(encoder: DocumentEncoder) -> None:
    text = "\n".join(f"ba be {n}" for n in range(30_000))
    assert len(text) > 2 * SLICE
    [ids] = encoder.encode([text])
    assert encoder.token_bytes[ids].sum() == len(text.encode())


# -- datasets ---------------------------------------------------------------------------------------------------------
def test_rows_of_blocks_are_the_documents(workspace: Workspace, tmp_path: Path, encoder: DocumentEncoder) -> None:
    texts = [" ".join(["ba", "be", "bi"] * (1 + n % 9)) for n in range(50)]
    dataset = import_file(workspace, write_jsonl(tmp_path / "t.jsonl", [{"text": text} for text in texts]))
    documents = encode_documents(dataset, encoder, workspace.encoded_dir)
    assert documents.lengths.tolist() == [len(ids) for ids in encoder.encode(texts)]
    rows = Blocks(documents, 32, "isolated")
    expected = sorted(tuple(ids.tolist()) for ids in encoder.encode(texts) if len(ids) <= 32)
    found = []
    for index in range(len(rows)):
        ids, labels, lengths = rows[index]
        assert len(ids) == len(labels) == rows.lengths[index] == lengths.sum()
        pack = Pack.of([rows[index]])
        assert pack.row_lengths == tuple(lengths)
        assert len(pack.labels) == rows.label_counts[index]
        found += [tuple(part.tolist()) for part in np.split(ids, np.cumsum(lengths)[:-1]) if part[-1] == encoder.end_id]
    assert sorted(one for one in found if len(one) <= 32) == expected
    [pack, *_] = Packing(64).packs([rows[0], rows[1]])
    assert pack.position_ids[0, pack.row_lengths[0]] == 0  # positions begin anew with every document


def test_another_block_size_needs_no_encoding(
    workspace: Workspace, tmp_path: Path, encoder: DocumentEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = import_file(workspace, write_jsonl(tmp_path / "t.jsonl", [{"text": "ba be bi"}] * 5))
    first = encode_documents(dataset, encoder, workspace.encoded_dir)
    monkeypatch.setattr(DocumentEncoder, "encode", lambda *_: pytest.fail("encoded again"))
    again = encode_documents(dataset, encoder, workspace.encoded_dir)
    assert len(Blocks(again, 8, "joined")) == len(Blocks(first, 8, "joined")) > 0


def test_chosen_rows_across_row_groups(workspace: Workspace, tmp_path: Path, encoder: DocumentEncoder) -> None:
    rows = [{"text": f"ba {n}"} for n in range(4500)]
    dataset = import_file(workspace, write_jsonl(tmp_path / "t.jsonl", rows))
    chosen = np.sort(np.random.default_rng(0).permutation(4500)[:700])
    documents = encode_documents(dataset, encoder, workspace.encoded_dir, rows=chosen)
    heads = Heads(documents, 16)
    assert heads.rows.tolist() == chosen.tolist()
    wanted = encoder.encode([rows[index]["text"] for index in chosen.tolist()])
    assert all(heads[place][0].tolist() == ids[:16].tolist() for place, ids in enumerate(wanted))


def test_documents_of_one_token_are_left_out(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    bare = DocumentEncoder(load_tokenizer(tiny_model), end_mark=False)
    dataset = import_file(workspace, write_jsonl(tmp_path / "t.jsonl", [{"text": t} for t in ("b", "ba be", "a")]))
    documents = encode_documents(dataset, bare, workspace.encoded_dir)
    assert (documents.unusable, documents.rows.tolist()) == ([0, 2], [1])
    lonely = import_file(workspace, write_jsonl(tmp_path / "u.jsonl", [{"text": "b"}]))
    with pytest.raises(DataError, match="No document"):
        encode_documents(lonely, bare, workspace.encoded_dir)


def test_conversations_are_documents_of_their_turns(
    workspace: Workspace, tmp_path: Path, encoder: DocumentEncoder
) -> None:
    dataset = import_file(workspace, write_jsonl(tmp_path / "c.jsonl", conversations(3, turns=2)))
    documents = encode_documents(dataset, encoder, workspace.encoded_dir)
    wanted = encoder.encode(["\n".join(turn["content"] for turn in row["messages"]) for row in dataset.rows()])
    assert documents.tokens.tolist() == np.concatenate(wanted).tolist()


def test_as_many_rows_as_hold_the_tokens_are_drawn(
    workspace: Workspace, tmp_path: Path, encoder: DocumentEncoder
) -> None:
    rows = [{"text": " ".join(["ba"] * (5 + n % 20))} for n in range(3000)]
    dataset = import_file(workspace, write_jsonl(tmp_path / "t.jsonl", rows))
    drawn = draw_for_tokens(dataset, encoder, 5000, seed=3)
    tokens = int(encode_documents(dataset, encoder, workspace.encoded_dir, rows=drawn).offsets[-1])
    assert 4500 < tokens < 7000
    assert len(draw_for_tokens(dataset, encoder, 1e9, seed=3)) == 3000


# -- the mixture ------------------------------------------------------------------------------------------------------
class Lengths:
    """Rows of these lengths."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = self.label_counts = np.array(lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        ids = np.full(self.lengths[index], index)
        return ids, ids


@pytest.mark.parametrize("few", [3, 500])
def test_general_rows_have_their_share_and_come_in_turn(few: int) -> None:
    mixture = Mixture(Lengths([100] * 90), Lengths([50] * few), 0.1)
    seen: list[int] = []
    for epoch in range(6):
        order = mixture.order(7, epoch)
        assert sorted(order[order < 90].tolist()) == list(range(90))
        general = order[order >= 90]
        assert mixture.lengths[general].sum() == 1000
        seen += general.tolist()
        assert np.array_equal(order, mixture.order(7, epoch))
    counts = np.bincount(seen, minlength=90 + few)[90:]
    assert counts.max() - counts.min() <= 1
    assert len(mixture[90][0]) == 50


# -- plain text files -------------------------------------------------------------------------------------------------
def test_a_line_a_paragraph_or_a_file_is_a_document(workspace: Workspace, tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("a b\nc\n\n\nd e\n", encoding="utf-8")
    two.write_text("\nf\n", encoding="utf-8")
    found = {
        form: [row["text"] for row in import_files(workspace, [one, two], Order("x", format=form)).rows()]
        for form in ("text", "text-paragraphs", "text-file")
    }
    assert found == {
        "text": ["a b", "c", "d e", "f"],
        "text-paragraphs": ["a b\nc", "d e", "f"],
        "text-file": ["a b\nc\n\nd e", "f"],
    }


def test_a_line_that_cannot_be_read_is_told_by_its_number(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "torn.txt"
    file.write_bytes(b"a\n\xff\xfe\nb\n")
    with pytest.raises(DataError) as caught:
        import_file(workspace, file, format="text-file")
    assert [problem.line for problem in caught.value.problems] == [2]
    kept = import_file(workspace, file, format="text-file", bad_rows="drop")
    assert json.dumps([row["text"] for row in kept.rows()]) == json.dumps(["a\n\nb"])


# -- attention --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lengths", [(9,), (3, 40, 2, 21, 2), (8, 8, 8), (1, 1, 64)])
def test_padded_attention_is_that_of_each_document_alone(lengths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(heads, sum(lengths), 8, dtype=torch.float64) for heads in (4, 2, 2))
    together = attend_padded(q, k, v, 0.3, 0.0, None, lengths)
    alone = [
        attend_whole(*(one[None] for one in each), 0.3, 0.0, None)[0]
        for each in zip(*(t.split(list(lengths), 1) for t in (q, k, v)), strict=True)
    ]
    assert torch.allclose(together, torch.cat(alone, 1))
    for members in alike_in_length(lengths):
        longest = max(lengths[row] for row in members)
        assert longest * len(members) <= 2 * sum(lengths[row] for row in members)
