"""Baichuan-13B and Baichuan2-13B beside a plain forward pass over the published names and layout, and in the house."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from core.errors import ModelError
from core.models.architectures.baichuan import alibi_bias, alibi_slopes
from core.models.conversions import find_layout, native_tensors
from core.models.conversions.baichuan import ALIBI, ROTARY
from core.models.lineage import base_weights
from core.models.loading import load_model
from core.models.rewriting import rewrite
from core.ppo.roles import POLICY
from core.serving import batch
from core.serving.answer import Answer
from core.serving.registry import Registry
from core.serving.sampling import Sampling
from core.training.batching import Pack
from core.training.fastpath import FusedCausalLM
from core.training.heads import new_head, save_classifier
from core.training.scoring import RewardModel
from core.training.trees import TreePack
from core.workspace import Workspace
from tests import ppo_tools
from tests.conftest import build_tokenizer
from tests.families_tools import build_model
from tests.ppo_tools import lettered_rule
from tests.test_reward_trees import trees
from tests.test_training import sample

__all__ = ["lettered_rule"]  # a fixture

LAYERS, WIDTH, INNER, VOCABULARY = 2, 40, 48, 64
SLOPES = {5: [2**-2, 2**-4, 2**-6, 2**-8, 2**-1], 8: [2**-1, 2**-2, 2**-3, 2**-4, 2**-5, 2**-6, 2**-7, 2**-8]}
KINDS = [(heads, second) for heads in SLOPES for second in (False, True)]
LENGTHS = (9, 4, 12)


# -- as published -----------------------------------------------------------------------------------------------------
def published_config(heads: int, second: bool) -> dict[str, Any]:
    config = {
        "architectures": ["BaichuanForCausalLM"], "auto_map": {"AutoConfig": "configuration_baichuan.BaichuanConfig"},
        "model_type": "baichuan", "model_max_length": 128, "vocab_size": VOCABULARY, "hidden_size": WIDTH,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": heads, "hidden_act": "silu",
        "initializer_range": 0.02, "rms_norm_eps": 1e-6, "use_cache": True, "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "torch_dtype": "bfloat16",
    }  # fmt: skip
    return config | ({"z_loss_weight": 0} if second else {})


def published_tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {"model.embed_tokens": (VOCABULARY, WIDTH), "model.norm": (WIDTH,), "lm_head": (VOCABULARY, WIDTH)}
    for layer in (f"model.layers.{n}." for n in range(LAYERS)):
        shapes |= {f"{layer}self_attn.W_pack": (3 * WIDTH, WIDTH), f"{layer}self_attn.o_proj": (WIDTH, WIDTH)}
        shapes |= {f"{layer}mlp.{name}_proj": (INNER, WIDTH) for name in ("gate", "up")}
        shapes |= {f"{layer}mlp.down_proj": (WIDTH, INNER)}
        shapes |= {f"{layer}{name}_layernorm": (WIDTH,) for name in ("input", "post_attention")}
    return {
        f"{name}.weight": torch.randn(shape) / shape[-1] ** 0.5 if len(shape) == 2 else 1 + 0.1 * torch.randn(shape)
        for name, shape in shapes.items()
    }


def published_logits(tensors: dict[str, Tensor], heads: int, second: bool, ids: Tensor) -> Tensor:
    """ids [n] → [n, v], by the book: one row, head by head, slope · place of the key, and an infinite future."""

    def weight(name: str) -> Tensor:
        return tensors[f"{name}.weight"]

    def norm(x: Tensor, name: str) -> Tensor:
        return weight(name) * x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()

    n, d = len(ids), WIDTH // heads
    future = torch.full((n, n), -torch.inf).triu(1)
    x = weight("model.embed_tokens")[ids]
    for layer in (f"model.layers.{number}." for number in range(LAYERS)):
        q, k, v = (norm(x, f"{layer}input_layernorm") @ weight(f"{layer}self_attn.W_pack").T).chunk(3, -1)
        attended = []
        for head, slope in enumerate(SLOPES[heads]):
            own = slice(head * d, (head + 1) * d)
            scores = q[:, own] @ k[:, own].T / d**0.5 + slope * torch.arange(n) + future
            attended.append(scores.softmax(-1) @ v[:, own])
        x = x + torch.cat(attended, -1) @ weight(f"{layer}self_attn.o_proj").T
        y = norm(x, f"{layer}post_attention_layernorm")
        gate, up, down = (weight(f"{layer}mlp.{name}_proj").T for name in ("gate", "up", "down"))
        x = x + (F.silu(y @ gate) * (y @ up)) @ down
    head = weight("lm_head")
    if second:
        head = head / head.norm(dim=1, keepdim=True)
    return norm(x, "model.norm") @ head.T


def convert(source: Path, target: Path) -> Path:
    config = json.loads((source / "config.json").read_text())
    target.mkdir()
    rewrite(source, target, partial(native_tensors, ALIBI, config))
    (target / "config.json").write_text(json.dumps(ALIBI.config(config)))
    return target


Made = Callable[[int, bool], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """(heads, whether it is a Baichuan2) → the converted folder of a published one, built once."""

    @cache
    def build(heads: int, second: bool) -> Path:
        root = tmp_path_factory.mktemp("baichuan")
        source = root / "published"
        source.mkdir()
        save_file(published_tensors(), source / "model.safetensors")
        (source / "config.json").write_text(json.dumps(published_config(heads, second)))
        return convert(source, root / "converted")

    return build


@pytest.fixture
def model(made: Made) -> PreTrainedModel:
    return load_model(made(5, False), dtype=torch.float32, device="cpu")


def rows(lengths: Sequence[int] = LENGTHS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator) for length in lengths]


def padded(left: bool) -> tuple[Tensor, Tensor]:
    """`rows`, padded to 14, and the mask."""
    ids, mask = torch.zeros(len(LENGTHS), 14, dtype=torch.long), torch.zeros(len(LENGTHS), 14, dtype=torch.long)
    for at, row in enumerate(rows()):
        place = slice(14 - len(row), 14) if left else slice(0, len(row))
        ids[at, place], mask[at, place] = row, 1
    return ids, mask


# -- the same numbers -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("heads", "second"), KINDS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_are_those_of_the_published_layout(made: Made, heads: int, second: bool, attention: str) -> None:
    model = load_model(made(heads, second), dtype=torch.float32, device="cpu", attention=attention)
    (ids,) = rows((30,))
    with torch.no_grad():
        ours = model(input_ids=ids[None]).logits[0]
    torch.testing.assert_close(ours, published_logits(published_tensors(), heads, second, ids), rtol=1e-5, atol=1e-5)


def test_slopes() -> None:
    """Of 40 heads 32 have those of 32, and 8 stand between those."""
    slopes = alibi_slopes(40)
    assert slopes[:4] == pytest.approx([0.840896, 0.707107, 0.594604, 0.5], abs=1e-6)
    assert slopes[31] == 2**-8
    assert slopes[32:35] == pytest.approx([0.917004, 0.771105, 0.648420], abs=1e-6)
    assert len(slopes) == 40
    assert all(alibi_slopes(heads) == expected for heads, expected in SLOPES.items())


def test_bias_by_hand() -> None:
    mask = torch.tensor([[0, 1, 1]])
    bias = alibi_bias(torch.tensor([0.5]), 3, 3, mask, torch.float32)
    never = -torch.inf
    assert bias.tolist() == [[[[0, never, never], [never, 0, never], [never, -0.5, 0]]]]
    assert torch.equal(alibi_bias(torch.tensor([0.5]), 1, 3, mask, torch.float32), bias[:, :, 2:])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("left", [False, True])
def test_padding_changes_nothing(made: Made, left: bool, attention: str) -> None:
    model = load_model(made(5, True), dtype=torch.float32, device="cpu", attention=attention)
    ids, mask = padded(left)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, position_ids=mask.cumsum(-1)).logits
        alone = [model(input_ids=row[None]).logits[0] for row in rows()]
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits[mask.bool()], torch.cat(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_and_autocast_stay_finite_and_close(model: PreTrainedModel, dtype: torch.dtype) -> None:
    ids, mask = padded(left=True)
    with torch.no_grad():
        exact = model(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        with torch.autocast("cpu", dtype=dtype):
            cast = model(input_ids=ids, attention_mask=mask).logits
        whole = model.to(dtype)(input_ids=ids, attention_mask=mask).logits
    for found in (cast, whole):
        assert torch.isfinite(found).all()
        assert (found[mask.bool()].float() - exact).norm() < 0.03 * exact.norm()


def test_cache_equals_no_cache(model: PreTrainedModel) -> None:
    """Prompts in two pieces and padded on the left, then token by token, while rows leave the batch."""
    ids, mask = padded(left=True)
    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask).logits
        past, kept = None, torch.arange(len(LENGTHS))
        for start, stop in ((0, 3), (3, 11), (11, 12), (12, 13), (13, 14)):
            if start == 12:
                past.batch_select_indices(torch.tensor([0, 2]))
                kept = torch.tensor([0, 2])
            output = model(input_ids=ids[kept, start:stop], attention_mask=mask[kept, :stop], past_key_values=past,
                           use_cache=True, logits_to_keep=1)  # fmt: skip
            past = output.past_key_values
            assert output.logits.shape[1] == 1
            real = mask[kept, stop - 1].bool()
            torch.testing.assert_close(output.logits[real, 0], whole[kept, stop - 1][real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beams", [1, 2])
def test_generate(model: PreTrainedModel, beams: int) -> None:
    ids, mask = padded(left=True)
    settings = {"max_new_tokens": 6, "do_sample": False, "num_beams": beams, "eos_token_id": None, "pad_token_id": 0}
    together = model.generate(input_ids=ids, attention_mask=mask, **settings)[:, ids.shape[1] :]
    alone = [model.generate(input_ids=row[None], use_cache=False, **settings)[0, len(row) :] for row in rows()]
    assert together.tolist() == [answer.tolist() for answer in alone]


# -- as a model of Transformers ---------------------------------------------------------------------------------------
def test_saved_and_loaded_and_resized(model: PreTrainedModel, tmp_path: Path) -> None:
    assert model.get_decoder() is model.model
    assert model.get_input_embeddings() is model.model.embed_tokens
    assert model.get_output_embeddings() is model.lm_head
    model.resize_token_embeddings(VOCABULARY + 3, mean_resizing=False)
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path, dtype=torch.float32, device="cpu")
    (ids,) = rows((5,))
    with torch.no_grad():
        logits = again(input_ids=ids[None], output_hidden_states=True)
        assert torch.equal(logits.logits, model(inputs_embeds=model.get_input_embeddings()(ids)[None]).logits)
    assert logits.logits.shape == (1, 5, VOCABULARY + 3)
    assert len(logits.hidden_states) == LAYERS + 1
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "baichuan_alibi"


def test_gradients_are_finite_and_checkpointing_keeps_them(made: Made) -> None:
    found = []
    for recompute in (False, True):
        model = load_model(made(5, False), dtype=torch.float32, device="cpu").train()
        if recompute:
            model.activation_checkpointing_enable()
        ids, mask = padded(left=False)
        model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in found[0].values())
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)


# -- conversion -------------------------------------------------------------------------------------------------------
def test_what_is_accepted() -> None:
    first, second = published_config(5, False), published_config(5, True)
    assert find_layout(first) is ALIBI
    assert find_layout(second) is ALIBI
    assert find_layout({**second, "max_position_embeddings": 4096}) is ROTARY  # Baichuan2-7B
    assert find_layout({**first, "architectures": ["BaiChuanForCausalLM"]}) is None
    assert find_layout({**second, "quantization_config": {"load_in_4bit": True}}) is None
    assert find_layout(ALIBI.config(first)) is None


def test_a_folder_as_published_is_not_loaded_as_ours(tmp_path: Path) -> None:
    save_file(published_tensors(), tmp_path / "model.safetensors")
    config = {key: value for key, value in published_config(5, False).items() if key != "auto_map"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not recognize this architecture"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_new_config() -> None:
    config = ALIBI.config(published_config(5, True))
    assert config["max_position_embeddings"] == 128
    assert not {"auto_map", "model_max_length", "z_loss_weight"} & config.keys()


def test_single_tensors() -> None:
    first, second = published_config(5, False), published_config(5, True)
    weight = torch.randn(3 * WIDTH, WIDTH).bfloat16()
    packed = native_tensors(ALIBI, first, "model.layers.11.self_attn.W_pack.weight", weight)
    assert list(packed) == [f"model.layers.11.self_attn.{part}_proj.weight" for part in "qkv"]
    assert torch.equal(torch.cat(list(packed.values())), weight)
    assert native_tensors(ALIBI, first, "lm_head.weight", weight)["lm_head.weight"] is weight
    for config in (second, {**first, "vocab_size": 125696}):
        normalised = native_tensors(ALIBI, config, "lm_head.weight", weight)["lm_head.weight"]
        assert normalised.dtype == torch.bfloat16
        assert torch.equal(normalised, F.normalize(weight.double()).bfloat16())
    assert native_tensors(ALIBI, first, "model.future_mask", weight) == {}
    with pytest.raises(ModelError, match=r"model\.layers\.0\.self_attn\.bias"):
        native_tensors(ALIBI, first, "model.layers.0.self_attn.bias", weight)


# -- in the house -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random one with the tests' tokenizer."""
    return build_model("baichuan_alibi", tmp_path_factory.mktemp("tiny"))


