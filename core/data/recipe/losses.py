"""What a perplexity run found: the mean loss of a model on the answers of every row, by the key of the row's text.

By key and not by place, so that the verdict holds for the same row in any version or mixture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import DataError
from core.rundir import State, state_of
from core.workspace import Workspace

FILE = "losses.parquet"  # in the run's output
TYPICAL, WORST = 0.5, 0.99  # quantiles of the loss: up to here a row is as good as any, from here on as bad as can be


class Losses:
    """`loss` [rows]: mean −log p of an answer's tokens, in nats; `tokens` [rows] how many these are."""

    def __init__(self, key: NDArray[np.uint64], loss: NDArray[np.float32], tokens: NDArray[np.int32]) -> None:
        order = np.argsort(key, kind="stable")
        self.key, self.loss, self.tokens = key[order], loss[order], tokens[order]
        self._typical = float(np.quantile(self.loss, TYPICAL)) if len(loss) else 0.0
        self._worst = float(np.quantile(self.loss, WORST)) if len(loss) else 0.0

    def __len__(self) -> int:
        return len(self.key)

    def sign(self, key: int) -> float | None:
        """From 0 (as surprising as the worst rows) to 1 (up to the median); None for a row that was not measured."""
        place = int(np.searchsorted(self.key, np.uint64(key)))
        if place == len(self.key) or int(self.key[place]) != key:
            return None
        span = max(self._worst - self._typical, 1e-6)
        return 1 - min(1.0, max(0.0, (float(self.loss[place]) - self._typical) / span))

    def write(self, folder: Path) -> None:
        table = pa.table({"key": self.key, "loss": self.loss, "tokens": self.tokens})
        pq.write_table(table, folder / FILE, compression="zstd")


def losses_file(workspace: Workspace, run_id: str) -> Path:
    """Where a finished perplexity run left its losses.

    Raises InputError `run.not_found`, DataError `step.no_losses`.
    """
    run = workspace.run(run_id)
    if not (run.output / FILE).is_file() or state_of(run) is not State.SUCCEEDED:
        raise DataError("step.no_losses", run=run_id)
    return run.output / FILE


def read_losses(workspace: Workspace, run_id: str) -> Losses:
    """The losses of a finished perplexity run. Raises as `losses_file` does."""
    table = pq.read_table(losses_file(workspace, run_id))
    key, loss, tokens = (table.column(name).to_numpy() for name in ("key", "loss", "tokens"))
    return Losses(key, loss, tokens)
