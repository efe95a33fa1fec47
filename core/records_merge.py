"""What a run of the stage `merge` checks of its own work: `output/verification.json`. Torch-free."""

from __future__ import annotations

from pathlib import Path

from core.records import Record


class Probe(Record):
    """One prompt that was asked before and after. For a reward model, `before` and `after` are scores, else tokens.

    `difference` is the largest between two outputs (logits, or scores), `kl` the mean divergence in nats a token.
    """

    prompt: str
    before: str
    after: str
    difference: float
    kl: float | None = None


class Verification(Record):
    """How far the model as written is from the adapters laid on their root, over `positions` tokens of the probes.

    `merging` is the largest difference that merging alone has made, computed in `computed_in`; `difference`, `kl` and
    `same` (the share of positions with the same likeliest token) are those of the files, whose weights are in `dtype`.
    kl and same are missing for a reward model, whose outputs are scores. `allowed` is what `difference`, or with a kl
    the kl, may be at most.
    """

    computed_in: str
    dtype: str
    positions: int
    merging: float
    difference: float
    kl: float | None = None
    same: float | None = None
    allowed: float
    passed: bool
    probes: list[Probe] = []


def verification_file(output: Path) -> Path:
    return output / "verification.json"
