"""What is measured at an evaluation point: held-out rows walked once, in packs, over all ranks.

    class Evaluator(Protocol): figures = evaluator(objective, walk)

An evaluator sees packs through a `Walk`, which shares them out among the ranks, tells the progress and notices a stop;
what it sums up goes through `Walk.total`, which adds over ranks and gives up, on all of them at once, when any saw one.
`TokenLoss` is that of SFT: the mean loss per labelled token, over everything and for each source. Pretraining has
`perplexity.DocumentLoss`, Reward `judging.PairJudge`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from core.configs.pairs import Judging
from core.configs.sections import Evaluation
from core.report import Report
from core.training.batching import Rows
from core.training.sharding import most

Found = TypeVar("Found")

ROWS_AT_ONCE = 256  # held-out rows that are put into packs at once


class WalkStopped(Exception):
    """Somebody asked the run to stop during an evaluation: what is not whole is not recorded."""


class Objective(Protocol):
    """What the trainer trains: an nn.Module whose forward maps (pack, count of the step) to a loss, a sum / count."""

    model: Any  # the PreTrainedModel or PeftModel inside

    def __call__(self, pack: Any, in_step: float) -> Tensor: ...
    def packing(self, granted: int) -> Any:
        """Puts rows into packs, for the memory of `granted` tokens in a padded batch: `.packs(rows) -> list`."""

    def save(self, tokenizer: Any, folder: Any, tensors: Any = None) -> None:
        """Everything that learns, into a checkpoint. tensors: whole ones by name, where a rank has shares of them."""

    def load(self, folder: Any) -> None:
        """The reverse of `save`."""

    # And where there is something to say: `figures(total) -> dict`, of the steps since the last call, for the line of
    # a logged step (`total` adds a tensor over ranks); `own_rates() -> [(parameter, learning rate)]`.


def merit(figures: Mapping[str, Any], evaluation: Evaluation | Judging) -> float | None:
    """What decides which evaluation is the best one, the lower the better; None where these figures are of none, or
    are no numbers."""
    loss, accuracy = figures.get("eval_loss"), figures.get("eval_accuracy")
    if getattr(evaluation, "best_by", "loss") == "accuracy" and accuracy is not None:
        return -float(accuracy)
    return None if loss is None or not math.isfinite(loss) else float(loss)


class Evaluator(Protocol):
    """`rows` are how many it looks at, for the progress. The call returns figures, `eval_loss` always among them."""

    @property
    def rows(self) -> int: ...
    def __call__(self, objective: Any, walk: Walk) -> dict[str, float]: ...


class Walk:
    """One evaluation of one rank, after `step`. `granted`: tokens of a padded batch whose memory may be taken.

    together: ranks gather weights together, so all compute as many packs, some of them for nothing.
    """

    def __init__(
        self,
        report: Report,
        device: torch.device,
        granted: int,
        *,
        step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        together: bool = False,
    ) -> None:
        self.report, self.device, self.granted, self.step = report, device, granted, step
        self.rank, self.world_size = rank, world_size
        self.together = together
        self.done = 0
        self.stopped = False

    def packs(
        self, rows: Rows, packing: Any, compute: Callable[[Any], Found]
    ) -> Iterator[tuple[list[int], Any, Found]]:
        """This rank's rows as ([their indices in `rows`, in the order of the pack], pack on the device, what `compute`
        makes of it). What is computed for nothing is computed the same way: FSDP counts on ranks that do as one."""
        mine = range(self.rank, len(rows), self.world_size)
        shares = math.ceil(len(rows) / self.world_size)
        for few in (mine[start : start + ROWS_AT_ONCE] for start in range(0, shares, ROWS_AT_ONCE)):
            packs = packing.packs([rows[index] for index in few]) if few else []
            # Agreed on before the first of them: who computes one waits for the others to do so.
            spare = most(len(packs), self.device, self.world_size) - len(packs) if self.together else 0
            for pack in packs:
                if self._stops():
                    return
                here = pack.to(self.device)
                yield [few[member] for member in pack.members], here, compute(here)
                self.done += len(pack.members)
                self.report.progress(self.done)
            for pack in (packs or packing.packs([rows[0]]))[:1] * spare:
                compute(pack.to(self.device))
            if self._all_stop():
                return

    def _stops(self) -> bool:
        """Whether this rank leaves alone: never where the others would wait for it."""
        self.stopped = self.stopped or (not self.together and self.report.stop_requested())
        return self.stopped

    def _all_stop(self) -> bool:
        """Whether one of the ranks that stop together was asked to."""
        if self.together:
            self.stopped = bool(most(int(self.report.stop_requested()), self.device, self.world_size))
        return self.together and self.stopped

    def total(self, sums: Tensor) -> Tensor:
        """`sums` [n] added over ranks, in fp64. Raises WalkStopped on every rank when one was asked to stop."""
        both = torch.cat([sums.double().flatten(), sums.new_tensor([self.stopped], dtype=torch.float64)])
        if self.world_size > 1:
            both = both.to(self.device)
            dist.all_reduce(both)
        if both[-1]:
            raise WalkStopped
        return both[:-1].cpu()


class TokenLoss:
    """Mean −log p(label) per labelled token over held-out rows, as `eval_loss`.

    `sets`: rows by source. With several, each gives `eval_loss.<source>`, too, and `eval_loss` is over all labels.
    """

    def __init__(self, sets: Mapping[str, Rows]) -> None:
        self.sets = dict(sets)

    @property
    def rows(self) -> int:
        return sum(map(len, self.sets.values()))

    @torch.no_grad()
    def __call__(self, objective: Any, walk: Walk) -> dict[str, float]:
        packing = objective.packing(walk.granted)
        sums = torch.zeros(len(self.sets), 2, dtype=torch.float64)
        for place, rows in enumerate(self.sets.values()):
            for _, pack, loss in walk.packs(rows, packing, lambda pack: objective(pack, 1.0).item()):
                sums[place, 0] += loss
                sums[place, 1] += len(pack.labels)
        sums = walk.total(sums).view(-1, 2)
        figures = {"eval_loss": float(sums[:, 0].sum() / sums[:, 1].sum())}
        if len(self.sets) > 1:
            figures |= {f"eval_loss.{name}": float(a / b) for name, (a, b) in zip(self.sets, sums, strict=True)}
        return figures
