"""Documents as tokens on disk: the text side of pretraining, torch-free, in constant memory.

    encoder = DocumentEncoder(tokenizer)
    documents = encode_documents(dataset, encoder, cache_dir)
    rows = Blocks(documents, block_size=512, packing="isolated")

    cache_dir/<key>/tokens.bin    uint16 or uint32: all documents one after another, each with its end mark
                    offsets.npy   int64: document i is [offsets[i], offsets[i + 1])
                    rows.npy      int64: its index in the dataset
                    facts.json    what was left out; written last

Blocks are made of it by `encode.blocks` when they are needed, so another block size costs nothing. A control token that
stands in a text stays text. A document begins with what the tokenizer puts before every text (`<s>`), if it does.
Conversations become documents by their turns alone, a line each: no template, no roles. Left out: rows of other kinds.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from core.data.encode.blocks import Numbers, Packing, Plan, blocks_of
from core.data.encode.twin import backend_of, definition_of
from core.data.kinds import Kind, Row
from core.data.store import shelf
from core.data.store.building import hidden_name
from core.errors import DataError, ModelError
from core.records import Record
from core.rundir import read_record, write_record

if TYPE_CHECKING:
    from core.data.store.library import Dataset

VERSION = 1  # goes into the cache's key: to be raised when the same rows would give other ids
SLICE = 100_000  # characters that are tokenised at once: a book as one text would take a hundred times its size
BATCH = 400_000  # characters handed to the tokenizer's threads together
# What ends a text, as base models are made with it. The eos of an instruct model ends an answer: another thing.
ENDS = ("<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>", "<eos>")
BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
KINDS: tuple[Kind, ...] = ("text", "messages")


def plain_text(kind: Kind, row: Row) -> str:
    """A row as a document."""
    return str(row["text"]) if kind == "text" else "\n".join(turn["content"] for turn in row["messages"])


class DocumentEncoder:
    """Raises ModelError `model.slow_tokenizer`; with `end_mark`, `model.no_end_mark` where there is no such token."""

    template_name = ""  # for the manifest: no template has a hand in this
    template_sha256 = ""

    def __init__(self, tokenizer: Any, *, end_mark: bool = True) -> None:
        from tokenizers import Tokenizer

        shared = backend_of(tokenizer)
        self._definition = definition_of(shared)
        # One of its own: it is set to take control tokens for text.
        self._backend = backend = Tokenizer.from_str(orjson.dumps(self._definition).decode())
        with_start, alone = (backend.encode("a", add_special_tokens=with_it).ids for with_it in (True, False))
        self.start_ids: list[int] = with_start[: len(with_start) - len(alone)] if with_start[-1:] == alone[-1:] else []
        backend.encode_special_tokens = True
        found = [backend.token_to_id(name) for name in ENDS if name in self._special]
        self.end_id: int | None = (found or [tokenizer.eos_token_id])[0]
        self.stop_ids = sorted({self.end_id, tokenizer.eos_token_id} - {None})
        if end_mark and self.end_id is None:
            raise ModelError("model.no_end_mark", model=str(getattr(tokenizer, "name_or_path", "")))
        self.close_ids: list[int] = [self.end_id] if end_mark and self.end_id is not None else []

    @cached_property
    def _special(self) -> set[str]:
        return {str(one["content"]) for one in self._definition["added_tokens"] if one["special"]}

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        return dict(self._backend.get_vocab(with_added_tokens=True))

    @cached_property
    def tokenizer_sha256(self) -> str:
        return hashlib.sha256(orjson.dumps(self._definition)).hexdigest()

    @cached_property
    def settings_sha256(self) -> str:
        """Of everything but the rows that decides the ids."""
        return hashlib.sha256(repr((VERSION, self.tokenizer_sha256, self.close_ids)).encode()).hexdigest()

    @cached_property
    def token_bytes(self) -> NDArray[np.int64]:
        """[largest id + 1]: how many bytes of UTF-8 each token stands for; 0 for those that are no text.

        Exact where the tokenizer works on bytes; elsewhere, of the text as the tokenizer has normalised it.
        """
        on_bytes = b"ByteLevel" in orjson.dumps([self._definition["decoder"], self._definition["pre_tokenizer"]])
        added = {str(one["content"]) for one in self._definition["added_tokens"]}
        sizes = np.zeros(max(self.vocabulary.values()) + 1, dtype=np.int64)
        for token, number in self.vocabulary.items():
            if token in self._special:
                continue
            if on_bytes and token not in added:
                sizes[number] = len(token)  # each of its characters is the name of a byte
            else:
                sizes[number] = 1 if BYTE_PIECE.fullmatch(token) else len(token.replace("▁", " ").encode())
        return sizes

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of a text that the model is to go on with."""
        return [*self.start_ids, *self._backend.encode(text, add_special_tokens=False).ids]

    def beginnings(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """`prompt_ids` of many texts at once."""
        return [ids[: len(ids) - len(self.close_ids)] for ids in self.encode(texts)]

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Ids of whole documents."""
        slices = [list(_slices(text)) for text in texts]
        flat = [part for parts in slices for part in parts]
        ids = iter([np.array(one.ids, dtype=np.uint32) for one in self._encode_flat(flat)])
        start, close = (np.array(marks, dtype=np.uint32) for marks in (self.start_ids, self.close_ids))
        return [np.concatenate([start, *(next(ids) for _ in parts), close]) for parts in slices]

    def _encode_flat(self, flat: list[str]) -> Iterator[Any]:
        waiting: list[str] = []
        size = 0
        for part in flat:
            waiting.append(part)
            size += len(part)
            if size >= BATCH:
                yield from self._backend.encode_batch_fast(waiting, add_special_tokens=False)
                waiting, size = [], 0
        yield from self._backend.encode_batch_fast(waiting, add_special_tokens=False)


def _slices(text: str) -> Iterator[str]:
    """`text` in parts of at most SLICE characters, cut behind a line, else before a blank, where there is one."""
    start = 0
    while len(text) - start > SLICE:
        end = start + SLICE
        line, blank = text.rfind("\n", start, end) + 1, text.rfind(" ", start + 1, end)
        stop = line or (blank if blank > 0 else end)
        yield text[start:stop]
        start = stop
    yield text[start:]


# -- a whole dataset --------------------------------------------------------------------------------------------------
class Facts(Record):
    """`facts.json`. `unusable` are the indices of documents without a token to predict; `wide`: ids need 32 bits."""

    wide: bool
    unusable: list[int]


class EncodedDocuments:
    """Documents in the order of the dataset; `rows[i]` is the dataset's index of document i. Nothing is in memory."""

    def __init__(self, folder: Path) -> None:
        facts = read_record(folder / shelf.MARK, Facts)
        if facts is None:
            raise FileNotFoundError(folder / shelf.MARK)
        self.folder = folder
        self.unusable = facts.unusable
        self.offsets: Numbers = np.load(folder / "offsets.npy", mmap_mode="r")
        self.rows: Numbers = np.load(folder / "rows.npy", mmap_mode="r")
        self.tokens: NDArray[Any] = np.memmap(
            folder / "tokens.bin", dtype=np.uint32 if facts.wide else np.uint16, mode="r"
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Numbers:
        """Tokens of each document."""
        return np.diff(self.offsets)


def encode_documents(
    dataset: Dataset,
    encoder: DocumentEncoder,
    cache_dir: Path,
    *,
    rows: Sequence[int] | Numbers | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    check_stop: Callable[[], None] | None = None,
) -> EncodedDocuments:
    """The rows of a dataset (all, or those with the ascending indices `rows`) as documents.

    `on_progress(done, total)` counts rows; `check_stop` may raise at any time. Raises DataError `data.wrong_kind` for
    rows that are neither texts nor conversations, `data.no_document` where none has a token to predict.
    """
    if dataset.card.kind not in KINDS:
        raise DataError("data.wrong_kind", ref=dataset.ref, kind=dataset.card.kind, needed=" | ".join(KINDS))
    chosen = np.arange(len(dataset)) if rows is None else np.asarray(rows, dtype=np.int64)
    settings = f"documents:{dataset.card.sha256}:{encoder.settings_sha256}:".encode()
    folder = cache_dir / hashlib.sha256(settings + chosen.tobytes()).hexdigest()[:24]
    shelf.touch(folder)  # before the look: what was used just now is not removed by anybody
    if not (folder / shelf.MARK).is_file():
        shelf.sweep(cache_dir)
        _build(folder, dataset, encoder, chosen, on_progress, check_stop)
    documents = EncodedDocuments(folder)
    if on_progress is not None:
        on_progress(len(chosen), len(chosen))
    return documents


def _build(
    folder: Path,
    dataset: Dataset,
    encoder: DocumentEncoder,
    chosen: Numbers,
    on_progress: Callable[[int, int], None] | None,
    check_stop: Callable[[], None] | None,
) -> None:
    temporary = folder.with_name(hidden_name())
    temporary.mkdir(parents=True)
    facts = Facts(wide=max(encoder.vocabulary.values()) >= 1 << 16, unusable=[])
    lengths = np.zeros(len(chosen), dtype=np.int64)
    done = 0
    try:
        with open(temporary / "tokens.bin", "wb") as file:
            for texts in _texts(dataset, chosen):
                if check_stop is not None:
                    check_stop()
                for ids in encoder.encode(texts):
                    if len(ids) > 1:
                        file.write((ids if facts.wide else ids.astype(np.uint16)).tobytes())
                        lengths[done] = len(ids)
                    else:
                        facts.unusable.append(int(chosen[done]))
                    done += 1
                if on_progress is not None:
                    on_progress(done, len(chosen))
        if not lengths.any():
            raise DataError("data.no_document", ref=dataset.ref)
        np.save(temporary / "offsets.npy", np.concatenate([[0], np.cumsum(lengths[lengths > 0])]))
        np.save(temporary / "rows.npy", chosen[lengths > 0])
        write_record(temporary / shelf.MARK, facts)
        try:
            os.rename(temporary, folder)
        except OSError:  # another process was faster
            if not (folder / shelf.MARK).is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _texts(dataset: Dataset, chosen: Numbers) -> Iterator[list[str]]:
    """The chosen rows as texts, a few at a time: about BATCH characters, so that a stop is seen soon."""
    few: list[str] = []
    size = 0
    for rows in dataset.stream(chosen):
        for row in rows:
            few.append(plain_text(dataset.card.kind, row))
            size += len(few[-1])
            if size >= BATCH:
                yield few
                few, size = [], 0
    if few:
        yield few


# -- rows for the trainer ---------------------------------------------------------------------------------------------
class Blocks:
    """Documents as rows of at most `block_size` tokens: `rows[i]` is (input_ids, labels, lengths of its pieces)."""

    def __init__(self, documents: EncodedDocuments, block_size: int, packing: Packing) -> None:
        self.documents = documents
        self.plan: Plan = blocks_of(documents.lengths, block_size, packing)
        self.lengths = self.plan.block_lengths
        self.label_counts = self.plan.label_counts
        self.squares = self.plan.squares

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any], Numbers]:
        starts, lengths = self.plan.block(index)
        tokens = self.documents.tokens
        pieces = [tokens[at : at + size] for at, size in zip(starts.tolist(), lengths.tolist(), strict=True)]
        ids = np.concatenate(pieces).astype(np.int32)
        return ids, ids, lengths

    def documents_in(self, index: int) -> Numbers:
        """The indices in the dataset of the documents that a block has something of."""
        starts, lengths = self.plan.block(index)
        ends = [starts, starts + lengths - 1]
        firsts, lasts = (np.searchsorted(self.documents.offsets, at, side="right") - 1 for at in ends)
        held = [np.arange(first, last + 1) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]
        rows: Numbers = self.documents.rows[np.unique(np.concatenate(held))]
        return rows


class Heads:
    """The first `max_length` tokens of every document, a row each. `rows` are their indices in the dataset."""

    def __init__(self, documents: EncodedDocuments, max_length: int) -> None:
        self.documents = documents
        self.rows = documents.rows
        self.lengths = np.minimum(documents.lengths, max_length)
        self.label_counts = self.lengths - 1

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        start = int(self.documents.offsets[index])
        ids = self.documents.tokens[start : start + int(self.lengths[index])].astype(np.int32)
        return ids, ids
