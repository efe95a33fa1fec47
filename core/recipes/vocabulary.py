"""vocabulary: frequent words of a corpus, or a list of words, become tokens of a model.

    1  read the tokenizer, the list and the corpus
    2  choose what is worth a token (`core.models.units`): the list first, then what saves most
    3  put it into the tokenizer (`core.models.growing`), save that, and read it again
    4  load the model, the chain beneath a run merged; give every new token the mean of its old pieces
    5  write the model folder, the report and the manifest

Run it with `python -m core vocabulary model.base=M words.corpus=D`. The result is a model that Pretrain starts from:
new rows mean little until they were trained on. Left out: removing tokens, and tokenizers that are neither BPE nor
Unigram.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from core.configs import models
from core.configs.stages import VocabularyConfig
from core.data.encode.templates import ChatTemplate
from core.data.encode.tokenizer import load_tokenizer
from core.data.encode.twin import backend_of
from core.data.figures import texts_of
from core.data.store.library import Dataset, open_dataset
from core.errors import InputError, ModelError
from core.models.backbone import copy_beside, load_backbone
from core.models.growing import Cutter, Grown, both, grow, grow_merges
from core.models.hashes import backbone_id, weight_hashes
from core.models.loading import TORCH_DTYPES
from core.models.parents import Parent, resolve_parent
from core.models.units import Unit, WordList, as_units, learn_characters, learn_pieces, learn_words, read_list, runs_of
from core.models.vocabulary import characters_per_token, resize, save_tokenizer
from core.models.weights import inspect
from core.records import DataUsed, Manifest, NewToken, VocabularyReport
from core.report import Report, RunContext
from core.rundir import write_record
from core.training.preparing import choose_rows

READ = 40_000_000  # characters of a corpus that are learnt from; more teach next to nothing
MEASURED = 1_000_000  # of these, how many the rates before and after are measured on
SHOWN = 500  # new tokens that the report lists
MODEL = "model"  # folder under output/
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors")


def main(context: RunContext) -> None:
    """Extend the vocabulary of `model.base`. Raises InputError for what the words are taken from, ModelError."""
    config, report = context.config, context.report
    assert isinstance(config, VocabularyConfig)
    shutil.rmtree(context.run.output, ignore_errors=True)
    folder = context.run.output / MODEL
    folder.mkdir(parents=True)

    # 1
    parent = resolve_parent(context.workspace, config.model.base)
    tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=config.model.trust_remote_code)
    if parent.template is not None:
        tokenizer.chat_template = ChatTemplate(tokenizer, parent.template).source
    source = read_source(context, config)
    report.check_stop()

    # 2, 3
    backend = backend_of(tokenizer)
    before = backend.get_vocab_size()
    grown, counts = choose(backend, source, config.words)
    save_tokenizer(tokenizer, grown.definition, folder)
    new = reread(folder, grown, trust_remote_code=config.model.trust_remote_code)
    report.check_stop()

    # 4
    report.phase("loading")
    dtype = TORCH_DTYPES.get(inspect(parent.folder).dtype, TORCH_DTYPES["fp32"])
    model = load_backbone(parent, dtype=dtype, device="cpu", trust_remote_code=config.model.trust_remote_code)
    rows_before = int(model.get_input_embeddings().weight.shape[0])
    rows = resize(model, grown.pieces)

    # 5
    report.phase("saving")
    model.save_pretrained(str(folder))
    copy_beside(parent.folder, folder)
    sample = source.sample or [unit.text for unit in source.listed]
    cutter = Cutter(backend)
    facts = VocabularyReport(
        kind=cutter.kind,
        tokens_before=before,
        tokens=before + len(grown.pieces),
        units=len(grown.made),
        parts=grown.parts,
        rows_before=rows_before,
        rows=rows,
        tied=bool(model.config.get_text_config().tie_word_embeddings),
        characters=sum(map(len, sample)),
        rate_before=characters_per_token(backend, sample),
        rate=characters_per_token(new, sample),
        blank=source.words.blank,
        double=source.words.double,
        known=source.known,
        failed=len(grown.failed),
        room=len(grown.left),
        shown=[
            NewToken(text=text, count=counts.get(text, 0), tokens=len(cutter.cut(text))) for text in grown.made[:SHOWN]
        ],
        not_made=grown.failed[:SHOWN],
    )
    write_record(context.run.vocabulary_file, facts)
    write_record(context.run.manifest_file, _manifest(context, config, parent, folder, tokenizer, source.used))
    print(
        f"{facts.units} units and {facts.parts} parts of them are new tokens: {facts.tokens_before} → {facts.tokens}; "
        f"characters per token {facts.rate_before:.2f} → {facts.rate:.2f}"
    )


# -- 1: where new tokens come from ------------------------------------------------------------------------------------
@dataclass
class Source:
    """The units of the list, runs of letters of the corpus, and some of its texts. `known`: filled by `choose`."""

    words: WordList = field(default_factory=WordList)
    listed: list[Unit] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    sample: list[str] = field(default_factory=list)
    used: list[DataUsed] = field(default_factory=list)
    known: int = 0


def read_source(context: RunContext, config: VocabularyConfig) -> Source:
    """Raises InputError `vocabulary.no_source`, and as `read_list` and `open_dataset`."""
    words, source = config.words, Source()
    if not words.corpus and not words.list:
        raise InputError("vocabulary.no_source")
    if words.list:
        source.words = read_list(Path(words.list))
        source.listed = as_units(source.words.words)
    if words.corpus:
        dataset = open_dataset(context.workspace, words.corpus)
        chosen = choose_rows(len(dataset), words.max_rows, config.run.seed)
        texts = _Corpus(dataset, chosen, context.report)
        source.runs = runs_of(texts)
        source.sample = texts.sample
        source.used = [DataUsed(dataset=dataset.ref, sha256=dataset.card.sha256, rows_used=texts.rows)]
        print(f"{dataset.ref}: {texts.rows} rows read, {texts.characters:,} characters")
    return source


class _Corpus:
    """The texts of these rows, up to a limit of characters; counts them, and keeps the first as a sample."""

    def __init__(self, dataset: Dataset, chosen: np.ndarray, report: Report) -> None:
        self.dataset, self.chosen, self.report = dataset, chosen, report
        self.rows = self.characters = 0
        self.sample: list[str] = []

    def __iter__(self) -> Iterator[str]:
        self.report.phase("preparing", total=len(self.chosen), unit="row")
        for rows in self.dataset.stream(self.chosen):
            self.report.check_stop()
            for row in rows:
                asked, answered, _ = texts_of(self.dataset.card.kind, row)
                for text in (*asked, *answered):
                    if self.characters < MEASURED:
                        self.sample.append(text)
                    self.characters += len(text)
                    yield text
            self.rows += len(rows)
            self.report.progress(self.rows)
            if self.characters >= READ:
                return


# -- 2, 3: what becomes a token ---------------------------------------------------------------------------------------
def choose(backend: Any, source: Source, words: models.Words) -> tuple[Grown, dict[str, int]]:
    """The tokenizer grown by the list and by what the corpus teaches, and how often each unit occurs.

    Raises InputError `vocabulary.nothing_new`; ModelError as `growing.grow`.
    """
    cutter = Cutter(backend)
    units = list(source.listed)
    least = words.min_count
    if source.runs and words.unit == "words":
        units += learn_words(source.runs, cutter.cost, min_count=least, max_length=words.max_length, size=words.size)
    elif source.runs and (words.unit == "characters" or cutter.kind == "sentencepiece"):
        # Merges of the SentencePiece kind begin with characters, so pieces of new ones need these first.
        units += learn_characters(source.runs, cutter.cost, min_count=least)
    units = list({unit.text: unit for unit in reversed(units)}.values())[::-1]
    new = [unit for unit in units if not cutter.knows(unit.text)]
    source.known = len(units) - len(new)
    grown = grow(backend, [unit.text for unit in new], words.size)
    if source.runs and words.unit == "pieces":
        grown = both(grown, _pieces(grown, source, words))
    if not grown.pieces:
        raise InputError("vocabulary.nothing_new", count=len(units), known=source.known, failed=len(grown.failed))
    return grown, {unit.text: unit.count for unit in new}


def _pieces(grown: Grown, source: Source, words: models.Words) -> Grown:
    """What the tokenizer's own training would have added to `grown`."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(orjson.dumps(grown.definition).decode())
    cutter, room = Cutter(backend), words.size - len(grown.pieces)
    merges = learn_pieces(source.runs, cutter.cut, min_count=words.min_count, size=2 * room, closed=cutter.closed)
    return grow_merges(backend, merges, room, words.max_length)


