"""The training core: kernels and losses equal their plain twins, batches cover every row once, rows stay apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from core.configs import sections
from core.data.encode.packing import deal, pack
from core.errors import ModelError
from core.training.attention import attend_rows
from core.training.batching import Pack, StepSampler
from core.training.fastpath import FusedCausalLM, row_losses
from core.training.kernels import CausalAttention, FrozenMatrix, LoraLinear
from core.training.losses import FusedLinearLogProbs
from core.training.tuning import make_trainable


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def leaves(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


# -- kernels ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bias", [True, False])
def test_lora_linear_equals_its_formula(bias: bool) -> None:
    x, a, b = leaves((2, 5, 8), (3, 8), (6, 3))
    weight = torch.randn(6, 8, dtype=torch.float64)
    shift = torch.randn(6, dtype=torch.float64) if bias else None
    frozen = FrozenMatrix(weight, shift)
    assert torch.autograd.gradcheck(lambda x, a, b: LoraLinear.apply(x, frozen, a, b, 0.7), (x, a, b))
    plain = F.linear(x, weight, shift) + 0.7 * x @ a.t() @ b.t()
    torch.testing.assert_close(LoraLinear.apply(x, frozen, a, b, 0.7), plain)


@pytest.mark.parametrize("bias", [True, False])
def test_a_repacked_matrix_gives_the_same_products(bias: bool) -> None:
    weight, shift = torch.randn(48, 32).bfloat16(), torch.randn(48).bfloat16() if bias else None
    plain, packed = FrozenMatrix(weight, shift), FrozenMatrix(weight, shift, repack=True)
    x, grad = torch.randn(7, 32).bfloat16(), torch.randn(7, 48).bfloat16()
    torch.testing.assert_close(packed.times(x), plain.times(x), rtol=0.02, atol=0.02)
    torch.testing.assert_close(packed.times_transposed(grad), plain.times_transposed(grad), rtol=0.02, atol=0.02)


def test_attention_equals_sdpa_with_grouped_heads() -> None:
    q, k, v = leaves((4, 7, 8), (2, 7, 8), (2, 7, 8))
    assert torch.autograd.gradcheck(lambda q, k, v: CausalAttention.apply(q, k, v, 0.3), (q, k, v))
    plain = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=0.3, enable_gqa=True)[0]
    torch.testing.assert_close(CausalAttention.apply(q, k, v, 0.3), plain)


@pytest.mark.parametrize(("window", "lengths"), [(None, (5, 3)), (3, (6, 2)), (None, (600, 4))])
def test_rows_of_a_pack_do_not_see_each_other(window: int | None, lengths: tuple[int, ...]) -> None:
    q, k, v = (torch.randn(1, heads, sum(lengths), 8) for heads in (4, 2, 2))
    together, _ = attend_rows(None, q, k, v, None, sliding_window=window, row_lengths=lengths)
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        distance = torch.arange(length)[:, None] - torch.arange(length)[None]
        mask = (distance >= 0) & (distance < (window or length))
        alone = F.scaled_dot_product_attention(q[:, :, part], k[:, :, part], v[:, :, part], mask, enable_gqa=True)
        torch.testing.assert_close(together[:, part], alone.transpose(1, 2))
        start += length


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_fused_log_probabilities_equal_the_plain_ones_over_several_chunks(temperature: float) -> None:
    (hidden,) = leaves((700, 8))
    weight, bias = torch.randn(50, 8, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
    labels, weights = torch.randint(0, 50, (700,)), torch.randn(700)
    fused, entropies = FusedLinearLogProbs.apply(hidden, FrozenMatrix(weight, bias), labels, temperature, True)
    whole = (F.linear(hidden, weight, bias) / temperature).log_softmax(-1)
    plain = whole.gather(1, labels[:, None]).squeeze(1)
    torch.testing.assert_close(fused.double(), plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(entropies.double(), -(whole * whole.exp()).sum(-1), rtol=1e-5, atol=1e-6)
    (grad,) = torch.autograd.grad((weights * fused).sum(), hidden)
    (expected,) = torch.autograd.grad((weights * plain).sum(), hidden)
    torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-6)
    assert FusedLinearLogProbs.apply(hidden, FrozenMatrix(weight, bias), labels)[1].numel() == 0


# -- batches ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_row_is_trained_on_once_an_epoch_whatever_the_ranks(world_size: int) -> None:
    lengths = np.random.default_rng(0).integers(5, 90, 50)
    samplers = [
        StepSampler(lengths, lengths - 1, rows_per_step=12, seed=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    alone = StepSampler(lengths, lengths - 1, rows_per_step=12, seed=3)
    for epoch in range(2):
        for sampler in (*samplers, alone):
            sampler.set_epoch(epoch)
        steps = list(zip(*samplers, strict=True))
        for batches, ([whole],) in zip(steps, zip(alone, strict=True), strict=True):
            rows = [row for [step] in batches for row in step.rows]
            assert sorted(rows) == sorted(whole.rows)
            assert {(step.labels, step.tokens) for [step] in batches} == {(whole.labels, whole.tokens)}
    assert [step.rows for [step] in alone] == [step.rows for [step] in alone]


def test_packs_hold_every_row_once_within_the_capacity() -> None:
    lengths = [30, 20, 50, 10, 90, 40]
    bins = pack(lengths, 60)
    assert sorted(index for bin_ in bins for index in bin_) == list(range(6))
    assert all(len(bin_) == 1 or sum(lengths[i] for i in bin_) <= 60 for bin_ in bins)
    assert len(bins) == 4
    assert deal(np.array([0, 1]), np.array([5, 9]), 3) == [[1], [0], []]


def test_a_pack_predicts_within_rows_only() -> None:
    rows = [(np.array([1, 2, 3]), np.array([-100, 2, 3])), (np.array([4, 5]), np.array([4, 5]))]
    made = Pack.of(rows)
    assert made.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert (made.label_positions.tolist(), made.labels.tolist()) == ([0, 1, 3], [2, 3, 5])


# -- the whole model --------------------------------------------------------------------------------------------------
def sample(lengths: tuple[int, ...] = (9, 14, 5)) -> Pack:
    rng = np.random.default_rng(1)
    rows = []
    for length in lengths:
        ids = rng.integers(3, 200, length)
        labels = np.where(np.arange(length) < length // 2, -100, ids)
        rows.append((ids, labels))
    return Pack.of(rows)


@pytest.mark.parametrize("method", ["lora", "full", "freeze"])
def test_fast_and_plain_path_agree_in_loss_and_gradients(tiny_model: Path, method: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tuning = sections.Tuning(method=method, trainable_layers=1)
    trainable, _ = make_trainable(model, tuning, sections.Lora(rank=4), torch.float32)
    for name, parameter in trainable.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    fused = FusedCausalLM(trainable)
    found = {}
    for fast in (False, True):
        if fast:
            assert fused.speed_up(sample()) is None
        assert fused.fast is fast
        loss = fused(sample(), 10.0)
        fused.zero_grad()
        loss.backward()
        found[fast] = (loss, {n: p.grad.clone() for n, p in trainable.named_parameters() if p.requires_grad})
    torch.testing.assert_close(found[True][0], found[False][0])
    assert found[True][1].keys() == found[False][1].keys()
    for name, grad in found[True][1].items():
        torch.testing.assert_close(grad, found[False][1][name], rtol=1e-4, atol=1e-6, msg=name)


def test_gradient_checkpointing_changes_nothing(tiny_model: Path) -> None:
    grads = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        tuning = sections.Tuning(gradient_checkpointing=recompute)
        trainable, _ = make_trainable(model, tuning, sections.Lora(), torch.float32)
        fused = FusedCausalLM(trainable)
        assert fused.speed_up(sample()) is None
        fused.train()
        fused(sample(), 1.0).backward()
        grads.append([p.grad for p in trainable.parameters() if p.requires_grad])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_a_model_that_computes_more_than_we_know_keeps_its_own_path(tiny_model: Path) -> None:
    """A head with soft-capping, say: the check sees the difference and the fast path stays off."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    forward = type(model).forward

    def capped(self, **kwargs):
        out = forward(self, **kwargs)
        out.logits = 0.1 * torch.tanh(out.logits / 0.1)
        return out

    model.forward = capped.__get__(model)
    fused = FusedCausalLM(get_peft_model(model, LoraConfig(target_modules="all-linear")))
    reason = fused.speed_up(sample())
    assert reason is not None
    assert "differs" in reason
    assert not fused.fast
    logits = fused._plain_logits(sample())
    assert torch.isclose(fused(sample(), 1.0) / len(sample().labels), F.cross_entropy(
        logits[sample().label_positions], sample().labels))  # fmt: skip


def test_row_losses_keep_rows_apart() -> None:
    made = sample()
    logits = torch.randn(made.input_ids.shape[1], 500)
    single = F.cross_entropy(logits[made.label_positions], made.labels, reduction="none")
    losses, labels = row_losses(logits, made)
    assert losses[0] == pytest.approx(single[: 9 - 9 // 2].mean().item(), rel=1e-5)
    assert labels.tolist() == [9 - 9 // 2, 7, 3]


def test_sixteen_bits_allow_for_their_own_noise_and_not_for_more(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    allowed = FusedCausalLM(model)._tolerance(torch.tensor([1, 6, 50, 2000]))
    assert allowed[1] > 0.071 + 0.03  # as far as a real row of 6 labels was apart from fp32 on either path
    assert allowed.tolist() == sorted(allowed.tolist(), reverse=True)
    assert allowed[-1] < 0.04


def test_wrong_targets_and_layers_are_named(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with pytest.raises(ModelError, match="q_proj"):
        make_trainable(model, sections.Tuning(), sections.Lora(targets=["query"]), torch.float32)
    with pytest.raises(ModelError, match="has 2"):
        make_trainable(model, sections.Tuning(method="freeze", trainable_layers=3), sections.Lora(), torch.float32)
