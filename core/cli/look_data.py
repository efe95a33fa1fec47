"""`python -m core data rows | stats | tokens | edit`: looking at a dataset, and mending it, from the terminal.

Rows count from 1, as on the page.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from core.cli.output import print_json, rows_told, table
from core.data.encode.tokenizer import load_tokenizer
from core.data.look.packs import Shared, pack_with
from core.data.look.statistics import SAMPLE_ROWS, row_figures, token_figures
from core.data.look.tokens import SHOWN_FOR, Reading, RowReader
from core.data.look.view import SORTS, Query, TableRow, View
from core.data.store import edits
from core.data.store.dataset import Dataset
from core.data.store.library import open_dataset
from core.errors import DataError
from core.models.library import resolve_base
from core.workspace import Workspace

EXCERPT_CHARS = 60
BLOCKS = "▁▂▃▄▅▆▇█"


def add(commands: Any) -> None:
    """Register the commands below `data`."""
    rows = commands.add_parser("rows", help="rows of a dataset, searched, sorted, a page at a time")
    rows.add_argument("name", help="name or name@version")
    rows.add_argument("--search", default="", metavar="TEXT", help="rows that hold it, whatever its case")
    rows.add_argument("--sort", default="", metavar="COLUMN", help=", ".join(SORTS))
    rows.add_argument("--descending", action="store_true", help="the largest first")
    rows.add_argument("--language", default="", help="zh, en, mixed, code or other")
    rows.add_argument("--source", default="")
    rows.add_argument("--duplicates", action="store_true", help="only rows that another row equals")
    rows.add_argument("--page", type=int, default=1)
    rows.add_argument("--size", type=int, default=20, help="rows a page; default: 20")
    rows.set_defaults(handler=_rows)

    stats = commands.add_parser("stats", help="figures of a dataset: lengths, turns, languages, duplicates, tokens")
    stats.add_argument("name", help="name or name@version")
    _tokenizer_options(stats, required=False)
    stats.add_argument("--sample", type=int, default=SAMPLE_ROWS, help=f"rows to tokenise; default: {SAMPLE_ROWS}")
    stats.set_defaults(handler=_stats)

    tokens = commands.add_parser("tokens", help="a row as the model sees it: tokens, labels, what is cut off")
    tokens.add_argument("name", help="name or name@version")
    tokens.add_argument("row", type=int, help="its number, from 1")
    _tokenizer_options(tokens, required=True)
    tokens.add_argument("--batch-size", type=int, default=2, help="for the pack that an SFT row shares; default: 2")
    tokens.add_argument("--accumulation", type=int, default=4, help="default: 4")
    tokens.add_argument("--seed", type=int, default=42, help="default: 42")
    tokens.add_argument("--pending", action="store_true", help="the row as it was edited on the page, if it was")
    tokens.set_defaults(handler=_tokens)

    edit = commands.add_parser("edit", help="drop or rewrite rows; the result is a new version")
    edit.add_argument("name", help="name or name@version")
    edit.add_argument("--drop", default="", metavar="3,7", help="numbers of rows to drop")
    edit.add_argument("--set", type=Path, metavar="FILE.jsonl", help='rows to rewrite: {"row": 12, "messages": […]}')
    edit.add_argument("--pending", action="store_true", help="also what is pending on the page")
    edit.set_defaults(handler=_edit)


def _tokenizer_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--model", required=required, help="whose tokenizer: a model of the workspace, or a folder")
    parser.add_argument("--stage", default="", help="default: the first that the rows are for")
    parser.add_argument("--template", default=None, help="another chat template than the model's own")
    parser.add_argument("--max-length", type=int, default=512, help="default: 512")
    parser.add_argument("--train-on", choices=("assistant", "all"), default="assistant")
    parser.add_argument("--trust-remote-code", action="store_true")


# -- rows -------------------------------------------------------------------------------------------------------------
def _rows(args: argparse.Namespace) -> int:
    view = _view(args)
    query = Query(args.search, args.language, args.source, args.duplicates, args.sort, args.descending)
    page = view.page(view.positions(query), args.page, args.size, search=args.search)
    if args.json:
        print_json(asdict(page))
        return 0
    if page.rows:
        head = ("ROW", "LANG", "CHARS", "TURNS", "SAME", "QUESTION", "ANSWER")
        print(table(head, [_cells(row) for row in page.rows]))
    print(f"{page.total} rows; page {page.number} of {page.pages}")
    return 0


def _cells(row: TableRow) -> tuple[Any, ...]:
    said = row.excerpt or row.answer
    texts = [" ".join(text.split())[:EXCERPT_CHARS] for text in (row.question, said)]
    return (row.index + 1, row.language, row.chars, row.turns, row.copies or "", *texts)


def _view(args: argparse.Namespace) -> View:
    """The dataset's table; older versions are counted first, which takes a while."""
    workspace = Workspace(args.workspace)
    view = View(workspace, open_dataset(workspace, args.name))
    view.build(rows_told("counting"))
    return view


