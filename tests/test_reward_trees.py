"""Several answers behind one prompt that is computed once: the same scores and gradients as row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from core.configs import sections
from core.training.kernels import CausalAttention
from core.training.scoring import RewardModel
from core.training.trees import TreePack, TreePacking, _roll, _unroll, attend_trees, row_lengths
from core.training.tuning import make_trainable

SHAPES = ((5, 3, 6), (0, 4), (2, 1, 1, 7))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def trees(shapes: tuple[tuple[int, ...], ...] = SHAPES, seed: int = 1) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(3, 200, size).astype(np.int32) for size in shape) for shape in shapes]


def test_a_tree_is_its_branches_behind_its_prompt() -> None:
    (prompt, first, second), *_ = made = trees()
    pack = TreePack.of(made)
    assert pack.position_ids[0, :14].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 9, 10]
    assert pack.input_ids[0, pack.ends].tolist() == [branch[-1] for tree in made for branch in tree[1:]]
    rows = pack.unrolled()
    assert [len(row) for row in rows] == row_lengths(SHAPES) == [8, 11, 4, 3, 3, 9]
    assert rows[1].tolist() == [*prompt, *second]
    assert rows[0].tolist() == [*prompt, *first]


def test_packs_hold_every_tree_once() -> None:
    made = trees(((5, 3, 6), (9, 4, 4), (2, 1, 1), (1, 30, 2)))
    for padded in (False, True):
        packs = TreePacking(40, padded).packs(made)
        assert sorted(member for pack in packs for member in pack.members) == [0, 1, 2, 3]
        for pack in packs:
            held = [made[member] for member in pack.members]
            assert pack.shapes == tuple(tuple(map(len, tree)) for tree in held)
            cost = max(row_lengths(pack.shapes)) * 2 * len(held) if padded else sum(map(sum, pack.shapes))
            assert cost <= 40 or len(held) == 1


def test_unrolling_and_rolling_come_back() -> None:
    t = torch.randn(2, sum(map(sum, SHAPES)), 3)
    torch.testing.assert_close(_roll(_unroll(t, SHAPES, 1), SHAPES), t)


def test_attention_for_the_last_queries_equals_its_share_of_the_whole() -> None:
    q, k, v = (torch.randn(h, 9, 4, dtype=torch.float64, requires_grad=True) for h in (4, 2, 2))
    whole = CausalAttention.apply(q, k, v, 0.3)
    torch.testing.assert_close(CausalAttention.apply(q[:, 6:], k, v, 0.3), whole[:, 6:])
    assert torch.autograd.gradcheck(lambda q, k, v: CausalAttention.apply(q[:, 6:], k, v, 0.3), (q, k, v))


@pytest.mark.parametrize(("window", "shapes"), [(None, SHAPES), (4, SHAPES), (None, ((300, 290, 40), (2, 530)))])
def test_branches_see_their_prompt_and_themselves(window: int | None, shapes: tuple[tuple[int, ...], ...]) -> None:
    count = sum(map(sum, shapes))
    q, k, v = (torch.randn(1, heads, count, 8) for heads in (4, 2, 2))
    together, _ = attend_trees(torch.nn.Identity(), q, k, v, None, sliding_window=window, shapes=shapes)
    rows = [_unroll(t, shapes, 2).split(row_lengths(shapes), 2) for t in (q, k, v, together.transpose(1, 2))]
    for q_row, k_row, v_row, found in zip(*rows, strict=True):
        length = q_row.shape[2]
        distance = torch.arange(length)[:, None] - torch.arange(length)[None]
        mask = (distance >= 0) & (distance < (window or length))
        alone = F.scaled_dot_product_attention(q_row, k_row, v_row, mask, enable_gqa=True)
        torch.testing.assert_close(found, alone)


@pytest.mark.parametrize("method", ["lora", "full", "freeze"])
def test_fast_and_plain_path_agree_in_scores_and_gradients(tiny_model: Path, method: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tuning = sections.Tuning(method=method, trainable_layers=1)
    trainable, _ = make_trainable(model, tuning, sections.Lora(rank=4), torch.float32)
    for name, parameter in trainable.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    reward = RewardModel(trainable)
    torch.nn.init.normal_(reward.head.weight)
    pack = TreePack.of(trees())
    found = {}
    for fast in (False, True):
        if fast:
            assert reward.speed_up(pack) is None
        assert reward.fast is fast
        scores = reward.scores(pack)
        reward.zero_grad()
        (scores * torch.arange(1, 7)).sum().backward()
        grads = {n: p.grad.clone() for n, p in reward.named_parameters() if p.requires_grad and p.grad is not None}
        found[fast] = (scores, grads)
    torch.testing.assert_close(found[True][0], found[False][0], rtol=1e-4, atol=1e-5)
    assert found[True][1].keys() == found[False][1].keys()
    for name, grad in found[True][1].items():
        torch.testing.assert_close(grad, found[False][1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_kernel_that_mixes_branches_is_found_out(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    reward = RewardModel(model)
    straight = TreePack.of(trees(((0, 14), (0, 4))))  # the first tree's answers as if they were one
    monkeypatch.setattr(RewardModel, "_packed", lambda self, pack: self._plain(straight).repeat(3, 1)[:6])
    reason = reward.speed_up(TreePack.of(trees()))
    assert reason is not None
    assert "differ" in reason
    assert not reward.fast
    assert model.config._attn_implementation == reward.attention
