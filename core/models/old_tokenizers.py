"""A model folder's tokenizer, made readable for today's libraries: tokenizer.json out of SentencePiece. Torch-free.

    made = convert_tokenizer(folder, target, layout)     True where there was something to make

Beside the file, the old folders hold what was added to its pieces (`added_tokens.json`), which of all tokens begin, end
and pad (`special_tokens_map.json`, tokenizer_config.json), and often a class of their authors, whose few habits a
`Layout` knows. The result is compared with SentencePiece on lines that a tokenizer may stumble over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from core.errors import ModelError
from core.models import ice_text
from core.models.conversions.layout import Layout
from core.models.spm import PROBES, disagreements, find_file, from_sentencepiece, read_proto
from core.rundir import read_json, write_text

ICE_TEXT = "ice_text.model"  # of ChatGLM-6B, whose rules are its own
NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token")
KEPT = ("model_max_length", "padding_side", "chat_template", "clean_up_tokenization_spaces")


def convert_tokenizer(folder: Path, target: Path, layout: Layout | None = None) -> bool:
    """Write tokenizer.json and tokenizer_config.json into `target`, where `folder` has a SentencePiece file only.

    False: there is a tokenizer.json already, or no such file. Raises ModelError `tokenizer.unreadable`,
    `tokenizer.unsupported`, and `tokenizer.differs` where the result is not what SentencePiece does.
    """
    if (folder / ICE_TEXT).is_file():
        ice_text.convert(folder / ICE_TEXT, target)
        return True
    path = find_file(folder)
    if path is None or (folder / "tokenizer.json").is_file():
        return False
    backend = from_sentencepiece(path)
    wrong = disagreements(backend, path, PROBES, most=1)
    if wrong:
        raise ModelError("tokenizer.differs", path=str(path), text=wrong[0].text[:40])
    config = read_json(folder / "tokenizer_config.json") or {}
    special = {**_of_file(path), **_special(read_json(folder / "special_tokens_map.json") or {}), **_special(config)}
    plain = _plain_words(folder, config, set(special.values()))
    _add(backend, path, _added(folder, config), layout.special(folder) if layout else (), plain)
    known = {name: text for name, text in special.items() if backend.token_to_id(text) is not None}
    before = layout.prefix if layout else _bos(config, known)
    _surround(backend, before, known.get("eos_token") if config.get("add_eos_token") else None)
    backend.save(str(target / "tokenizer.json"))
    kept = {key: config[key] for key in KEPT if key in config}
    write_text(
        target / "tokenizer_config.json",
        json.dumps({**kept, **known, "tokenizer_class": "PreTrainedTokenizerFast"}, ensure_ascii=False, indent=2),
    )
    return True


def _of_file(path: Path) -> dict[str, str]:
    """What the SentencePiece file itself calls its special pieces; padding only where it has a piece for it."""
    spec = read_proto(path).trainer_spec
    found = {"bos_token": spec.bos_piece, "eos_token": spec.eos_piece, "unk_token": spec.unk_piece}
    return {**found, **({"pad_token": spec.pad_piece} if spec.pad_id >= 0 else {})}


def _special(config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens that a JSON file names, each as text or as a description of a token."""
    named = {name: config.get(name) for name in NAMES}
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in named.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str) and text}


def _added(folder: Path, config: Mapping[str, Any]) -> dict[int, str]:
    """Tokens beyond the pieces, by id: from added_tokens.json, and from newer configs' `added_tokens_decoder`."""
    older = read_json(folder / "added_tokens.json") or {}
    found = {int(number): str(text) for text, number in older.items()}
    newer = config.get("added_tokens_decoder") or {}
    return {**found, **{int(number): str(token["content"]) for number, token in newer.items()}}


def _plain_words(folder: Path, config: Mapping[str, Any], named: set[str]) -> set[str]:
    """Those of the added tokens that are words of the language, and not signs for the model: they are shown."""
    newer = config.get("added_tokens_decoder") or {}
    told = {str(token["content"]): bool(token.get("special")) for token in newer.values()}
    more = (read_json(folder / "special_tokens_map.json") or {}).get("additional_special_tokens") or []
    signs = named | {str(each.get("content")) if isinstance(each, dict) else str(each) for each in more}
    older = {str(text) for text in read_json(folder / "added_tokens.json") or {}}
    return {text for text in older | set(told) if not told.get(text, text in signs or text[:1] in "<[")}


def _add(backend: Tokenizer, path: Path, added: Mapping[int, str], special: tuple[str, ...], plain: set[str]) -> None:
    """Tokens behind the pieces, with the ids that the checkpoint has for them: `special` in order, else `added`.

    Raises ModelError `tokenizer.unsupported` where an id is not the next one: a row of the embeddings would be another
    token's.
    """
    size = backend.get_vocab_size()
    behind = dict(enumerate(special, start=size)) or {number: text for number, text in added.items() if number >= size}
    for number, text in sorted(behind.items()):
        if number != backend.get_vocab_size():
            detail = f"its added token {text} has the id {number}, and the next one would be {backend.get_vocab_size()}"
            raise ModelError("tokenizer.unsupported", path=str(path), detail=detail)
        backend.add_tokens([AddedToken(text, normalized=False, special=text not in plain)])


def _bos(config: Mapping[str, Any], known: Mapping[str, str]) -> tuple[str, ...]:
    """What stands before every text: `<s>`, as Llama has it, unless the config says that nothing does."""
    return (known["bos_token"],) if config.get("add_bos_token", True) and "bos_token" in known else ()


def _surround(backend: Tokenizer, before: tuple[str, ...], after: str | None) -> None:
    """Put tokens before and after every text."""
    ends = [after] if after else []
    numbers = [(text, backend.token_to_id(text)) for text in [*before, *ends]]
    if numbers:
        single = " ".join([*before, "$A", *ends])
        backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=numbers)
