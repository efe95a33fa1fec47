"""The row shapes that Galen knows, as one table: how a file's rows become canonical ones (see `core.data.kinds`).

A shape is found per file from its first rows, by keys, and the evidence is kept. To add a shape, write its converter in
the module of its family (`shapes_dialogue`, `shapes_preference`, `shapes_choice`, `shapes_trees`, `shapes_parallel`)
and add a line to `SHAPES`; where two fit a row, the earlier line wins, so the more particular one stands first.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.data.dialogue import RowError, Value, kind_of
from core.data.files.containers import Raw
from core.data.kinds import Kind, Row
from core.data.shapes import choices as choice
from core.data.shapes import compared as preference
from core.data.shapes import dialogues as dialogue
from core.data.shapes import documents, trees
from core.data.shapes import translations as parallel
from core.data.shapes.dialogues import ANSWERS
from core.errors import DataError, Problem

Converter = Callable[[Value], Row] | Callable[[Value], list[Row]]
Gather = Callable[[Iterable[Raw]], Iterator[Raw]]


@dataclass(frozen=True)
class Shape:
    """A row fits when it has one key of every group in `needs`. `describe` tells a user what such a row looks like.

    `convert` gives the canonical row, or several. `only_if` looks closer where other shapes have the same keys; it
    serves detection alone. `gather` puts several rows of the file together first: such a file has to be read in one
    go. `detected` is off for another reading of the same rows, to be chosen by name.
    """

    name: str
    kind: Kind
    needs: tuple[tuple[str, ...], ...]
    describe: str
    convert: Converter
    only_if: Callable[[Value], bool] | None = None
    gather: Gather | None = None
    detected: bool = True

    def fits(self, row: Value) -> bool:
        for group in self.needs:
            for key in group:
                if row.get(key) is not None:
                    break
            else:
                return False
        return True

    def matches(self, row: Any) -> bool:
        """Whether a file with such a row may be of this shape."""
        return isinstance(row, dict) and self.fits(row) and (self.only_if is None or self.only_if(row))

    @property
    def own_source(self) -> bool:
        """Whether a `source` key says where the row is from; in parallel text it is the text itself."""
        return not any("source" in group for group in self.needs)


@dataclass(frozen=True)
class Detection:
    """The shape that fits most of the rows looked at; `shape` is None where none fits any."""

    shape: Shape | None
    matched: int
    looked_at: int
    keys: tuple[str, ...]

    @property
    def evidence(self) -> Problem:
        """Why this shape, as a sentence that a page can translate."""
        if self.shape is None:
            return Problem("data.no_shape", {"keys": ", ".join(self.keys) or "–"})
        params = {"shape": self.shape.name, "keys": self.shape.describe, "matched": self.matched}
        return Problem("data.shape", {**params, "looked_at": self.looked_at})


def detect(rows: Iterable[Any]) -> Detection:
    """Find the shape of a file from its first rows (whatever is not an object counts as unfitting)."""
    sample = list(rows)
    counts = {shape.name: sum(shape.matches(row) for row in sample) for shape in SHAPES if shape.detected}
    best = max(
        (shape for shape in SHAPES if shape.detected), key=lambda shape: counts[shape.name]
    )  # the first of equals
    keys = tuple(dict.fromkeys(str(key) for row in sample if isinstance(row, dict) for key in row))
    matched = counts[best.name]
    return Detection(best if matched else None, matched, len(sample), keys)


def convert(shape: Shape | None, row: Any) -> Row:
    """The canonical row, or the first of them. Raises RowError as `rows_of` does."""
    return rows_of(shape, row)[0]


def rows_of(shape: Shape | None, row: Any) -> list[Row]:
    """All canonical rows that one row of the file gives: one, for most shapes, and never none.

    Raises RowError with what is wrong and, for wrong keys, what would be right.
    """
    if not isinstance(row, dict):
        raise RowError("data.not_object", found=kind_of(row))
    if shape is None or not shape.fits(row):
        raise _wrong_keys(shape, row)
    found = shape.convert(row)
    return found if isinstance(found, list) else [found]


def shape_named(name: str) -> Shape:
    """The shape called `name`. Raises DataError `data.no_such_shape` with the nearest name."""
    found = next((shape for shape in SHAPES if shape.name == name), None)
    if found is None:
        names = [shape.name for shape in SHAPES]
        nearest = difflib.get_close_matches(name, names, 1)
        raise DataError("data.no_such_shape", name=name, known=", ".join(names), nearest=nearest[0] if nearest else "")
    return found


def _wrong_keys(shape: Shape | None, row: Mapping[str, Any]) -> RowError:
    names = [str(key) for key in itertools.islice(row, MOST_KEYS)]
    found = (", ".join(names) or "–") + (f" … ({len(row)})" if len(row) > MOST_KEYS else "")
    if shape is not None:
        missing = [group for group in shape.needs if not any(row.get(key) is not None for key in group)]
        return RowError("data.missing_key", found=found, missing=_either(missing), shape=shape.name)
    shapes = [each for each in SHAPES if each.detected]
    known = {key for each in shapes for group in each.needs for key in group}
    near = [match for key in names for match in difflib.get_close_matches(key.lower(), known, 1, 0.75)]
    having = {each.name: sum(any(key in group for key in near) for group in each.needs) for each in shapes}
    fitting = sorted(
        (each for each in shapes if having[each.name]), key=lambda each: (-having[each.name], each not in FAMILIAR)
    )
    would = "; ".join(f"{each.name} ({each.describe})" for each in (fitting or FAMILIAR)[:4])
    return RowError("data.unknown_shape", found=found, would=would)


def _either(groups: list[tuple[str, ...]]) -> str:
    return ", ".join(" | ".join(group) for group in groups)


MOST_KEYS = 40  # of a row, named where they fit no shape
_SCORED = "prompt, answers[content, score]: a higher score is better"
_RANKED = "prompt, answers[content, rank]: the lowest rank is the best"
_SIDES = (("translation", "source", "src", "zh", "en"), ("translation", "target", "tgt", "en", "zh"))

SHAPES: tuple[Shape, ...] = (
    # answers that were compared
    Shape("preference", "preference", (("chosen", "response_chosen"), ("rejected", "response_rejected")),
          "prompt, chosen, rejected", preference.preference),
    Shape("shp", "preference", (("history",), ("human_ref_A",), ("human_ref_B",), ("labels",)),
          "history, human_ref_A, human_ref_B, labels", preference.stanford),
    Shape("ultrafeedback", "ranked", (("instruction", "prompt"), ("completions",)),
          "instruction, completions[response, annotations]: a higher rating is better", preference.ultrafeedback,
          only_if=preference.is_ultrafeedback),
    Shape("ranked-scores", "ranked", (preference.PROMPTS, preference.LISTS), _SCORED, preference.ranked_by_score,
          only_if=preference.has_scores),
    Shape("ranked-ranks", "ranked", (preference.PROMPTS, preference.LISTS), _RANKED, preference.ranked_by_rank,
          only_if=preference.has_ranks),
    # trees of messages
    Shape("oasst-trees", "messages", (("prompt",),), "prompt[text, replies]: threads of the best-ranked replies",
          trees.threads, only_if=trees.is_tree),
    Shape("oasst-trees-ranked", "ranked", (("prompt",),), "prompt[text, replies[rank]]: the lowest rank is the best",
          trees.siblings, detected=False),
    Shape("oasst-table", "messages", (("message_id",), ("text",), ("role",)),
          "message_id, parent_id, text, role: threads of the best-ranked replies", trees.threads, gather=trees.trees),
    Shape("oasst-table-ranked", "ranked", (("message_id",), ("text",), ("role",)),
          "message_id, parent_id, text, role, rank: the lowest rank is the best", trees.siblings, gather=trees.trees,
          detected=False),
    # multiple choice
    Shape("choice", "choice", (choice.QUESTION, ("A",), ("B",), ("answer", "Answer")), "question, A … D, answer",
          choice.columns),
    Shape("medmcqa", "choice", (("question",), ("opa",), ("opb",), ("cop",)),
          "question, opa … opd, cop: 0 is the first choice", choice.medmcqa, only_if=choice.counts_from_zero),
    Shape("medmcqa-from-1", "choice", (("question",), ("opa",), ("opb",), ("cop",)),
          "question, opa … opd, cop: 1 is the first choice", choice.medmcqa_from_one, only_if=choice.counts_from_one),
    Shape("choice-options", "choice", (choice.QUESTION, choice.OPTIONS, choice.ANSWER),
          "question, options, answer_idx | answer", choice.options),
    # dialogues
    Shape("sharegpt", "messages", (("conversations", "conversation"),), "conversations[from, value]",
          dialogue.turns("conversations", "conversation")),
    Shape("messages", "messages", (("messages",),), "messages[role, content]", dialogue.turns("messages")),
    Shape("belle", "messages", (("instruction",), ("output",)), "instruction (Human: … Assistant: …), output",
          dialogue.belle, only_if=dialogue.is_belle),
    Shape("alpaca", "messages", (("instruction",), ANSWERS), "instruction, input, output",
          dialogue.pair(("instruction",), ANSWERS)),
    Shape("question-lists", "messages", (("questions", "question"), ("answers", "answer")),
          "questions[…], answers[…]: a row for every question", dialogue.question_lists, only_if=dialogue.has_lists),
    Shape("prompt-response", "messages", (("prompt", "question", "query"), ANSWERS),
          "prompt, response | prompt, completion | question, answer",
          dialogue.pair(("prompt", "question", "query"), ANSWERS)),
    Shape("huatuogpt", "messages", (("data",),), "data[问：…, 答：…]", dialogue.asked_and_answered,
          only_if=dialogue.is_asked_and_answered),
    # parallel text
    Shape("parallel", "messages", _SIDES, "source, target | zh, en | translation[zh, en]: from the first to the second",
          parallel.forward, only_if=parallel.is_parallel),
    Shape("parallel-back", "messages", _SIDES, "source, target | zh, en: from the second to the first",
          parallel.backward, detected=False),
    Shape("parallel-both", "messages", _SIDES, "source, target | zh, en: both ways, two rows of each",
          parallel.both_ways, detected=False),
    # questions alone, and plain text
    Shape("prompt", "prompt", (("prompt", "query"),), "prompt, and no answer", dialogue.prompt("prompt", "query")),
    Shape("text", "text", (("text",),), "text", dialogue.text),
    Shape("text-paragraphs", "text", (("text",),), "text: a document ends at a blank line", dialogue.text,
          gather=documents.paragraphs, detected=False),
    Shape("text-file", "text", (("text",),), "text: the whole file is one document", dialogue.text,
          gather=documents.whole, detected=False),
)  # fmt: skip
FAMILIAR = tuple(shape for shape in SHAPES if shape.name in ("alpaca", "sharegpt", "preference", "text"))
