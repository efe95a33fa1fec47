"""The models a server holds: the base once, every adapter over the same weights, whole models beside it. Imports torch.

An adapter gets a copy of the base's *structure* whose parameters are the base's own tensors, and PEFT is attached to
that copy. So there is nothing to switch on or off between two tokens, the base computes exactly what it would alone,
and an adapter costs its own few megabytes.
"""

from __future__ import annotations

import copy
import inspect
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.errors import InputError, ModelError
from core.models.chain import concatenate
from core.models.families import context_length, read_config, stop_tokens, template_for
from core.models.lineage import RunWeights, check_same_base, combined_sha256
from core.models.loading import load_model
from core.models.weights import has_tokenizer

BASE = "base"  # the name that requests use for the untouched base


@dataclass
class Served:
    """One name that requests may use. `provenance`: base, base_sha256, adapter, adapter_sha256, dtype, device.

    `options` are passed to every forward; `context` is the number of tokens that fit, None where the config is silent.
    """

    name: str
    model: Any
    encoder: Encoder
    tokenizer: Any
    device: str
    context: int | None
    provenance: dict[str, Any]
    stop_ids: frozenset[int]
    options: dict[str, int]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; control tokens are left out, nothing else is changed."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


class Registry:
    """Loads and names models. `label` is what the base is called in provenance."""

    def __init__(
        self,
        base: RunWeights,
        *,
        dtype: torch.dtype,
        device: str,
        shown_device: str = "",
        trust_remote_code: bool = False,
    ) -> None:
        """`base` holds the folder (`model`) and the hashes of its files; `device` is torch's name of the device, and
        `shown_device` the one that users know it by. Raises as `load_model`.
        """
        assert base.model is not None
        self.base = base
        self._dtype, self._device, self._trusted = dtype, device, trust_remote_code
        self._shown_device = shown_device or device
        self._lock = threading.Lock()
        self._aliases: dict[str, str] = {}
        self._model = self._load(base.model)
        self._served = {BASE: self._serve(BASE, self._model, base.model, base, None)}

    def __iter__(self) -> Any:
        return iter(list(self._served.values()))

    def __getitem__(self, name: str) -> Served:
        """Raises InputError `serve.unknown_model`."""
        found = self._served.get(self._aliases.get(name, name))
        if found is None:
            raise InputError("serve.unknown_model", model=name, known=", ".join(self._served))
        return found

    def add(self, weights: RunWeights, alias: str | None = None) -> Served:
        """Load an adapter of this base, or a whole model, under its label; again if its files have changed since.

        `alias` is what a user called it: requests may use that name, too.

        Raises ModelError `model.adapter_other_base`, `model.adapter_mismatch`, or as `load_model`.
        """
        assert self.base.model is not None
        check_same_base(weights, self.base.model, self.base.weights)
        with self._lock:
            present = self._served.get(weights.label)
            if present is not None:
                loaded = present.provenance["adapter_sha256"] or present.provenance["base_sha256"]
                if weights.sha256 == loaded:
                    self._aliases[alias or weights.label] = weights.label
                    return present
            if weights.adapter is not None:
                model = self._attach(weights, weights.adapter)
                folder = weights.adapter if has_tokenizer(weights.adapter) else self.base.model
                served = self._serve(weights.label, model, folder, self.base, weights)
            else:
                assert weights.model is not None
                folder = weights.model if has_tokenizer(weights.model) else self.base.model
                served = self._serve(weights.label, self._load(weights.model), folder, weights, None)
            self._served[weights.label] = served
            self._aliases[alias or weights.label] = weights.label
            return served

    def _load(self, folder: Path) -> PreTrainedModel:
        return load_model(folder, dtype=self._dtype, device=self._device, trust_remote_code=self._trusted)

    def _attach(self, weights: RunWeights, folder: Path) -> PeftModel:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                # Left to itself, PEFT reads the file onto the first GPU, whatever device the model is on.
                with _whole_chain(weights, folder) as place:
                    model = PeftModel.from_pretrained(
                        share(self._model), str(place), is_trainable=False, torch_device=str(self._model.device)
                    )
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                detail = str(error).strip().splitlines()[-1].strip()
                raise self._mismatch(weights, detail) from error
        # PEFT only warns where an adapter has no weights for a layer, and leaves random ones there.
        missing = [str(warning.message) for warning in said if "missing adapter keys" in str(warning.message)]
        if missing:
            raise self._mismatch(weights, missing[0].splitlines()[0][:200])
        return model.eval()

    def _mismatch(self, weights: RunWeights, detail: str) -> ModelError:
        return ModelError("model.adapter_mismatch", adapter=weights.label, base=self.base.label, detail=detail)

    def _serve(
        self, name: str, model: Any, tokenizer_folder: Path, base: RunWeights, adapter: RunWeights | None
    ) -> Served:
        tokenizer = load_tokenizer(tokenizer_folder, trust_remote_code=self._trusted)
        folder = base.model
        assert folder is not None
        config = read_config(folder)
        encoder = encoder_for(tokenizer, (adapter or base).template, fallback=template_for(config))
        return Served(
            name=name,
            model=model,
            encoder=encoder,
            tokenizer=tokenizer,
            device=str(next(model.parameters()).device),
            context=context_length(config),
            stop_ids=frozenset(encoder.stop_ids) | generation_stops(model) | family_stops(config, tokenizer),
            options=last_logits_only(model),
            provenance={
                "base": base.label,
                "base_sha256": combined_sha256(base.weights),
                "adapter": adapter.label if adapter else None,
                "adapter_sha256": adapter.sha256 if adapter else None,
                "dtype": str(self._dtype).removeprefix("torch."),
                "device": self._shown_device,
            },
        )


@contextmanager
def _whole_chain(weights: RunWeights, folder: Path) -> Iterator[Path]:
    """The adapter to lay on the root: `folder`, or where others lie beneath it, all of them as one, for the moment."""
    if not weights.below:
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        concatenate([*weights.below, folder], Path(place), base=str(weights.base))
        yield Path(place)


def encoder_for(tokenizer: Any, template: str | None = None, *, fallback: str = "chatml") -> Encoder:
    """With the named `template`, else the tokenizer's own; `fallback` for a base model that was never taught one."""
    try:
        return Encoder(tokenizer, template=template)
    except ModelError as error:
        if error.code != "model.no_template":
            raise
        return Encoder(tokenizer, template=fallback)


def share(model: PreTrainedModel) -> PreTrainedModel:
    """A second module tree over the same tensors: what is attached to one is not seen by the other."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def last_logits_only(model: Any) -> dict[str, int]:
    """The option that spares the head all positions but the last, for models that have it."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(inner.forward).parameters else {}


def family_stops(config: dict[str, Any], tokenizer: Any) -> frozenset[int]:
    """The end tokens of the model's family that this tokenizer has as tokens of their own."""
    known = set(stop_tokens(config))
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(number for number, token in added if token.special and token.content in known)


def generation_stops(model: Any) -> frozenset[int]:
    """The stop tokens of the model's generation config."""
    eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return frozenset([eos] if isinstance(eos, int) else eos or [])
