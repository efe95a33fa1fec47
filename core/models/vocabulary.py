"""The embeddings of a vocabulary that has grown, and how well a tokenizer suits a text. Imports torch only to resize.

A new token's row is the mean of the rows of the tokens that its text was before, in the embeddings and in the head: it
begins as what the model would have seen anyway, where a random row would throw it off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from core.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Other forms of a vocabulary that a folder may hold: they would still be the old one.
STALE = ("vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "added_tokens.json")


def resize(model: PreTrainedModel, pieces: Mapping[int, Sequence[int]]) -> int:
    """Give `model` a row for every new id, the mean of the rows of `pieces`, tied or not. Returns how many rows it has.

    A model may have more rows than its tokenizer has tokens; these are used first. Raises ModelError
    `vocabulary.no_embeddings` for a model whose embeddings cannot be had.
    """
    import torch

    try:
        rows = int(model.get_input_embeddings().weight.shape[0])
        needed = max(pieces) + 1
        if needed > rows:
            model.resize_token_embeddings(needed, mean_resizing=False)
        matrices = [model.get_input_embeddings().weight]
        head = model.get_output_embeddings()
    except (NotImplementedError, AttributeError) as error:
        raise ModelError("vocabulary.no_embeddings", architecture=type(model).__name__) from error
    if head is not None:
        bias = getattr(head, "bias", None)
        parts = [head.weight, *([bias] if bias is not None else [])]
        matrices += [part for part in parts if part.data_ptr() != matrices[0].data_ptr()]
    with torch.no_grad():
        for matrix in matrices:
            middle = matrix[:rows].float().mean(0)
            for number, old in pieces.items():
                matrix[number] = matrix[list(old)].float().mean(0) if old else middle
    return max(rows, needed)


def save_tokenizer(tokenizer: Any, definition: Mapping[str, Any], folder: Path) -> None:
    """The tokenizer with another model in it: its settings as they are, tokenizer.json from `definition`."""
    tokenizer.save_pretrained(str(folder))
    for name in STALE:
        (folder / name).unlink(missing_ok=True)
    (folder / "tokenizer.json").write_bytes(orjson.dumps(definition, option=orjson.OPT_INDENT_2))


def characters_per_token(backend: Any, texts: Iterable[str]) -> float:
    """How many characters of `texts` one token stands for; 0 where there are none."""
    texts = [text for text in texts if text]
    encodings = backend.encode_batch(texts, add_special_tokens=False)
    tokens = sum(len(encoding.ids) for encoding in encodings)
    return sum(map(len, texts)) / tokens if tokens else 0.0
