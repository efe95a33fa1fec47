"""ChatGLM-6B against its published forward pass and its published tokenizer, on tiny ones: neither file is at hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, DynamicCache

from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer, needs_torch
from core.errors import ModelError
from core.models import families, ice_text
from core.models.conversions import native_tensors
from core.models.conversions.chatglm_6b import LAYOUT
from core.models.loading import load_model
from core.rundir import read_jsonl
from core.workspace import Workspace
from tests.chatglm_tools import (
    BLANKS,
    GMASK,
    LINES,
    MASK,
    SOP,
    ice_model,
    model_folder,
    published_logits,
    tiny_model,
    tokenizer_folder,
)
from tests.conftest import conversations, write_jsonl
from tests.ppo_tools import lettered_rule, plain_logprobs, prompt_file, prompts_of, roles_of, sampled
from tests.ppo_tools import start as start_ppo
from tests.test_families import figures, start

__all__ = ["lettered_rule"]  # a fixture

CLOSE = {"rtol": 0, "atol": 1e-5}
ROWS = [
    [5, 8, 13, GMASK, SOP, 21, 22, 23, 24],
    [5, GMASK, SOP],
    [5, 6, MASK, 7, 8, 9, SOP, 10, 11],  # a blank to be filled in, in the middle of a context
    [5, MASK, 7, 8, GMASK, SOP, 10],
    [5, 6, 7, GMASK, SOP, 10, SOP, 11, GMASK, 12],  # only the first ones count
    [5, 6, 7, 8, 9, 10],  # no <sop>: a document
]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def padded(rows: list[list[int]], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), with a token under the padding that must not matter."""
    width = max(map(len, rows))
    fills = [[SOP] * (width - len(row)) for row in rows]
    ids = [fill + row if side == "left" else row + fill for row, fill in zip(rows, fills, strict=True)]
    masks = [[0] * len(fill) + [1] * len(row) for row, fill in zip(rows, fills, strict=True)]
    return torch.tensor(ids), torch.tensor([mask if side == "left" else mask[::-1] for mask in masks])


# -- the forward pass -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("row", ROWS, ids=str)
@torch.no_grad()
def test_logits_are_those_of_the_published_architecture(model, row: list[int]) -> None:
    found = model(input_ids=torch.tensor([row]), position_ids=torch.full((1, len(row)), 7)).logits[0]
    torch.testing.assert_close(found, published_logits(model, row), **CLOSE)


@torch.no_grad()
def test_a_context_is_seen_whole_and_an_answer_is_not(model) -> None:
    def changed(row: list[int], at: int) -> torch.Tensor:
        other = [*row[:at], 33, *row[at + 1 :]]
        return (model(torch.tensor([row])).logits - model(torch.tensor([other])).logits)[0].abs().amax(1) > 1e-6

    assert changed(ROWS[0], 2).tolist() == [True] * 9
    assert changed(ROWS[0], 6).tolist() == [False] * 6 + [True] * 3
    assert changed(ROWS[5], 2).tolist() == [False] * 2 + [True] * 4


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padding_changes_nothing(model, side: str) -> None:
    ids, mask = padded(ROWS, side)
    logits = model(input_ids=ids, attention_mask=mask).logits
    for row, found, real in zip(ROWS, logits, mask.bool(), strict=True):
        torch.testing.assert_close(found[real], published_logits(model, row), **CLOSE)


@torch.no_grad()
def test_a_row_with_sop_but_no_mask_has_the_place_of_the_token_before_it(model) -> None:
    bare, named = [5, 6, 7, SOP, 8], tiny_model(mask_token_id=7)
    torch.testing.assert_close(model(torch.tensor([bare])).logits, named(torch.tensor([bare])).logits)
    assert torch.isfinite(model(torch.tensor([[SOP, 8]])).logits).all()


