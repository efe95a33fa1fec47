"""Which words, characters or pieces a vocabulary should gain: from a list, or learnt from texts. Torch-free.

Only runs of letters are looked at: of Chinese and of other scripts that put no blanks between words, or of the rest,
with the blank before them (" fever"), because that is how tokenizers cut texts. What is worth most comes first: how
often it occurs × the tokens it saves.

    characters  single characters that the tokenizer cuts
    words       these, and: of Chinese, what a byte-pair encoding of the characters keeps using; of other scripts, words
    pieces      the merges by which the tokenizer's own training would have gone on
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import regex

from core.errors import InputError

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"  # scripts without blanks
RUNS = regex.compile(rf"{_UNSPACED}+| ?(?:(?!{_UNSPACED})[\p{{L}}\p{{M}}])+")
UNSPACED = regex.compile(_UNSPACED)
PRIVATE = 0x10000  # where token numbers begin to stand for characters, for a trainer that knows only texts
MAX_COUNT = 1000  # of one run, in what the trainer is given: it is told frequencies by repetition

Cost = Callable[[str], int]  # a text → how many tokens it takes


@dataclass(frozen=True)
class Unit:
    """A text that is to become one token. `count` is how often it occurs, 0 where nobody counted."""

    text: str
    count: int = 0


@dataclass
class WordList:
    """What a file holds: its words in order, each once, and how many lines were blank or double."""

    words: list[str] = field(default_factory=list)
    blank: int = 0
    double: int = 0


def read_list(path: Path) -> WordList:
    """One word a line, UTF-8. Raises InputError `vocabulary.list_missing`, `vocabulary.list_not_text` and
    `vocabulary.list_empty`."""
    found = WordList()
    seen: set[str] = set()
    try:
        with open(path, encoding="utf-8-sig") as file:
            for line in file:
                word = line.strip()
                if not word:
                    found.blank += 1
                elif word in seen:
                    found.double += 1
                else:
                    seen.add(word)
                    found.words.append(word)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError("vocabulary.list_missing", path=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError("vocabulary.list_not_text", path=str(path)) from error
    if not found.words:
        raise InputError("vocabulary.list_empty", path=str(path))
    return found


def as_units(words: Iterable[str]) -> list[Unit]:
    """Words of a list as they stand in running text: with a blank before them where their script has blanks."""
    return [Unit(word if UNSPACED.search(word) or not word[0].isalpha() else f" {word}") for word in words]


def runs_of(texts: Iterable[str]) -> Counter[str]:
    """Every run of letters with how often it occurs. Line breaks part runs; leading blanks count as one."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(RUNS.findall(text))
    return found


# -- learning ---------------------------------------------------------------------------------------------------------
def learn_characters(runs: Counter[str], cost: Cost, *, min_count: int) -> list[Unit]:
    """Characters that take several tokens, the most valuable first."""
    counts: Counter[str] = Counter()
    for run, count in runs.items():
        for char in run.strip():
            counts[char] += count
    return _by_worth((Unit(char, count) for char, count in counts.items() if count >= min_count), cost)


def learn_words(runs: Counter[str], cost: Cost, *, min_count: int, max_length: int, size: int) -> list[Unit]:
    """Characters and words of at most `max_length` characters, the most valuable first."""
    unspaced = Counter({run: count for run, count in runs.items() if UNSPACED.match(run)})
    found = _unspaced_words(unspaced, max_length, size)
    words = [Unit(word, count) for word, count in found.items() if count >= min_count]
    words += [
        Unit(run, count)
        for run, count in runs.items()
        if run not in unspaced and count >= min_count and 1 < len(run.strip()) <= max_length
    ]
    characters = learn_characters(runs, cost, min_count=min_count)
    return _by_worth({unit.text: unit for unit in (*characters, *words)}.values(), cost)


def _unspaced_words(runs: Counter[str], max_length: int, size: int) -> Counter[str]:
    """What a byte-pair encoding of characters, trained on `runs`, cuts them into, with counts. A piece that is nearly
    always part of a longer one (尿病 of 糖尿病) is hardly ever used, so its count is small."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if not runs:
        return Counter()
    alphabet = len({char for run in runs for char in run})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=alphabet + 4 * size, min_frequency=2, max_token_length=max_length, show_progress=False
    )
    tokenizer.train_from_iterator(_repeated(runs), trainer)
    used: Counter[str] = Counter()
    for run, encoding in zip(runs, tokenizer.encode_batch(list(runs)), strict=True):
        for token in encoding.tokens:
            if len(token) > 1:
                used[token] += runs[run]
    return used


def learn_pieces(
    runs: Counter[str], cut: Callable[[str], list[str]], *, min_count: int, size: int, closed: Callable[[str], bool]
) -> list[tuple[str, str]]:
    """The next `size` merges of a byte-pair encoding, as pairs of tokens, in order.

    Old tokens stand as single characters of the private kind in what the trainer sees, so it goes on where the
    tokenizer's own training ended. `closed`: tokens that take part in no merge.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    numbers: dict[str, int] = {}
    mapped: Counter[str] = Counter()
    for run, count in runs.items():
        for barred, tokens in itertools.groupby(cut(run), closed):
            if not barred:
                mapped["".join(chr(PRIVATE + numbers.setdefault(token, len(numbers))) for token in tokens)] += count
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=len(numbers) + size, min_frequency=min_count, show_progress=False)
    tokenizer.train_from_iterator(_repeated(mapped), trainer)
    names = list(numbers)

    def meant(text: str) -> str:
        return "".join(names[ord(char) - PRIVATE] for char in text)

    return [(meant(left), meant(right)) for left, right in _merges(tokenizer)]


def _merges(tokenizer: Any) -> Iterator[tuple[str, str]]:
    for merge in orjson.loads(tokenizer.to_str())["model"]["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        yield left, right


def _repeated(runs: Counter[str]) -> Iterator[str]:
    """Lines in which every run stands as often as it was counted, up to a limit that no decision hangs on."""
    for run, count in runs.items():
        yield from itertools.repeat(run, min(count, MAX_COUNT))


def _by_worth(units: Iterable[Unit], cost: Cost) -> list[Unit]:
    """Those that take several tokens, by the tokens that one would save; equals by their text."""
    worth = {unit: unit.count * (cost(unit.text) - 1) for unit in units}
    chosen = [unit for unit, saved in worth.items() if saved > 0]
    return sorted(chosen, key=lambda unit: (-worth[unit], unit.text))
