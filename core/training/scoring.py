"""The reward model: a causal backbone, with or without adapters, and apart from it a head that scores its last token.

    scores = model.scores(pack)       one a branch, [branches] in fp32

The fast path computes a prompt once for all its answers (`trees`) with the kernels of `fastpath`, and is compared with
the model's own forward on real rows first; what does not agree is computed row by row with padding. There are no
logits: nothing here touches the vocabulary's head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from core.training.attention import plain_attention, set_attention
from core.training.fastpath import fuse_lora, hidden_gap, stirred, unfuse_lora, worth_repacking
from core.training.heads import load_head, new_head, save_head
from core.training.sharding import Tensors, beneath
from core.training.trees import ATTENTION, TreePack, TreePacking
from core.training.weights import load_trained, save_trained


class RewardModel(nn.Module):
    """`head` None makes a new one. `autocast` is the dtype of products where weights are fp32, None: their own."""

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        head: nn.Linear | None = None,
        *,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.autocast = autocast
        self.head = (head or new_head(self.base.config.get_text_config().hidden_size)).to(self.base.device)
        self.fast = False
        self.attention: str = self.base.config._attn_implementation

    @property
    def base(self) -> PreTrainedModel:
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    def scores(self, pack: TreePack) -> Tensor:
        """The score of every branch of `pack`, [branches] in fp32."""
        hidden = self._hidden(pack).float()
        with torch.autocast(hidden.device.type, enabled=False):
            return self.head(hidden).squeeze(-1)

    def save(self, tokenizer: Any, folder: Path, tensors: Tensors | None = None) -> None:
        """A checkpoint: what learns of the backbone, and the head with it. tensors: whole ones, where split."""
        save_trained(self.model, tokenizer, folder, beneath(tensors, "model."))
        head = self.head
        if tensors is not None:
            head = new_head(self.head.in_features)
            head.weight.data.copy_(tensors["head.weight"])
        save_head(head, folder)

    def load(self, folder: Path) -> None:
        """The reverse of `save`."""
        load_trained(self.model, folder)
        load_head(self.head, folder)

    def packing(self, granted: int) -> TreePacking:
        """Packs for the memory of `granted` tokens."""
        return TreePacking(granted, padded=not self.fast)

    # -- hidden states ------------------------------------------------------------------------------------------------
    def _hidden(self, pack: TreePack) -> Tensor:
        """The last hidden states of every branch's last token, [branches, h]."""
        with torch.autocast(pack.input_ids.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return self._packed(pack) if self.fast else self._plain(pack)

    def _packed(self, pack: TreePack) -> Tensor:
        output = self.base.get_decoder()(
            input_ids=pack.input_ids, position_ids=pack.position_ids, use_cache=False, shapes=pack.shapes
        )
        return output.last_hidden_state[0, pack.ends]

    def _plain(self, pack: TreePack) -> Tensor:
        """From the model's own forward over right-padded rows."""
        rows = pack.unrolled()
        lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
        ids = pad_sequence(rows, batch_first=True)
        mask = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
        with plain_attention(self.base, self.attention):
            output = self.base.get_decoder()(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        return output.last_hidden_state[torch.arange(len(rows), device=ids.device), lengths - 1]

    # -- choosing the path --------------------------------------------------------------------------------------------
    def speed_up(self, sample: TreePack, *, copies: bool = True) -> str | None:
        """Take the fast path if it agrees with the model's own forward on `sample`. Returns why not, or None.

        copies: whether frozen matrices may be kept in further layouts.
        """
        patched: list[PeftLinear] = []
        training = self.training
        with stirred(self.model), torch.no_grad():
            self.eval()
            plain = self._hidden(sample)
            try:
                patched = self._switch_on(copies)
                exact = self.autocast is None and self.base.dtype == torch.float32
                reason = hidden_gap(self._hidden(sample), plain, exact=exact)
            except Exception as error:  # a model of any make may refuse a packed forward in any way
                reason = f"{type(error).__name__}: {error}"
            self.train(training)
        if reason is not None:
            self.fast = False
            unfuse_lora(patched)
            set_attention(self.base, self.attention)
        return reason

    def _switch_on(self, copies: bool) -> list[PeftLinear]:
        self.fast = True
        set_attention(self.base, ATTENTION)
        return fuse_lora(self.model, repack=copies and worth_repacking(self.base))
