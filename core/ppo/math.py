"""The formulas of PPO, as functions of tensors and floats. Numbers in brackets are the rules of the tests.

Shapes: [n, t] are answers by token, padded on the right, with `mask` true at the tokens that an answer has; what comes
as [m] is any number of tokens, without padding. Nothing here knows a model or a config.

Sources: PPO, arXiv 1707.06347; GAE, arXiv 1506.02438; the KL in the reward and adaptive β, arXiv 1909.08593; details as
the N implementation details of RLHF with PPO list them, but where a docstring says otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

KL_ERROR_LIMIT = 0.2  # of one step of the controller


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` where `mask` is true; 0 where it nowhere is."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


# -- rewards ----------------------------------------------------------------------------------------------------------
def with_penalty(scores: Tensor, ended: Tensor, penalty: float | None) -> Tensor:
    """[9] Scores [n], replaced by `penalty` where the answer did not end; None keeps them."""
    return scores if penalty is None else torch.where(ended, scores, torch.full_like(scores, penalty))


def keeping_mean(scores: Tensor) -> Tensor:
    """[15] Scores [n] scaled to deviation 1 round their own mean."""
    if len(scores) < 2:
        return scores
    mean = scores.mean()
    return (scores - mean) / (scores.std() + 1e-8) + mean


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, beta: float) -> Tensor:
    """[8, 10] −β · kl at every token, and the score [n] once, at the answer's last token: [n, t].

    kl [n, t] is log π_old − log π_ref of the tokens that were drawn. Σ over an answer is score − β Σ kl.
    """
    rewards = -beta * kl * mask
    last = mask.sum(-1, keepdim=True) - 1
    return rewards.scatter_add(-1, last.clamp_min(0), (scores * (last.squeeze(-1) >= 0)).unsqueeze(-1))


# -- advantages -------------------------------------------------------------------------------------------------------
def advantages_of(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """[12, 13] (advantages, returns) by generalised advantage estimation, both [n, t] and 0 outside the mask.

    values[t] is V before token t; after the last token it is 0.
        δ_t = r_t + γ V_{t+1} − V_t        A_t = δ_t + γ λ A_{t+1}        R_t = A_t + V_t
    """
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(following)
    for at in reversed(range(rewards.shape[1])):
        inside = mask[:, at].to(rewards.dtype)
        delta = rewards[:, at] + gamma * next_value - values[:, at]
        following = (delta + gamma * lam * following) * inside
        next_value = values[:, at] * inside
        advantages[:, at] = following
    return advantages, (advantages + values) * mask


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """[14] `values` with mean 0 and deviation 1 over the masked ones, and 0 elsewhere."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean).square(), mask)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


# -- losses -----------------------------------------------------------------------------------------------------------
def policy_losses(new: Tensor, old: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """[17] The loss of each token [m], the larger of the clipped and the plain one; and where clipping decided it.

    new, old: log-probabilities of the drawn tokens; the ratio is exp(new − old).
    """
    ratio = (new - old).exp()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(plain, clipped), clipped > plain


def value_losses(new: Tensor, old: Tensor, returns: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """[16] ½ max((V − R)², (V_clipped − R)²) of each token [m], V_clipped within ±clip of the old value; and where it
    was the clipped one."""
    clipped = torch.clamp(new, old - clip, old + clip)
    plain, bounded = (new - returns).square(), (clipped - returns).square()
    return 0.5 * torch.maximum(plain, bounded), bounded > plain


# -- figures ----------------------------------------------------------------------------------------------------------
def approximate_kl(new: Tensor, old: Tensor) -> Tensor:
    """KL(π_old ‖ π_new) of each token [m], from samples of π_old: (r − 1) − log r, never negative (Schulman 2020)."""
    log_ratio = new - old
    return log_ratio.exp() - 1 - log_ratio


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 − Var(R − V) / Var(R) over tokens [m]: 1 is a critic that knows, 0 one that knows the mean; below, worse."""
    variance = returns.var(correction=0)
    return float(1 - (returns - values).var(correction=0) / variance) if variance > 0 else 0.0


def steered(beta: float, kl: float, target: float, answers: int, horizon: int) -> float:
    """[22] The next β: e = clip(kl / target − 1, ±0.2), β (1 + e · answers / horizon); kl of an answer, in nats."""
    error = min(max(kl / target - 1, -KL_ERROR_LIMIT), KL_ERROR_LIMIT)
    return beta * (1 + error * answers / horizon)


def scheduled(peak: float, step: int, steps: int, warmup: int) -> float:
    """[23] The learning rate of step `step` (from 0) of `steps`: rises over `warmup` steps, falls linearly to 0."""
    return peak * min(1.0, (step + 1) / (warmup + 1)) * (1 - step / steps)