def test_kernels_that_know_no_bias_are_refused(tiny: Path) -> None:
    model = load_model(tiny, dtype=torch.float32, device="cpu")
    reward = RewardModel(model)
    assert "alibi" in str(reward.speed_up(TreePack.of(trees())))
    fused = FusedCausalLM(get_peft_model(model, LoraConfig(target_modules="all-linear")))
    assert "alibi" in str(fused.speed_up(sample()))
    assert not fused.fast
    assert not reward.fast
    assert model.config._attn_implementation == "sdpa"
    assert torch.isfinite(fused(sample(), 1.0))
    with pytest.raises(ValueError, match="does not support Flash"):
        model.set_attn_implementation("flash_attention_2")


def test_ppo_samples_what_the_model_says(tiny: Path) -> None:
    """Padded on the left, with a cache, and most rows gone before the end: log p as of each row alone."""
    roles = ppo_tools.roles_of(tiny)
    prompts = ppo_tools.prompts_of(tiny)
    assert "alibi" in str(roles.speed_up(Pack.of([(prompt.ids, prompt.ids) for prompt in prompts])))
    samples = ppo_tools.sampled(roles, prompts, stops=list(range(0, 512, 4)), max_new_tokens=16)
    assert len({len(prompt.ids) for prompt in prompts}) > 1
    assert len({len(one.ids) for one in samples}) > 1
    for one in samples:
        torch.testing.assert_close(
            torch.from_numpy(one.logprobs), ppo_tools.plain_logprobs(roles, POLICY, one), rtol=0, atol=1e-5
        )


