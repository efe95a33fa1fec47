"""What a dataset is made of, in figures: lengths, turns, languages, sources, duplicates, and what a model makes of it.

    rows = row_figures(view)                                       every row, from the columns beside it
    tokens = token_figures(dataset, reader, "sft", sample=1000)    tokens and labels, of a sample that says it is one

Both give plain dicts, ready for JSON. Counting tokens of millions of rows is left to a training's own start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.encode.encoded import Refusal
from core.data.encode.encoding import Encoder
from core.data.encode.window import Window
from core.data.kinds import Kind, Row
from core.data.look.tokens import SHOWN_FOR, RowReader, asked, choice_text
from core.data.look.view import View
from core.data.store.dataset import Dataset
from core.errors import DataError

BARS = 40
SAMPLE_ROWS = 1000
MOST_SOURCES = 20
TURNS_SHOWN = 12  # numbers of turns told apart; more of them count together
CHUNK_ROWS = 100
SEED = 20_240

Progress = Callable[[int, int], None]
Check = Callable[[], None]


def histogram(values: NDArray[Any]) -> dict[str, Any]:
    """Bars of equal width up to the 99th percentile, what lies beyond in `over`; and the usual figures."""
    if not len(values):
        return {"edges": [], "counts": [], "over": 0}
    low, high = int(values.min()), int(np.percentile(values, 99))
    width = max(1, -(-(high - low + 1) // BARS))
    edges = np.arange(low, high + width + 1, width)
    counts, _ = np.histogram(values, bins=edges)
    at = {f"p{share}": float(np.percentile(values, share)) for share in (10, 50, 90, 99)}
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "over": int((values >= edges[-1]).sum()),
        "mean": float(values.mean()),
        "min": low,
        "max": int(values.max()),
        **at,
    }


def row_figures(view: View) -> dict[str, Any]:
    """Of all rows: lengths in characters, turns, languages, sources, duplicates; scores where rows have them."""
    view.build()
    columns = view.columns
    copies = columns["duplicates"]
    # A row with n copies is one of n + 1 equals, the first of which is no repetition.
    first = float((1 / (np.asarray(copies[copies > 0]) + 1.0)).sum())
    figures = {
        "ref": view.dataset.ref,
        "kind": view.dataset.card.kind,
        "rows": len(view.dataset),
        "chars": histogram(columns["chars"]),
        "answer_chars": histogram(columns["answer_chars"]),
        "turns": _turns(columns["turns"]),
        "languages": _counted(columns["language"], list(columns.languages)),
        "sources": _counted(columns["source"], columns.sources),
        "duplicates": int((copies > 0).sum() - round(first)),
    }
    for name in ("difficulty", "score"):
        values = np.asarray(columns[name])
        known = values[~np.isnan(values)]
        if len(known):
            figures[name] = {"rows": len(known), "mean": float(known.mean()), **_range(known)}
    return figures


def _turns(turns: NDArray[Any]) -> dict[str, int]:
    counts = np.bincount(np.minimum(turns, TURNS_SHOWN))
    names = [f"{number}+" if number == TURNS_SHOWN else str(number) for number in range(len(counts))]
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def _counted(codes: NDArray[Any], names: Sequence[str]) -> dict[str, int]:
    """Rows by name, the most first; beyond the twentieth name together as "…"."""
    counts = np.bincount(codes, minlength=len(names))
    found = {names[code]: int(counts[code]) for code in np.argsort(-counts, kind="stable").tolist() if counts[code]}
    listed = dict(list(found.items())[:MOST_SOURCES])
    rest = sum(found.values()) - sum(listed.values())
    return {**listed, "…": rest} if rest else listed


def _range(values: NDArray[Any]) -> dict[str, float]:
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}


# -- tokens -----------------------------------------------------------------------------------------------------------
def token_figures(
    dataset: Dataset,
    reader: RowReader,
    stage: str,
    *,
    sample: int = SAMPLE_ROWS,
    on_progress: Progress | None = None,
    check_stop: Check | None = None,
) -> dict[str, Any]:
    """Tokens a row, and what the reader's `max_length` leaves of them: of `sample` rows, or of all if there are fewer.

    `tokens`: histogram of the whole rows, of the longer answer for pairs; `kept` and `labels` of what remains;
    `truncated`, `empty` (nothing left to learn) and `refused` (by the template) are counts of rows in the sample.
    Raises DataError `data.not_shown_for`, and ModelError as the reader does.
    """
    kind = dataset.card.kind
    if stage not in SHOWN_FOR[kind]:
        raise DataError("data.not_shown_for", kind=kind, stage=stage, known=", ".join(SHOWN_FOR[kind]))
    chosen = np.arange(len(dataset))
    if sample < len(dataset):
        chosen = np.sort(np.random.default_rng(SEED).permutation(len(dataset))[:sample])
    found: list[Counted] = []
    for start in range(0, len(chosen), CHUNK_ROWS):
        if check_stop is not None:
            check_stop()
        rows = dataset.take(chosen[start : start + CHUNK_ROWS].tolist())
        found.extend(_counts(kind, rows, stage, reader))
        if on_progress is not None:
            on_progress(start + len(rows), len(chosen))
    lengths = np.array([each[0] for each in found if each is not None], dtype=np.int64)
    kept, labels = (sum(each[at] for each in found if each is not None) for at in (1, 2))
    learns = stage in ("sft", "pretrain", "dpo")
    return {
        "stage": stage,
        "max_length": reader.max_length,
        "sampled": len(chosen) < len(dataset),
        "rows": len(chosen),
        "tokens": histogram(lengths),
        "kept": kept,
        "labels": labels if learns else None,
        "label_share": labels / kept if learns and kept else None,
        "truncated": sum(each is not None and each[1] < each[0] for each in found),
        "empty": sum(each is not None and not each[2] for each in found) if stage != "ppo" else 0,
        "refused": sum(each is None for each in found),
        "estimated_tokens": round(kept / max(1, len(chosen)) * len(dataset)),
    }


Counted = tuple[int, int, int] | None  # tokens, tokens kept, labels; None: refused


def _counts(kind: Kind, rows: list[Row], stage: str, reader: RowReader) -> Iterator[Counted]:
    limit = reader.max_length
    if kind in ("text", "choice"):
        for row in rows:
            size = len(reader.text_ids(row["text"] if kind == "text" else choice_text(row)))
            yield size, size, max(0, size - 1)  # in blocks, nothing is lost
        return
    if stage == "ppo":
        for row in rows:
            [reading] = reader.read(kind, row, stage)
            yield None if reading.refused else (reading.tokens, min(reading.tokens, limit or reading.tokens), 0)
        return
    dialogues = [list(_dialogues(kind, row)) for row in rows]
    whole = reader.encoder.windows([dialogue for each in dialogues for dialogue in each], None)
    left = reader.encoder.narrowed(whole, limit)
    counted = (_one(reader.encoder, before, after, stage, limit) for before, after in zip(whole, left, strict=True))
    for each in dialogues:
        results = [next(counted) for _ in each]
        known = [result for result in results if result is not None]
        yield max(known) if len(known) == len(results) else None


def _one(encoder: Encoder, before: Window | Refusal, after: Window | Refusal, stage: str, limit: int | None) -> Counted:
    if isinstance(before, Refusal) or isinstance(after, Refusal):
        return None
    size = len(before.encoded.ids)
    if stage == "pretrain":
        return size, size, max(0, size - 1)
    kept = len(after.encoded.ids[:limit])
    spans = after.encoded.spans[-1:] if stage == "dpo" else encoder.learnt(after.encoded.spans)
    labels = sum(max(0, min(end, kept) - max(start, 1)) for start, end in spans)
    return size, kept, labels


def _dialogues(kind: Kind, row: Row) -> Iterator[list[dict[str, str]]]:
    """What a stage reads of a row: one dialogue, or one for each answer."""
    if kind == "messages":
        yield row["messages"]
    elif kind == "preference":
        yield from ([*row["prompt"], *row[name]] for name in ("chosen", "rejected"))
    elif kind == "ranked":
        for answer in row["answers"]:
            yield [*row["prompt"], {"role": "assistant", "content": answer["content"]}]
    else:
        yield asked(row["prompt"])
