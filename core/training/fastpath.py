"""The fast path: a causal language model whose forward returns the loss, from packs of rows without padding.

What makes it fast (figures in docs/lab.md): rows end to end instead of padded, attention row by row with a kernel for
short rows, logits at labelled positions only (`losses`), and LoRA layers that cast their small weights instead of the
activations (`kernels`). It takes any model of Transformers that fetches its attention by name; `FusedCausalLM.check`
compares it with the model's own forward on real rows, and what does not agree is trained through the plain path, which
pads and asks the model for logits.

The loss is computed inside `forward`, because that is the module DDP wraps: on an unwrapped model gradients are never
synchronised, and nothing says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, PreTrainedModel

from core.training.batching import Pack
from core.training.kernels import CausalAttention, LoraLinear
from core.training.losses import CHUNK, FusedLinearCrossEntropy

ATTENTION = "galen_rows"
SHORT = 512  # rows up to this length keep their attention probabilities (docs/lab.md)


class FusedCausalLM(nn.Module):
    """Wraps a causal model, with or without PEFT adapters; `forward` maps a pack to Σ −log p(label) / `labels_in_step`.

    `autocast` is the dtype of its products where weights are fp32, None where they are computed in their own. `fast`
    False goes through the model's own padded forward. `neftune_alpha` adds NEFTune's noise while training
    (arXiv 2310.05914): uniform in ±alpha / sqrt(row length × width).
    """

    def __init__(
        self, model: PreTrainedModel | PeftModel, *, autocast: torch.dtype | None = None, neftune_alpha: float = 0.0
    ) -> None:
        super().__init__()
        self.model = model
        self.autocast = autocast
        self.fast = False
        self.neftune_alpha = neftune_alpha
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
                total = F.cross_entropy(logits.float(), pack.labels, reduction="sum")
        return total / labels_in_step

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
        head = self.base.get_output_embeddings()
        weight, bias = head.weight, getattr(head, "bias", None)
        if isinstance(head, nn.Linear) and not weight.requires_grad:
            return FusedLinearCrossEntropy.apply(hidden, weight, bias, labels)
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            total = total + checkpoint(
                lambda h, y: F.cross_entropy(head(h).float(), y, reduction="sum"),
                hidden[part],
                labels[part],
                use_reentrant=False,
            )
        return total

    def _plain_logits(self, pack: Pack) -> Tensor:
        """Logits of every token, [n, v], from the model's own forward over right-padded rows."""
        rows = pack.input_ids[0].split(pack.row_lengths)
        ids = pad_sequence(rows, batch_first=True)
        lengths = torch.tensor(pack.row_lengths, device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
        with plain_attention(self.base):
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
    def speed_up(self, sample: Pack) -> str | None:
        """Take the fast path if it agrees with the model's own forward on `sample`. Returns why not, or None."""
        patched = fuse_lora(self.model)
        if not set_attention(self.base, ATTENTION):
            return "the model does not fetch its attention by name"
        reason = self.check(sample)
        self.fast = reason is None
        if reason is not None:
            set_attention(self.base, "sdpa")
            unfuse_lora(patched)
        return reason

    @torch.no_grad()
    def check(self, sample: Pack) -> str | None:
        """Compare both paths' loss, row by row, with dropout off; a difference is returned as a sentence."""
        training = self.training
        self.eval()
        tolerance = 1e-3 if self.autocast is None and self.base.dtype == torch.float32 else 0.05
        try:
            with self._casting(sample):
                plain = row_losses(self._plain_logits(sample), sample)
                self.fast = True
                head = self.base.get_output_embeddings()
                fast = row_losses(head(self._body(sample)), sample)
        except Exception as error:  # a model of any make may refuse a packed forward in any way
            return f"{type(error).__name__}: {error}"
        finally:
            self.fast = False
            self.train(training)
        worst = (plain - fast).abs().max().item()
        return None if worst <= tolerance else f"its loss differs by {worst:.3g} from the model's own"


def row_losses(logits: Tensor, pack: Pack) -> Tensor:
    """Mean −log p(label) of each row of a pack that has labels; logits [n, v]."""
    losses = F.cross_entropy(logits[pack.label_positions].float(), pack.labels, reduction="none")
    lengths = torch.tensor(pack.row_lengths, device=losses.device)
    row = torch.arange(len(lengths), device=losses.device).repeat_interleave(lengths)[pack.label_positions]
    total = torch.zeros(len(lengths), device=losses.device).index_add_(0, row, losses)
    count = torch.bincount(row, minlength=len(lengths))
    return total[count > 0] / count[count > 0]


# -- attention --------------------------------------------------------------------------------------------------------
def set_attention(model: PreTrainedModel, name: str) -> bool:
    """Switch the attention implementation; False where the model has its own that cannot be switched."""
    model.set_attn_implementation(name)
    return model.config._attn_implementation == name


@contextlib.contextmanager
def plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Within: the stock kernel with its masks, as generation and padded batches need it."""
    if model.config._attn_implementation != ATTENTION:
        yield
        return
    set_attention(model, "sdpa")
    try:
        yield
    finally:
        set_attention(model, ATTENTION)


def attend_rows(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    row_lengths: Sequence[int] = (),
    **unused: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row of a pack: query [1, h, n, d], key and value [1, g, n, d] → [1, n, h, d].

    The signature is that of Transformers' AttentionInterface. What it passes beyond this (soft-capping, sinks) is not
    computed here; `FusedCausalLM.check` notices.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if torch.is_autocast_enabled(query.device.type):  # rotary embeddings may have left fp32 behind
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    with torch.autocast(query.device.type, enabled=False):
        if query.device.type == "cpu":
            out = _by_row(query[0], key[0], value[0], scale, dropout, sliding_window, row_lengths)
        else:
            out = _padded(query[0], key[0], value[0], scale, dropout, sliding_window, row_lengths)
    return out.transpose(0, 1).unsqueeze(0), None


def _by_row(
    q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float, window: int | None, lengths: Sequence[int]
) -> Tensor:
    outputs = []
    for q_row, k_row, v_row in zip(*(t.split(list(lengths), 1) for t in (q, k, v)), strict=True):
        length = q_row.shape[1]
        if length <= SHORT and not dropout and (window is None or length <= window):
            outputs.append(CausalAttention.apply(q_row, k_row, v_row, scale))
        else:
            outputs.append(_sdpa(q_row[None], k_row[None], v_row[None], scale, dropout, window)[0])
    return torch.cat(outputs, 1)


def _padded(
    q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float, window: int | None, lengths: Sequence[int]
) -> Tensor:
    """On a GPU one padded call beats many small ones; the padding stays inside the attention."""
    padded = [pad_sequence(t.transpose(0, 1).split(list(lengths)), batch_first=True).transpose(1, 2) for t in (q, k, v)]
    out = _sdpa(*padded, scale, dropout, window).transpose(1, 2)  # [rows, longest, h, d]
    return torch.cat([row[:length] for row, length in zip(out, lengths, strict=True)]).transpose(0, 1)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float, window: int | None) -> Tensor:
    """Causal; right padding needs no mask, because nothing before it looks at it. q [b, h, n, d]."""
    length = q.shape[2]
    mask = None
    if window is not None and window < length:
        distance = torch.arange(length, device=q.device)[:, None] - torch.arange(length, device=q.device)[None]
        mask = (distance >= 0) & (distance < window)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scale, enable_gqa=True
    )


AttentionInterface.register(ATTENTION, attend_rows)


# -- LoRA -------------------------------------------------------------------------------------------------------------
def fuse_lora(model: nn.Module) -> list[PeftLinear]:
    """Give every plain LoRA layer the fused forward; variants (DoRA, dropout, quantised bases) keep PEFT's own."""
    patched = []
    for module in model.modules():
        if isinstance(module, PeftLinear) and _is_plain(module):
            module.forward = _fused_forward.__get__(module)  # type: ignore[method-assign]  # per layer, undone below
            patched.append(module)
    return patched


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


def _fused_forward(self: PeftLinear, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if self.disable_adapters or self.merged:
        return PeftLinear.forward(self, x, *args, **kwargs)
    (name,) = self.active_adapters
    base = self.base_layer
    x = x.to(base.weight.dtype)
    return LoraLinear.apply(
        x, base.weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
    )
