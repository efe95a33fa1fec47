"""Tokens for the Look part: in this process where the tokenizer needs no torch, else in a helper process.

The helper is the command line itself (`python -m core data tokens … --json`), so both give the same answer.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from core.data.encode.tokenizer import load_tokenizer, needs_torch
from core.data.look.packs import Shared, pack_with
from core.data.look.pieces import Piece
from core.data.look.statistics import SAMPLE_ROWS, token_figures
from core.data.look.tokens import Reading, RowReader
from core.data.store.edits import Edits
from core.data.store.library import open_dataset
from core.errors import DataError, RunError
from core.models.library import resolve_base
from core.system import python_command, python_environment
from core.workspace import Workspace
from webui.inline_work import Tell

Check = Callable[[], None]
LOOK_SECONDS = 0.2  # between two looks whether the helper is done or to be stopped
READERS = 4  # tokenizers that are kept
_LOCK = threading.Lock()  # a tokenizer's switches are shared by all who use it


@dataclass(frozen=True)
class Options:
    """Whose tokenizer, for which stage, and how training would put rows together."""

    model: str
    stage: str
    max_length: int = 512
    batch: int = 2
    accumulation: int = 4
    seed: int = 42


@dataclass(frozen=True)
class Seen:
    """A row as the model sees it. `shared` is None for a row that training leaves out, `packed` False where no pack
    is known of: other stages than SFT, and rows that were edited."""

    readings: list[Reading]
    shared: Shared | None
    packed: bool


def see_row(workspace: Workspace, ref: str, index: int, edits: Edits, options: Options, check: Check) -> Seen:
    """Row `index` (from 0) of a dataset, as it is edited. Raises GalenError."""
    dataset = open_dataset(workspace, ref)
    folder = resolve_base(workspace, options.model)
    changed = edits.changed.get(index)
    if needs_torch(folder):
        return _asked_for(workspace, ref, index, options, check)
    with _LOCK:
        reader = _reader(folder, options.max_length)
        row = dataset.take([index])[0] if changed is None else changed
        readings = reader.read(dataset.card.kind, row, options.stage)
        packed = options.stage == "sft" and changed is None and not readings[0].refused
        shared = None
        if packed:
            shared = pack_with(
                dataset, index, reader.encoder, workspace.encoded_dir, batch_size=options.batch,
                accumulation=options.accumulation, seed=options.seed,
            )  # fmt: skip
        return Seen(readings, shared, packed)


def count_tokens(workspace: Workspace, ref: str, options: Options, tell: Tell, check: Check) -> dict[str, Any]:
    """Token figures of a sample of a dataset. Raises GalenError."""
    folder = resolve_base(workspace, options.model)
    if needs_torch(folder):
        words = ["stats", ref, *_words(options)]
        found: dict[str, Any] = _helper(workspace, words, check)["tokenised"]
        return found
    dataset = open_dataset(workspace, ref)
    with _LOCK:
        reader = _reader(folder, options.max_length)
        return token_figures(dataset, reader, options.stage, sample=SAMPLE_ROWS, on_progress=tell, check_stop=check)


@lru_cache(maxsize=READERS)
def _reader(folder: Path, max_length: int) -> RowReader:
    return RowReader(load_tokenizer(folder), max_length=max_length)


def _asked_for(workspace: Workspace, ref: str, index: int, options: Options, check: Check) -> Seen:
    packing = ("--batch-size", options.batch, "--accumulation", options.accumulation, "--seed", options.seed)
    found = _helper(
        workspace, ["tokens", ref, str(index + 1), "--pending", *_words(options), *map(str, packing)], check
    )
    readings = [
        Reading(**{**each, "pieces": [Piece(**{**piece, "ids": tuple(piece["ids"])}) for piece in each["pieces"]]})
        for each in found["readings"]
    ]
    pack = found["pack"]
    shared = None if pack is None else Shared(**{**pack, "rows": [(row, tokens) for row, tokens in pack["rows"]]})
    return Seen(readings, shared, found["packed"])


def _words(options: Options) -> list[str]:
    return ["--model", options.model, "--stage", options.stage, "--max-length", str(options.max_length)]


def _helper(workspace: Workspace, words: list[str], check: Check) -> dict[str, Any]:
    """What `python -m core data …` answers. Raises what it says, and what `check` raises."""
    command = python_command("core", "--workspace", str(workspace.path), "--json", "data", *words)
    process = subprocess.Popen(
        command, env=python_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while True:
            try:
                out, err = process.communicate(timeout=LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                check()
    finally:
        process.kill()
    try:
        found: dict[str, Any] = orjson.loads(out.splitlines()[-1])
    except (IndexError, orjson.JSONDecodeError) as error:
        told = [line for line in err.splitlines() if line.strip()]
        how = f"exit {process.returncode}"
        raise RunError("run.helper_failed", how=how, detail=told[-1] if told else "–") from error
    if "error" in found:
        raise DataError(found["error"]["code"], **found["error"]["params"])
    return found
