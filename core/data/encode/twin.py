"""A tokenizer's Rust backend, and its twin, for rows in which somebody typed a control token.

In the twin the control tokens have other names (and the same ids). The text is rewritten so that those which the
template wrote bear the new names; the typed ones keep the old, which mean nothing here and become ordinary pieces.
Everything else (normalising, prefix blanks, stripping round tokens) stays as in the tokenizer itself, which encoding
piece by piece would not give.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from core.data.encode.marks import any_of
from core.data.encode.templates import Rendered
from core.errors import ModelError

START, END = "\ufdd5\ufdd6"  # round an id they make a name; `marks.clean` keeps them out of texts


def backend_of(tokenizer: Any) -> Any:
    """The Rust tokenizer of a `transformers` one. Raises ModelError `model.slow_tokenizer` where there is none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "encode_batch"):
        name = str(getattr(tokenizer, "name_or_path", ""))
        raise ModelError("model.slow_tokenizer", model=name, found=type(tokenizer).__name__)
    return backend


def unswitch(backend: Any) -> None:
    """Undo what other callers, who share the tokenizer, may have switched on."""
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    if backend.encode_special_tokens:
        backend.encode_special_tokens = False


def definition_of(backend: Any) -> dict[str, Any]:
    """The tokenizer's own JSON, without the padding and truncation that some caller has set."""
    definition: dict[str, Any] = orjson.loads(backend.to_str())
    definition["padding"] = definition["truncation"] = None
    return definition


class Twin:
    """`backend` encodes what `disguise` has rewritten. Raises ModelError where a control token cannot be renamed."""

    def __init__(self, definition: dict[str, Any], backend: Any, control: Iterable[str]) -> None:
        from tokenizers import Tokenizer

        self._names = {token: f"{START}{backend.token_to_id(token)}{END}" for token in control}
        self._pattern = any_of(self._names)
        self.backend = Tokenizer.from_str(orjson.dumps(self._renamed(definition)).decode())
        for token, name in self._names.items():
            if self.backend.token_to_id(name) != backend.token_to_id(token):
                raise ModelError("model.slow_tokenizer", model="", found=f"{token} cannot be renamed")

    def _renamed(self, definition: dict[str, Any]) -> dict[str, Any]:
        names = self._names
        added = [{**one, "content": names.get(one["content"], one["content"])} for one in definition["added_tokens"]]
        model = dict(definition["model"])
        vocabulary = model.get("vocab")
        if isinstance(vocabulary, dict):
            model["vocab"] = {names.get(piece, piece): number for piece, number in vocabulary.items()}
        elif isinstance(vocabulary, list):  # Unigram
            model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
        return {**definition, "added_tokens": added, "model": model, "post_processor": None}

    def disguise(self, rendered: Rendered) -> Rendered:
        """The same conversation as this tokenizer wants it; positions move along."""
        pieces: list[str] = []
        shifts: list[tuple[int, int]] = []
        done = 0
        for match in self._pattern.finditer(rendered.text):
            if any(start <= match.start() < end for start, end in rendered.typed):
                continue
            name = self._names[match.group()]
            pieces += [rendered.text[done : match.start()], name]
            done = match.end()
            shifts.append((match.end(), len(name) - len(match.group())))
        pieces.append(rendered.text[done:])

        def moved(place: int) -> int:
            return place + sum(shift for end, shift in shifts if end <= place)

        answers = tuple((moved(start), moved(end)) for start, end in rendered.answers)
        return Rendered("".join(pieces), answers, rendered.exact, rendered.typed, rendered.closed)