def reread(folder: Path, grown: Grown, *, trust_remote_code: bool) -> Any:
    """The backend of the tokenizer in `folder`. Raises ModelError `vocabulary.not_kept` where its class has made
    something else of tokenizer.json."""
    backend = backend_of(load_tokenizer(folder, trust_remote_code=trust_remote_code))
    entries = grown.definition["model"]["vocab"]
    names = (
        {number: name for name, number in entries.items()}
        if isinstance(entries, dict)
        else dict(enumerate(name for name, _ in entries))
    )
    lost = [names[number] for number in grown.pieces if backend.token_to_id(names[number]) != number]
    if lost:
        raise ModelError("vocabulary.not_kept", model=str(folder), detail=f"{lost[0]} is not in it")
    return backend


# -- 5: the manifest --------------------------------------------------------------------------------------------------
def _manifest(
    context: RunContext,
    config: VocabularyConfig,
    parent: Parent,
    folder: Path,
    tokenizer: Any,
    data: list[DataUsed],
) -> Manifest:
    """A whole model, its own root for everything that starts from it."""
    definition = (folder / "tokenizer.json").read_bytes()
    return Manifest(
        run=context.run.id,
        name=config.run.name,
        stage=context.run.stage,
        kind="model",
        root_base=parent.root,
        chain=list(parent.chain),
        parent=parent.run,
        parent_adapter="merged" if parent.adapters else None,
        backbone_id=backbone_id(weight_hashes(folder)),
        model_folder=folder.name,
        method="vocabulary",
        dtype=inspect(folder).dtype,
        tokenizer={
            "sha256": hashlib.sha256(definition).hexdigest(),
            "pad": tokenizer.pad_token,
            "eos": tokenizer.eos_token,
            "stop_ids": [],
        },
        data=data,
        seed=config.run.seed,
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        device="CPU",
        trust_remote_code=config.model.trust_remote_code,
    )
