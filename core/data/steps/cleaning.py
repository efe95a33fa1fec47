"""The cleaning steps by name, for the tables of `core.data.steps`."""

from __future__ import annotations

from core.data.steps import contamination, exact, mask, near, quality, rules, words
from core.data.steps.base import Overall, PerRowMaker

PER_ROW: dict[str, PerRowMaker] = {
    "length": rules.length,
    "repetition": rules.repetition,
    "symbols": rules.symbols,
    "language": rules.language,
    "contains": rules.contains,
    "words": words.words,
    "mask": mask.mask,
    "contamination": contamination.contamination,
    "quality": quality.quality,
}
OVERALL: dict[str, Overall] = {
    "exact": exact.exact,
    "near": near.near,
    "bucket": quality.bucket,
}
