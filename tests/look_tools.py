"""What the tests of the Look part share: datasets written row by row."""

from __future__ import annotations

import time
from typing import Any

from core.data.kinds import Kind, Row
from core.data.store.dataset import Dataset, DatasetCard, Meta
from core.data.store.writer import VersionWriter
from core.rundir import write_record
from core.workspace import Workspace


def said(*texts: str) -> dict[str, Any]:
    """A messages row: user and assistant by turns."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]}


def make_dataset(
    workspace: Workspace,
    rows: list[Row],
    *,
    name: str = "rows",
    kind: Kind = "messages",
    metas: list[Meta] | None = None,
) -> Dataset:
    """A dataset with these rows; without `metas`, row n stood on line n + 1."""
    folder = workspace.datasets_dir / name / "v1"
    folder.mkdir(parents=True)
    with VersionWriter(folder, kind) as writer:
        for row, meta in zip(rows, metas or [Meta(line + 1) for line in range(len(rows))], strict=True):
            writer.add(row, **meta._asdict())
        written = writer.close()
    card = DatasetCard(
        name=name, version="v1", kind=kind, format="test", container="jsonl", rows=written.rows,
        sha256=written.sha256, source_name="test.jsonl", source_bytes=1, created=time.time(),
        languages=written.languages, sources={source or name: count for source, count in written.sources.items()},
        duplicates=written.duplicates,
    )  # fmt: skip
    write_record(folder / "card.json", card)
    return Dataset(folder, card)