# -- the cache --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("given", [False, True])
@torch.no_grad()
def test_the_cache_changes_nothing(model, side: str, given: bool) -> None:
    """Answers of several tokens at once, and of one, behind prompts of different length; rows leave and change."""
    prompts, tail = ROWS[:4], [[30, 31, 32], [33, 34, 35], [36, 37, 38], [39, 40, 41]]
    ids, mask = padded(prompts, side)
    cache = DynamicCache(config=model.config) if given else None
    cache = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True).past_key_values
    kept = torch.tensor([3, 0, 2])
    cache.batch_select_indices(kept)
    order = torch.tensor([1, 0, 2])
    cache.reorder_cache(order)
    rows = kept[order]
    mask, new = mask[rows], torch.tensor(tail)[rows]
    decoder = model.get_decoder()
    for piece in (new[:, :2], new[:, 2:]):
        mask = torch.cat([mask, torch.ones_like(piece)], 1)
        hidden = decoder(piece, attention_mask=mask, past_key_values=cache, use_cache=True).last_hidden_state
    for row, found in zip(rows.tolist(), model.lm_head(hidden[:, -1]), strict=True):
        torch.testing.assert_close(found, published_logits(model, prompts[row] + tail[row])[-1], **CLOSE)


@torch.no_grad()
def test_a_document_in_pieces_and_a_context_that_is_not_whole(model) -> None:
    document = ROWS[5]
    cache = model(torch.tensor([document[:4]]), use_cache=True).past_key_values
    found = model(torch.tensor([document[4:]]), past_key_values=cache).logits[0]
    torch.testing.assert_close(found, published_logits(model, document)[4:], **CLOSE)
    cache = model(torch.tensor([ROWS[0][:2]]), use_cache=True).past_key_values
    with pytest.raises(ValueError, match="in one piece"):
        model(torch.tensor([ROWS[0][2:]]), past_key_values=cache)


@torch.no_grad()
def test_generate(model) -> None:
    ids, mask = padded(ROWS[:3], "left")
    made = model.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False, eos_token_id=[])
    for row, found in zip(ROWS[:3], made[:, ids.shape[1] :].tolist(), strict=True):
        whole = list(row)
        for _ in range(5):
            whole.append(int(published_logits(model, whole)[-1].argmax()))
        assert found == whole[len(row) :]
    beams = model.generate(ids, attention_mask=mask, max_new_tokens=4, num_beams=2, eos_token_id=[])
    assert beams.shape == (3, ids.shape[1] + 4)


@torch.no_grad()
def test_the_server_reads_a_prompt_in_one_piece(model, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.serving import batch
    from core.serving.answer import Answer
    from core.serving.body import Body
    from core.serving.sampling import Sampling

    monkeypatch.setattr(batch, "PREFILL", 2)
    body = Body(model)
    served = SimpleNamespace(body=body, adapter=None, context=64, stop_ids=frozenset(), name="tiny",
                             decode=str, provenance={})  # fmt: skip
    for row in (ROWS[0], ROWS[4]):
        answer = Answer(served, row, Sampling(max_tokens=3, temperature=0.0), lambda text: None, lambda *_: None)
        alone = batch.Batch(body, [answer])
        while alone.answers:
            alone.advance()
        whole = list(row)
        for _ in range(3):
            whole.append(int(published_logits(model, whole)[-1].argmax()))
        assert answer.tokens == whole[len(row) :]


# -- training ---------------------------------------------------------------------------------------------------------
def test_gradients_are_finite_and_checkpointing_changes_none() -> None:
    ids, mask = padded(ROWS, "left")
    found = []
    for checkpointing in (False, True):
        model = tiny_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(
            input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100), use_cache=False
        ).loss.backward()
        found.append({name: weight.grad for name, weight in model.named_parameters()})
    for name, gradient in found[0].items():
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, found[1][name])


