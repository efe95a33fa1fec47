"""How long the rows of a dataset are, in tokens of a model: estimated from a sample, and quick.

    found = lengths_of(workspace, "medical@1a2b", tokenizer_folder)
    found.tokens, found.rows, found.mean

Characters of the rows stand beside every dataset (`figures.parquet`). How many tokens a character is, is measured once
on a few rows with the model's own tokenizer, without its template, and kept in the workspace's cache. A file that is no
dataset yet is looked at from its beginning; nothing is imported.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.data.figures import texts_of
from core.data.kinds import Kind
from core.data.store.dataset import Dataset
from core.data.store.library import open_dataset
from core.errors import DataError
from core.records import Record
from core.rundir import read_record, write_text
from core.workspace import Workspace

Numbers = NDArray[np.int64]

GROUPS = 4  # row groups of 2000 whose lengths are read, spread over the dataset
PROBED = 48  # rows that are tokenised
TURN_TOKENS = 5  # that a template puts round a turn, and OPENING_TOKENS before the first
OPENING_TOKENS = 8
ONE_EXCHANGE = 3  # turns: a system message, a question, its answer
HEAD_BYTES = 1 << 20  # of a file
TOKENS_A_BYTE = 0.28  # of UTF-8, in both languages, where no tokenizer can be asked
TOKENS_A_CHAR = {"zh": 0.75, "mixed": 0.5}
OTHER_LANGUAGE = 0.28


@dataclass(frozen=True)
class Lengths:
    """`tokens` [n] of a sample of the rows, uncut; `rows` of the whole dataset; None: not known without reading it all.

    `asked` [n] of them stand before the row's last answer; `kept` [n] of those cannot be left out to make room for it:
    of several turns the earlier ones can. `learnt`: share of the tokens that an assistant says.
    `sampled`: it is a file, seen from its beginning only.
    """

    tokens: Numbers
    asked: Numbers
    kept: Numbers
    rows: int | None
    learnt: float
    kind: Kind | None
    sampled: bool = False

    @property
    def mean(self) -> float:
        return float(self.tokens.mean())

    def beyond(self, counts: Numbers, limit: int) -> int:
        """About how many rows of the dataset have more than `limit` of `counts`, `asked` or `kept`; 0 for a file."""
        return round(float((counts > limit).mean()) * (self.rows or 0)) if len(counts) and not self.sampled else 0


def lengths_of(workspace: Workspace, text: str, tokenizer: Path) -> Lengths:
    """Of what a config names as data: `name`, `name@version`, or a file. Raises DataError where there is neither."""
    path = Path(text).expanduser()
    try:
        dataset = open_dataset(workspace, text)
    except DataError:
        if not path.is_file():
            raise
        stat = path.stat()
        return _of_file(path, stat.st_size, stat.st_mtime_ns, str(tokenizer / "tokenizer.json"))
    return _of_dataset(workspace, dataset, tokenizer)


def _of_dataset(workspace: Workspace, dataset: Dataset, tokenizer: Path) -> Lengths:
    chars, answered, turns = _figures(str(dataset.folder), dataset.card.sha256)
    ratio = _ratio(workspace, dataset, tokenizer)
    marks = 1 if dataset.card.kind == "text" else OPENING_TOKENS + TURN_TOKENS * turns
    tokens = np.maximum(2, np.round(chars * ratio + marks)).astype(np.int64)
    learnt = float(answered.sum() * ratio / tokens.sum()) if len(tokens) else 1.0
    answers = np.maximum(1, turns // 2) if dataset.card.kind == "messages" else 1  # of a pair, both are answers to it
    asked = np.maximum(2, np.round(tokens - answered * ratio / answers)).astype(np.int64)
    kept = np.where(turns <= ONE_EXCHANGE, asked, 0)
    return Lengths(tokens, asked, kept, len(dataset), min(1.0, learnt), dataset.card.kind)


@lru_cache(maxsize=32)
def _figures(folder: str, sha256: str) -> tuple[Numbers, Numbers, Numbers]:
    """(chars, answer_chars, turns) of a sample of the rows; read once for each content."""
    path = Path(folder) / "figures.parquet"
    if not path.is_file():
        return _counted(Path(folder))
    with pq.ParquetFile(path) as file:
        groups = np.unique(np.linspace(0, file.num_row_groups - 1, GROUPS).astype(int)).tolist()
        table = file.read_row_groups(groups, ["chars", "answer_chars", "turns"])
    chars, answered, turns = (table.column(name).to_numpy().astype(np.int64) for name in table.column_names)
    return chars, answered, turns


def _counted(folder: Path) -> tuple[Numbers, Numbers, Numbers]:
    """The same for a version of earlier days, which was written without figures: of its first rows."""
    from core.data.figures import figures_of
    from core.data.store.dataset import open_version

    dataset = open_version(folder)
    rows = dataset.rows(0, 500) if dataset is not None else []
    kind: Kind = dataset.card.kind if dataset is not None else "text"
    found = [figures_of(kind, row, key=0) for row in rows]
    columns = ([each.chars for each in found], [each.answer_chars for each in found], [each.turns for each in found])
    chars, answered, turns = (np.array(column, dtype=np.int64) for column in columns)
    return chars, answered, turns


# -- tokens a character -----------------------------------------------------------------------------------------------
class _Kept(Record):
    ratio: float


def _ratio(workspace: Workspace, dataset: Dataset, folder: Path) -> float:
    """Tokens a character of this dataset's rows."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return _guessed(dataset)
    stat = file.stat()
    key = f"{dataset.card.sha256}:{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    kept = workspace.cache_dir / "fit" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    found = read_record(kept, _Kept)
    if found is None:
        texts = _probed(dataset)
        found = _Kept(ratio=_tokens_in(str(file), texts) / max(1, sum(map(len, texts))) or _guessed(dataset))
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, found.model_dump_json(), durable=False)
    return found.ratio