def test_ppo_runs(workspace: Workspace, tiny: Path, tmp_path: Path, lettered_rule: None) -> None:
    words = ("rewards.rules=lettered letter=a", "rewards.missing_end=", "ppo.episodes=8", "ppo.epochs=1")
    run = ppo_tools.start(workspace, tiny, ppo_tools.prompt_file(tmp_path, 12), *words)
    assert run.manifest_file.is_file()


def test_chat_reads_in_pieces(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "PREFILL", 4)
    registry = Registry(base_weights(Workspace(tmp_path), str(tiny)), dtype=torch.float32, device="cpu")
    served = registry["base"]
    ids = served.encoder.prompt_ids([{"role": "user", "content": "发烧 ba be bi?"}])
    answer = Answer(served, ids, Sampling(max_tokens=6, temperature=0.0), lambda text: None, lambda facts, error: None)
    alone = batch.Batch(served.body, [answer])
    while alone.answers:
        alone.advance()
    read = torch.tensor([[*ids, *answer.tokens]])
    with torch.no_grad():
        assert served.body.model(input_ids=read).logits[0, len(ids) - 1 : -1].argmax(-1).tolist() == answer.tokens
    assert served.body.joins, "ALiBi's distances do not change when a row is padded in front"


def test_a_whole_reward_model_is_saved_as_a_classifier(tiny: Path, tmp_path: Path) -> None:
    model = load_model(tiny, dtype=torch.float32, device="cpu")
    head = new_head(model.config.hidden_size)
    torch.nn.init.normal_(head.weight)
    tokenizer = build_tokenizer(tmp_path / "tokenizer")
    save_classifier(model, head, tokenizer, tmp_path / "whole", torch.float32)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole").eval()
    ids = torch.arange(10, 30)[None]
    with torch.no_grad():
        expected = head(model.get_decoder()(input_ids=ids).last_hidden_state[:, -1])
        torch.testing.assert_close(again(input_ids=ids).logits, expected)
