"""A language model as an annotator: it answers prompts in batches here, as an endpoint does from afar.

    with speaking(context, "sft-…", Answers(max_new_tokens=256, temperature=0.0), seeds=[42], tokens=4096) as [speaker]:
        for key, reply in speaker.ask({"a": "Mark this: …"}, understood):
            …

It is loaded when the first prompt comes, so a resumed run that knows every reply already loads nothing. What it says
depends on (seed, prompt), and in its last digits on the batch. Batches are cut in the order of the prompts and given
whole, so that after a kill the same batches are left, and all say what they would have said. Asked once more after
nonsense it would say the same again, so it then draws at `RETRY_TEMPERATURE`.
"""

from __future__ import annotations

import gc
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from core.annotating.replies import RETRY_TEMPERATURE, Prompt, Reply, Understood, something
from core.configs.models import Answers, Compared
from core.errors import ModelError, RunError
from core.evaluation.answers import Respondent, answer_all
from core.evaluation.contenders import find, load_language
from core.models.loading import resolve_dtype
from core.records_evaluation import Question
from core.records_evaluation import Reply as Answered
from core.report import RunContext

LONGEST = 1 << 20  # tokens of a prompt; what the model's context leaves is looked at prompt by prompt
UNSAID = {
    "too_long": "the prompt leaves no room for a reply in the model's context",
    "refused": "the model's chat template does not take this prompt",
}


class Speaker:
    """load: gives the model, always the same, and keeps it. identity: the weights'. tokens: that a batch may hold."""

    def __init__(
        self,
        load: Callable[[], Respondent],
        settings: Answers,
        *,
        identity: str,
        seed: int,
        tokens: int,
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.load = load
        self.settings, self.seed, self.tokens, self.check_stop = settings, seed, tokens, check_stop
        self.at_once = sys.maxsize  # one prompt that it cannot read says nothing of the next
        how = (identity, settings.max_new_tokens, settings.temperature, settings.top_p, seed)
        self.identity = "\0".join(map(str, how))

    def down(self, detail: str) -> RunError:
        """What a model says when it answers nothing at all, which is then wrong with every prompt."""
        return RunError("annotate.model_silent", detail=detail)

    def ask(self, prompts: Mapping[str, Prompt], understood: Understood = something) -> Iterator[tuple[str, Reply]]:
        """One Reply for each prompt, with its key. Raises what `check_stop` raises, between two tokens."""
        for batch in self._batches(prompts):
            said = dict(self._say(batch, self.settings, self.seed))
            vain = [key for key, reply in said.items() if not (reply.failed or understood(reply.text or ""))]
            freer = self.settings.model_copy(update={"temperature": max(RETRY_TEMPERATURE, self.settings.temperature)})
            for key, reply in self._say({key: batch[key] for key in vain}, freer, self.seed + 1):
                first = said[key]
                said[key] = replace(
                    reply, tokens_in=first.tokens_in + reply.tokens_in, tokens_out=first.tokens_out + reply.tokens_out
                )
            yield from said.items()

    def _batches(self, prompts: Mapping[str, Prompt]) -> Iterator[dict[str, Prompt]]:
        """As many prompts as `tokens` hold with their replies, one after another; at least one."""
        batch: dict[str, Prompt] = {}
        longest = 0
        for key, prompt in prompts.items():
            longest = max(longest, self._length(prompt))
            if batch and (len(batch) + 1) * (longest + self.settings.max_new_tokens) > self.tokens:
                yield batch
                batch, longest = {}, self._length(prompt)
            batch[key] = prompt
        if batch:
            yield batch

    def _length(self, prompt: Prompt) -> int:
        try:
            return len(self.load().encoder.prompt_ids(turns(prompt)))
        except ModelError:  # the template does not take it: `answer_all` says so
            return 0

    def _say(self, prompts: Mapping[str, Prompt], settings: Answers, seed: int) -> Iterator[tuple[str, Reply]]:
        keys = list(prompts)
        asked = [Question(number=number_of(key), line=0, messages=turns(prompts[key])) for key in keys]
        by_number = {question.number: (key, question) for key, question in zip(keys, asked, strict=True)}
        answers = answer_all(
            self.load(), asked, settings, place=0, seed=seed, tokens=self.tokens, check_stop=self.check_stop
        )
        for answer in answers:
            key, question = by_number[answer.number]
            yield key, self._reply(question, answer)

    def _reply(self, question: Question, answer: Answered) -> Reply:
        if answer.end in UNSAID:
            return Reply(failed=UNSAID[answer.end], refused=True)
        return Reply(answer.text, self._length(question.messages), answer.tokens)


@contextmanager
def speaking(
    context: RunContext,
    base: str,
    settings: Answers,
    *,
    seeds: Sequence[int],
    tokens: int,
    template: str | None = None,
    trust_remote_code: bool = False,
) -> Iterator[list[Speaker]]:
    """The model `base` with its chain merged, once for each of `seeds`; afterwards its memory is free again,
    whatever happened.

    Raises as `core.evaluation.contenders.find`, and when it is loaded, as `load_language`.
    """
    report = context.report
    report.phase("loading")
    contender = find(context.workspace, base)
    held: list[Respondent] = []

    def load() -> Respondent:
        if not held:
            report.phase("loading")
            language = load_language(
                contender,
                Compared(runs=[base], template=template, trust_remote_code=trust_remote_code),
                device=context.device,
                dtype=resolve_dtype("auto", context.device),
                max_length=LONGEST,
            )
            held.append(language.respondent)
        return held[0]

    identity = "\0".join([contender.parent.backbone_id, template or ""])
    check = report.check_stop
    try:
        yield [Speaker(load, settings, identity=identity, seed=seed, tokens=tokens, check_stop=check) for seed in seeds]
    finally:
        held.clear()
        gc.collect()  # the model's modules refer to each other: its memory is wanted for the next one
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def number_of(key: str) -> int:
    """A number for a prompt that stays the same however many others are asked with it: noise is drawn by it."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7])


def turns(prompt: Prompt) -> list[dict[str, Any]]:
    said: Sequence[dict[str, Any]] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return list(said)
