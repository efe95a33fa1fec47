"""Is a corpus worth pretraining on? From how well a model predicts a sample of it already. Numbers only.

    1  bits per byte of every document: Σ −log₂ p of its tokens / their bytes in UTF-8
    2  the share of the text that the model knows (below `known_below`), and that it can make nothing of (from NOISE)
    3  a verdict: known, partly, new, noise, or too little to say

Bits per byte do not depend on the tokenizer, and hardly on the language: Chinese has three bytes a character and about
as much more to say in one. A model of 7 billion parameters needs 0.6 to 1 for fluent text that it has not seen, less
for what it was trained on; smaller ones need more, as a power of their size (Kaplan et al., arXiv 2001.08361, section
1.2). Text that stays above 2.5 is hardly shorter than a compressor makes it that knows no language at all. These are
rules of thumb; what was measured is in docs/lab.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

KNOWN, NOISE = 0.6, 2.5  # bits per byte; the first for a model of REFERENCE parameters
REFERENCE, EXPONENT = 7e9, 0.076
MOSTLY, PARTLY = 0.6, 0.2  # shares of the text
LEAST_BYTES = 4000  # of a sample that says anything
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5)  # of the buckets
SHOWN = 5  # examples of either end
EXAMPLE_BYTES = 40  # a shorter document is well or ill predicted by chance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def bits_per_byte(nats: Floats, sizes: Ints) -> Floats:
    """[rows] from −log p summed over each row's text and the bytes of that text; 0 where there are none."""
    return np.divide(nats / math.log(2), sizes, out=np.zeros(len(nats)), where=sizes > 0)


def buckets(bits: Floats, sizes: Ints) -> list[tuple[float, float | None, int, int]]:
    """(low, high, rows, bytes) of every stretch between EDGES; the last has no high."""
    which = np.searchsorted(EDGES, bits, side="right") - 1
    rows = np.bincount(which, minlength=len(EDGES))
    filled = np.bincount(which, weights=sizes, minlength=len(EDGES))
    highs = (*EDGES[1:], None)
    return [(*edge, int(n), int(b)) for edge, n, b in zip(zip(EDGES, highs, strict=True), rows, filled, strict=True)]


def known_below(parameters: int) -> float:
    """Bits per byte that a model of so many parameters stays below on text that it knows."""
    return KNOWN * (REFERENCE / parameters) ** EXPONENT


def verdict(bits: Floats, sizes: Ints, parameters: int) -> tuple[str, dict[str, float]]:
    """(code of `core.messages`, its parameters): what the shares of known and of unreadable text mean."""
    total, border = max(1, int(sizes.sum())), known_below(parameters)
    known = float(sizes[bits < border].sum() / total)
    noise = float(sizes[bits >= NOISE].sum() / total)
    overall = float((bits * sizes).sum() / total)
    params = {
        "bits": round(overall, 2),
        "known": round(100 * known),
        "noise": round(100 * noise),
        "border": round(border, 2),
    }
    if total < LEAST_BYTES:
        return "worth.little", {"bytes": int(sizes.sum()), "least": LEAST_BYTES}
    if known >= MOSTLY:
        return "worth.known", params
    if noise >= MOSTLY:
        return "worth.noise", params
    return ("worth.partly" if known >= PARTLY else "worth.new"), params


def extremes(bits: Floats, sizes: Ints) -> tuple[list[int], list[int]]:
    """Places of the SHOWN best and worst predicted documents, best and worst first; very short ones are passed over."""
    places = np.flatnonzero(sizes >= EXAMPLE_BYTES)
    ordered = places[np.argsort(bits[places], kind="stable")].tolist()
    few = min(SHOWN, len(ordered) // 2) or len(ordered)
    return ordered[:few], ordered[::-1][:few] if len(ordered) > 1 else []
