"""ChatGLM-6B, the first one: two-dimensional rotary positions, attention to the context in both directions.

A row is a context, `[gMASK]` or `[MASK]` in it, `<sop>`, and what follows. From input_ids and attention_mask the model
works out by itself:

    tokens       t1 t2 [gMASK] <sop> u1 u2        the context, before <sop>, sees itself whole; the rest sees what came
    positions     0  1    2      2   2  2         before. From <sop> on every token has the mask's place, and counts on
    blocks        0  0    0      1   2  3         in block positions. Half of each head turns by each of the two.

Padding, left or right, counts nowhere, and `position_ids` are taken and ignored. Where the published code raises, the
choice is: a row without `<sop>` (a document) is plainly causal, at positions 0, 1, 2, … and block position 0; one with
`<sop>` but no mask has the place of the last token before it. A cache keeps the two positions of every token as one
more layer, so that whatever is done to its rows is done to them. A context must be read in one piece
(`reads_prompts_whole`); a `<sop>` that is sampled after plain text changes nothing.

The architecture and the names of the weights are those of modeling_chatglm.py beside the weights THUDM/chatglm-6b; GLM
is arXiv 2103.10360. Left out: its division of the queries by (layer + 1), which its softmax takes back and which fp32
does not need, its bias of −10000 for what is masked (here it is −∞), its int4 kernels and P-tuning. Angles are computed
in fp32, from frequencies that are rounded to fp16 as the published ones are. Attention cannot be switched by name: no
kernel for packed rows computes it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.cache_utils import DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep

ROTARY_BASE = 10000.0


@strict
class ChatGLMConfig(PreTrainedConfig):
    """The names of the published config.json. Its `model_type` is another one: what is not converted is not this."""

    model_type = "chatglm_6b"
    keys_to_ignore_at_inference = ["past_key_values"]
    attribute_map = {
        "num_hidden_layers": "num_layers",
        "intermediate_size": "inner_hidden_size",
        "max_position_embeddings": "max_sequence_length",
        "layer_norm_eps": "layernorm_epsilon",
    }

    vocab_size: int = 130528
    hidden_size: int = 4096
    inner_hidden_size: int = 16384
    num_layers: int = 28
    num_attention_heads: int = 32
    max_sequence_length: int = 2048
    layernorm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = False
    bos_token_id: int | None = 130004  # <sop>
    eos_token_id: int | list[int] | None = 130005  # <eop>
    pad_token_id: int | None = 3
    mask_token_id: int = 130000
    gmask_token_id: int = 130001

    @property
    def sop(self) -> int:
        """The id that ends a context; one that no token has, where the config names none."""
        return -1 if self.bos_token_id is None else self.bos_token_id


# -- where tokens stand -----------------------------------------------------------------------------------------------
def first_places(input_ids: Tensor, real: Tensor, config: ChatGLMConfig) -> tuple[Tensor, Tensor]:
    """The two positions of every token [b, t, 2] of rows that begin here, and which tokens are context [b, t].

    `real` [b, t]: False for padding. A row without `<sop>` has no context.
    """
    order = (real.cumsum(-1) - 1).clamp_min(0)  # the place of a token among the row's own
    sop = real & (input_ids == config.sop)
    after = sop.cumsum(-1) > 0
    context = real & ~after & sop.any(-1, keepdim=True)
    place = (context.sum(-1, keepdim=True) - 1).clamp_min(0)
    for token in (config.mask_token_id, config.gmask_token_id):  # [gMASK] where a row has both
        found = context & (input_ids == token)
        place = torch.where(found.any(-1, keepdim=True), order.gather(1, found.int().argmax(-1, keepdim=True)), place)
    blocks = (real & after).cumsum(-1)
    return torch.stack((torch.where(after, place, order), blocks), -1), context


def next_places(input_ids: Tensor, real: Tensor, known: Tensor, config: ChatGLMConfig) -> Tensor:
    """The two positions [b, n, 2] of n more tokens of rows whose tokens so far have `known` [b, t, 2].

    Raises ValueError where a prompt's `<sop>` comes only now: its context was read as plain text.
    """
    steps = real.cumsum(-1)
    last = known.amax(1)  # [b, 2]
    block = last[:, 1:]
    speaking = block > 0
    if input_ids.shape[1] > 1 and bool((real & ~speaking & (input_ids == config.sop)).any()):
        raise ValueError("the context before <sop> must be read in one piece, with its <sop>")
    row = torch.arange(len(known), device=known.device)
    place = known[row, known[..., 1].argmax(-1), :1]  # of the last token, for a row behind its <sop>
    positions = torch.where(speaking, place, last[:, :1] + steps)
    return torch.stack((positions, torch.where(speaking, block + steps, 0)), -1)


def visible(real: Tensor, context: Tensor | None, new: int) -> Tensor:
    """Which of t tokens each of the last `new` sees [b, 1, new, t]: itself, real ones before it, all of a context."""
    total = real.shape[1]
    earlier = torch.ones(new, total, dtype=torch.bool, device=real.device).tril(total - new)
    seen = earlier if context is None else earlier | context[:, None]
    itself = earlier.triu(total - new)  # padding sees itself: a softmax over nothing is NaN
    return (seen & real[:, None] | itself)[:, None]


def rotations(places: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """cos and sin [b, 1, t, 2 · width] in fp32, for halves of `width` that turn by the two positions [b, t, 2]."""
    exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
    frequencies = (1.0 / ROTARY_BASE**exponents).half().float().to(places.device)
    angles = places[..., None] * frequencies  # [b, t, 2, width / 2]
    angles = torch.cat((angles, angles), -1).flatten(-2).unsqueeze(1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn both halves of every head, x [b, h, t, d]: in a half, value i goes with value i + d/4."""
    first, second = x.unflatten(-1, (2, -1)).chunk(2, -1)
    turned = torch.cat((-second, first), -1).flatten(-2)
    return x * cos + turned * sin


