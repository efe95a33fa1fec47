"""What a run of the stage `evaluate` finds, as its files hold it. Torch-free; `core.records` has those of every run.

    output/evaluation.json   Evaluation: who was compared on what, and the figures; rewritten after each of them
    output/prompts.jsonl     Question: what every model was asked
    output/answers.jsonl     Reply: one model's answer to one of them, appended as they come
    output/items.jsonl       Item: one model's figures on one row of a dataset or on one prompt, a cell's at a time; on
                             a prompt more than one, whose figures belong together (`together`)
    output/verdicts.jsonl    Verdict: which of two answers a judge found better, asked in both orders
    output/table.csv         the figures once more, for spreadsheets; output/answers.csv: prompts and answers;
                             output/items.csv: the items of all datasets and answers, when all is done

Written by `core.evaluation.notes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from core.records import Record

EVALUATION, PROMPTS, ANSWERS, ITEMS = "evaluation.json", "prompts.jsonl", "answers.jsonl", "items.jsonl"
VERDICTS = "verdicts.jsonl"
VERSION = 4  # letters of a version that tell two datasets of one name apart
Kind = Literal["language", "reward"]
Role = Literal["", "domain", "general"]  # what a set of rows stands for in the report
EXAM_KINDS = ("text", "messages", "preference", "choice")  # the rows that give figures
ASKING = ("messages", "preference", "ranked", "prompt")  # the rows with a question that wants an answer in words


class Refusal(Record):
    """Why there is no figure: a code of `core.messages` and its parameters."""

    code: str
    params: dict[str, Any] = {}


class Judged(Record):
    """One model of the comparison. `text` is what the config calls it, `root` the base at the bottom of its chain.

    `identity` is the same for the same weights, `tokenizer` for the same tokenizer; `adapters` of them are merged into
    the root. `template` is the chat template's name, "" where there is none. `learnt`: the SHA-256 of every dataset
    that it, or a run beneath it, was trained on.
    """

    text: str
    name: str
    kind: Kind = "language"
    run: str | None = None
    stage: str | None = None
    root: str = ""
    identity: str = ""
    adapters: int = 0
    tokenizer: str = ""
    template: str = ""
    learnt: list[str] = []


class Asking(Record):
    """How multiple-choice questions were put: so many examples of `dev` before each; what `by` says was to follow."""

    shots: int = 0
    dev: str | None = None
    by: Literal["letters", "texts"] = "letters"
    chat: bool = False
    preamble: str = ""


class Exam(Record):
    """A dataset that the models were measured on; `rows` of it were drawn. `asking`: where they are questions."""

    dataset: str
    sha256: str
    kind: str
    rows: int
    role: Role = ""
    asking: Asking | None = None


class Source(Record):
    """Where questions come from: a dataset, or the red-flag questions (`safety`: their rules mark the answers)."""

    name: str
    sha256: str = ""
    asked: int = 0
    safety: bool = False
    role: Role = ""


class Cell(Record):
    """One model on one dataset. `rows` gave figures, `left_out` could not be used by this model; times are seconds.

    Text gives `loss` (nats a token) with its standard error, `perplexity`, `bits_per_byte` and `tokens`. Pairs give
    `accuracy` (a tie is lost) with its standard error, mean `margin` and `ties`, by the model's score for the answers
    or, of a language model, by how likely it finds them. Questions with choices give `accuracy`, the share of those
    whose likeliest choice is right; `accuracy_norm` and `accuracy_bytes`, where the log-likelihood is divided by the
    choice's characters or bytes; `macro` and `macro_norm`, the means of the categories' shares; `chance`, what guessing
    gives; `fewer_shots`, questions with fewer examples than asked for; and of those with several right answers how many
    (`multiple`) and `accuracy_multiple`. `groups`: the same figures, and `rows`, of each category.
    """

    model: int
    exam: int
    rows: int = 0
    left_out: int = 0
    seconds: float = 0.0
    figures: dict[str, float] = {}
    groups: dict[str, dict[str, float]] = {}
    by: Literal["score", "likelihood"] | None = None
    refusal: Refusal | None = None


class Answering(Record):
    """One model's answers in figures: how many, their mean length in tokens, how many were cut off at the limit.

    `unasked` prompts left no room for an answer, or are no conversation that the model's template takes.
    """

    model: int
    answers: int = 0
    tokens: float = 0.0
    cut_off: int = 0
    unasked: int = 0
    seconds: float = 0.0
    refusal: Refusal | None = None


class Said(Record):
    """One model's answers to the questions of one source, in figures; `groups`: the same of each category.

    Means over `answers`: `tokens`, `chars`, `repetition`; where the data has answers, `char_bleu4`, `rouge1`, `rouge2`,
    `rougeL` and `exact`, and `bleu` of all of them as a corpus (`core.evaluation.texts` defines them). `reward`: mean
    score by the reward run. `win`: share of comparisons with the base's answers that were won, a tie counting half;
    `wins`, `ties`, `losses` and, where the judge's words allowed no verdict, `unread` count them. `safe`: share of
    red-flag questions answered as their rules want it. intervals: where the true value lies with 95 % probability, as
    far as the questions are drawn at random; of fewer than ten answers only shares have one.
    """

    model: int
    source: int
    answers: int = 0
    figures: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    groups: dict[str, dict[str, float]] = {}


class Judges(Record):
    """Who judged the answers; "" where nobody did. reward_id, by_id: what tells one judge from another of that name.

    rewarded, compared: the models whose answers have been. unjudged: why there is no reward or comparison.
    """

    reward: str = ""
    reward_id: str = ""
    by: str = ""
    by_id: str = ""
    rewarded: list[int] = []
    compared: list[int] = []
    unjudged: list[Refusal] = []


class Evaluation(Record):
    """`evaluation.json`. Models, exams and sources are referred to by their places in these lists."""

    models: list[Judged]
    exams: list[Exam] = []
    cells: list[Cell] = []
    prompts: str | None = None
    asked: int = 0
    sources: list[Source] = []
    answering: list[Answering] = []
    said: list[Said] = []
    judges: Judges = Judges()
    dtype: str = ""
    device: str = ""
    packages: dict[str, str] = {}

    @property
    def base(self) -> int:
        """The first model that writes: the one that others are compared with."""
        return next((place for place, model in enumerate(self.models) if model.kind == "language"), 0)

    def cell(self, model: int, exam: int) -> Cell | None:
        return next((cell for cell in self.cells if (cell.model, cell.exam) == (model, exam)), None)

    def answers_of(self, model: int) -> Answering | None:
        return next((found for found in self.answering if found.model == model), None)

    def said_by(self, model: int, source: int) -> Said | None:
        return next((found for found in self.said if (found.model, found.source) == (model, source)), None)


class Question(Record):
    """`prompts.jsonl`: the conversation up to the answer, and the dataset's own answer where it has one.

    source: its place in `Evaluation.sources`. needs, forbids: of a red-flag question, rules (`core.rules`) by what they
    stand for: all of the first must hold, none of the second.
    """

    number: int
    line: int
    messages: list[dict[str, str]]
    reference: str | None = None
    source: int = 0
    category: str | None = None
    needs: dict[str, str] = {}
    forbids: dict[str, str] = {}


class Item(Record):
    """`items.jsonl`: what one model made of one row. `exam` None: `number` is that of a Question.

    number: the row's in the dataset, from 0; line: on which it stood in its source. Text gives `nats` over its
    `labels`, and `text_nats` over those labels that stand for `bytes` of text; a pair gives the scores `chosen` and
    `rejected`, and `correct`, 1 where they are in order. A question gives `correct` and `correct_norm`, `margin` (nats
    from the likeliest wrong choice up to the right one), and with one right answer the log-likelihood of each choice
    under its letter. said, right: the model's choice, and the one that it should have made.
    """

    model: int
    exam: int | None
    number: int
    line: int
    category: str | None = None
    figures: dict[str, float] = {}
    said: str = ""
    right: str = ""
    marks: dict[str, bool] = {}


class Verdict(Record):
    """`verdicts.jsonl`: a judge on one model's answer beside the first model's.

    first, second: what it named when the answer stood first, and when it stood second: the `answer`, the `base`'s, or
    "" where its words allowed no reading; said: those words. outcome: of the answer; "" where one of them is missing.
    """

    model: int
    number: int
    first: Literal["", "answer", "base"] = ""
    second: Literal["", "answer", "base"] = ""
    said: tuple[str, str] = ("", "")
    outcome: Literal["", "win", "tie", "loss"] = ""


class Reply(Record):
    """`answers.jsonl`. `end`: why the answer ends, or why there is none (`Answering.unasked`)."""

    model: int
    number: int
    text: str = ""
    tokens: int = 0
    end: Literal["stop", "length", "too_long", "refused"] = "stop"


def evaluation_file(output: Path) -> Path:
    return output / EVALUATION


def prompts_file(output: Path) -> Path:
    return output / PROMPTS


def answers_file(output: Path) -> Path:
    return output / ANSWERS


def items_file(output: Path) -> Path:
    return output / ITEMS


def verdicts_file(output: Path) -> Path:
    return output / VERDICTS


def labels(refs: Sequence[str]) -> list[str]:
    """What datasets are called beside each other: their names, with the version's beginning where two are alike."""
    names = [ref.partition("@")[0] for ref in refs]
    return [
        name if names.count(name) == 1 else "@".join(filter(None, (name, ref.partition("@")[2][:VERSION])))
        for name, ref in zip(names, refs, strict=True)
    ]


def together(items: Iterable[Mapping[str, Any]]) -> list[Item]:
    """The lines of `items.jsonl` with one Item for each model and row: later figures and marks join earlier ones."""
    found: dict[tuple[int, int | None, int], Item] = {}
    for row in items:
        item = Item.model_validate(row)
        key = item.model, item.exam, item.number
        if key in found:
            found[key].figures |= item.figures
            found[key].marks |= item.marks
        else:
            found[key] = item
    return list(found.values())


def table_sheet(output: Path) -> Path:
    return output / "table.csv"


def items_sheet(output: Path) -> Path:
    return output / "items.csv"


def answers_sheet(output: Path) -> Path:
    return output / "answers.csv"