def test_the_fast_path_refuses_itself(model) -> None:
    from core.training.batching import Packing
    from core.training.fastpath import FusedCausalLM

    rows = [(np.array(row, np.int32), np.array(row, np.int32)) for row in ROWS[:3]]
    [pack] = Packing(100).packs(rows)
    fused = FusedCausalLM(model)
    assert "does not fetch its attention by name" in str(fused.speed_up(pack))
    assert not fused.fast
    expected = sum(
        torch.nn.functional.cross_entropy(published_logits(model, row)[:-1], torch.tensor(row[1:]), reduction="sum")
        for row in ROWS[:3]
    )
    torch.testing.assert_close(fused.eval()(pack, 1.0), expected)


@torch.no_grad()
def test_saved_loaded_resized_and_cut(model, tmp_path: Path) -> None:
    ids = torch.tensor([ROWS[0]])
    logits = model(ids).logits
    torch.testing.assert_close(model(ids, logits_to_keep=2).logits, logits[:, -2:])
    model.save_pretrained(tmp_path)
    config = families.read_config(tmp_path)
    assert config["model_type"] == "chatglm_6b"
    assert families.writes_text(config)
    assert families.context_length(config) == 64
    assert families.family_of(config).name == "ChatGLM-6B"
    assert AutoConfig.from_pretrained(tmp_path).num_hidden_layers == 3
    loaded = load_model(tmp_path, dtype=torch.float32, device="cpu")
    assert torch.equal(loaded(ids).logits, logits)
    loaded.resize_token_embeddings(64)
    torch.testing.assert_close(loaded(ids).logits[..., :60], logits)
    assert loaded.get_output_embeddings().weight.shape[0] == loaded.get_input_embeddings().weight.shape[0] == 64
    with pytest.raises(TypeError, match="output_attentions"):
        model(ids, output_attentions=True)


# -- conversion -------------------------------------------------------------------------------------------------------
PUBLISHED = {
    "architectures": ["ChatGLMModel"], "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"},
    "bos_token_id": 130004, "eos_token_id": 130005, "mask_token_id": 130000, "gmask_token_id": 130001,
    "pad_token_id": 3, "hidden_size": 4096, "inner_hidden_size": 16384, "layernorm_epsilon": 1e-05,
    "max_sequence_length": 2048, "model_type": "chatglm", "num_attention_heads": 32, "num_layers": 28,
    "position_encoding_2d": True, "torch_dtype": "float16", "use_cache": True, "vocab_size": 130528,
    "quantization_bit": 0, "pre_seq_len": None, "prefix_projection": False,
}  # fmt: skip


def test_the_published_config_becomes_ours() -> None:
    from core.models.architectures.chatglm import ChatGLMConfig

    assert LAYOUT.accepts(PUBLISHED)
    assert not LAYOUT.accepts({"model_type": "chatglm", "multi_query_group_num": 2, "padded_vocab_size": 65024})
    new = LAYOUT.config(PUBLISHED)
    assert not {"auto_map", "quantization_bit", "pre_seq_len"} & new.keys()
    made, default = ChatGLMConfig(**new), ChatGLMConfig()
    assert {k: v for k, v in made.to_dict().items() if k not in ("architectures", "dtype")} == {
        k: v for k, v in default.to_dict().items() if k not in ("architectures", "dtype")
    }
    older = {k: v for k, v in PUBLISHED.items() if k not in ("mask_token_id", "gmask_token_id")}
    assert LAYOUT.config(older) == new
    with pytest.raises(ModelError) as caught:
        LAYOUT.config({**PUBLISHED, "quantization_bit": 4})
    assert caught.value.code == "model.already_quantised"


def test_published_tensors_keep_their_names(model) -> None:
    one = torch.ones(1)
    for name in model.state_dict():
        assert native_tensors(LAYOUT, PUBLISHED, name, one) == {name: one}
    assert native_tensors(LAYOUT, PUBLISHED, "transformer.layers.7.attention.rotary_emb.inv_freq", one) == {}
    for name in ("transformer.layers.0.attention.query_key_value.weight_scale", "transformer.prefix_encoder.weight"):
        with pytest.raises(ModelError, match=name.rsplit(".", 1)[-1]):
            native_tensors(LAYOUT, PUBLISHED, name, one)


