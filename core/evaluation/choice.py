"""Multiple choice by log-likelihood: which of the choices a model finds likeliest behind the question.

    1  put every question into words, with its examples before it (`core.evaluation.choice_prompts`)
    2  encode it with each of its choices; where that exceeds the model's context, examples go, the first ones first
    3  group the questions by their examples, whose tokens are computed once for all of them (`core.training.shared`)
    4  add up the log-probabilities of each choice's tokens; the highest sum is the model's choice

Definitions and strings are lm-eval's (`lm_eval/api/task.py` and `api/model.py`, 0.4.13), so that the choices are the
same: `accuracy` is its acc; `accuracy_norm` its acc_norm, the sum divided by the choice's characters; `accuracy_bytes`
its acc_bytes, by its bytes in UTF-8. By letters all three are one. The one difference: where a prompt is too long,
lm-eval cuts it from the left wherever that falls; here whole examples go, and a question that is too long alone is left
out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.data.store.dataset import Dataset
from core.errors import DataError
from core.evaluation.choice_prompts import (
    BETWEEN,
    FEWEST_CHOICES,
    MOST_CHOICES,
    Examples,
    Exercise,
    Style,
    exercises,
    style_of,
)
from core.evaluation.contenders import Language
from core.evaluation.marks import Figures, Mark, Marks, Numbers, grouped, share_error
from core.evaluation.means import Means
from core.evaluation.perplexity import sum_rows
from core.records_evaluation import Asking
from core.training.shared import Fork, Ints, Likelihoods

STRETCH = 64  # questions that are encoded at once
WORTH_SHARING = 16  # tokens of a beginning

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """An encoded question: the ids before the answer and of each candidate. Questions of one `opening` begin alike."""

    exercise: Exercise
    letters: tuple[str, ...]
    said: tuple[str, ...]
    before: Ints
    continuations: tuple[Ints, ...]
    shots: tuple[Exercise, ...]
    opening: tuple[object, ...]


@dataclass
class Paper:
    """All questions of an exam. `left_out` are too long alone, or of their choices no sets can be asked for."""

    asked: list[Asked] = field(default_factory=list)
    left_out: int = 0
    fewer_shots: int = 0


def examine_choice(
    language: Language, dataset: Dataset, rows: Sequence[int], asking: Asking, dev: Dataset | None, means: Means
) -> Marks:
    """Raises ModelError where the template takes no such conversation, DataError `evaluate.no_question` where no
    question fits into the context."""
    questions = exercises(dataset, rows)
    examples = Examples(exercises(dev, range(len(dev))) if dev is not None else [], asking.shots)
    paper = write(language, style_of(asking, dataset), questions, examples, means)  # 1, 2
    if not paper.asked:
        raise DataError("evaluate.no_question", ref=dataset.ref, context=language.context or 0)
    sums = likelihoods(language, paper.asked, means)  # 3, 4
    chosen = Choices(paper.asked, sums)
    figures = {**chosen.figures(np.arange(len(sums))), **chosen.macro(), "fewer_shots": float(paper.fewer_shots)}
    groups = grouped([one.exercise.category for one in paper.asked], chosen.figures)
    return Marks(figures, len(paper.asked), paper.left_out, groups=groups, each=chosen.marks())


# -- 1, 2: words and ids ----------------------------------------------------------------------------------------------
def write(language: Language, style: Style, questions: Sequence[Exercise], examples: Examples, means: Means) -> Paper:
    """Every question with as many of its examples as fit into the context."""
    paper = Paper()
    encode = _chat(language, style) if style.asking.chat else _plain(language, style)
    for start in range(0, len(questions), STRETCH):
        means.check_stop()
        few = [one for one in questions[start : start + STRETCH] if _can_be_put(one)]
        paper.left_out += len(questions[start : start + STRETCH]) - len(few)
        waiting = [(one, examples.of(one)) for one in few]
        while waiting:
            long = []
            for asked in encode(waiting):
                if _fits(asked, language.context):
                    paper.asked.append(asked)
                    paper.fewer_shots += asked.shots != examples.of(asked.exercise)
                elif asked.shots:
                    long.append((asked.exercise, asked.shots[1:]))
                else:
                    paper.left_out += 1
            waiting = long
    paper.asked.sort(key=lambda asked: asked.exercise.row)
    return paper


def _can_be_put(exercise: Exercise) -> bool:
    """Of two choices, both right, there is one set to choose from; of many there are too many."""
    return not exercise.multiple or FEWEST_CHOICES <= len(exercise.choices) <= MOST_CHOICES


def _fits(asked: Asked, context: int | None) -> bool:
    return context is None or len(asked.before) + max(map(len, asked.continuations)) - 1 <= context


Encode = Callable[[Sequence[tuple[Exercise, tuple[Exercise, ...]]]], Iterator[Asked]]


def _plain(language: Language, style: Style) -> Encode:
    """As plain text. A continuation is what it adds to the ids of the text before it, as in lm-eval."""
    beginnings = language.documents.beginnings
    letter, with_more = beginnings(["A", f"A{BETWEEN}Q"])
    end = with_more[len(letter) : len(letter) + 1].astype(np.int32)  # as it is cut behind an example's answer

    def encode(waiting: Sequence[tuple[Exercise, tuple[Exercise, ...]]]) -> Iterator[Asked]:
        befores = [style.text(one, shots) for one, shots in waiting]
        candidates = [style.candidates(one) for one, _ in waiting]
        texts = [f"{before} {said}" for before, own in zip(befores, candidates, strict=True) for _, said in own]
        ids = iter(beginnings([*befores, *texts]))
        starts = [next(ids).astype(np.int32) for _ in befores]
        for (exercise, shots), before, own in zip(waiting, starts, candidates, strict=True):
            whole = [next(ids).astype(np.int32) for _ in own]
            added = [one[min(len(before), len(one) - 1) :] for one in whole]
            closing = [np.concatenate([one, end]) for one in added] if exercise.multiple else added
            yield _asked(style, exercise, shots, before, closing)

    return encode


def _chat(language: Language, style: Style) -> Encode:
    """Through the chat template: the examples are turns before the question, and the choice begins the answer."""
    encoder, documents = language.chat, language.documents
    turn = encoder.encode([{"role": "user", "content": "A"}, {"role": "assistant", "content": "A"}])
    end = np.array([label for label in turn.labels if label >= 0][-1:], dtype=np.int32)
    skipped = len(documents.start_ids)

    def encode(waiting: Sequence[tuple[Exercise, tuple[Exercise, ...]]]) -> Iterator[Asked]:
        for exercise, shots in waiting:
            before = np.array(encoder.prompt_ids(style.messages(exercise, shots)), dtype=np.int32)
            own = style.candidates(exercise)
            said = [ids[skipped:].astype(np.int32) for ids in documents.beginnings([text for _, text in own])]
            closing = [np.concatenate([one, end]) for one in said] if exercise.multiple else said
            yield _asked(style, exercise, shots, before, closing)

    return encode


def _asked(
    style: Style, exercise: Exercise, shots: tuple[Exercise, ...], before: Ints, continuations: Sequence[Ints]
) -> Asked:
    letters, said = zip(*style.candidates(exercise), strict=True)
    opening = (tuple(shot.row for shot in shots), style.by_texts(exercise), style.preamble(exercise))
    return Asked(exercise, letters, said, before, tuple(continuations), shots, opening)


# -- 3, 4: log-likelihoods --------------------------------------------------------------------------------------------
def likelihoods(language: Language, asked: Sequence[Asked], means: Means) -> list[Floats]:
    """Σ log p of every candidate, an array for each question."""
    groups = [_shared([asked[at] for at in places], places) for places in _groups(asked)]
    engine = Likelihoods(language.fused)
    beginning, forks, _ = min(groups, key=lambda group: len(group[0]) + min(map(len, group[1])))
    reason = engine.differ(beginning, min(forks, key=len))
    if reason is not None:
        print(f"examples computed once: off, because {reason}")
        return _row_by_row(language, asked, means)
    found: list[Floats] = [np.zeros(0)] * len(asked)
    done = 0
    with engine.ready():
        for beginning, forks, places in groups:
            prefix = engine.prefix(beginning)
            for pack in _packs(forks, means.tokens):
                means.check_stop()
                for at, scores in zip(pack, engine.scores(prefix, [forks[at] for at in pack]), strict=True):
                    found[places[at]] = scores
                done += len(pack)
                means.on_progress(done)
    read = sum(len(beginning) + sum(map(len, forks)) for beginning, forks, _ in groups)
    rows = sum(len(one.before) + len(each) - 1 for one in asked for each in one.continuations)
    print(f"examples computed once: on; {read:,} tokens read, {rows:,} with every choice on its own")
    return found


def _groups(asked: Sequence[Asked]) -> list[list[int]]:
    """Places of the questions that begin alike."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, one in enumerate(asked):
        groups.setdefault(one.opening, []).append(place)
    return list(groups.values())


