"""The fast path: a causal language model whose forward returns the loss, from packs of rows without padding.

What makes it fast (figures in docs/lab.md): rows end to end instead of padded, attention row by row with a kernel for
short rows, logits at labelled positions only (`losses`), and LoRA layers that cast their small weights instead of the
activations (`kernels`). It takes any model of Transformers that fetches its attention by name; `FusedCausalLM.speed_up`
compares it with the model's own forward on real rows, and what does not agree is trained through the plain path, which
pads and asks the model for logits.

The loss is computed inside `forward`, because that is the module DDP wraps: on an unwrapped model gradients are never
synchronised, and nothing says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from core.data.encode.packing import roomier
from core.hardware import memory
from core.training.attention import ATTENTION, plain_attention, set_attention
from core.training.batching import Pack, Packing
from core.training.kernels import FrozenMatrix, LoraLinear, can_repack
from core.training.losses import CHUNK, FusedLinearLogProbs
from core.training.sharding import Tensors, beneath
from core.training.weights import load_trained, save_trained

REPACK_SHARE = 0.25  # of the free memory that copies of the frozen matrices may take


class FusedCausalLM(nn.Module):
    """Wraps a causal model, with or without PEFT adapters; `forward` maps a pack to Σ −log p(label) / `labels_in_step`.

    `autocast` is the dtype of its products where weights are fp32, None where they are computed in their own. `fast`
    False goes through the model's own padded forward. `neftune_alpha` adds NEFTune's noise while training
    (arXiv 2310.05914): uniform in ±alpha / sqrt(row length × width). `label_smoothing` ε trains on (1 − ε) times the
    label's −log p, and ε times the vocabulary's mean (arXiv 1512.00567); evaluation does not, so that losses compare.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        *,
        autocast: torch.dtype | None = None,
        neftune_alpha: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.autocast = autocast
        self.fast = False
        self.attention: str = self.base.config._attn_implementation
        self.neftune_alpha = neftune_alpha
        self.label_smoothing = label_smoothing
        self._frozen_head: FrozenMatrix | None = None
        self._row_lengths: tuple[int, ...] = ()
        if neftune_alpha:
            self.base.get_input_embeddings().register_forward_hook(self._add_noise)

    @property
    def base(self) -> PreTrainedModel:
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    def forward(self, pack: Pack, labels_in_step: float) -> Tensor:
        self._row_lengths = pack.row_lengths
        with self._casting(pack):
            if self.fast:
                hidden = self._body(pack)[pack.label_positions]
                total = self._head_loss(hidden, pack.labels)
            else:
                logits = self._plain_logits(pack)[pack.label_positions]
                total = self._summed(logits, pack.labels)
        return total / labels_in_step

    def _summed(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        return F.cross_entropy(logits.float(), labels, reduction="sum", label_smoothing=smoothing)

    @torch.no_grad()
    def losses(self, pack: Pack) -> Tensor:
        """−log p of every label of a pack, [m] in fp32."""
        with self._casting(pack):
            if not self.fast:
                logits = self._plain_logits(pack)[pack.label_positions]
                return F.cross_entropy(logits.float(), pack.labels, reduction="none")
            hidden = self._body(pack)[pack.label_positions]
            if self._frozen_head is not None:
                hidden = hidden.to(self._frozen_head.weight.dtype)
                return -FusedLinearLogProbs.apply(hidden, self._frozen_head, pack.labels)[0]
            head = self.base.get_output_embeddings()
            parts = zip(hidden.split(CHUNK), pack.labels.split(CHUNK), strict=True)
            return torch.cat([F.cross_entropy(head(h).float(), y, reduction="none") for h, y in parts])

    def save(self, tokenizer: Any, folder: Path, tensors: Tensors | None = None) -> None:
        save_trained(self.model, tokenizer, folder, beneath(tensors, "model."))

    def load(self, folder: Path) -> None:
        load_trained(self.model, folder)

    def _casting(self, pack: Pack) -> torch.autocast:
        return torch.autocast(pack.input_ids.device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def _body(self, pack: Pack) -> Tensor:
        """Hidden states of every token, [n, h]."""
        output = self.base.get_decoder()(
            input_ids=pack.input_ids,
            position_ids=pack.position_ids,
            use_cache=False,
            row_lengths=pack.row_lengths,
        )
        return output.last_hidden_state[0]

    def _head_loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        smoothed = self.label_smoothing and self.training  # the fused loss knows the label only
        if self._frozen_head is not None and not smoothed:
            hidden = hidden.to(self._frozen_head.weight.dtype)
            logprobs, _ = FusedLinearLogProbs.apply(hidden, self._frozen_head, labels)
            return -logprobs.sum()
        head = self.base.get_output_embeddings()
        if self._frozen_head is not None:
            hidden = hidden.to(self._frozen_head.weight.dtype)
        total = hidden.new_zeros((), dtype=torch.float32)
        for few, those in zip(hidden.split(CHUNK), labels.split(CHUNK), strict=True):
            total = total + checkpoint(lambda h, y: self._summed(head(h), y), few, those, use_reentrant=False)
        return total

    def _plain_logits(self, pack: Pack) -> Tensor:
        """Logits of every token, [n, v], from the model's own forward over right-padded rows."""
        rows = pack.input_ids[0].split(pack.row_lengths)
        ids = pad_sequence(rows, batch_first=True)
        lengths = torch.tensor(pack.row_lengths, device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
        with plain_attention(self.base, self.attention):
            logits = self.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
        return logits[mask]

    def _add_noise(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not module.training:
            return output
        width = output.shape[-1]
        scales = [self.neftune_alpha / (length * width) ** 0.5 for length in self._row_lengths]
        if output.shape[0] == 1 and output.shape[1] == sum(self._row_lengths):  # packed
            each = torch.tensor(scales, device=output.device).repeat_interleave(
                torch.tensor(self._row_lengths, device=output.device)
            )[None, :, None]
        else:  # padded, a row each
            each = torch.tensor(scales, device=output.device)[:, None, None]
        return output + (torch.rand_like(output, dtype=torch.float32) * 2 - 1).mul_(each).to(output.dtype)

    # -- choosing the path --------------------------------------------------------------------------------------------
    def speed_up(self, sample: Pack, *, copies: bool = True) -> str | None:
        """Take the fast path if it agrees with the model's own forward on `sample`. Returns why not, or None.

        copies: whether frozen matrices may be kept in further layouts.
        """
        with stirred(self.model), torch.no_grad():
            self.eval()
            plain, labels = row_losses(self._cast_plain(sample), sample)
            patched: list[PeftLinear] = []
            try:
                patched = self._switch_on(copies)
                with self._casting(sample):
                    head = self.base.get_output_embeddings()
                    difference = (row_losses(head(self._body(sample)), sample)[0] - plain).abs()
                agrees = bool((difference <= self._tolerance(labels)).all())  # False for NaN, too
                worst = difference.max().item()
                reason = None if agrees else f"its loss differs by {worst:.3g} from the model's own"
            except Exception as error:  # a model of any make may refuse a packed forward in any way
                reason = f"{type(error).__name__}: {error}"
            self.train()
        self.fast = reason is None
        if reason is not None:
            self._switch_off(patched)
        return reason

    def _cast_plain(self, pack: Pack) -> Tensor:
        with self._casting(pack):
            return self._plain_logits(pack)

    def _tolerance(self, labels: Tensor) -> Tensor:
        """How far the two paths may be apart, for rows of so many labels [rows].

        In 16 bits one token's loss is uncertain by some 0.1 either way, in the model's own forward as in ours (a row of
        6 labels: 6.478 and 6.407, in fp32 6.429), and a row's mean by that much over the root of its labels.
        """
        if self.autocast is None and self.base.dtype == torch.float32:
            return torch.full_like(labels, 1e-3, dtype=torch.float32)
        return 0.03 + 0.2 * labels.float().rsqrt()

    def _switch_on(self, copies: bool) -> list[PeftLinear]:
        repack = copies and worth_repacking(self.base)
        head = self.base.get_output_embeddings()
        if isinstance(head, nn.Linear) and not head.weight.requires_grad:
            self._frozen_head = FrozenMatrix.of(head, repack=repack)
        set_attention(self.base, ATTENTION)
        return fuse_lora(self.model, repack=repack)

    def _switch_off(self, patched: list[PeftLinear]) -> None:
        unfuse_lora(patched)
        set_attention(self.base, self.attention)
        self._frozen_head = None

    def packing(self, granted: int) -> Packing:
        """Packs for the memory of `granted` tokens in a padded batch. The fast path has no logits and takes more."""
        capacity = pack_capacity(self.base, granted) if self.fast else None
        if capacity is None:
            return Packing(granted, padded=True)
        return Packing(capacity, padded=self.base.device.type != "cpu")


def pack_capacity(model: PreTrainedModel, granted: int) -> int | None:
    """Tokens of a pack that take the memory of `granted` tokens with logits; None for a model of unknown anatomy."""
    config = model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None)
    if not isinstance(inner, int):
        return None
    return roomier(
        granted,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        inner=inner,
        vocabulary=config.vocab_size,
        itemsize=model.dtype.itemsize,
    )


def hidden_gap(ours: Tensor, plain: Tensor, *, exact: bool) -> str | None:
    """Why hidden states [n, h] of the fast path do not pass for the model's own; None where they do.

    What counts is the difference as a share of their size. In 16 bits every layer rounds: on the starter the two come
    out 0.02 to 0.04 apart, each 0.07 to 0.12 from fp32. A row that sees another one is 0.2 to 0.4 off; one token too
    many, 0.01 to 0.03, shows in fp32 (`exact`) only.
    """
    ours, plain = ours.float(), plain.float()
    difference = (ours - plain).norm(dim=-1) / plain.norm(dim=-1)
    agrees = bool((difference <= (1e-3 if exact else 0.1)).all())  # False for NaN, too
    return None if agrees else f"its hidden states differ by {difference.max().item():.2g} of their size"


@contextlib.contextmanager
def stirred(model: nn.Module) -> Iterator[None]:
    """Within: adapters that change something. A new one is zero, and a comparison would not see it."""
    fresh = {name: p for name, p in model.named_parameters() if "lora_B" in name}
    kept = {name: p.detach().clone() for name, p in fresh.items()}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in fresh.values():
            p.add_(torch.randn(p.shape, generator=generator).mul_(0.02).to(p))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, p in fresh.items():
                p.copy_(kept[name])


def row_losses(logits: Tensor, pack: Pack) -> tuple[Tensor, Tensor]:
    """(mean −log p(label), number of labels) of each row of a pack that has labels; logits [n, v]."""
    losses = F.cross_entropy(logits[pack.label_positions].float(), pack.labels, reduction="none")
    lengths = torch.tensor(pack.row_lengths, device=losses.device)
    row = torch.arange(len(lengths), device=losses.device).repeat_interleave(lengths)[pack.label_positions]
    total = torch.zeros(len(lengths), device=losses.device).index_add_(0, row, losses)
    count = torch.bincount(row, minlength=len(lengths))
    labelled = count > 0
    return total[labelled] / count[labelled], count[labelled]


# -- LoRA -------------------------------------------------------------------------------------------------------------
def fuse_lora(model: nn.Module, *, repack: bool) -> list[PeftLinear]:
    """Give every plain LoRA layer the fused forward; variants (DoRA, dropout, quantised bases) keep PEFT's own."""
    patched = []
    for module in model.modules():
        if isinstance(module, PeftLinear) and _is_plain(module):
            frozen = FrozenMatrix.of(module.base_layer, repack=repack)
            module.forward = partial(_fused_forward, module, frozen)  # type: ignore[method-assign]  # undone below
            patched.append(module)
    return patched


def worth_repacking(model: PreTrainedModel) -> bool:
    """Whether a second and third copy of the frozen matrices are small beside the memory that is free."""
    frozen = [p for name, p in model.named_parameters() if p.ndim == 2 and not p.requires_grad and "lora_" not in name]
    if not frozen or not all(map(can_repack, frozen)):
        return False
    return 2 * sum(p.numel() * p.element_size() for p in frozen) < REPACK_SHARE * memory()[1]


def unfuse_lora(patched: list[PeftLinear]) -> None:
    for module in patched:
        del module.forward


def _is_plain(layer: PeftLinear) -> bool:
    names = layer.active_adapters
    return (
        type(layer.base_layer) is nn.Linear
        and len(names) == 1
        and not layer.lora_variant
        and not layer.fan_in_fan_out
        and isinstance(layer.lora_dropout[names[0]], nn.Identity)
        and layer.lora_A[names[0]].bias is None
        and layer.lora_B[names[0]].bias is None
    )


def _fused_forward(layer: PeftLinear, frozen: FrozenMatrix, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if layer.disable_adapters or layer.merged:
        return PeftLinear.forward(layer, x, *args, **kwargs)
    (name,) = layer.active_adapters
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return LoraLinear.apply(x.to(frozen.weight.dtype), frozen, a, b, layer.scaling[name])
