"""The models a server holds: the base once, plain LoRA adapters over it, everything else beside it. Imports torch.

Plain LoRA of this base lies on the base's own body (`core.serving.adapters`), so that base and adapters are computed in
one batch and an adapter costs its own few megabytes. What is more than that (DoRA, trained embeddings) gets a copy of
the base's *structure* whose parameters are the base's own tensors, with PEFT attached to it; a whole model is loaded.
A reward model is held to score with, not to talk to.
"""

from __future__ import annotations

import copy
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.errors import InputError, ModelError
from core.models.chain import Factors
from core.models.families import context_length, read_config, stop_tokens, template_for, writes_text
from core.models.lineage import RunWeights, check_same_base, combined_sha256
from core.models.loading import load_model
from core.models.weights import ADAPTER_CONFIG, has_tokenizer
from core.rundir import read_json
from core.serving.adapters import Adapters, read_factors
from core.serving.attention import take_over
from core.serving.body import Body
from core.serving.packed import pack_weights
from core.serving.scoring import Scorer, last_hidden
from core.training.heads import read_head
from core.training.judges import load_classifier

BASE = "base"  # the name that requests use for the untouched base
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """One name that requests may use. `provenance`: base, base_sha256, adapter, adapter_sha256, dtype, device.

    adapter: its name on the body, None for the body alone. context: the number of tokens that fit, None where the
    config is silent. stop_ids: the tokens that end an answer whatever the template.
    """

    name: str
    body: Body
    adapter: str | None
    encoder: Encoder
    tokenizer: Any
    context: int | None
    provenance: dict[str, Any]
    own_stops: frozenset[int]

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        return self.own_stops | frozenset(self.encoder.stop_ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; control tokens are left out, nothing else is changed."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def with_template(self, name: str | None) -> Served:
        """The same with the named chat template, or itself for None. Raises ModelError `model.unknown_template`."""
        return self if name is None else replace(self, encoder=Encoder(self.tokenizer, template=name))


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
        """`base` holds the folder (`model`) and the hashes of its files; `device` is torch's name of the device, `cuda`
        for all that are visible, and `shown_device` the one that users know it by. Raises as `load_model`.
        """
        assert base.model is not None
        self.base = base
        self._dtype, self._device, self._trusted = dtype, device, trust_remote_code
        self._shown_device = shown_device or device
        self._lock = threading.Lock()
        self._aliases: dict[str, str] = {}
        self._model = self._load(base.model)
        twin = share(self._model)  # its layers are packed and hooked; the model itself is what PEFT attaches to
        self._adapters = Adapters(twin)
        self._body = Body(fast(twin), self._adapters)
        self._served: dict[str, Served | Scorer] = {BASE: self._serve(BASE, self._body, None, base.model, base, None)}

    def __iter__(self) -> Iterator[Served | Scorer]:
        return iter(list(self._served.values()))

    def __getitem__(self, name: str) -> Served:
        """Raises InputError `serve.unknown_model`, `serve.only_scores`."""
        found = self._find(name)
        if isinstance(found, Scorer):
            raise InputError("serve.only_scores", model=name)
        return found

    def scorer(self, name: str) -> Scorer:
        """Raises InputError `serve.unknown_model`, `serve.scores_nothing`."""
        found = self._find(name)
        if isinstance(found, Served):
            raise InputError("serve.scores_nothing", model=name)
        return found

    def _find(self, name: str) -> Served | Scorer:
        found = self._served.get(self._aliases.get(name, name))
        if found is None:
            raise InputError("serve.unknown_model", model=name, known=", ".join(self._served))
        return found

    # -- loading ------------------------------------------------------------------------------------------------------
    def add(self, weights: RunWeights, alias: str | None = None) -> Served | Scorer:
        """Load an adapter of this base, or a whole model, under its label; again if its files have changed since.

        `alias` is what a user called it: requests may use that name, too.

        Raises ModelError `model.adapter_other_base`, `model.adapter_mismatch`, or as `load_model`.
        """
        assert self.base.model is not None
        check_same_base(weights, self.base.model, self.base.weights)
        with self._lock:
            present = self._served.get(weights.label)
            if present is None or weights.sha256 != _loaded(present):
                made = self._judge(weights) if weights.head is not None else self._writer(weights)
                self._served[weights.label] = present = made
            self._aliases[alias or weights.label] = weights.label
            return present

    def _writer(self, weights: RunWeights) -> Served:
        assert self.base.model is not None
        if weights.adapter is None:
            assert weights.model is not None
            folder = weights.model if has_tokenizer(weights.model) else self.base.model
            body = Body(fast(self._load(weights.model)))
            return self._serve(weights.label, body, None, folder, weights, None)
        folder = weights.adapter if has_tokenizer(weights.adapter) else self.base.model
        name = self._lay(weights, weights.adapter)
        body = self._body if name is not None else Body(self._attach(weights, weights.adapter))
        return self._serve(weights.label, body, name, folder, self.base, weights)

    def _judge(self, weights: RunWeights) -> Scorer:
        """A reward model: an adapter on the base's body with its head, or a model of its own."""
        assert self.base.model is not None
        assert weights.head is not None
        head = read_head(weights.head).float()
        if weights.adapter is not None:
            folder = weights.adapter if has_tokenizer(weights.adapter) else self.base.model
            name = self._lay(weights, weights.adapter)
            if name is None:
                raise self._mismatch(weights, "a reward model that is more than plain LoRA has to be merged first")
            config = read_config(self.base.model)
            hidden = partial(last_hidden, self._body.inner, adapters=self._adapters, name=name)
            provenance = self._provenance(self.base, weights)
        else:
            assert weights.model is not None
            folder, config = weights.model, read_config(weights.model)
            whole = load_model if writes_text(config) else load_classifier
            model = whole(weights.model, dtype=self._dtype, device=self._device, trust_remote_code=self._trusted)
            hidden, provenance = partial(last_hidden, model), self._provenance(weights, None)
        tokenizer = load_tokenizer(folder, trust_remote_code=self._trusted)
        context = context_length(config)
        encoder = encoder_for(tokenizer, weights.template, fallback=template_for(config), max_length=context)
        return Scorer(weights.label, encoder, context, provenance, head, hidden)

    def _load(self, folder: Path) -> PreTrainedModel:
        return load_model(folder, dtype=self._dtype, device=self._device, trust_remote_code=self._trusted)

    def _lay(self, weights: RunWeights, folder: Path) -> str | None:
        """Put plain LoRA on the base's body; returns its name there, None where it is more than that.

        Raises ModelError `model.adapter_mismatch` where it does not fit.
        """
        try:
            factors = read_factors([*weights.below, folder])
        except ModelError as error:
            if error.code != "chain.not_plain":
                raise self._mismatch(weights, str(error.params["detail"])) from error
            log.info("%s is computed apart: %s", weights.label, error)
            return None
        missing = _left_out(self._model, read_json(folder / ADAPTER_CONFIG) or {}, factors)
        if missing:
            raise self._mismatch(weights, f"it has nothing for {missing}")
        name = f"{weights.label} {weights.sha256[:12]}"  # requests under way keep the weights that they began with
        try:
            self._adapters.add(name, factors)
        except ValueError as error:
            raise self._mismatch(weights, str(error)) from error
        return name

    def _attach(self, weights: RunWeights, folder: Path) -> PeftModel:
        """PEFT's own model, over the base's tensors."""
        if weights.below:
            raise self._mismatch(weights, "a chain with something else than plain LoRA in it has to be merged first")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                # Left to itself, PEFT reads the file onto the first GPU, whatever device the model is on.
                model = PeftModel.from_pretrained(
                    share(self._model), str(folder), is_trainable=False, torch_device=str(self._model.device)
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

    # -- naming -------------------------------------------------------------------------------------------------------
    def _serve(
        self,
        name: str,
        body: Body,
        adapter: str | None,
        tokenizer_folder: Path,
        base: RunWeights,
        weights: RunWeights | None,
    ) -> Served:
        tokenizer = load_tokenizer(tokenizer_folder, trust_remote_code=self._trusted)
        assert base.model is not None
        config = read_config(base.model)
        return Served(
            name=name,
            body=body,
            adapter=adapter,
            encoder=encoder_for(tokenizer, (weights or base).template, fallback=template_for(config)),
            tokenizer=tokenizer,
            context=context_length(config),
            own_stops=generation_stops(body.model) | family_stops(config, tokenizer),
            provenance=self._provenance(base, weights),
        )

    def _provenance(self, base: RunWeights, adapter: RunWeights | None) -> dict[str, Any]:
        return {
            "base": base.label,
            "base_sha256": combined_sha256(base.weights),
            "adapter": adapter.label if adapter else None,
            "adapter_sha256": adapter.sha256 if adapter else None,
            "dtype": str(self._dtype).removeprefix("torch."),
            "device": self._shown_device,
        }


def _loaded(served: Served | Scorer) -> str:
    """The hash of the weights that `served` was made of."""
    return str(served.provenance["adapter_sha256"] or served.provenance["base_sha256"])


def _left_out(model: PreTrainedModel, config: Mapping[str, Any], factors: Mapping[str, Factors]) -> str | None:
    """A layer that the adapter's config names and its file has nothing for: the file is torn, or another's."""
    targets = config.get("target_modules")
    picked = any(config.get(key) for key in ("exclude_modules", "layers_to_transform", "layers_pattern"))
    if not isinstance(targets, list) or picked:
        return None
    ends = tuple(f".{target}" for target in targets)
    layers = (name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D)))
    return next((name for name in layers if f".{name}".endswith(ends) and name not in factors), None)


def encoder_for(
    tokenizer: Any, template: str | None = None, *, fallback: str = "chatml", max_length: int | None = None
) -> Encoder:
    """With the named `template`, else the tokenizer's own; `fallback` for a base model that was never taught one."""
    try:
        return Encoder(tokenizer, max_length=max_length, template=template)
    except ModelError as error:
        if error.code != "model.no_template":
            raise
        return Encoder(tokenizer, max_length=max_length, template=fallback)


def fast(model: PreTrainedModel) -> PreTrainedModel:
    """The same, with what makes few rows quick on a CPU."""
    pack_weights(model)
    take_over(model)
    return model


def share(model: PreTrainedModel) -> PreTrainedModel:
    """A second module tree over the same tensors: what is attached to one is not seen by the other."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def family_stops(config: dict[str, Any], tokenizer: Any) -> frozenset[int]:
    """The end tokens of the model's family that this tokenizer has as tokens of their own."""
    known = set(stop_tokens(config))
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(number for number, token in added if token.special and token.content in known)


def generation_stops(model: Any) -> frozenset[int]:
    """The stop tokens of the model's generation config."""
    eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return frozenset([eos] if isinstance(eos, int) else eos or [])