# -- tokenizer --------------------------------------------------------------------------------------------------------
TEXTS = [
    *LINES, "", " ", "\n", "\t", "  ", "a", " a", "a ", "  两个空格", "患者\n发热", "\n\n- 一\n- two\n",
    "def f(x):\n    if x:\n\t\treturn x  # 注释\n", "x" + " " * 80 + "y" + " " * 81 + "z" + " " * 163, " \n a \t b",
    "１２３ ＡＢＣ\u3000全角\u00a0空格", "emoji 🙂 und ß, ﬁ", "<n> <|tab|> typed <|blank_3|>", "▁ piece", "2023年 3.14",
]  # fmt: skip


def as_published(processor: Any, text: str) -> list[int]:
    """What tokenization_chatglm.py does before SentencePiece."""
    text = text.replace("\n", "<n>").replace("\t", "<|tab|>")
    for blank, count in zip(reversed(BLANKS), range(80, 1, -1), strict=True):
        text = text.replace(" " * count, blank)
    return processor.encode(text)


def as_published_back(processor: Any, ids: list[int]) -> str:
    text = processor.decode(ids).replace("<n>", "\n").replace("<|tab|>", "\t")
    for blank, count in zip(BLANKS, range(2, 81), strict=True):
        text = text.replace(blank, " " * count)
    return text


