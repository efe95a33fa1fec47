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
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, PreTrainedModel

from core.hardware import memory
from core.training.batching import Pack, Packing
from core.training.kernels import CausalAttention, FrozenMatrix, LoraLinear, can_repack
from core.training.losses import CHUNK, FusedLinearCrossEntropy

ATTENTION = "galen_rows"
REPACK_SHARE = 0.25  # of the free memory that copies of the frozen matrices may take
HARMLESS = {"position_ids", "cache_position", "use_cache", "is_causal", "position_embeddings"}
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
        self.attention: str = self.base.config._attn_implementation
        self.neftune_alpha = neftune_alpha
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
                total = F.cross_entropy(logits.float(), pack.labels, reduction="sum")
        return total / labels_in_step

    @torch.no_grad()
    def losses(self, pack: Pack) -> Tensor:
        """−log p of every label of a pack, [m] in fp32."""
        with self._casting(pack):
            if not self.fast:
                logits = self._plain_logits(pack)[pack.label_positions]
                return F.cross_entropy(logits.float(), pack.labels, reduction="none")
            hidden = self._body(pack)[pack.label_positions]
            frozen = self._frozen_head
            head = self.base.get_output_embeddings() if frozen is None else frozen.times
            hidden = hidden if frozen is None else hidden.to(frozen.weight.dtype)
            parts = zip(hidden.split(CHUNK), pack.labels.split(CHUNK), strict=True)
            return torch.cat([F.cross_entropy(head(h).float(), y, reduction="none") for h, y in parts])

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
        if self._frozen_head is not None:
            return FusedLinearCrossEntropy.apply(hidden.to(self._frozen_head.weight.dtype), self._frozen_head, labels)
        head = self.base.get_output_embeddings()
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
    def speed_up(self, sample: Pack) -> str | None:
        """Take the fast path if it agrees with the model's own forward on `sample`. Returns why not, or None."""
        with _stirred(self.model), torch.no_grad():
            self.eval()
            plain, labels = row_losses(self._cast_plain(sample), sample)
            patched = self._switch_on()
            try:
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

    def _switch_on(self) -> list[PeftLinear]:
        repack = worth_repacking(self.base)
        head = self.base.get_output_embeddings()
        if isinstance(head, nn.Linear) and not head.weight.requires_grad:
            self._frozen_head = FrozenMatrix(head.weight, head.bias, repack=repack)
        set_attention(self.base, ATTENTION)
        return fuse_lora(self.model, repack=repack)

    def _switch_off(self, patched: list[PeftLinear]) -> None:
        unfuse_lora(patched)
        set_attention(self.base, self.attention)
        self._frozen_head = None

    def packing(self, granted: int) -> Packing:
        """Packs for the memory of `granted` tokens in a padded batch.

        That memory includes the logits, in the model's dtype and twice in fp32. The fast path has none, so it takes as
        many more tokens as their activations fit in there.
        """
        config = self.base.config.get_text_config()
        width, inner = config.hidden_size, getattr(config, "intermediate_size", None)
        if not self.fast or not isinstance(inner, int):
            return Packing(granted, padded=True)
        activations = config.num_hidden_layers * (16 * width + 6 * inner) * self.base.dtype.itemsize
        logits = config.vocab_size * (self.base.dtype.itemsize + 8)
        return Packing(int(granted * (1 + logits / activations)), padded=self.base.device.type != "cpu")


@contextlib.contextmanager
def _stirred(model: nn.Module) -> Iterator[None]:
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


# -- attention --------------------------------------------------------------------------------------------------------
def set_attention(model: PreTrainedModel, name: str) -> None:
    """Switch the attention kernel. Raises ValueError where the model has one of its own that cannot be switched."""
    model.set_attn_implementation(name)
    if model.config._attn_implementation != name:
        raise ValueError("the model does not fetch its attention by name")


@contextlib.contextmanager
def plain_attention(model: PreTrainedModel, stock: str = "sdpa") -> Iterator[None]:
    """Within: the stock kernel with its masks, as generation and padded batches need it."""
    if model.config._attn_implementation != ATTENTION:
        yield
        return
    set_attention(model, stock)
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
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row of a pack: query [1, h, n, d], key and value [1, g, n, d] → [1, n, h, d].

    The signature is that of Transformers' AttentionInterface. Raises TypeError for what is not computed here, such as
    soft-capping or sinks: such a model keeps its own path.
    """
    given = {name for name, value in others.items() if value is not None and value is not False}
    unknown = given - HARMLESS
    if unknown or others.get("is_causal") is False:
        raise TypeError(f"its attention takes {', '.join(sorted(unknown)) or 'no causal mask'}")
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
def fuse_lora(model: nn.Module, *, repack: bool) -> list[PeftLinear]:
    """Give every plain LoRA layer the fused forward; variants (DoRA, dropout, quantised bases) keep PEFT's own."""
    patched = []
    for module in model.modules():
        if isinstance(module, PeftLinear) and _is_plain(module):
            frozen = FrozenMatrix(module.base_layer.weight, module.base_layer.bias, repack=repack)
            module.forward = partial(_fused_forward, module, frozen)  # type: ignore[method-assign]  # undone below
            patched.append(module)
    return patched


def worth_repacking(model: PreTrainedModel) -> bool:
    """Whether a second and third copy of the frozen matrices are small beside the memory that is free."""
    frozen = [p for p in model.parameters() if p.ndim == 2 and not p.requires_grad]
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