# -- figures ----------------------------------------------------------------------------------------------------------
def _stats(args: argparse.Namespace) -> int:
    view = _view(args)
    found: dict[str, Any] = row_figures(view)
    if args.model:
        stage = args.stage or SHOWN_FOR[view.dataset.card.kind][0]
        reader = _reader(args)
        found["tokenised"] = {"model": args.model} | token_figures(
            view.dataset, reader, stage, sample=args.sample, on_progress=rows_told("tokenising")
        )
    if args.json:
        print_json(found)
        return 0
    print(f"{found['ref']}: {found['rows']} rows of the kind {found['kind']}, {found['duplicates']} repeat another")
    for name, title in (("chars", "characters a row"), ("answer_chars", "of them in answers")):
        print(f"  {title:<20} {_spread(found[name])}")
    for name in ("turns", "languages", "sources"):
        print(f"  {name:<20} {_shares(found[name], found['rows'])}")
    if args.model:
        _print_tokens(found["tokenised"])
    return 0


def _print_tokens(found: Mapping[str, Any]) -> None:
    of = f"a sample of {found['rows']} rows" if found["sampled"] else f"all {found['rows']} rows"
    print(f"  tokens for {found['stage']}, {of}, at most {found['max_length']}:")
    print(f"  {'tokens a row':<20} {_spread(found['tokens'])}")
    rows = max(1, found["rows"])
    for name in ("truncated", "empty", "refused"):
        print(f"  {name:<20} {found[name]} rows ({found[name] / rows:.1%})")
    if found["label_share"] is not None:
        print(f"  {'labels':<20} {found['label_share']:.1%} of the tokens that remain")