# -- layers -----------------------------------------------------------------------------------------------------------
class ChatGLMAttention(nn.Module):
    def __init__(self, config: ChatGLMConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = config.num_attention_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        # A head's query, key and value lie side by side: [b, t, 3h] → [b, heads, t, 3d] → three of [b, heads, t, d].
        mixed = self.query_key_value(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query, key, value = mixed.chunk(3, -1)
        query, key = rotate(query, cos, sin).to(value.dtype), rotate(key, cos, sin).to(value.dtype)
        if cache is not None:
            key, value = cache.update(key, value, self.layer)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.dense(out.transpose(1, 2).flatten(2))


class ChatGLMMLP(nn.Module):
    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.inner_hidden_size)
        self.dense_4h_to_h = nn.Linear(config.inner_hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(hidden), approximate="tanh"))


class ChatGLMBlock(GradientCheckpointingLayer):
    """The residual is not what came in but its layer norm, times α = √(2 · layers)."""

    def __init__(self, config: ChatGLMConfig, layer: int) -> None:
        super().__init__()
        self.alpha = (2 * config.num_layers) ** 0.5
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)
        self.attention = ChatGLMAttention(config, layer)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)
        self.mlp = ChatGLMMLP(config)

    def forward(
        self, hidden: Tensor, mask: Tensor, cos: Tensor, sin: Tensor, past_key_values: Cache | None = None
    ) -> Tensor:
        normed = self.input_layernorm(hidden)
        hidden = normed * self.alpha + self.attention(normed, mask, cos, sin, past_key_values)
        normed = self.post_attention_layernorm(hidden)
        return normed * self.alpha + self.mlp(normed)


def refuse(others: dict[str, Any]) -> None:
    """PEFT and TRL name every argument there is. One that is set must not be passed over in silence."""
    if asked := [name for name, value in others.items() if value is not None and value is not False]:
        raise TypeError(f"ChatGLM-6B does not take {', '.join(asked)}")