def _probed(dataset: Dataset) -> list[str]:
    """Texts of a few of its rows."""
    rows = dataset.take(np.unique(np.linspace(0, min(len(dataset), 2000) - 1, PROBED).astype(int)).tolist())
    texts = []
    for row in rows:
        asked, answered, _ = texts_of(dataset.card.kind, row)
        texts += [text[:20_000] for text in (*asked, *answered)]
    return texts


def _tokens_in(file: str, texts: list[str]) -> int:
    """Tokens of `texts` by the tokenizer.json `file`; 0 where it cannot be read."""
    try:
        return sum(len(one.ids) for one in _tokenizer(file).encode_batch_fast(texts, add_special_tokens=False))
    except Exception:  # the library raises plain Exceptions
        return 0


@lru_cache(maxsize=2)
def _tokenizer(file: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(file)


def _guessed(dataset: Dataset) -> float:
    languages = dataset.card.languages or {"en": 1}
    total = sum(languages.values())
    return sum(TOKENS_A_CHAR.get(name, OTHER_LANGUAGE) * count for name, count in languages.items()) / total


# -- a file -----------------------------------------------------------------------------------------------------------
@lru_cache(maxsize=16)
def _of_file(path: Path, size: int, changed: int, tokenizer: str) -> Lengths:
    """By the lengths of its first lines; a file that is no text of lines, by none: its rows are not known."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    whole = len(head) == size
    lines = [line for line in (head if whole else head[: head.rfind(b"\n") + 1]).splitlines() if line.strip()]
    if b"\0" in head[:4096] or head[:2] == b"\x1f\x8b" or not lines or path.suffix.lower() == ".parquet":
        none = np.array([], dtype=np.int64)
        return Lengths(none, none, none, None, 1.0, None, sampled=True)
    bytes_ = np.array([len(line) for line in lines], dtype=np.int64)
    texts = [line.decode("utf-8", "replace")[:20_000] for line in lines[:: max(1, len(lines) // PROBED)]]
    ratio = _tokens_in(tokenizer, texts) / max(1, sum(len(text.encode()) for text in texts))
    tokens = np.maximum(2, np.round(bytes_ * (ratio or TOKENS_A_BYTE))).astype(np.int64)
    rows = len(lines) if whole else round(size / (bytes_.mean() + 1))
    return Lengths(tokens, tokens, np.zeros_like(tokens), rows, 0.7, None, sampled=True)
