"""What one rollout teaches: rewards, advantages and returns of its answers, and the figures that are told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.configs.stages import PPOConfig
from core.ppo.learning import Lesson
from core.ppo.math import advantages_of, explained_variance, keeping_mean, token_rewards, whiten, with_penalty
from core.ppo.rollout import Prompt, Sample, Scored
from core.training.batching import Row


@dataclass(frozen=True)
class Judged:
    """One answer with everything that is known of it. `scores` by source; worth: their weighted sum."""

    sample: Sample
    scored: Scored
    scores: dict[str, float]
    worth: float


def rewards_of(answers: Sequence[Judged], missing_end: float | None) -> Tensor:
    """[n]: what each answer is worth, or what stands for that where it did not end."""
    worth = torch.tensor([each.worth for each in answers], dtype=torch.float32)
    return with_penalty(worth, torch.tensor([each.sample.ended for each in answers]), missing_end)


def lessons_of(
    answers: Sequence[Judged], config: PPOConfig, beta: float, demonstrate: Callable[[Prompt], Row | None] | None
) -> tuple[list[Lesson], dict[str, float]]:
    """What is learnt from every answer, and the figures of the rollout. demonstrate: a prompt's own answer as a row."""
    kl, values = _padded([each.scored.kl for each in answers]), _padded([each.scored.values for each in answers])
    mask = _padded([np.ones(len(each.sample.ids), np.float32) for each in answers]).bool()
    rewards = rewards_of(answers, config.rewards.missing_end)
    learnt = keeping_mean(rewards) if config.rewards.whiten else rewards
    by_token = token_rewards(learnt, kl, mask, beta)
    advantages, returns = advantages_of(by_token, values, mask, config.ppo.gamma, config.ppo.lam)
    whitened = whiten(advantages, mask)
    lessons = [
        Lesson(
            row=each.sample.row,
            old=each.scored.old,
            advantages=whitened[at, : len(each.sample.ids)].numpy(),
            values=each.scored.values,
            returns=returns[at, : len(each.sample.ids)].numpy(),
            demonstration=None if demonstrate is None else demonstrate(each.sample.prompt),
        )
        for at, each in enumerate(answers)
    ]
    told = {"kl_coefficient": beta, "explained_variance": explained_variance(values[mask], returns[mask])}
    return lessons, {**figures_of(answers, rewards), **told}


def figures_of(answers: Sequence[Judged], rewards: Tensor) -> dict[str, float]:
    """Means over answers; of the entropy, over tokens. kl: Σ log π_old − log π_ref of an answer, in nats."""
    found = {"reward": float(rewards.mean()), "reward_std": float(rewards.std(correction=0))}
    for label in answers[0].scores:
        scores = np.array([each.scores[label] for each in answers])
        found |= {f"reward.{label}": float(scores.mean()), f"reward_std.{label}": float(scores.std())}
    return {
        **found,
        "kl": float(np.mean([each.scored.kl.sum() for each in answers])),
        "entropy": float(np.concatenate([each.scored.entropies for each in answers]).mean()),
        "length": float(np.mean([len(each.sample.ids) for each in answers])),
        "no_end": float(np.mean([not each.sample.ended for each in answers])),
    }


def _padded(rows: Sequence[np.ndarray]) -> Tensor:
    """[n, t], zeros behind the rows."""
    width = max(map(len, rows))
    return torch.from_numpy(np.stack([np.pad(row, (0, width - len(row))) for row in rows]).astype(np.float32))