# -- models -----------------------------------------------------------------------------------------------------------
class ChatGLMPreTrainedModel(PreTrainedModel):
    """What Transformers wants to know of both; no code."""

    config_class = ChatGLMConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    reads_prompts_whole = True  # whoever feeds a prompt must not cut it
    _input_embed_layer = "word_embeddings"
    _no_split_modules = ["ChatGLMBlock"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True


class ChatGLMModel(ChatGLMPreTrainedModel):
    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([ChatGLMBlock(config, layer) for layer in range(config.num_layers)])
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        return_dict: bool = True,
        **others: Any,
    ) -> BaseModelOutputWithPast:
        """`input_ids` [b, n] behind what the cache holds, t − n tokens; `attention_mask` [b, t], 0 for padding.

        Raises TypeError for what is asked and not given, such as `inputs_embeds`.
        """
        refuse(others)
        caching = self.config.use_cache if use_cache is None else use_cache
        if caching and past_key_values is None:
            past_key_values = DynamicCache()
        places, mask = self._look(input_ids, attention_mask, past_key_values)
        cos, sin = rotations(places, self.config.hidden_size // self.config.num_attention_heads // 2)
        hidden = self.word_embeddings(input_ids)
        for layer in self.layers:
            hidden = layer(hidden, mask, cos, sin, past_key_values=past_key_values)
        return BaseModelOutputWithPast(
            last_hidden_state=self.final_layernorm(hidden), past_key_values=past_key_values if caching else None
        )

    def _look(self, input_ids: Tensor, attention_mask: Tensor | None, cache: Cache | None) -> tuple[Tensor, Tensor]:
        """The two positions of the new tokens [b, n, 2], and what they see [b, 1, n, t]. The cache learns of both."""
        rows, new = input_ids.shape
        past = 0 if cache is None else cache.get_seq_length()
        if attention_mask is None:
            real = torch.ones(rows, past + new, dtype=torch.bool, device=input_ids.device)
        else:
            real = attention_mask.to(torch.bool)
        context = None
        if past:
            places = next_places(input_ids, real[:, past:], self._kept(cache).keys[:, 0], self.config)
        else:
            places, context = first_places(input_ids, real, self.config)
        if cache is not None:
            # Keys of one head with two values, and values of none.
            self._kept(cache).update(places[:, None], places[:, None, :, :0])
        return places, visible(real, context, new)

    def _kept(self, cache: Cache | None) -> Any:
        """The layer of the cache behind the last, which holds the positions of all tokens as its keys [b, 1, t, 2]."""
        assert cache is not None
        while len(cache.layers) <= self.config.num_layers:
            cache.layers.append(DynamicLayer())
        return cache.layers[self.config.num_layers]


class ChatGLMForCausalLM(ChatGLMPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "transformer.word_embeddings.weight"}  # where the config ties them

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.transformer = ChatGLMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool = True,
        num_items_in_batch: Tensor | int | None = None,
        **others: Any,
    ) -> CausalLMOutputWithPast:
        """As `ChatGLMModel`, with logits [b, n, v] and, for `labels` [b, n], the mean loss of the next token.

        Raises TypeError for what is asked and not given, such as `output_attentions`.
        """
        refuse(others)
        output = self.transformer(input_ids, attention_mask, None, past_key_values, use_cache)
        logits = self.lm_head(slice_logits_to_keep(output.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=num_items_in_batch)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=output.past_key_values)


def register() -> None:
    """Make the Auto classes of Transformers know this architecture."""
    AutoConfig.register(ChatGLMConfig.model_type, ChatGLMConfig, exist_ok=True)
    AutoModel.register(ChatGLMConfig, ChatGLMModel, exist_ok=True)
    AutoModelForCausalLM.register(ChatGLMConfig, ChatGLMForCausalLM, exist_ok=True)
