"""The fixed prompts, answered or continued greedily by the model in training: what an expert reads between figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from core.data.encode.documents import DocumentEncoder
from core.data.encode.encoding import Encoder
from core.training.attention import plain_attention

Stop = Callable[[], bool]


def answer(
    model: PreTrainedModel | PeftModel, encoder: Encoder, tokenizer: Any, stop: Stop, prompt: str, max_new_tokens: int
) -> str:
    """The model's greedy reply to one user message, cut short once `stop()` is true."""
    ids = encoder.prompt_ids([{"role": "user", "content": prompt}])
    return _greedy(model, tokenizer, ids, encoder.stop_ids, max_new_tokens, stop).strip()


def go_on(
    model: PreTrainedModel | PeftModel,
    encoder: DocumentEncoder,
    tokenizer: Any,
    stop: Stop,
    text: str,
    max_new_tokens: int,
) -> str:
    """How the model continues a document that begins with `text`: that text and the rest, greedily."""
    return text + _greedy(model, tokenizer, encoder.prompt_ids(text), encoder.stop_ids, max_new_tokens, stop)


class _Asked(StoppingCriteria):
    """Ends a generation as soon as somebody asks the run to stop."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **others: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self.stop(), device=input_ids.device, dtype=torch.bool)


@torch.no_grad()
def _greedy(
    model: PreTrainedModel | PeftModel,
    tokenizer: Any,
    prompt: list[int],
    stop_ids: list[int],
    max_new_tokens: int,
    stop: Stop,
) -> str:
    """What follows `prompt`. Every sampling parameter is set: the defaults sample top_k 50."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    ids = torch.tensor([prompt], device=base.device)
    config = GenerationConfig(
        do_sample=False,
        top_k=None,
        top_p=None,
        temperature=None,
        repetition_penalty=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=stop_ids or None,
        pad_token_id=stop_ids[0] if stop_ids else 0,
    )
    training = model.training
    model.eval()
    try:
        with plain_attention(base):
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                stopping_criteria=StoppingCriteriaList([_Asked(stop)]),
            )
    finally:
        model.train(training)
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
