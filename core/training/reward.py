"""What a reward model learns from: pairs of answers to one prompt, of which people preferred the first.

loss = −(1 − ε) log σ(d) − ε log σ(−d) + centring · (r_chosen + r_rejected)²,  d = r_chosen − r_rejected − margin

The first term is Bradley and Terry's likelihood as in InstructGPT (arXiv 2203.02155, equation 1), with a margin as in
Llama 2 (arXiv 2307.09288, equation 2); with label smoothing, ε of the preferences are taken for mistaken (Mitchell,
"A note on DPO with noisy preferences", 2023). The last term gives the scores an origin (arXiv 2312.09244).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.configs.pairs import Preference
from core.records_reward import PairReport
from core.rundir import PAIRS, write_record
from core.training.scoring import RewardModel
from core.training.sharding import Tensors, beneath
from core.training.trees import TreePack, TreePacking


def pair_losses(scores: Tensor, margin: float, centring: float, smoothing: float = 0.0) -> Tensor:
    """The loss of each pair, [pairs], from scores [pairs, 2] of chosen and rejected; ε is `smoothing`."""
    chosen, rejected = scores.unbind(-1)
    apart = chosen - rejected - margin
    losses = -F.logsigmoid(apart) if not smoothing else _smoothed(apart, smoothing)
    return losses + centring * (chosen + rejected).square()


def _smoothed(apart: Tensor, smoothing: float) -> Tensor:
    return -(1 - smoothing) * F.logsigmoid(apart) - smoothing * F.logsigmoid(-apart)


class PairLoss(nn.Module):
    """The objective of a reward run: `forward` maps a pack of pairs to Σ loss / `pairs_in_step`.

    `report`: what an evaluation found of these very weights; it is saved with them, and gone after the next step.
    """

    def __init__(self, reward: RewardModel, preference: Preference, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.reward = reward
        self.preference, self.label_smoothing = preference, label_smoothing
        self.report: PairReport | None = None
        self._seen = torch.zeros(3, dtype=torch.float64)  # pairs, those in order, Σ margin since the last figures

    @property
    def model(self) -> Any:
        """The backbone, with its adapters."""
        return self.reward.model

    def forward(self, pack: TreePack, pairs_in_step: float) -> Tensor:
        scores = self.scores(pack)
        if self.training:
            difference = (scores[:, 0] - scores[:, 1]).detach()
            counts = [float(len(difference)), (difference > 0).sum().item(), difference.sum().item()]
            self._seen += torch.tensor(counts, dtype=torch.float64)
        if torch.is_grad_enabled():  # the weights are going to change, also where this rank has only a spare pair
            self.report = None
        return self.losses(scores).sum() / pairs_in_step

    def scores(self, pack: TreePack) -> Tensor:
        """[pairs, 2]: the scores of chosen and rejected."""
        return self.reward.scores(pack).view(-1, 2)

    def losses(self, scores: Tensor) -> Tensor:
        """The loss of each pair; without smoothing where nothing is trained, so that evaluations compare."""
        smoothing = self.label_smoothing if self.training else 0.0
        return pair_losses(scores, self.preference.margin, self.preference.centring, smoothing)

    def figures(self, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Accuracy (ties lose) and mean margin of the pairs trained on since the last call; `total` adds over ranks."""
        pairs, ordered, margin = total(self._seen).tolist()
        self._seen = torch.zeros_like(self._seen)
        return {"accuracy": ordered / pairs, "margin": margin / pairs} if pairs else {}

    def own_rates(self) -> list[tuple[nn.Parameter, float]]:
        """Parameters with a learning rate of their own."""
        rate = self.preference.head_learning_rate
        return [] if rate is None else [(self.reward.head.weight, rate)]

    def packing(self, granted: int) -> TreePacking:
        return self.reward.packing(granted)

    def save(self, tokenizer: Any, folder: Path, tensors: Tensors | None = None) -> None:
        self.reward.save(tokenizer, folder, beneath(tensors, "reward."))
        if self.report is not None:
            write_record(folder / PAIRS, self.report)

    def load(self, folder: Path) -> None:
        self.reward.load(folder)
