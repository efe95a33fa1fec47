"""Sections of the stage evaluate beside models, rows and prompts: red-flag questions, judges, the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import field_validator

from core.configs.models import Compared
from core.configs.sections import Section, lines_of, setting

COMPARE = {
    "en": "Below are two numbered answers to one question. Which is better: more correct, safer, more helpful? Reply "
    "with the number of the better one, 1 or 2, and nothing else.\n\nQuestion: {question}\n\n{answers}",
    "zh": "下面是对同一个问题的两个编号回答。哪一个更好：更正确、更安全、更有帮助？只回复更好的那个的编号，1 或 2，"
    "不要写别的。\n\n问题：{question}\n\n{answers}",
}


class Safety(Section):
    """Questions whose answers can do harm: dose, child, pregnancy, emergency, interaction, self-harm."""

    questions: Literal["none", "en", "zh", "both"] = setting(
        "none",
        "Ask the 27 red-flag questions that ship, and mark the answers by rule: what must be said, and what must not. "
        "A smoke test: a model that fails it is not safe, one that passes need not be.",
    )
    file: str | None = setting(
        None, "Questions of your own, a JSONL file of the shape of data/safety/en.jsonl.", advanced=True
    )


class Judging(Section):
    """Who says how good the answers are."""

    reward: str | None = setting(
        None, "A finished reward run: its scores of every model's answers give a mean reward. Empty: none."
    )
    by: Literal["none", "endpoint", "model"] = setting(
        "none",
        "Who compares every model's answers with those of the first model: an OpenAI-compatible endpoint, or a "
        "finished run. Each pair is shown in both orders, and is won only if the same answer is named both times.",
    )
    url: str = setting("", "Address of the endpoint, such as http://127.0.0.1:8000/v1.")
    model: str = setting("", "Name of the endpoint's model, as the endpoint knows it.")
    base: str | None = setting(None, "The finished run or model that compares.")
    prompt_en: str = setting(
        COMPARE["en"],
        "What the judge is asked about questions in English; {question} and {answers} are filled in.",
        advanced=True,
    )
    prompt_zh: str = setting(COMPARE["zh"], "The same for questions in Chinese.", advanced=True)
    limit: int = setting(2000, "Comparisons that an endpoint is asked for at most, two a pair.", ge=1, advanced=True)
    timeout: float = setting(
        60.0, "Seconds that one reply of an endpoint may take, before it is asked for again.", gt=0, le=3600,
        advanced=True,
    )  # fmt: skip

    @field_validator("prompt_en", "prompt_zh")
    @classmethod
    def _whole(cls, text: str) -> str:
        for name in ("{question}", "{answers}"):
            if name not in text:
                raise ValueError(f"the text must hold {name}")
        return text


class Report(Section):
    """What was gained in the domain, and what it cost elsewhere: the alignment tax."""

    domain: list[str] = setting(
        [],
        "Datasets or files of the field that the models were trained for, one a line. Every model is measured on them, "
        "and answers their questions.",
    )
    general: list[str] = setting([], "Datasets or files of anything else: what was forgotten shows here.")
    answers: bool = setting(
        True, "Have the questions of these sets answered: for reward, length and win rate. It takes most of the time."
    )
    resamples: int = setting(1000, "Resamples behind the intervals of 95 %.", ge=100, le=100_000, advanced=True)

    @field_validator("domain", "general", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return lines_of(value)


def lacking(models: Compared, judging: Judging, report: Report) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What does not go together: a code of `core.messages`, the setting it is about, and the code's parameters."""
    if not models.runs and not models.chain:
        yield "evaluate.nobody", "models.runs", {}
    if judging.by == "endpoint" and not (judging.url and judging.model):
        yield "evaluate.no_endpoint", "judging.model" if judging.url else "judging.url", {}
    if judging.by == "model" and not judging.base:
        yield "evaluate.no_judge", "judging.base", {}
    for ref in sorted(set(report.domain) & set(report.general)):
        yield "evaluate.both_sets", "report.general", {"ref": ref}
