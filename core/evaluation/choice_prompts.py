"""How a multiple-choice question is put to a model: the text, the examples before it, and what may follow.

By letters, as C-Eval, CMMLU and MMLU are asked, the choices are listed and a letter is to follow:

    {question}⏎A. {first}⏎B. {second}⏎…⏎Answer:            → " A" | " B" | …     答案： where the questions are Chinese

By texts, as ARC is asked, nothing is listed and a choice itself is to follow:

    Question: {question}⏎Answer:                            → " {first}" | …      问题：{question}⏎答案：

These are the strings of lm-eval's tasks of these names. Examples stand before the question, each with a blank and its
answer, an empty line after each; `preamble` stands before all of them, with the question's category for `{category}`.
Through the chat template each example is a user's turn with the assistant's answer behind it, and the preamble is the
system's turn.

A question with several right answers (CMB has them) is always asked by letters, and what may follow are the sets of two
or more letters in their order, each with the end that an answer has (` ABD`, then what stands after an answer). With
the end the sets exclude each other, so the likeliest is the model's answer; without it ` AB` would always be likelier
than ` ABD`. That there is more than one right answer is part of the question, as it is in the exam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice

from core.data.dialogue import Message
from core.data.kinds import LETTERS
from core.data.store.dataset import Dataset
from core.records_evaluation import Asking

BETWEEN = "\n\n"  # after an example's answer
WORDS = {"en": ("Question: ", "Answer:"), "zh": ("问题：", "答案：")}
FEWEST_CHOICES, MOST_CHOICES = 3, 8  # of a question with several right answers: 4 sets, 247 sets


@dataclass(frozen=True)
class Exercise:
    """A row that asks; `row`: its number in the dataset, `answer`: its letters."""

    row: int
    question: str
    choices: tuple[str, ...]
    answer: str
    category: str | None = None

    @property
    def multiple(self) -> bool:
        return len(self.answer) > 1

    @property
    def letters(self) -> str:
        return LETTERS[: len(self.choices)]

    def same(self, other: Exercise) -> bool:
        return (self.question, self.choices) == (other.question, other.choices)


@dataclass(frozen=True)
class Style:
    """`language`: of the words that are put to the question."""

    asking: Asking
    language: str

    def by_texts(self, exercise: Exercise) -> bool:
        """Whether this question, and the examples before it, are put without their choices."""
        return self.asking.by == "texts" and not exercise.multiple

    def ask(self, exercise: Exercise, by_texts: bool) -> str:
        question, answer = WORDS[self.language]
        if by_texts:
            return f"{question}{exercise.question.strip()}\n{answer}"
        listed = "".join(
            f"{letter}. {choice}\n" for letter, choice in zip(exercise.letters, exercise.choices, strict=True)
        )
        return f"{exercise.question.strip()}\n{listed}{answer}"

    def right(self, exercise: Exercise, by_texts: bool) -> str:
        """The right answer as an example gives it."""
        if by_texts:
            return ", ".join(exercise.choices[LETTERS.index(letter)] for letter in exercise.answer)
        return exercise.answer

    def candidates(self, exercise: Exercise) -> list[tuple[str, str]]:
        """(letters, what the model would say) of everything that may be chosen."""
        if exercise.multiple:
            sizes = range(2, len(exercise.choices) + 1)
            return [("".join(some),) * 2 for size in sizes for some in combinations(exercise.letters, size)]
        said = exercise.choices if self.by_texts(exercise) else exercise.letters
        return list(zip(exercise.letters, said, strict=True))

    def preamble(self, exercise: Exercise) -> str:
        return self.asking.preamble.replace("{category}", exercise.category or "")

    def text(self, exercise: Exercise, shots: Sequence[Exercise]) -> str:
        """Everything before the answer, as plain text."""
        by_texts = self.by_texts(exercise)
        examples = "".join(f"{self.ask(shot, by_texts)} {self.right(shot, by_texts)}{BETWEEN}" for shot in shots)
        before = self.preamble(exercise)
        return f"{before}{BETWEEN if before else ''}{examples}{self.ask(exercise, by_texts)}"

    def messages(self, exercise: Exercise, shots: Sequence[Exercise]) -> list[Message]:
        """The same as a conversation that ends with the user."""
        before = self.preamble(exercise)
        turns = [_turn("system", before)] if before else []
        by_texts = self.by_texts(exercise)
        for shot in shots:
            turns += [_turn("user", self.ask(shot, by_texts)), _turn("assistant", self.right(shot, by_texts))]
        return [*turns, _turn("user", self.ask(exercise, by_texts))]


def _turn(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def style_of(asking: Asking, dataset: Dataset) -> Style:
    """Chinese words where at least half of the rows are Chinese, or Chinese mixed with another script."""
    counts = dataset.card.languages
    chinese = counts.get("zh", 0) + counts.get("mixed", 0)
    return Style(asking, "zh" if 2 * chinese >= max(1, sum(counts.values())) else "en")


def exercises(dataset: Dataset, rows: Sequence[int]) -> list[Exercise]:
    found = zip(rows, dataset.take(rows), dataset.categories(rows), strict=True)
    return [Exercise(at, row["question"], tuple(row["choices"]), row["answer"], name) for at, row, name in found]


class Examples:
    """Which rows of a dev set stand before a question: the first `count` of its own category, then of its own sort (one
    right answer, or several), then of the others, in the order of the set. The question itself is never among them."""

    def __init__(self, dev: Sequence[Exercise], count: int) -> None:
        self.dev, self.count = list(dev), count
        self._ordered: dict[tuple[str | None, bool], list[Exercise]] = {}

    def of(self, exercise: Exercise) -> tuple[Exercise, ...]:
        key = (exercise.category, exercise.multiple)
        if key not in self._ordered:
            self._ordered[key] = sorted(self.dev, key=lambda one: (one.category != key[0], one.multiple != key[1]))
        others = (one for one in self._ordered[key] if not one.same(exercise))
        return tuple(islice(others, self.count))
