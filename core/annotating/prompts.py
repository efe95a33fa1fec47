"""The text that a task asks about a row: its form, in the row's language, with the names in braces filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from core.configs.annotate import Task
from core.configs.annotate_prompts import PROMPTS, Language, Of
from core.data.dialogue import Message
from core.data.figures import language_of

FILLED = re.compile(r"\{(question|answer|answers|document|examples|count)\}")
SAID = {
    "zh": {"system": "系统：", "user": "用户：", "assistant": "助手："},
    "en": {"system": "System: ", "user": "User: ", "assistant": "Assistant: "},
}
ANSWER = {"zh": "回答 {n}：", "en": "Answer {n}: "}
EXAMPLE = {"zh": "问题：{question}\n回答：{answer}", "en": "Question: {question}\nAnswer: {answer}"}


def form_of(task: Task, of: Of, language: Language) -> str:
    """What the task asks in this language: the config's own text, else the one that ships."""
    own = task.prompt_zh if language == "zh" else task.prompt_en
    return own or shipped(task.asks, of, language)


def shipped(kind: str, of: Of, language: Language) -> str:
    """A task that looks at one sort of rows only has the same text for both."""
    return (PROMPTS.get((kind, of)) or PROMPTS[kind, "rows"])[language]


def fill(form: str, values: Mapping[str, str]) -> str:
    """`form` with its names replaced, once; what cannot be written as UTF-8 becomes `?`."""
    text = FILLED.sub(lambda found: values.get(found[1], found[0]), form)
    return text.encode("utf-8", "replace").decode("utf-8")


def spoken_in(*texts: str) -> Language:
    """The language in which a row is asked about."""
    return "zh" if language_of("\n".join(texts)) in ("zh", "mixed") else "en"


def transcript(messages: Sequence[Message]) -> str:
    """A conversation as text: the question alone where nothing was said before, else every turn with who said it."""
    if len(messages) == 1:
        return messages[0]["content"]
    names = SAID[spoken_in(*(message["content"] for message in messages))]
    return "\n".join(names[message["role"]] + message["content"] for message in messages)


def numbered(answers: Sequence[str], language: Language) -> str:
    """`Answer 1: …`, and so on."""
    return "\n\n".join(ANSWER[language].format(n=at) + answer for at, answer in enumerate(answers, 1))


def examples(pairs: Sequence[tuple[str, str]], language: Language) -> str:
    """Questions with their answers, in the form in which new ones are wanted."""
    return "\n\n".join(EXAMPLE[language].format(question=asked, answer=said) for asked, said in pairs)
