"""Which of two answers is better: every model's beside the first model's, each pair asked in both orders.

    with comparer(context, config) as compare:
        verdicts = compare(place, pairs(questions, own, base), on_progress)
        figures = outcomes(verdicts)            `win`: 1 for a win, 0.5 for a tie, 0 for a loss

Models that judge have a liking for one place (Zheng et al., arXiv:2306.05685, 3.3): an answer wins only where it is
named both times; where each order names another one, it is a tie. Equal answers are a tie, and nobody is asked. Where
the words allow no reading, there is no verdict. Every reply is a line of `judge-replies.jsonl` in the run, so nothing
is asked twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from core.annotating.asking import Asking
from core.annotating.endpoint import JUDGE_KEY, Endpoint
from core.annotating.prompts import fill, numbered, spoken_in, transcript
from core.annotating.replies import Annotator, Reply
from core.annotating.verdicts import order_in
from core.configs.evaluating import Judging
from core.configs.models import Answers
from core.configs.stages import EvaluateConfig
from core.evaluation.said import answered
from core.evaluation.speaking import speaking
from core.records_evaluation import Question, Verdict
from core.records_evaluation import Reply as Answer
from core.report import RunContext

REPLIES = "judge-replies.jsonl"
REPLY_TOKENS = 32  # a number is asked for; a model that explains itself may do so for a line
VALUES = {"win": 1.0, "tie": 0.5, "loss": 0.0}
ORDERS = ("first", "second")  # where the model's answer stands
PATIENCE = 8  # failures in a row after which an endpoint counts as down
Named = Literal["", "answer", "base"]
Compare = Callable[[int, Sequence["Pair"], Callable[[int], None]], list[Verdict]]


@dataclass(frozen=True)
class Pair:
    """The answers of a model and of the first model to one question."""

    question: Question
    answer: str
    base: str


def pairs(questions: Iterable[Question], own: Iterable[Answer], base: Iterable[Answer]) -> list[Pair]:
    """The questions that both have answered."""
    mine, theirs = ({reply.number: reply.text for reply in answered(replies)} for replies in (own, base))
    return [
        Pair(question, mine[question.number], theirs[question.number])
        for question in questions
        if question.number in mine and question.number in theirs
    ]


def outcomes(verdicts: Iterable[Verdict]) -> dict[int, dict[str, float]]:
    """Figures by the question's number: `win`, or `unread` where the judge's words allowed no verdict."""
    return {
        verdict.number: {"win": VALUES[verdict.outcome]} if verdict.outcome else {"unread": 1.0} for verdict in verdicts
    }


@contextmanager
def comparer(context: RunContext, config: EvaluateConfig) -> Iterator[Compare]:
    """Whoever the config names, ready to compare. Raises, with the first pair that is not known yet, RunError
    `evaluate.judge_down` for an endpoint that is down, and as `core.evaluation.speaking` for a model."""
    judging, kept = config.judging, context.run.path / REPLIES
    if judging.by == "endpoint":
        with Endpoint(
            judging.url, judging.model, key_name=JUDGE_KEY, timeout=judging.timeout,
            check_stop=context.report.check_stop, down_code="evaluate.judge_down",
        ) as endpoint:  # fmt: skip
            yield _asking(endpoint, judging, Asking(endpoint, kept, limit=judging.limit, patience=PATIENCE))
        return
    settings = Answers(max_new_tokens=REPLY_TOKENS, temperature=0.0)
    with speaking(
        context, judging.base or "", settings, seeds=[config.run.seed], tokens=config.data.tokens,
        template=config.models.template, trust_remote_code=config.models.trust_remote_code,
    ) as [speaker]:  # fmt: skip
        yield _asking(speaker, judging, Asking(speaker, kept))


def _asking(annotator: Annotator, judging: Judging, asking: Asking) -> Compare:
    def compare(place: int, found: Sequence[Pair], on_progress: Callable[[int], None]) -> list[Verdict]:
        """A Verdict for each pair that is decided; none beyond the limit. `on_progress` gets the pairs done."""
        differing = {pair.question.number: pair for pair in found if pair.answer.strip() != pair.base.strip()}
        prompts = {
            f"{number}.{order}": prompt(judging, pair, order) for number, pair in differing.items() for order in ORDERS
        }
        said: dict[str, Reply] = {}
        for key, reply in asking.ask(prompts, lambda text: named(text) is not None):
            said[key] = reply
            on_progress(len(found) - len(differing) + len(said) // len(ORDERS))
        return [verdict for pair in found if (verdict := _verdict(place, pair, said, differing)) is not None]

    return compare


def _verdict(place: int, pair: Pair, said: Mapping[str, Reply], asked: Mapping[int, Pair]) -> Verdict | None:
    number = pair.question.number
    if number not in asked:
        return Verdict(model=place, number=number, outcome="tie")
    replies = [said.get(f"{number}.{order}") for order in ORDERS]
    if any(reply is None for reply in replies):
        return None  # beyond the limit, which may fall between the two orders
    words = [reply.text or "" for reply in replies if reply is not None]
    first, second = (whose(text, order) for text, order in zip(words, ORDERS, strict=True))
    verdict = Verdict(model=place, number=number, first=first, second=second, said=(words[0], words[1]))
    if first and second:
        verdict.outcome = "tie" if first != second else "win" if first == "answer" else "loss"
    return verdict


def prompt(judging: Judging, pair: Pair, order: str) -> str:
    """What the judge is asked, in the language of the question."""
    question = transcript([{"role": turn["role"], "content": turn["content"]} for turn in pair.question.messages])
    language = spoken_in(question)
    shown = [pair.answer, pair.base] if order == "first" else [pair.base, pair.answer]
    form = judging.prompt_zh if language == "zh" else judging.prompt_en
    return fill(form, {"question": question, "answers": numbered(shown, language)})


def named(text: str) -> int | None:
    """Which of two answers, 0 or 1, is called the better one; None where the words allow no reading."""
    order = order_in(text, 2)
    return None if order is None else order[0]


def whose(text: str, order: str) -> Named:
    place = named(text)
    if place is None:
        return ""
    return "answer" if (place == 0) == (order == "first") else "base"