def _shared(asked: Sequence[Asked], places: list[int]) -> tuple[Ints, list[Fork], list[int]]:
    """(the ids that all begin with, each question's own, `places`); each keeps one id of its own at least."""
    first = asked[0].before
    limit = min(len(one.before) for one in asked) - 1
    for one in asked[1:]:
        differs = one.before[:limit] != first[:limit]
        limit = int(differs.argmax()) if differs.any() else limit
    shared = limit if len(asked) > 1 and limit >= WORTH_SHARING else 0
    return first[:shared], [Fork(one.before[shared:], one.continuations) for one in asked], places


def _packs(forks: Sequence[Fork], tokens: int) -> Iterator[list[int]]:
    """Places of forks of about equal length, together at most `tokens` tokens, or one fork."""
    pack: list[int] = []
    size = 0
    for at in sorted(range(len(forks)), key=lambda at: len(forks[at])):
        if pack and size + len(forks[at]) > tokens:
            yield pack
            pack, size = [], 0
        pack.append(at)
        size += len(forks[at])
    if pack:
        yield pack


class _Rows:
    """Every candidate behind everything before it, as rows for `sum_rows`."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.forks = [Fork(one.before, one.continuations) for one in asked]
        self.whose = [(at, place) for at, fork in enumerate(self.forks) for place in range(len(fork.continuations))]
        self.label_counts = np.array([len(self.forks[at].continuations[place]) for at, place in self.whose])
        self.lengths = np.array([len(self.forks[at].stem) for at, _ in self.whose]) + self.label_counts

    def __len__(self) -> int:
        return len(self.whose)

    def __getitem__(self, index: int) -> tuple[Ints, Ints]:
        at, place = self.whose[index]
        fork = self.forks[at]
        [row] = Fork(fork.stem, fork.continuations[place : place + 1]).rows(fork.stem[:0])
        return row


def _row_by_row(language: Language, asked: Sequence[Asked], means: Means) -> list[Floats]:
    rows = _Rows(asked)
    language.warm_up(rows)
    share = len(asked) / len(rows)
    sums = sum_rows(
        language.fused, rows, language.token_bytes, tokens=means.tokens, check_stop=means.check_stop,
        on_progress=lambda done: means.on_progress(int(done * share)),
    )  # fmt: skip
    borders = np.cumsum([len(one.continuations) for one in asked])[:-1]
    return np.split(-sums.nats, borders)


# -- figures ----------------------------------------------------------------------------------------------------------
class Choices:
    """What was chosen; each of the arrays has a question in a row."""

    def __init__(self, asked: Sequence[Asked], sums: Sequence[Floats]) -> None:
        self.asked, self.sums = asked, sums
        characters = [np.array([len(said) for said in one.said]) for one in asked]
        sizes = [np.array([len(said.encode()) for said in one.said]) for one in asked]
        self.picked = [int(own.argmax()) for own in sums]
        self.correct = self._right(self.picked)
        self.norm = self._right([int((own / by).argmax()) for own, by in zip(sums, characters, strict=True)])
        self.bytes = self._right([int((own / by).argmax()) for own, by in zip(sums, sizes, strict=True)])
        self.multiple = np.array([one.exercise.multiple for one in asked])
        self.chance = np.array([1 / len(one.letters) for one in asked])

    def _right(self, picked: Sequence[int]) -> NDArray[np.bool_]:
        pairs = zip(self.asked, picked, strict=True)
        return np.array([one.letters[place] == one.exercise.answer for one, place in pairs])

    def figures(self, places: Numbers) -> Figures:
        """Of the questions at these places."""
        found = {
            "accuracy": float(self.correct[places].mean()),
            "accuracy_norm": float(self.norm[places].mean()),
            "accuracy_bytes": float(self.bytes[places].mean()),
            "chance": float(self.chance[places].mean()),
        }
        if len(places) > 1:
            for name in ("accuracy", "accuracy_norm", "accuracy_bytes"):
                found[f"{name}_error"] = share_error(found[name], len(places))
        several = places[self.multiple[places]]
        if len(several):
            found |= {"multiple": float(len(several)), "accuracy_multiple": float(self.correct[several].mean())}
        return found

    def macro(self) -> Figures:
        """Every category counts once, however many questions it has; nothing where there are no two."""
        groups = grouped([one.exercise.category for one in self.asked], self.figures)
        if len(groups) < 2:
            return {}
        each = list(groups.values())
        found = {"macro": _mean(each, "accuracy"), "macro_norm": _mean(each, "accuracy_norm")}
        for name in ("accuracy", "accuracy_norm"):
            if all(f"{name}_error" in one for one in each):
                total = math.sqrt(sum(one[f"{name}_error"] ** 2 for one in each))
                found[f"{name.replace('accuracy', 'macro')}_error"] = total / len(each)
        return found

    def marks(self) -> list[Mark]:
        found = []
        for place, (one, own) in enumerate(zip(self.asked, self.sums, strict=True)):
            right = one.letters.index(one.exercise.answer)
            figures = {
                "correct": float(self.correct[place]),
                "correct_norm": float(self.norm[place]),
                "margin": float(own[right] - np.delete(own, right).max()),
            }
            if not one.exercise.multiple:
                figures |= dict(zip(one.letters, own.tolist(), strict=True))
            found.append(Mark(one.exercise.row, figures, one.letters[self.picked[place]], one.exercise.answer))
        return found


def _mean(groups: Sequence[Figures], name: str) -> float:
    return sum(each[name] for each in groups) / len(groups)