@pytest.fixture(scope="module", params=["control", "user defined"])
def pair(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """(our tokenizer, SentencePiece with the same file), however the file marks its special pieces."""
    import sentencepiece

    folder = tokenizer_folder(tmp_path_factory.mktemp("ice"), request.param)
    assert not needs_torch(folder)
    return load_tokenizer(folder), sentencepiece.SentencePieceProcessor(model_proto=ice_model(request.param))


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_ids_and_round_trip_are_sentencepiece_s(pair, text: str) -> None:
    tokenizer, processor = pair
    ids = tokenizer(text)["input_ids"]
    assert ids == as_published(processor, text)
    assert tokenizer.decode(ids) == as_published_back(processor, ids)


def test_special_tokens(pair) -> None:
    tokenizer, processor = pair
    for name in (*ice_text.SPECIAL, "<pad>", "<unk>", "<n>", "<|tab|>", *BLANKS):
        assert tokenizer.convert_tokens_to_ids(name) == processor.piece_to_id(name)
    assert len(tokenizer) == processor.vocab_size()
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<sop>", "<eop>", "<pad>")
    # question and answer are encoded apart, each with its own blank before it
    expected = [*as_published(processor, "你好\n a"), *map(processor.piece_to_id, ("[gMASK]", "<sop>"))]
    expected += [*as_published(processor, "再见"), processor.piece_to_id("<eop>")]
    ids = tokenizer("你好\n a[gMASK]<sop>再见<eop>")["input_ids"]
    assert ids == expected
    answer = ids[ids.index(tokenizer.bos_token_id) + 1 :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "再见"


def test_other_files_are_refused(tmp_path: Path) -> None:
    import sentencepiece

    (tmp_path / "bpe.model").write_bytes(ice_model(kind="bpe"))
    (tmp_path / "torn.model").write_bytes(ice_model()[:999])
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=str(tmp_path / "bare"), vocab_size=120, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    for name, detail in (("bpe", "no unigram"), ("torn", "damaged"), ("bare", "it lacks")):
        with pytest.raises(ModelError, match=detail) as caught:
            ice_text.read(tmp_path / f"{name}.model")
        assert caught.value.code == "model.ice_text"


# -- chat -------------------------------------------------------------------------------------------------------------
def said(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def test_only_the_last_answer_is_learnt_and_a_prompt_ends_with_sop(pair) -> None:
    tokenizer, processor = pair
    encoder = Encoder(tokenizer)
    ends = [processor.piece_to_id(piece) for piece in ("[gMASK]", "<sop>")]
    eop = processor.piece_to_id("<eop>")
    assert encoder.prompt_ids(said("你好")) == [*as_published(processor, "你好"), *ends]
    asked = "[Round 0]\n问：你好\n答： 头痛\n[Round 1]\n问：两周\n答："
    prompt = [*as_published(processor, asked), *ends]
    assert encoder.prompt_ids(said("你好", " 头痛", "两周")) == prompt
    row = encoder.encode(said("你好", " 头痛", "两周", "请问"))
    answer = [*as_published(processor, "请问"), eop]
    assert row.input_ids == prompt + answer
    assert row.labels == [-100] * len(prompt) + answer
    assert encoder.stop_ids == [eop]
    # whoever types a control token does not end the context
    typed = encoder.encode(said("a<sop>b[gMASK]", "c<eop>d"))
    assert [typed.input_ids.count(token) for token in (*ends, eop)] == [1, 1, 1]
    short = Encoder(tokenizer, max_length=len(prompt)).encode(said("你好", " 头痛", "两周", "请问"))
    assert short.input_ids == [*as_published(processor, "两周"), *ends, *answer]
    with pytest.raises(ModelError) as caught:
        Encoder(tokenizer, train_on="all")
    assert caught.value.code == "model.learns_last_only"


def test_a_named_template_for_a_base_without_one(pair) -> None:
    tokenizer, _ = pair
    name = families.template_for({"model_type": "chatglm_6b"})
    assert Encoder(tokenizer, template=name).encode(said("你好", "请问")) == Encoder(tokenizer).encode(
        said("你好", "请问")
    )


@pytest.mark.usefixtures("lettered_rule")
def test_every_stage_on_conversations_with_the_real_special_tokens(workspace: Workspace, tmp_path: Path) -> None:
    from core.recipes import dpo, reward, sft

    base = model_folder(tmp_path / "base")
    chat = write_jsonl(tmp_path / "chat.jsonl", conversations(16, turns=2))
    small = ("schedule.max_steps=3", "data.max_length=160")
    told = start(workspace, sft, "sft", f"model.base={base}", f"data.train={chat}", *small,
                 "evaluation.prompts=[ba be]", "evaluation.max_new_tokens=4")  # fmt: skip
    losses = figures(told, "loss")
    assert losses[-1] < losses[0]
    assert read_jsonl(told.samples_file)[0]
    rows = [{"prompt": f"ba {number}", "chosen": "bo bu bo", "rejected": "di du"} for number in range(16)]
    pairs = write_jsonl(tmp_path / "pairs.jsonl", rows)
    judged = start(workspace, reward, "reward", f"model.base={told.id}", f"data.train={pairs}", *small)
    chosen = start(workspace, dpo, "dpo", f"model.base={told.id}", f"data.train={pairs}", *small)
    learnt = start_ppo(workspace, told.id, prompt_file(tmp_path, 8), f"rewards.models=[{judged.id}]",
                       "rewards.rules=lettered letter=a", "ppo.episodes=8")  # fmt: skip
    assert all(run.manifest_file.is_file() for run in (judged, chosen, learnt))


def test_what_ppo_samples_in_batches_is_what_it_scores(tmp_path: Path) -> None:
    from core.ppo.roles import POLICY

    base = model_folder(tmp_path)
    roles, prompts = roles_of(base), prompts_of(base)
    assert len({len(prompt.ids) for prompt in prompts}) > 1
    for one in sampled(roles, prompts, stops=[load_tokenizer(base).eos_token_id], batch_size=3):
        np.testing.assert_allclose(one.logprobs, plain_logprobs(roles, POLICY, one).numpy(), atol=1e-4)
