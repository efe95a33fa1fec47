"""Policy, critic, reward and reference: four roles on one frozen backbone.

    roles.logprobs(POLICY, pack, temperature)     of the labelled tokens of a pack, and their entropies
    roles.logprobs(REFERENCE, pack, temperature)  the same, of the backbone alone
    roles.values(pack)                            the critic's, before each labelled token
    roles.scores("reward-0", pack)                a reward model's, at each row's last token

A role is a LoRA adapter, and the reference is none. Which one computes is a word that every adapted layer looks up as
it is called (`Switch`): PEFT's own ways either drop gradients (`set_adapter` between forward and backward) or mix
adapters within a batch (`adapter_names`), which nothing here needs. With tuning.method=full the policy is a second
model, of which every weight learns, and the others stay on the backbone.

Everything is computed in eval mode: no dropout in any role [rule 4]. The fast path is that of `core.training.fastpath`,
packs without padding, taken where it agrees with the model's own forward.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from core.training.attention import ATTENTION, plain_attention, set_attention
from core.training.batching import Pack, Packing
from core.training.fastpath import hidden_gap, pack_capacity, stirred, worth_repacking
from core.training.kernels import FrozenMatrix, LoraLinear
from core.training.losses import CHUNK, FusedLinearLogProbs

POLICY, CRITIC = "default", "critic"  # names of adapters; PEFT saves "default" where others look for one
REFERENCE = None
Role = str | None


class Switch:
    """The role that computes now, for all layers of a backbone."""

    def __init__(self) -> None:
        self.role: Role = REFERENCE
        self.written = 0  # how often an optimizer has written to the adapters: a fused one leaves no other trace

    @contextlib.contextmanager
    def __call__(self, role: Role) -> Iterator[None]:
        before, self.role = self.role, role
        try:
            yield
        finally:
            self.role = before


class Roles(nn.Module):
    """`backbone`: with an adapter for each role that is one. policy: a model of its own, where every weight learns.

    critic: its head [1, h]. judges: the heads of reward models, by the names of their adapters. autocast: the dtype of
    products where weights are fp32 or quantised, None: their own.
    """

    def __init__(
        self,
        backbone: PeftModel,
        critic: nn.Linear,
        judges: Mapping[str, nn.Linear],
        *,
        policy: PreTrainedModel | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.policy = backbone, policy
        self.base: PreTrainedModel = backbone.get_base_model()
        self.critic = critic.to(self.base.device)
        self.judges = nn.ModuleDict({name: head.to(self.base.device) for name, head in judges.items()})
        self.autocast = autocast
        self.stock: str = self.base.config._attn_implementation
        self.fast = False
        self.switch = Switch()
        self._heads: dict[int, FrozenMatrix] = {}
        for name, parameter in backbone.named_parameters():
            learns = policy is None and f".{POLICY}." in name
            parameter.requires_grad_("lora_" in name and (learns or f".{CRITIC}." in name))
        self._repack = worth_repacking(self.base)
        switch_lora(backbone, self.switch, repack=self._repack)
        self.eval()

    # -- what the roles say -------------------------------------------------------------------------------------------
    def logprobs(
        self, role: Role, pack: Pack, temperature: float = 1.0, *, entropy: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(log p of every label at `temperature`, [m] fp32; the entropies there, or [0])."""
        hidden = self.hidden(role, pack)[pack.label_positions]
        head = self._frozen_head(role)
        if head is not None:
            return FusedLinearLogProbs.apply(hidden.to(head.weight.dtype), head, pack.labels, temperature, entropy)
        part = partial(self._part_logprobs, role, temperature)
        parts = [
            checkpoint(part, few, labels, use_reentrant=False)
            for few, labels in zip(hidden.split(CHUNK), pack.labels.split(CHUNK), strict=True)
        ]
        logprobs, entropies = (torch.cat(each) for each in zip(*parts, strict=True))
        return logprobs, entropies if entropy else entropies[:0]

    def _part_logprobs(self, role: Role, temperature: float, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """`logprobs` of a few positions through a head that learns; the role is set anew when they are recomputed."""
        with self.computing(role) as model:
            found = (model.get_output_embeddings()(hidden).float() / temperature).log_softmax(-1)
        still = found.detach()
        return found.gather(1, labels.unsqueeze(1)).squeeze(1), -(still * still.exp()).sum(-1)

    def values(self, pack: Pack) -> Tensor:
        """V before every label, [m] fp32."""
        return _read(self.critic, self.hidden(CRITIC, pack)[pack.label_positions])

    def scores(self, judge: str, pack: Pack) -> Tensor:
        """A reward model's score of every row, at its last token, [rows] fp32."""
        ends = torch.tensor(pack.row_lengths, device=pack.input_ids.device).cumsum(0) - 1
        return _read(self.judges[judge], self.hidden(judge, pack)[ends])

    def hidden(self, role: Role, pack: Pack) -> Tensor:
        """The last hidden states of every token of a pack, [n, h]."""
        with self.computing(role) as model:
            return self._packed(model, pack) if self.fast else self._plain(model, pack)

    @contextlib.contextmanager
    def computing(self, role: Role) -> Iterator[PreTrainedModel]:
        """Within: the model of this role, in its dtype."""
        device = self.base.device.type
        with self.switch(role), torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None):
            yield self._model(role)

    def next_logits(self, role: Role, hidden: Tensor) -> Tensor:
        """Logits [n, v] of hidden states [n, h], without a gradient."""
        head = self._frozen_head(role)
        return self._model(role).get_output_embeddings()(hidden) if head is None else head.times(hidden)

    def packing(self, granted: int) -> Packing:
        """Packs for the memory of `granted` tokens in a padded batch."""
        capacity = pack_capacity(self.base, granted) if self.fast else None
        if capacity is None:
            return Packing(granted, padded=True)
        return Packing(capacity, padded=self.base.device.type != "cpu")

    def learners(self) -> dict[str, list[nn.Parameter]]:
        """What learns, by role."""
        adapters = [(name, p) for name, p in self.backbone.named_parameters() if p.requires_grad]
        own = [p for name, p in adapters if f".{POLICY}." in name]
        return {
            POLICY: own if self.policy is None else [p for p in self.policy.parameters() if p.requires_grad],
            CRITIC: [*(p for name, p in adapters if f".{CRITIC}." in name), self.critic.weight],
        }

    # -- computing ----------------------------------------------------------------------------------------------------
    def _model(self, role: Role) -> PreTrainedModel:
        return self.policy if role == POLICY and self.policy is not None else self.base

    def _frozen_head(self, role: Role) -> FrozenMatrix | None:
        """The vocabulary's head as a frozen matrix; None where it learns or is none."""
        model = self._model(role)
        head = model.get_output_embeddings()
        if type(head) is not nn.Linear or head.weight.requires_grad:
            return None
        if id(model) not in self._heads:
            self._heads[id(model)] = FrozenMatrix(head.weight, head.bias, repack=self._repack)
        return self._heads[id(model)]

    def _packed(self, model: PreTrainedModel, pack: Pack) -> Tensor:
        output = model.get_decoder()(
            input_ids=pack.input_ids,
            position_ids=pack.position_ids,
            use_cache=False,
            row_lengths=pack.row_lengths,
        )
        return output.last_hidden_state[0]

    def _plain(self, model: PreTrainedModel, pack: Pack) -> Tensor:
        """From the model's own forward over right-padded rows."""
        rows = pack.input_ids[0].split(pack.row_lengths)
        ids = pad_sequence(rows, batch_first=True)
        lengths = torch.tensor(pack.row_lengths, device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
        with plain_attention(model, self.stock):
            output = model.get_decoder()(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        return output.last_hidden_state[mask]

    @torch.no_grad()
    def reads_plainly(self, sample: Pack) -> bool:
        """Whether the model's own logits are its head's product with the hidden states, and nothing more.

        Some families cap or scale them afterwards (Gemma 2, Granite, Cohere): what is sampled and learnt here would be
        another distribution than the model's own.
        """
        ids = sample.input_ids[:, : sample.row_lengths[0]]
        with self.computing(REFERENCE) as model, plain_attention(model, self.stock):
            own = model(input_ids=ids, use_cache=False).logits[0].float()
            ours = self.next_logits(REFERENCE, model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[0])
        return bool((ours.float() - own).norm() <= 0.02 * own.norm())

    # -- choosing the path --------------------------------------------------------------------------------------------
    @torch.no_grad()
    def speed_up(self, sample: Pack) -> str | None:
        """Take the fast path if it agrees with the models' own forward on `sample`. Returns why not, or None."""
        roles = [POLICY, REFERENCE, CRITIC]
        try:
            with stirred(self):
                plain = [self.hidden(role, sample) for role in roles]
                self._attend(ATTENTION)
                self.fast = True
                exact = self.autocast is None and self.base.dtype == torch.float32
                gaps = [
                    hidden_gap(self.hidden(role, sample), h, exact=exact) for role, h in zip(roles, plain, strict=True)
                ]
            reason = next((gap for gap in gaps if gap is not None), None)
        except Exception as error:  # a model of any make may refuse a packed forward in any way
            reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            self.fast = False
            self._attend(self.stock)
        return reason

    def _attend(self, kernel: str) -> None:
        for model in (self.base, self.policy):
            if model is not None:
                set_attention(model, kernel)


def _read(head: nn.Module, hidden: Tensor) -> Tensor:
    """[n, h] → [n], in fp32 whatever is computed round it."""
    with torch.autocast(hidden.device.type, enabled=False):
        found: Tensor = head(hidden.float()).squeeze(-1)
        return found


# -- layers -----------------------------------------------------------------------------------------------------------
def switch_lora(model: nn.Module, switch: Switch, *, repack: bool) -> None:
    """Have every LoRA layer of `model` compute the adapter that `switch` names, or none."""
    for module in model.modules():
        if isinstance(module, LoraLayer) and isinstance(module, nn.Module):
            base = module.get_base_layer()
            frozen = FrozenMatrix(base.weight, base.bias, repack=repack) if type(base) is nn.Linear else None
            module.forward = partial(_as_role, module, frozen, switch)  # type: ignore[method-assign]


def _as_role(layer: Any, frozen: FrozenMatrix | None, switch: Switch, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    role = switch.role
    adapted = role is not None and role in layer.lora_A
    if frozen is None:  # quantised, or another kind of layer
        out: Tensor = layer.base_layer(x, *args, **kwargs)
        if not adapted:
            return out
        a, b = layer.lora_A[role].weight, layer.lora_B[role].weight
        return out + (layer.scaling[role] * (x.to(a.dtype) @ a.t()) @ b.t()).to(out.dtype)
    x = x.to(frozen.weight.dtype)
    if adapted and torch.is_grad_enabled():
        a, b = layer.lora_A[role].weight, layer.lora_B[role].weight
        return LoraLinear.apply(x, frozen, a, b, layer.scaling[role])
    rows = x.reshape(-1, x.shape[-1])
    out = frozen.times(rows)
    if adapted:
        a_t, b_t = _cast_factors(layer, role, x.dtype, switch.written)
        out = out.addmm_(rows @ a_t, b_t, alpha=layer.scaling[role])
    return out.view(*x.shape[:-1], -1)


def _cast_factors(layer: Any, role: str, dtype: torch.dtype, written: int) -> tuple[Tensor, Tensor]:
    """Aᵀ and Bᵀ of a role in `dtype`, kept until somebody writes to them: sampling asks for them at every token."""
    a, b = layer.lora_A[role].weight, layer.lora_B[role].weight
    kept = layer.__dict__.setdefault("_cast_factors", {})
    state = (written, a._version, b._version, dtype)
    if kept.get(role, (None,))[0] != state:
        kept[role] = (state, a.detach().t().to(dtype).contiguous(), b.detach().t().to(dtype).contiguous())
    return kept[role][1], kept[role][2]
