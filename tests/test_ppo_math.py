"""The formulas of PPO against hand-worked cases. A test names the rule that it checks (DESIGN §7)."""

from __future__ import annotations

import math

import pytest
import torch

from core.ppo.math import (
    advantages_of,
    approximate_kl,
    explained_variance,
    keeping_mean,
    policy_losses,
    scheduled,
    steered,
    token_rewards,
    value_losses,
    whiten,
    with_penalty,
)

MASK = torch.tensor([[True, True, True], [True, True, False]])


def test_rule_8_the_score_is_added_once_and_rewards_sum_to_score_minus_beta_kl() -> None:
    kl = torch.tensor([[0.1, -0.2, 0.3], [0.5, 0.25, 99.0]])
    scores = torch.tensor([2.0, -1.0])
    rewards = token_rewards(scores, kl, MASK, beta=0.5)
    torch.testing.assert_close(rewards[0], torch.tensor([-0.05, 0.1, 2 - 0.15]))
    torch.testing.assert_close(rewards[1], torch.tensor([-0.25, -1.125, 0.0]))
    torch.testing.assert_close(rewards.sum(1), scores - 0.5 * (kl * MASK).sum(1))


def test_rule_9_an_answer_without_an_end_gets_the_penalty_in_place_of_its_score() -> None:
    scores, ended = torch.tensor([3.0, 5.0]), torch.tensor([True, False])
    assert with_penalty(scores, ended, -1.0).tolist() == [3.0, -1.0]
    assert with_penalty(scores, ended, None).tolist() == [3.0, 5.0]


def test_rule_10_the_kl_term_has_no_gradient() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    rewards = token_rewards(torch.tensor([1.0]), (logprobs - 0.5).detach(), torch.ones(1, 3).bool(), 0.05)
    assert not rewards.requires_grad


def test_rule_12_a_hand_worked_case_of_generalised_advantage_estimation() -> None:
    """γ = 1, λ = 0.95: δ = (0.5, 0.5, 1), A₂ = 1, A₁ = 0.5 + 0.95, A₀ = 0.5 + 0.95 · 1.45."""
    rewards, values = torch.tensor([[0.0, 0.0, 2.5]]), torch.tensor([[0.5, 1.0, 1.5]])
    advantages, returns = advantages_of(rewards, values, torch.ones(1, 3).bool(), gamma=1.0, lam=0.95)
    torch.testing.assert_close(advantages, torch.tensor([[0.5 + 0.95 * 1.45, 1.45, 1.0]]))
    torch.testing.assert_close(returns, advantages + values)
    discounted, _ = advantages_of(rewards, values, torch.ones(1, 3).bool(), gamma=0.5, lam=1.0)
    torch.testing.assert_close(discounted[0, 0], torch.tensor(0.25 * 2.5 - 0.5))  # γ² r₂ − V₀ when λ = 1


def test_rule_12_nothing_counts_after_the_end() -> None:
    rewards, values = torch.tensor([[1.0, 2.0, 7.0]]), torch.tensor([[0.1, 0.2, 50.0]])
    mask = torch.tensor([[True, True, False]])
    short = advantages_of(rewards[:, :2], values[:, :2], mask[:, :2], 1.0, 0.95)
    long = advantages_of(rewards * mask, values, mask, 1.0, 0.95)
    for cut, whole in zip(short, long, strict=True):
        torch.testing.assert_close(whole[:, :2], cut)
        assert whole[0, 2] == 0


def test_rule_13_a_value_stands_before_its_token() -> None:
    """With λ = 0 the advantage of a token is r + V(after) − V(before)."""
    advantages, _ = advantages_of(torch.zeros(1, 2), torch.tensor([[1.0, 4.0]]), torch.ones(1, 2).bool(), 1.0, 0.0)
    assert advantages.tolist() == [[3.0, -4.0]]


def test_rule_14_advantages_are_whitened_over_the_tokens_that_there_are() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 6.0, 1000.0]])
    white = whiten(values, MASK)
    inside = white[MASK]
    assert inside.mean().abs() < 1e-6
    assert inside.std(correction=0) == pytest.approx(1, abs=1e-5)
    assert white[1, 2] == 0


def test_rule_15_whitened_rewards_keep_their_mean() -> None:
    scores = torch.tensor([1.0, 2.0, 9.0])
    scaled = keeping_mean(scores)
    assert float(scaled.mean()) == pytest.approx(4.0, abs=1e-5)
    assert float(scaled.std()) == pytest.approx(1.0, abs=1e-5)
    assert keeping_mean(torch.tensor([3.0])).tolist() == [3.0]


def test_rule_16_values_are_clipped_round_the_old_ones() -> None:
    new, old, returns = torch.tensor([1.0, 0.1]), torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])
    losses, clipped = value_losses(new, old, returns, clip=0.2)
    torch.testing.assert_close(losses, torch.tensor([0.5 * 0.8**2, 0.5 * 0.9**2]))
    assert clipped.tolist() == [True, False]


@pytest.mark.parametrize(
    ("advantage", "ratio", "expected"), [(1.0, 1.5, -1.2), (1.0, 0.5, -0.5), (-1.0, 0.5, 0.8), (-1.0, 1.5, 1.5)]
)
def test_rule_17_the_larger_of_the_two_losses(advantage: float, ratio: float, expected: float) -> None:
    losses, clipped = policy_losses(torch.tensor([math.log(ratio)]), torch.zeros(1), torch.tensor([advantage]), 0.2)
    assert float(losses) == pytest.approx(expected)
    assert bool(clipped) == (expected in (-1.2, 0.8))


def test_rule_22_beta_is_steered_within_a_fifth() -> None:
    assert steered(0.1, kl=12.0, target=6.0, answers=100, horizon=10_000) == pytest.approx(0.1 * (1 + 0.2 * 0.01))
    assert steered(0.1, kl=5.4, target=6.0, answers=100, horizon=10_000) == pytest.approx(0.1 * (1 - 0.1 * 0.01))
    assert steered(0.1, kl=-3.0, target=6.0, answers=100, horizon=10_000) == pytest.approx(0.1 * (1 - 0.2 * 0.01))


def test_rule_23_the_learning_rate_falls_in_a_line_to_nothing() -> None:
    assert [scheduled(1.0, step, 4, 0) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert scheduled(1.0, 0, 10, 1) == pytest.approx(0.5)


def test_figures() -> None:
    assert approximate_kl(torch.zeros(3), torch.zeros(3)).tolist() == [0, 0, 0]
    assert (approximate_kl(torch.randn(99), torch.randn(99)) >= 0).all()
    returns = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(torch.full((3,), 2.0), returns) == 0
    assert explained_variance(-returns, returns) < 0
    assert explained_variance(returns, torch.ones(3)) == 0
