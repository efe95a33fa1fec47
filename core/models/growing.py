"""New tokens in the model of a tokenizer: entries and merges of BPE, entries and scores of Unigram. Torch-free.

    grown = grow(backend, units, size=2000)      words and characters that are to become one token each
    grown = grow_merges(backend, merges, size)   merges that go on where the tokenizer's own end

They become ordinary tokens, not "added" ones: an added token is cut out of a text before anything else is done with it,
inside other words, too, and a tokenizer of the SentencePiece kind would put a blank after it. Old merges keep their
order and come first, so a text is cut as before and only then put together further; tokens of before keep their ids.

A unit of several old tokens needs merges for what lies between (糖尿 on the way to 糖尿病): these parts become tokens,
too. A unit that still is several tokens in the end (the tokenizer cuts the text there before the model sees it) is
told in `failed`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from core.data.encode.twin import definition_of
from core.errors import ModelError

Kind = Literal["byte-level", "sentencepiece", "unigram"]
ROUNDS = 8  # of checking and mending: one unit's merges may come before another's and change what it is made of
UNKNOWN_PENALTY = 10.0  # what Unigram itself takes off its worst score for an unknown character


def _byte_names() -> dict[int, str]:
    """Byte → the character that stands for it in byte-level vocabularies (GPT-2's table)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    other = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + number) for number, byte in enumerate(other)}


BYTE_NAMES = _byte_names()
BYTES = {name: byte for byte, name in BYTE_NAMES.items()}
BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


@dataclass
class Grown:
    """`definition` is the new tokenizer.json. `pieces`: each new id → the ids it was made of before.

    `made`: the units that are one token now. `parts`: how many new tokens only lead to them. `failed`: units that are
    still several tokens; `left`: units for which there was no room.
    """

    definition: dict[str, Any]
    pieces: dict[int, list[int]] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def parts(self) -> int:
        return len(self.pieces) - len(self.made)


class Cutter:
    """How a tokenizer's model sees a text, and cuts it, apart from what is done to whole texts before that.

    Raises ModelError `vocabulary.kind` for models that are neither BPE nor Unigram, or mark words in their own way.
    """

    def __init__(self, backend: Any) -> None:
        self.definition = definition_of(backend)
        self.model = backend.model
        self._normalizer, self._splitter = backend.normalizer, backend.pre_tokenizer
        self._control = {str(token["content"]) for token in self.definition["added_tokens"]}
        self.kind = _kind_of(self.definition)
        model = self.definition["model"]
        self.unknown: str | None = model["vocab"][model["unk_id"]][0] if model.get("unk_id") else model.get("unk_token")

    def name(self, text: str) -> str:
        """`text` as the vocabulary spells it."""
        if self.kind == "byte-level":
            normal = self._normalizer.normalize_str(text) if self._normalizer is not None else text
            return "".join(BYTE_NAMES[byte] for byte in normal.encode())
        return text.replace(" ", "▁")

    def cut(self, text: str) -> list[str]:
        return _cut(self.model, self.name(text))

    def whole(self, text: str) -> bool:
        """Whether `text` reaches the model in one piece: no token goes beyond where the tokenizer splits texts."""
        normal = self._normalizer.normalize_str(text) if self._normalizer is not None else text
        return self._splitter is None or len(self._splitter.pre_tokenize_str(normal)) == 1

    def cost(self, text: str) -> int:
        """How many tokens `text` takes; one that the vocabulary does not know is worth no less than two."""
        return sum(2 if token == self.unknown else 1 for token in self.cut(text))

    def knows(self, text: str) -> bool:
        """Whether `text` is one token already."""
        return self.cut(text) == [self.name(text)]

    def text(self, name: str) -> str:
        """The text that a token stands for; a torn character is shown as U+FFFD."""
        if self.kind != "byte-level":
            return name.replace("▁", " ")
        return bytes(BYTES[char] for char in name).decode(errors="replace")

    def length(self, name: str) -> int:
        """Characters of a token, without the blank before it."""
        return len(self.text(name).removeprefix(" "))

    def closed(self, token: str) -> bool:
        """Whether a token stands for no text of its own: a byte of what the vocabulary lacks, or a control token."""
        return bool(BYTE_PIECE.fullmatch(token)) or token in self._control


def _kind_of(definition: dict[str, Any]) -> Kind:
    model = definition["model"]
    name = str(model.get("type") or "?")
    if name == "Unigram":
        return "unigram"
    if name != "BPE" or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise ModelError("vocabulary.kind", found=name)
    whole = orjson.dumps([definition.get("pre_tokenizer"), definition.get("decoder")])
    return "byte-level" if b'"ByteLevel"' in whole else "sentencepiece"


def grow(backend: Any, units: Sequence[str], size: int) -> Grown:
    """`backend` with `units` as tokens, the first ones first, `size` new tokens at most. Raises as `Cutter`."""
    cutter = Cutter(backend)
    whole = [unit for unit in units if cutter.whole(unit)]
    grown = (_Unigram if cutter.kind == "unigram" else _Merging)(cutter).grow(whole, size)
    grown.failed += [unit for unit in units if not cutter.whole(unit)]
    return grown


def grow_merges(backend: Any, merges: Iterable[tuple[str, str]], size: int, max_length: int) -> Grown:
    """`backend` with further merges, in order, `size` new tokens at most, each of `max_length` characters at most.

    Raises as `Cutter`, and ModelError `vocabulary.no_merges` for Unigram.
    """
    cutter = Cutter(backend)
    if cutter.kind == "unigram":
        raise ModelError("vocabulary.no_merges")
    merging = _Merging(cutter)
    for left, right in merges:
        if len(merging.pieces) < size and cutter.length(left + right) <= max_length:
            merging.join(left, right)  # does nothing where one of the two was too long itself
    return merging.result(made=[cutter.text(name) for name in merging.names.values()])


def both(first: Grown, second: Grown) -> Grown:
    """What was grown in two steps, the second from the first one's result, as one."""
    later = {
        number: [old for each in pieces for old in first.pieces.get(each, [each])]
        for number, pieces in second.pieces.items()
    }
    made, failed, left = ([*a, *b] for a, b in zip(*((g.made, g.failed, g.left) for g in (first, second)), strict=True))
    return Grown(second.definition, {**first.pieces, **later}, made, failed, left)


class _Merging:
    """A BPE that grows. `vocabulary`: name → id; `pieces`: new id → old ids; `names`: new id → name."""

    def __init__(self, cutter: Cutter) -> None:
        self.cutter = cutter
        self.definition = cutter.definition
        model = self.definition["model"]
        self.vocabulary: dict[str, int] = model["vocab"]
        for token in self.definition["added_tokens"]:  # what stands beside the vocabulary would be numbered anew
            self.vocabulary.setdefault(token["content"], token["id"])
        self.old = dict(self.vocabulary)
        self.merges: list[Any] = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        self.known = {(left, right) for left, right in self.merges}
        self.pieces: dict[int, list[int]] = {}
        self.names: dict[int, str] = {}
        self.next = max(self.vocabulary.values(), default=-1) + 1

    def grow(self, units: Sequence[str], size: int) -> Grown:
        wanted = {unit: self.cutter.name(unit) for unit in units}
        left: list[str] = []
        if self.cutter.kind == "sentencepiece":
            wanted = self._spell_all(wanted, size, left)
        for _ in range(ROUNDS):
            model = self._model()
            open_ = [unit for unit, name in wanted.items() if len(_cut(model, name)) > 1]
            before = len(self.merges)
            for unit in open_:
                if unit not in left and not self._fold(_cut(model, wanted[unit]), size, unit):
                    left.append(unit)
            if len(self.merges) == before:
                break
        model = self._model()
        one = {unit for unit, name in wanted.items() if _cut(model, name) == [name]}
        made = [unit for unit in wanted if unit in one and self.vocabulary[wanted[unit]] in self.pieces]
        failed = [unit for unit in wanted if unit not in one and unit not in left]
        return self.result(made, failed, left)

    def _spell_all(self, wanted: dict[str, str], size: int, left: list[str]) -> dict[str, str]:
        """Every character of the units as a token: merges begin with characters here, not with bytes."""
        kept = {}
        for unit, name in wanted.items():
            missing = [char for char in dict.fromkeys(name) if char not in self.vocabulary]
            if len(self.pieces) + len(missing) > size:
                left.append(unit)
                continue
            for char in missing:
                tokens = _cut(self.cutter.model, char)
                old = [self.old[token] for token in tokens if token in self.old and token != self.cutter.unknown]
                self._enter(char, old)
            kept[unit] = name
        return kept

    def _fold(self, tokens: list[str], size: int, unit: str) -> bool:
        """Merges that make one of `tokens`: within its characters first, then from whichever end takes fewer new
        tokens. Whether there was room."""
        groups = self._characters(tokens, unit)
        chars = ["".join(group) for group in groups]
        within = [pair for group in groups for pair in _chain(group)]
        ways = [[*within, *_chain(chars)], [*within, *_chain(chars, backwards=True)]]
        pairs = min(ways, key=lambda way: len(self._new_in(way)))
        if len(self.pieces) + len(self._new_in(pairs)) > size:
            return False
        for first, second in pairs:
            self.join(first, second)
        return True

    def _characters(self, tokens: list[str], unit: str) -> list[list[str]]:
        """`tokens` by the characters of `unit` that they make up; one group of all where a token crosses a border."""
        if self.cutter.kind != "byte-level":
            return [[token] for token in tokens]
        ends = set(itertools.accumulate(len(self.cutter.name(char)) for char in unit))
        groups: list[list[str]] = [[]]
        place = 0
        for token in tokens:
            groups[-1].append(token)
            place += len(token)
            if place in ends:
                groups.append([])
        return groups[:-1] if not groups[-1] else [[token] for token in tokens]

    def _new_in(self, pairs: list[tuple[str, str]]) -> set[str]:
        return {first + second for first, second in pairs} - self.vocabulary.keys()

    def join(self, first: str, second: str) -> None:
        """The merge of two tokens, and the token that it makes."""
        if (first, second) in self.known or first not in self.vocabulary or second not in self.vocabulary:
            return
        if first + second not in self.vocabulary:
            self._enter(first + second, [*self._made_of(first), *self._made_of(second)])
        self.known.add((first, second))
        self.merges.append([first, second])

    def _made_of(self, token: str) -> list[int]:
        number = self.vocabulary[token]
        return self.pieces.get(number, [number])

    def _enter(self, name: str, pieces: list[int]) -> None:
        self.vocabulary[name] = self.next
        self.pieces[self.next], self.names[self.next] = pieces, name
        self.next += 1

    def _model(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(orjson.dumps(self._definition()).decode()).model

    def _definition(self) -> dict[str, Any]:
        model = {**self.definition["model"], "vocab": self.vocabulary, "merges": self.merges}
        return {**self.definition, "model": model}

    def result(self, made: list[str], failed: Sequence[str] = (), left: Sequence[str] = ()) -> Grown:
        return Grown(self._definition(), self.pieces, made, list(failed), list(left))


def _chain(tokens: Sequence[str], *, backwards: bool = False) -> list[tuple[str, str]]:
    """The pairs that put `tokens` together one after another, from the first on or from the last."""
    if backwards:
        ends = itertools.accumulate(reversed(tokens), lambda whole, token: token + whole)
        return list(zip(list(tokens)[-2::-1], ends, strict=False))
    starts = itertools.accumulate(tokens)
    return list(zip(starts, tokens[1:], strict=False))


class _Unigram:
    """A Unigram that grows. A new entry is as likely as its old pieces are on average, and so more than all of them."""

    def __init__(self, cutter: Cutter) -> None:
        self.cutter = cutter
        self.definition = cutter.definition
        self.entries: list[list[Any]] = [list(entry) for entry in self.definition["model"]["vocab"]]
        self.worst = min((score for _, score in self.entries), default=0.0)
        beside = {token["id"]: token["content"] for token in self.definition["added_tokens"]}
        while len(self.entries) in beside:  # an entry's number is its place: what stands beside the vocabulary comes in
            self.entries.append([beside[len(self.entries)], self.worst - UNKNOWN_PENALTY])
        self.places = {name: place for place, (name, _) in enumerate(self.entries)}

    def grow(self, units: Sequence[str], size: int) -> Grown:
        pieces: dict[int, list[int]] = {}
        wanted = {unit: self.cutter.name(unit) for unit in units}
        known = set(self.places)
        left = []
        for unit, name in wanted.items():
            if name in self.places:
                continue
            if len(pieces) >= size:
                left.append(unit)
                continue
            tokens = _cut(self.cutter.model, name)
            old = [self.places[token] for token in tokens if token in known and token != self.cutter.unknown]
            scores = [self.entries[place][1] for place in old] or [self.worst]
            self.places[name] = len(self.entries)
            pieces[len(self.entries)] = old
            self.entries.append([name, sum(scores) / len(scores)])
        definition = {**self.definition, "model": {**self.definition["model"], "vocab": self.entries}}
        from tokenizers import Tokenizer

        model = Tokenizer.from_str(orjson.dumps(definition).decode()).model
        one = {unit for unit, name in wanted.items() if _cut(model, name) == [name]}
        made = [unit for unit, name in wanted.items() if unit in one and self.places[name] in pieces]
        failed = [unit for unit in wanted if unit not in one and unit not in left]
        return Grown(definition, pieces, made, failed, left)


def _cut(model: Any, name: str) -> list[str]:
    return [token.value for token in model.tokenize(name)]
