"""The model that answers a file of prompts, with what turns prompts into ids and ids into text. Imports torch.

    speaker = load_speaker(found, config.model, scratch, with_prompt=True, device=…, dtype=…)
    speaker.ids(messages)                              in its chat template, or, without one, the text as it is

Base, chain and adapter are merged before anything is asked, as a training stage merges what it starts from.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from core.configs.predict import Answering
from core.data.dialogue import Message
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer, stop_ids_of
from core.errors import ModelError
from core.models.answering import Answerer
from core.models.backbone import load_backbone
from core.models.convert import take_adapter
from core.models.families import context_length, read_config, text_config
from core.models.hashes import backbone_id, combined_sha256, weight_hashes
from core.models.parents import Parent
from core.records import RootBase

CPU_BYTES = 1 << 30  # of keys and values that a batch may hold in main memory
CPU_TOKENS = 16384  # more at once are no faster there (docs/lab.md)
GPU_SHARE = 0.5  # of the free memory, for the same; the rest is for activations and scores
GPU_TOKENS = 1 << 16  # reading so many at once takes memory of its own
FEWEST = 1024


@dataclass(frozen=True)
class Speaker:
    """`encoder` is None where lines are texts to go on with. `weights`: the hash of all that was put together."""

    model: PreTrainedModel
    tokenizer: Any
    encoder: Encoder | None
    stop_ids: tuple[int, ...]
    context: int | None
    weights: str
    adapters: tuple[str, ...] = ()

    @property
    def template(self) -> str:
        return self.encoder.template_name if self.encoder is not None else ""

    def ids(self, messages: list[Message]) -> list[int]:
        """Raises ModelError `predict.raw_turns`, or as `Encoder.prompt_ids`."""
        if self.encoder is not None:
            return self.encoder.prompt_ids(messages)
        if len(messages) != 1:
            raise ModelError("predict.raw_turns")
        found: list[int] = self.tokenizer(messages[0]["content"])["input_ids"]
        return found

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`; control tokens are left out, nothing else is changed."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def text(self, ids: list[int]) -> tuple[str, bool]:
        """The text of an answer, and whether it ended by itself. A text that was gone on with keeps its blanks."""
        ended = bool(ids) and ids[-1] in self.stop_ids
        text = self.decode(ids[:-1] if ended else ids)
        return (text if self.encoder is None else text.strip()), ended

    def tokens_at_once(self) -> int:
        """Tokens of a batch, prompts and answers, whose keys and values fit."""
        each = key_value_bytes(self.model)
        if self.model.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.model.device)
            return max(FEWEST, min(GPU_TOKENS, int(free * GPU_SHARE) // each))
        return max(FEWEST, min(CPU_TOKENS, CPU_BYTES // each))


def key_value_bytes(model: PreTrainedModel) -> int:
    """Bytes that a token takes in the cache."""
    config = text_config(model.config.to_dict())
    heads = int(config.get("num_attention_heads") or 1)
    width = int(config.get("head_dim") or int(config.get("hidden_size") or 1) // heads)
    layers = int(config.get("num_hidden_layers") or config.get("num_layers") or 1)
    return 2 * layers * int(config.get("num_key_value_heads") or heads) * width * model.dtype.itemsize


def load_speaker(
    found: Answerer, settings: Answering, scratch: Path, *, with_prompt: bool, device: str, dtype: torch.dtype
) -> Speaker:
    """`scratch`: a folder for a moment, where an adapter of another program is rewritten.

    Raises ModelError: as `take_adapter` for an adapter that does not fit the base, `predict.large_tokenizer`, and
    whatever keeps a model, a tokenizer or a template from being used.
    """
    trusted = settings.trust_remote_code
    try:
        parent, own, weights = _put_together(found, scratch)
        folder = Path(settings.tokenizer) if settings.tokenizer else own
        tokenizer = load_tokenizer(folder, trust_remote_code=trusted)
        encoder = None
        if with_prompt:
            encoder = Encoder(tokenizer, template=settings.template or parent.template)
        model = load_backbone(parent, dtype=dtype, device=device, trust_remote_code=trusted)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError("predict.large_tokenizer", path=str(folder), tokens=len(tokenizer), rows=rows)
    model.requires_grad_(False)
    root = found.parent.folder
    stops = {*(encoder.stop_ids if encoder is not None else ()), *stop_ids_of(root)}
    if tokenizer.eos_token_id is not None:
        stops.add(int(tokenizer.eos_token_id))
    runs = [link.run for link in found.parent.chain]
    return Speaker(
        model=model,
        tokenizer=tokenizer,
        encoder=encoder,
        stop_ids=tuple(sorted(stops)),
        context=context_length(read_config(root)),
        weights=weights,
        adapters=tuple(runs if found.adapter is None else [*runs, found.name]),
    )


def _put_together(found: Answerer, scratch: Path) -> tuple[Parent, Path, str]:
    """What is merged, where its tokenizer lies, and the hash of all of its weights."""
    weights = backbone_id(found.parent.root.weights, found.parent.chain)
    if found.adapter is None:
        return found.parent, found.tokenizer, weights
    shutil.rmtree(scratch, ignore_errors=True)
    facts = take_adapter(found.adapter, scratch, found.parent.folder)
    if facts["reward"]:
        raise ModelError("parent.scores_only", run=found.name)
    place = scratch / facts["place"]
    weights = f"{weights}+{combined_sha256(weight_hashes(place))}"
    if facts["whole"]:  # it holds embeddings of its own
        return Parent(RootBase(source=found.name, path=str(place)), template=found.parent.template), place, weights
    return replace(found.parent, adapters=(*found.parent.adapters, place)), place, weights
