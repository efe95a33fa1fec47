"""Baichuan-13B and Baichuan2-13B: Llama, but for places, which attention learns from ALiBi instead of rotation.

    score of query i and key j ≤ i  =  q_i · k_j / √d  −  slope · (i − j)      a slope a head (arXiv 2108.12409)

Transformers 5 has no class for it, and the code in the published folders needs an older one. The parts are those of
Transformers' Llama and Mistral. The bias of all layers is made once a forward and handed to a stock kernel as its
mask; kernels that take none (flash, flex, packs of rows) are refused, so training takes the plain path.

Distances are counted in places of the input. Padding on either side of a row changes nothing; between its tokens it
would. `position_ids` are not read.

Left out: how a published folder becomes one of this kind, where W_pack is split and Baichuan2's normalised head made a
plain one (`core.models.conversions.baichuan`), its z-loss (published with weight 0), and the 7B models, which are
of another kind: they rotate.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Cache,
    DynamicCache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_layers import GenericForSequenceClassification, GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, slice_logits_to_keep
from transformers.models.llama.modeling_llama import LlamaRMSNorm, eager_attention_forward
from transformers.models.mistral.modeling_mistral import MistralMLP
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs


class BaichuanConfig(PreTrainedConfig):
    """The defaults are Baichuan-13B's. Not `baichuan`: a folder that is still as published must not pass for ours."""

    model_type = "baichuan_alibi"
    keys_to_ignore_at_inference = ["past_key_values"]

    vocab_size: int = 64000
    hidden_size: int = 5120
    intermediate_size: int = 13696
    num_hidden_layers: int = 40
    num_attention_heads: int = 40
    hidden_act: str = "silu"
    max_position_embeddings: int = 4096
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False


# -- ALiBi ------------------------------------------------------------------------------------------------------------
def alibi_slopes(heads: int) -> list[float]:
    """2^(−8/n), 2^(−16/n), … for n heads, where n is a power of two. Other numbers take the slopes of the power below
    and then every second one of the power above, as in the code of ALiBi's authors."""
    power = 2 ** math.floor(math.log2(heads))
    own = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    between = [2 ** (-8 * (head + 0.5) / power) for head in range(heads - power)]
    return own + between


def alibi_bias(slopes: Tensor, queries: int, keys: int, attention_mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of the last `queries` of `keys` tokens, [b or 1, h, queries, keys]: −inf where a
    query must not look. `slopes` [h] in fp32; `attention_mask` [b, keys], 0 for padding.

    Every token sees itself, padding too: a row of −inf alone would be NaN after the softmax. Nobody sees padding else.
    """
    places = torch.arange(keys, device=slopes.device)
    distance = places - places[-queries:, None]  # [queries, keys]: 0 for the token itself, negative for those before
    seen = (distance <= 0)[None, None]
    if attention_mask is not None:
        seen = seen & attention_mask[:, None, None].bool() | (distance == 0)
    # The published code adds slope · j, which is the same up to a constant a query. In 16 bits the distance is finer
    # where it counts: at the tokens close by.
    bias = (slopes[:, None, None] * distance).to(dtype)
    return bias.masked_fill(~seen, -math.inf)


# -- layers -----------------------------------------------------------------------------------------------------------
class BaichuanAttention(nn.Module):
    """The kernel is fetched by name, as in Transformers' own models."""

    num_key_value_groups = 1  # Transformers' eager kernel asks for it: every head has keys of its own

    def __init__(self, config: BaichuanConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.hidden_size // config.num_attention_heads
        width = config.num_attention_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)

    def forward(
        self, hidden_states: Tensor, bias: Tensor, past_key_values: Cache | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """[b, n, hidden], with the `bias` of `alibi_bias` → the same shape, and the probabilities of a kernel that
        gives them."""
        by_head = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key, value = (
            project(hidden_states).view(by_head).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )  # each [b, h, n, d]
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        kernel = self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(kernel, eager_attention_forward)
        # `alibi` is for kernels that would ignore a mask: core.training.attention refuses an argument it does not know.
        out, weights = attend(self, query, key, value, bias, scaling=self.head_dim**-0.5, alibi=True, **kwargs)
        return self.o_proj(out.flatten(2)), weights  # out [b, n, h, d]


class BaichuanDecoderLayer(GradientCheckpointingLayer):
    def __init__(self, config: BaichuanConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = BaichuanAttention(config, layer_idx)
        self.mlp = MistralMLP(config)  # Llama's, without the choice of biases
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states: Tensor, bias: Tensor, **kwargs: Any) -> Tensor:
        attended, _ = self.self_attn(self.input_layernorm(hidden_states), bias, **kwargs)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


# -- models -----------------------------------------------------------------------------------------------------------
class BaichuanPreTrainedModel(PreTrainedModel):
    """What Transformers asks of the classes below. Flash and flex attention stay off: they take no bias."""

    config: BaichuanConfig
    config_class = BaichuanConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["BaichuanDecoderLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _can_record_outputs = {"hidden_states": BaichuanDecoderLayer, "attentions": BaichuanAttention}


class BaichuanModel(BaichuanPreTrainedModel):
    def __init__(self, config: BaichuanConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(BaichuanDecoderLayer(config, at) for at in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """input_ids [b, n] or inputs_embeds [b, n, hidden]; attention_mask [b, cached + n]."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        hidden_states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        cached = 0 if past_key_values is None else past_key_values.get_seq_length()
        bias = self._bias(hidden_states, cached, attention_mask)
        for layer in self.layers:
            hidden_states = layer(hidden_states, bias=bias, past_key_values=past_key_values, **kwargs)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values)

    def _bias(self, hidden_states: Tensor, cached: int, attention_mask: Tensor | None) -> Tensor:
        slopes = torch.tensor(alibi_slopes(self.config.num_attention_heads), device=hidden_states.device)
        new = hidden_states.shape[1]
        return alibi_bias(slopes, new, cached + new, attention_mask, hidden_states.dtype)


class BaichuanForCausalLM(BaichuanPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {
        "lm_head.weight": "model.embed_tokens.weight"
    }  # where a config ties them; none published does

    def __init__(self, config: BaichuanConfig) -> None:
        super().__init__(config)
        self.model = BaichuanModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """As `BaichuanModel.forward`; logits [b, kept, vocabulary] of all tokens or of the last `logits_to_keep`."""
        outputs = self.model(
            input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values,
            inputs_embeds=inputs_embeds, use_cache=use_cache, **kwargs,
        )  # fmt: skip
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=outputs.past_key_values, hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )  # fmt: skip


class BaichuanForSequenceClassification(GenericForSequenceClassification, BaichuanPreTrainedModel):
    """The form in which a whole reward model is saved (`core.training.heads`)."""


def register() -> None:
    AutoConfig.register(BaichuanConfig.model_type, BaichuanConfig, exist_ok=True)
    AutoModel.register(BaichuanConfig, BaichuanModel, exist_ok=True)
    AutoModelForCausalLM.register(BaichuanConfig, BaichuanForCausalLM, exist_ok=True)
    AutoModelForSequenceClassification.register(BaichuanConfig, BaichuanForSequenceClassification, exist_ok=True)
