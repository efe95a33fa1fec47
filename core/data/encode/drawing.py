"""Drawing as many rows of a large dataset as are needed, so that the rest is never read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from core.data.encode.blocks import Numbers
from core.data.encode.documents import DocumentEncoder, plain_text

if TYPE_CHECKING:
    from core.data.store.library import Dataset

PROBE = 64  # rows that tell how many tokens a character is
SPARE = 1.1  # more than was estimated by so much: too little would be seen twice
DRAW = 1_000_031  # keeps this choice apart from others of the same seed


def draw_for_tokens(dataset: Dataset, encoder: DocumentEncoder, tokens: float, seed: int) -> Numbers:
    """Ascending indices of rows drawn by `seed` that hold about `tokens` tokens; all rows where they hold fewer."""
    chars = pq.read_table(dataset.folder / "figures.parquet", columns=["chars"]).column("chars").to_numpy()
    order = np.random.default_rng((seed, DRAW)).permutation(len(dataset))
    probed = np.sort(order[:PROBE])
    texts = [plain_text(dataset.card.kind, row) for few in dataset.stream(probed) for row in few]
    each = sum(map(len, encoder.encode(texts))) / max(1, sum(map(len, texts)))
    enough = int(np.searchsorted(np.cumsum(chars[order]), SPARE * tokens / each)) + 1
    return np.sort(order[:enough])
