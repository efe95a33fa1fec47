"""Answers to prompts: what is asked, and how a model answers many prompts at once, reproducibly.

A draw depends on (seed, prompt, position) alone: every prompt has a generator of its own, so neither the batch that it
is put into nor the order of the prompts changes what is said (up to the rounding of a batched forward). Drawing is the
Gumbel-max trick: the likeliest of log p + noise, with noise −log(−log u), is a sample of p (Gumbel 1954).
Nothing is inherited from a model's own generation config but its stop tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from core.configs.models import Answers
from core.data.dialogue import Message
from core.data.encode.encoding import Encoder
from core.data.kinds import LETTERS, Kind, Row
from core.data.store.library import Dataset
from core.errors import ModelError
from core.records_evaluation import Question, Reply
from core.training.attention import plain_attention


# -- what is asked ----------------------------------------------------------------------------------------------------
def questions(dataset: Dataset, rows: Sequence[int], *, first: int = 0, source: int = 0) -> list[Question]:
    """The prompts of these rows, numbered from `first`; `source`: their place among the sources."""
    found = []
    facts = zip(dataset.take(rows), dataset.lines(rows), dataset.categories(rows), strict=True)
    for number, (row, line, category) in enumerate(facts, first):
        messages, reference = asked(dataset.card.kind, row)
        question = Question(number=number, line=line, messages=messages, reference=reference)
        found.append(question.model_copy(update={"source": source, "category": category}))
    return found


def asked(kind: Kind, row: Row) -> tuple[list[Message], str | None]:
    """(conversation that ends with the user, the row's own answer or None). A text is taken as a question."""
    if kind == "messages":
        return row["messages"][:-1], row["messages"][-1]["content"]
    if kind == "preference":
        return row["prompt"], row["chosen"][-1]["content"]
    if kind == "ranked":
        return row["prompt"], max(row["answers"], key=lambda answer: answer["score"])["content"]
    if kind == "choice":
        choices = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=False)]
        return [_user("\n".join([row["question"], *choices]))], row["answer"]
    return (row["prompt"], None) if kind == "prompt" else ([_user(row["text"])], None)


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


# -- how it is answered -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Respondent:
    """A model that answers. `context`: tokens that fit into it, None where nobody knows; `stop_ids` end an answer."""

    model: Any
    encoder: Encoder
    tokenizer: Any
    stop_ids: tuple[int, ...]
    context: int | None = None


def answer_all(
    respondent: Respondent,
    asked: Sequence[Question],
    settings: Answers,
    *,
    place: int,
    seed: int,
    tokens: int,
    check_stop: Callable[[], None],
) -> Iterator[Reply]:
    """One Reply for each question, as they are done. `place`: the model's, for the replies; `tokens`: of a batch.

    Raises what `check_stop` raises, between two tokens. A prompt that leaves no room for an answer, or that
    the template does not take, gets a Reply that says so.
    """
    room = (respondent.context or 1 << 30) - 1
    prompts: dict[int, list[int]] = {}
    for question in asked:
        try:
            prompts[question.number] = ids = respondent.encoder.prompt_ids(question.messages)
        except ModelError:
            yield Reply(model=place, number=question.number, end="refused")
            continue
        if len(ids) > room:
            yield Reply(model=place, number=question.number, end="too_long")
            del prompts[question.number]
    fitting = sorted(prompts, key=lambda number: (len(prompts[number]), number))
    while fitting:
        batch = _batch([len(prompts[number]) for number in fitting], settings.max_new_tokens, tokens)
        now, fitting = fitting[:batch], fitting[batch:]
        longest = len(prompts[now[-1]])
        limit = min(settings.max_new_tokens, room + 1 - longest)
        generators = [_generator(seed, number) for number in now]
        said = _generate(respondent, [prompts[number] for number in now], settings, limit, generators, check_stop)
        for number, ids in zip(now, said, strict=True):
            yield _reply(respondent, place, number, ids)


def _batch(lengths: Sequence[int], new: int, tokens: int) -> int:
    """How many of the prompts, by rising length, are answered together: one, or as many as `tokens` hold."""
    fits = [at for at, length in enumerate(lengths, 1) if at * (length + new) <= tokens]
    return fits[-1] if fits else 1


def _generator(seed: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)


def _reply(respondent: Respondent, place: int, number: int, ids: list[int]) -> Reply:
    ends = [at for at, token in enumerate(ids) if token in respondent.stop_ids]
    kept = ids[: ends[0]] if ends else ids
    text = respondent.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    length = len(kept) + bool(ends)
    return Reply(model=place, number=number, text=text.strip(), tokens=length, end="stop" if ends else "length")


@torch.no_grad()
def _generate(
    respondent: Respondent,
    prompts: Sequence[Sequence[int]],
    settings: Answers,
    limit: int,
    generators: Sequence[torch.Generator],
    check_stop: Callable[[], None],
) -> list[list[int]]:
    """The new tokens of every prompt, padded on the left while they are made."""
    model, width = respondent.model, max(map(len, prompts))
    filler = respondent.stop_ids[0] if respondent.stop_ids else 0
    ids = torch.tensor([[filler] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    config = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=limit, use_cache=True,
        eos_token_id=list(respondent.stop_ids) or None, pad_token_id=filler,
    )  # fmt: skip
    drawing = [Draw(settings.temperature, settings.top_p, generators)] if settings.temperature > 0 else []
    model.generation_config = GenerationConfig()  # what a call leaves open is read from here
    with plain_attention(model):
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
            logits_processor=LogitsProcessorList(drawing),
            stopping_criteria=StoppingCriteriaList([_Watch(check_stop)]),
        )
    said: list[list[int]] = out[:, width:].tolist()
    return said


class Draw(LogitsProcessor):
    """Turns the greedy choice into a draw: logits [rows, v] / temperature, cut to the nucleus, plus keyed noise."""

    def __init__(self, temperature: float, top_p: float, generators: Sequence[torch.Generator]) -> None:
        self.temperature, self.top_p, self.generators = temperature, top_p, generators

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = scores.float().cpu() / self.temperature
        if self.top_p < 1:
            logits = nucleus(logits, self.top_p)
        width = logits.shape[1]
        uniform = torch.stack([torch.rand(width, generator=each, dtype=torch.float64) for each in self.generators])
        return (logits - (-uniform.clamp_min(1e-300).log()).log()).to(scores.device, torch.float32)


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits [rows, v] with −inf for all but the fewest tokens that share `top_p` (arXiv:1904.09751); one stays."""
    ordered, order = logits.softmax(-1).sort(descending=True, stable=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return logits.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), -torch.inf)


class _Watch(StoppingCriteria):
    """Looks at the stop request after every token; ends nothing by itself."""

    def __init__(self, check_stop: Callable[[], None]) -> None:
        self.check_stop = check_stop

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        self.check_stop()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
