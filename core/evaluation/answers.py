"""Answers to prompts: what is asked, and how a model answers many prompts at once, reproducibly.

The loop is `core.evaluation.decoding`: a draw depends on (seed, prompt, position) alone and every prompt has a length
limit of its own, so neither the batch that it is put into nor the order of the prompts changes what is said (up to the
rounding of a batched forward). Nothing is inherited from a model's own generation config but its stop tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.configs.models import Answers
from core.data.dialogue import Message
from core.data.encode.encoding import Encoder
from core.data.kinds import LETTERS, Kind, Row
from core.data.store.library import Dataset
from core.errors import ModelError
from core.evaluation.decoding import Drawing, decode
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

    Raises what `check_stop` raises, between two tokens, and RunError `serve.not_finite`. A prompt that leaves no room
    for an answer, or that the template does not take, gets a Reply that says so.
    """
    context = respondent.context or 1 << 30
    drawing = Drawing(temperature=settings.temperature, top_p=settings.top_p)
    prompts: dict[int, list[int]] = {}
    for question in asked:
        try:
            prompts[question.number] = ids = respondent.encoder.prompt_ids(question.messages)
        except ModelError:
            yield Reply(model=place, number=question.number, end="refused")
            continue
        if len(ids) >= context:
            yield Reply(model=place, number=question.number, end="too_long")
            del prompts[question.number]
    fitting = sorted(prompts, key=lambda number: (len(prompts[number]), number))
    while fitting:
        batch = _batch([len(prompts[number]) for number in fitting], settings.max_new_tokens, tokens)
        now, fitting = fitting[:batch], fitting[batch:]
        with plain_attention(respondent.model):
            said = decode(
                respondent.model,
                [prompts[number] for number in now],
                [min(settings.max_new_tokens, context - len(prompts[number])) for number in now],
                now,
                drawing,
                stop_ids=respondent.stop_ids,
                seed=seed,
                on_step=lambda _: check_stop(),
            )
        for number, ids in zip(now, said, strict=True):
            yield _reply(respondent, place, number, ids)


def _batch(lengths: Sequence[int], new: int, tokens: int) -> int:
    """How many of the prompts, by rising length, are answered together: one, or as many as `tokens` hold."""
    fits = [at for at, length in enumerate(lengths, 1) if at * (length + new) <= tokens]
    return fits[-1] if fits else 1


def _reply(respondent: Respondent, place: int, number: int, ids: list[int]) -> Reply:
    ends = [at for at, token in enumerate(ids) if token in respondent.stop_ids]
    kept = ids[: ends[0]] if ends else ids
    text = respondent.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    length = len(kept) + bool(ends)
    return Reply(model=place, number=number, text=text.strip(), tokens=length, end="stop" if ends else "length")
