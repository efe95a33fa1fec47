"""What an annotation makes of its rows: a dataset of the workspace, immutable, that says how it came about.

Its version follows from its content, so a run that was killed and resumed makes the same one as a run that was not, and
what is there already is found. Rows that came to nothing lie beside it with the reason and the row itself.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from core.annotating.rows import Dropped
from core.data.files.containers import excerpt
from core.data.kinds import Kind
from core.data.steps.base import Item
from core.data.store.building import hidden_folder
from core.data.store.dataset import Dataset, DatasetCard, StepCount
from core.data.store.writer import VersionWriter, Written
from core.errors import RunError
from core.messages import sentence
from core.rundir import write_record
from core.workspace import Workspace

STEP = "annotate"


def deliver(
    workspace: Workspace,
    name: str,
    kind: Kind,
    results: Iterable[Item | Dropped],
    parents: list[Dataset],
    annotation: dict[str, Any],
) -> Dataset:
    """Write `results` as a version of `name`. `annotation`: what the card is to say of how they came about.

    Raises RunError `annotate.nothing` where no row is left, with the reason of most; DataError `data.disk_full`.
    """
    size = sum(parent.card.source_bytes for parent in parents)
    with hidden_folder(workspace, size) as folder:
        with VersionWriter(folder, kind) as writer:
            reasons = _write(writer, results, name)
            written = writer.close()
        if not written.rows:
            counts = written.dropped_counts
            most = reasons[max(counts, key=counts.__getitem__)] if counts else "–"
            raise RunError("annotate.nothing", count=written.dropped, reason=most)
        card = _card(name, kind, written, parents, annotation)
        write_record(folder / "card.json", card)
        return _placed(workspace, folder, card)


def _write(writer: VersionWriter, results: Iterable[Item | Dropped], name: str) -> dict[str, str]:
    """Returns what was the first reason of each code, as a sentence."""
    reasons: dict[str, str] = {}
    for result in results:
        if isinstance(result, Dropped):
            item, drop = result.item, result.drop
            shown = excerpt(next(iter(item.row.values())) if len(item.row) == 1 else item.row)
            writer.drop(item.line, drop.code, drop.params, shown, step=1, row=item.row)
            reasons.setdefault(drop.code, sentence(drop.code, drop.params)[0])
        else:
            source = result.source if result.source not in ("", name) else None
            writer.add(result.row, line=result.line, source=source, difficulty=result.difficulty, score=result.score)
    return reasons


def _card(name: str, kind: Kind, written: Written, parents: list[Dataset], annotation: dict[str, Any]) -> DatasetCard:
    came = [parent.card.sha256 for parent in parents]
    whole = {"parents": came, "task": annotation["task"], "rows": written.sha256, "dropped": written.dropped_counts}
    version = hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10]
    return DatasetCard(
        name=name,
        version=version,
        kind=kind,
        format=STEP,
        container=STEP,
        rows=written.rows,
        dropped=written.dropped,
        dropped_counts=written.dropped_counts,
        sha256=written.sha256,
        source_name=", ".join(parent.ref for parent in parents),
        source_bytes=sum(parent.card.source_bytes for parent in parents),
        created=time.time(),
        parents=[parent.ref for parent in parents],
        steps=[StepCount(do=STEP, before=written.rows + written.dropped, after=written.rows, changed=written.rows)],
        annotation=annotation,
        duplicates=written.duplicates,
        languages=written.languages,
        sources={source or name: count for source, count in written.sources.items()},
        licence=" / ".join(dict.fromkeys(parent.card.licence for parent in parents if parent.card.licence)),
        origin=" / ".join(dict.fromkeys(parent.card.origin for parent in parents if parent.card.origin)),
    )


def _placed(workspace: Workspace, building: Path, card: DatasetCard) -> Dataset:
    folder = workspace.datasets_dir / card.name / card.version
    folder.parent.mkdir(exist_ok=True)
    try:
        os.rename(building, folder)
    except OSError:  # the same rows were made before
        if not (folder / "card.json").exists():
            raise
    return Dataset(folder, card)
