"""The fixed prompts, answered greedily by the model in training: what a domain expert reads between the figures."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel

from core.data.encode.encoding import Encoder
from core.training.fastpath import plain_attention


@torch.no_grad()
def answer(
    model: PreTrainedModel | PeftModel, encoder: Encoder, tokenizer: Any, prompt: str, max_new_tokens: int
) -> str:
    """The model's greedy reply to one user message. Every sampling parameter is set: the defaults sample top_k 50."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    ids = torch.tensor([encoder.prompt_ids([{"role": "user", "content": prompt}])], device=base.device)
    config = GenerationConfig(
        do_sample=False,
        top_k=None,
        top_p=None,
        temperature=None,
        repetition_penalty=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=encoder.stop_ids,
        pad_token_id=encoder.stop_ids[0] if encoder.stop_ids else 0,
    )
    training = model.training
    model.eval()
    try:
        with plain_attention(base):
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    finally:
        model.train(training)
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
