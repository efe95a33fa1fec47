"""What is learnt from a rollout: epochs of minibatches, the policy's step and the critic's.

    1  a fresh permutation of the answers each epoch, cut into minibatches over all ranks           [19]
    2  a rank computes its share of a minibatch in packs; losses are sums over tokens, divided by all tokens of the
       minibatch on all ranks, so neither packs nor ranks change the step                            [18]
    3  policy forward and backward, then critic forward and backward: one graph in memory at a time
    4  gradients added over ranks, each role's clipped by itself, one optimizer step

Gradients are added by hand, not by DDP: two roles share a module, and a wrapped module would have to know which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from core.configs.ppo import Policy, PolicyOptim
from core.data.encode.packing import deal
from core.errors import RunError
from core.ppo.math import approximate_kl, policy_losses, scheduled, value_losses
from core.ppo.roles import CRITIC, POLICY, Roles
from core.training.batching import Pack, Row

Floats = NDArray[np.float32]
FIRST_MINIBATCH = "ratio_off"


@dataclass(frozen=True)
class Lesson:
    """One answer as it is learnt from: its row, and by answer token what it was given. demonstration: the row's own
    answer to the prompt, for the mix-in of SFT."""

    row: Row
    old: Floats
    advantages: Floats
    values: Floats
    returns: Floats
    demonstration: Row | None = None


class Learner:
    """Holds the optimizer of policy and critic. `learn` takes one rollout, the same list on every rank."""

    def __init__(
        self,
        roles: Roles,
        policy: Policy,
        optim: PolicyOptim,
        *,
        steps: int,
        granted: int,
        temperature: float,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.roles, self.policy, self.optim = roles, policy, optim
        self.steps, self.granted, self.temperature, self.seed = steps, granted, temperature, seed
        self.rank, self.world_size = rank, world_size
        self.learners = roles.learners()
        self.rates = {POLICY: optim.learning_rate, CRITIC: policy.critic_learning_rate or optim.learning_rate}
        self.optimizer = torch.optim.AdamW(
            [{"params": self.learners[role], "lr": self.rates[role]} for role in (POLICY, CRITIC)],
            betas=(optim.adam_beta1, optim.adam_beta2),
            eps=optim.adam_epsilon,
            weight_decay=optim.weight_decay,
            fused=True,
        )

    @property
    def device(self) -> torch.device:
        return self.roles.base.device

    def learn(self, lessons: Sequence[Lesson], step: int) -> dict[str, float]:
        """All epochs on the rollout of `step` (from 0). Returns the means of what happened, and `ratio_off`.

        Raises RunError `ppo.policy_nan` before a step whose gradients are no numbers.
        """
        for group, role in zip(self.optimizer.param_groups, (POLICY, CRITIC), strict=True):
            group["lr"] = scheduled(self.rates[role], step, self.steps, self.optim.warmup_steps)
        told = [self._minibatch(lessons, rows, step) for rows in self._minibatches(len(lessons), step)]  # 1
        names = [name for name in told[0] if name != FIRST_MINIBATCH]
        means = {name: float(np.mean([each[name] for each in told])) for name in names}
        return {
            **means,
            FIRST_MINIBATCH: told[0][FIRST_MINIBATCH],
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }

    def _minibatches(self, count: int, step: int) -> Iterator[NDArray[np.int64]]:
        for epoch in range(self.policy.epochs):
            order = np.random.default_rng((self.seed, step, epoch)).permutation(count)
            yield from (part for part in np.array_split(order, min(self.policy.minibatches, count)) if len(part))

    def _minibatch(self, lessons: Sequence[Lesson], rows: NDArray[np.int64], step: int) -> dict[str, float]:
        tokens = sum(len(lessons[row].old) for row in rows)
        lengths = np.array([len(lesson.row[0]) for lesson in lessons])
        mine = [lessons[row] for row in deal(rows, lengths, self.world_size)[self.rank]]  # 2
        self.optimizer.zero_grad(set_to_none=False)
        sums = {**self._policy_backward(mine, tokens), **self._critic_backward(mine, tokens)}  # 3
        demonstrated = [lessons[row].demonstration for row in rows]
        if self.policy.sft_coefficient and any(each is not None for each in demonstrated):
            sums["sft_loss"] = self._demonstration_backward(mine, [each for each in demonstrated if each is not None])
        furthest = self._over_ranks(sums.pop(FIRST_MINIBATCH), dist.ReduceOp.MAX)
        names = list(sums)
        totals = self._over_ranks(torch.stack([sums[name] for name in names]).double()).tolist()
        told = {name: total / (1 if name == "sft_loss" else tokens) for name, total in zip(names, totals, strict=True)}
        norms = self._step(step)  # 4
        return {**told, FIRST_MINIBATCH: float(furthest), "grad_norm": norms[POLICY], "critic_grad_norm": norms[CRITIC]}

    # -- 3: losses ----------------------------------------------------------------------------------------------------
    def _packs(self, lessons: Sequence[Lesson]) -> Iterator[tuple[Pack, list[Lesson]]]:
        packing = self.roles.packing(self.granted)
        for pack in packing.packs([lesson.row for lesson in lessons]) if lessons else ():
            yield pack.to(self.device), [lessons[member] for member in pack.members]

    def _joined(self, parts: Sequence[Floats]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(self.device)

    def _policy_backward(self, lessons: Sequence[Lesson], tokens: int) -> dict[str, Tensor]:
        names = ("policy_loss", "approx_kl", "clip_fraction", FIRST_MINIBATCH)
        sums = {name: torch.zeros((), device=self.device) for name in names}
        for pack, those in self._packs(lessons):
            new, _ = self.roles.logprobs(POLICY, pack, self.temperature)
            old = self._joined([each.old for each in those])
            losses, clipped = policy_losses(
                new, old, self._joined([each.advantages for each in those]), self.policy.clip
            )
            (losses.sum() / tokens).backward()
            new = new.detach()
            sums["policy_loss"] += losses.detach().sum()
            sums["approx_kl"] += approximate_kl(new, old).sum()
            sums["clip_fraction"] += clipped.sum()
            sums[FIRST_MINIBATCH] = torch.maximum(sums[FIRST_MINIBATCH], ((new - old).exp() - 1).abs().max())
        return sums

    def _critic_backward(self, lessons: Sequence[Lesson], tokens: int) -> dict[str, Tensor]:
        sums = {name: torch.zeros((), device=self.device) for name in ("value_loss", "value_clip_fraction")}
        for pack, those in self._packs(lessons):
            old, returns = self._joined([each.values for each in those]), self._joined([each.returns for each in those])
            losses, clipped = value_losses(self.roles.values(pack), old, returns, self.policy.value_clip)
            (self.policy.value_coefficient * losses.sum() / tokens).backward()
            sums["value_loss"] += losses.detach().sum()
            sums["value_clip_fraction"] += clipped.sum()
        return sums

    def _demonstration_backward(self, lessons: Sequence[Lesson], everywhere: Sequence[Row]) -> Tensor:
        """The mix-in of SFT (ptx, arXiv 2203.02155): the mean loss of the minibatch's demonstrated tokens."""
        count = sum(int((labels[1:] >= 0).sum()) for _, labels in everywhere)
        total = torch.zeros((), device=self.device)
        rows = [lesson.demonstration for lesson in lessons if lesson.demonstration is not None]
        for pack in self.roles.packing(self.granted).packs(rows) if rows else ():
            logprobs, _ = self.roles.logprobs(POLICY, pack.to(self.device))
            loss = -logprobs.sum() / count
            (self.policy.sft_coefficient * loss).backward()
            total += loss.detach()
        return total

    # -- 4: the step --------------------------------------------------------------------------------------------------
    def _step(self, step: int) -> dict[str, float]:
        norms = {}
        for role, parameters in self.learners.items():
            self._add_gradients(parameters)
            limit = self.optim.max_grad_norm or float("inf")
            norms[role] = float(nn.utils.clip_grad_norm_(parameters, limit))
        if not all(map(np.isfinite, norms.values())):
            raise RunError("ppo.policy_nan", step=step + 1)
        self.optimizer.step()
        self.roles.switch.written += 1
        return norms

    def _add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.world_size > 1:
            flat = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
            dist.all_reduce(flat)
            at = 0
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.grad.copy_(flat[at : at + parameter.numel()].view_as(parameter))
                at += parameter.numel()

    def _over_ranks(self, values: Tensor, how: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
        if self.world_size > 1:
            dist.all_reduce(values, op=how)
        return values
