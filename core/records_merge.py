"""What a run of the stage `merge` checks of its own work: `output/verification.json`. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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


class Weights(Record):
    """The files as written, read back: `tensors` of them, of which adapters have changed `changed`.

    places: the largest distance of a number from the sum of root and adapters in fp32, computed once more, in units of
    its last place: 0.5 at most where all is correctly rounded; None where a tensor is not there, has another shape, or
    has changed where no adapter changes it.
    """

    tensors: int
    changed: int
    places: float | None
    passed: bool


class Verification(Record):
    """What a merge has proved of the model as written, whose weights are in `dtype`: its numbers, its answers, or both.

    weights: the numbers; None where the merge was made on the whole model in memory. The rest are the answers: how far
    they are from those of the adapters laid on their root, over `positions` tokens of the probes, computed in
    `computed_in`. It is None where they were not compared: `unasked` says whether the config wants it so, or there was
    no room for the model.

    `merging` is the largest difference that merging alone has made, on the whole model in memory; `difference`, `kl`
    and `same` (the share of positions with the same likeliest token) are those of the files. kl and same are missing
    for a reward model, whose outputs are scores. `allowed` is what `difference`, or with a kl the kl, may be at most;
    `agrees`: whether the answers are as near as that. `passed` is about all that was compared.
    """

    dtype: str
    passed: bool
    weights: Weights | None = None
    computed_in: str | None = None
    unasked: Literal["", "config", "memory"] = ""
    positions: int = 0
    merging: float | None = None
    difference: float | None = None
    kl: float | None = None
    same: float | None = None
    allowed: float | None = None
    agrees: bool | None = None
    probes: list[Probe] = []


def verification_file(output: Path) -> Path:
    return output / "verification.json"