def _spread(figures: Mapping[str, Any]) -> str:
    if not figures["counts"]:
        return "–"
    top = max(*figures["counts"], 1)
    bars = "".join(BLOCKS[min(7, count * 8 // (top + 1))] if count else " " for count in figures["counts"])
    marks = f"median {figures['p50']:.0f}, 90 % below {figures['p90']:.0f}, longest {figures['max']}"
    return f"{marks}  {figures['edges'][0]}|{bars}|{figures['edges'][-1]}"


def _shares(counts: Mapping[str, int], rows: int) -> str:
    return ", ".join(f"{name} {count} ({count / max(1, rows):.1%})" for name, count in counts.items())


# -- tokens -----------------------------------------------------------------------------------------------------------
def _reader(args: argparse.Namespace) -> RowReader:
    folder = resolve_base(Workspace(args.workspace), args.model)
    tokenizer = load_tokenizer(folder, trust_remote_code=args.trust_remote_code)
    return RowReader(tokenizer, max_length=args.max_length, template=args.template, train_on=args.train_on)


def _tokens(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    dataset = open_dataset(workspace, args.name)
    [number] = _numbers(dataset, str(args.row))
    stage = args.stage or SHOWN_FOR[dataset.card.kind][0]
    reader = _reader(args)
    changed = edits.pending(workspace, dataset).changed.get(number) if args.pending else None
    readings = reader.read(dataset.card.kind, changed or dataset.take([number])[0], stage)
    shared = None
    packed = stage == "sft" and changed is None and not readings[0].refused
    if packed:
        shared = pack_with(
            dataset, number, reader.encoder, workspace.encoded_dir,
            batch_size=args.batch_size, accumulation=args.accumulation, seed=args.seed,
        )  # fmt: skip
    if args.json:
        pack = None if shared is None else asdict(shared)
        print_json({"ref": dataset.ref, "row": args.row, "stage": stage, "packed": packed, "pack": pack,
                    "readings": [asdict(reading) for reading in readings]})  # fmt: skip
        return 0
    for reading in readings:
        _print_reading(reading)
    if shared is not None:
        _print_pack(shared)
    return 0


def _print_reading(reading: Reading) -> None:
    """Learnt text stands between ⟦ and ⟧, what is cut off between ⟨ and ⟩."""
    if reading.refused:
        print(f"{reading.name}: the template does not take it: {reading.refused}")
        return
    print(f"{reading.name}: {reading.tokens} tokens, {reading.labels} labels, {reading.cut} cut off")
    parts, before = [], (False, False)
    for piece in reading.pieces:
        now = (piece.labelled, piece.cut)
        if now != before:
            parts.append(("⟧" if before[0] else "⟩" if before[1] else "") + ("⟦" if now[0] else "⟨" if now[1] else ""))
        parts.append(piece.text or f"<{piece.raw}>")
        before = now
    print("".join(parts) + ("⟧" if before[0] else "⟩" if before[1] else ""))


def _print_pack(shared: Shared) -> None:
    rows = ", ".join(f"row {row + 1} ({tokens} tokens)" for row, tokens in shared.rows)
    print(
        f"step {shared.step} of {shared.steps}, {shared.packs} packs of at most {shared.capacity} tokens; in its own:"
    )
    print(f"  {rows}")
    if not shared.known:
        print("(taking every row for usable: the dataset has not been tokenised like this before)")


# -- editing ----------------------------------------------------------------------------------------------------------
def _edit(args: argparse.Namespace) -> int:
    workspace = Workspace(args.workspace)
    dataset = open_dataset(workspace, args.name)
    wanted = edits.pending(workspace, dataset) if args.pending else edits.Edits()
    changed = {**wanted.changed, **(_changes(dataset, args.set) if args.set else {})}
    gone = {*wanted.dropped, *_numbers(dataset, args.drop)}
    kept = {row: value for row, value in changed.items() if row not in gone}
    asked = edits.Edits(dropped=sorted(gone), changed=kept)
    made = edits.save(workspace, dataset, asked, on_progress=rows_told("writing"))
    if args.pending:
        edits.discard(workspace, dataset)
    print(f"{made.ref}: {len(made)} rows; {len(asked.dropped)} dropped, {len(asked.changed)} rewritten")
    if args.json:
        print_json({"ref": made.ref, **made.card.model_dump()})
    return 0


def _numbers(dataset: Dataset, text: str) -> list[int]:
    """Row numbers from 1 as a list of numbers from 0. Raises DataError `data.no_row`."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if not word.isdigit() or not 0 < int(word) <= len(dataset):
            raise DataError("data.no_row", ref=dataset.ref, row=word, rows=len(dataset))
    return [int(word) - 1 for word in words]


def _changes(dataset: Dataset, path: Path) -> dict[int, Any]:
    """The rows of a JSONL file by number, checked. Raises DataError with the first that cannot be used."""
    if not path.is_file():
        raise DataError("data.no_file", file=str(path))
    found = {}
    for at, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
            number = str(value.pop("row"))
        except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
            raise DataError("data.edit_line", file=path.name, line=at) from error
        [row] = _numbers(dataset, number)
        found[row] = edits.checked(dataset.card.kind, value)
    return found
