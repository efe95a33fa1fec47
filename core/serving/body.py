"""One set of weights at work: a forward for rows of any adapters, with a cache. Imports torch.

    body = Body(model, Adapters(model))
    logits = body.forward(ids, rows, state)       [rows, v] after each row's last id, fp32 on the CPU

`joins` says whether rows of unlike length may be computed together. It is found out by doing it: two short rows, apart
and together, must get the same logits. Models that pad otherwise, or keep more than keys and values, are computed a row
at a time.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from core.serving.adapters import Adapters
from core.serving.cache import joined, roomy, select

PROBES = ([11, 12, 13, 14, 15, 16, 17], [18, 19, 20])  # any ids will do: only whether they agree is looked at
EXACT, ROUNDED = 1e-4, 0.05  # of the largest logit, in fp32 and in 16 bits
log = logging.getLogger(__name__)


@dataclass
class State:
    """What rows have been told so far: the model's cache, and a mask [rows, width] where some are padded in front."""

    cache: Any = None
    width: int = 0
    mask: Tensor | None = None

    def full_mask(self, rows: int) -> Tensor:
        return torch.ones(rows, self.width, dtype=torch.long) if self.mask is None else self.mask


class Body:
    """`adapters` None: a model of its own, such as PEFT's with something else than plain LoRA in it.

    Once it serves, one thread alone uses it.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, adapters: Adapters | None = None) -> None:
        self.model = model
        self.adapters = adapters
        self.inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        self.device: torch.device = self.inner.get_input_embeddings().weight.device
        # ChatGLM-6B's prompt attends to what follows, too: read in pieces it would be another one.
        self.reads_whole = bool(getattr(self.inner, "reads_prompts_whole", False))
        takes = inspect.signature(self.inner.forward).parameters
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}  # spares the head all but the last
        self._positions = "position_ids" in takes
        self.joins = False
        self.joins = self._join_rightly()

    def state(self) -> State:
        """Where rows begin."""
        return State(roomy(self.inner) if self.joins else None)

    @torch.inference_mode()
    def forward(self, ids: Sequence[Sequence[int]], rows: Sequence[str | None], state: State) -> Tensor:
        """Logits [rows, v] after the last of each row's ids, equally many of each; `state` grows by them."""
        inputs = torch.tensor(ids, device=self.device)
        state.width += inputs.shape[1]
        options: dict[str, Any] = dict(self._options)
        if state.mask is not None:
            state.mask = F.pad(state.mask, (0, inputs.shape[1]), value=1)
            mask = state.mask.to(self.device)
            options["attention_mask"] = mask
            if self._positions:
                options["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)[:, -inputs.shape[1] :]
        with self._adapters_of(rows):
            output = self.model(input_ids=inputs, past_key_values=state.cache, use_cache=True, **options)
        state.cache = output.past_key_values
        logits: Tensor = output.logits[:, -1]
        return logits.float().cpu()

    def _adapters_of(self, rows: Sequence[str | None]) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.adapters is None else self.adapters.for_rows(rows)

    # -- rows together ------------------------------------------------------------------------------------------------
    @torch.inference_mode()
    def join(self, first: State, rows: int, second: State, more: int) -> State:
        """The state of `rows` rows of `first` and `more` of `second`, which are used up."""
        width = max(first.width, second.width)
        masks = [F.pad(state.full_mask(count), (width - state.width, 0))
                 for state, count in ((first, rows), (second, more))]  # fmt: skip
        mask = torch.cat(masks)
        return State(joined(first.cache, second.cache), width, None if bool(mask.all()) else mask)

    @torch.inference_mode()
    def keep(self, state: State, places: Sequence[int]) -> None:
        """Only the rows at these places stay, and no column that pads all of them."""
        if state.mask is None:
            select(state.cache, places, 0)
            return
        mask = state.mask[list(places)]
        skip = int(mask.any(0).long().argmax())
        select(state.cache, places, skip)
        mask = mask[:, skip:]
        state.mask, state.width = None if bool(mask.all()) else mask, state.width - skip

    @torch.inference_mode()
    def _join_rightly(self) -> bool:
        """Whether the logits of two rows, joined, are those of each alone."""
        try:
            if roomy(self.inner) is None:
                return False
            alone = [self._alone(list(probe)) for probe in PROBES]
            self.joins = True
            states = [self.state(), self.state()]
            for probe, state in zip(PROBES, states, strict=True):
                self.forward([probe[:-1]], [None], state)
            both = self.join(states[0], 1, states[1], 1)
            together = self.forward([[probe[-1]] for probe in PROBES], [None, None], both)
        except Exception as error:  # a model of any make may refuse a padded row in any way
            log.info("rows are computed one at a time: %s", error)
            return False
        wanted = torch.stack(alone)
        allowed = (EXACT if self.inner.dtype == torch.float32 else ROUNDED) * float(wanted.abs().max())
        return bool((together - wanted).abs().max() <= allowed)

    def _alone(self, ids: list[int]) -> Tensor:
        """[v]: the model's own logits, without a cache."""
        logits: Tensor = self.model(input_ids=torch.tensor([ids], device=self.device), use_cache=False).logits[0, -1]
        return logits.float().cpu()
