"""Row shapes of answers that were compared: pairs, and lists with a score or a rank for every answer.

In a canonical row a higher score is better. A rank counts from the best downwards, so it is read as its negative; which
of the two a file has is told by its key (`rank` or `score`, `rating`), and the evidence says what was read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from core.data.dialogue import Message, RowError, Value, check_order, kind_of, text_of
from core.data.kinds import Row
from core.data.shapes.dialogues import answered_in, asked_in, present, transcript

PROMPTS = ("prompt", "question", "conversations", "instruction", "messages")
LISTS = ("answers", "responses", "completions", "generations", "outputs")
TEXTS = ("content", "text", "response", "answer", "completion", "output")
SCORES = ("score", "rating", "pm_score")
SCORE_LISTS = ("scores", "ratings")


# -- pairs ------------------------------------------------------------------------------------------------------------
def preference(row: Value) -> Row:
    """Two answers to one prompt, or two whole dialogues that part in their last turn."""
    chosen_key, rejected_key = (
        present(row, ("chosen", "response_chosen")),
        present(row, ("rejected", "response_rejected")),
    )
    answers = [transcript(row, key) or answered_in(row, key) for key in (chosen_key, rejected_key)]
    _check_alike(row, (chosen_key, rejected_key), answers)
    key = next((key for key in PROMPTS if row.get(key)), None)
    shared = _shared(*answers)
    if len(answers[0]) > 1 and shared:  # whole conversations: what they share is the prompt
        asked, answers = answers[0][:shared], [answer[shared:] for answer in answers]
    elif key is not None:
        asked = asked_in(row, key)
    else:
        raise RowError("data.no_prompt", found=", ".join(map(str, row)))
    for answer, name in zip(answers, (chosen_key, rejected_key), strict=True):
        if [message["role"] for message in answer] != ["assistant"]:
            raise RowError("data.pair_differs", key=name)
    if answers[0][0]["content"].strip() == answers[1][0]["content"].strip():
        raise RowError("data.same_pair", chosen=chosen_key, rejected=rejected_key)
    return {"prompt": check_order(asked, answered=False), "chosen": answers[0], "rejected": answers[1]}


def _check_alike(row: Value, keys: tuple[str, str], answers: list[list[Message]]) -> None:
    """Both must be written in the same way and, as whole dialogues, be the same but for the last turn."""
    kinds = [kind_of(row[key]) for key in keys]
    turns = [len(answer) for answer in answers]
    if kinds[0] != kinds[1] or turns[0] != turns[1]:
        said = [f"{kind} ({count})" for kind, count in zip(kinds, turns, strict=True)]
        raise RowError("data.pair_shapes", chosen=keys[0], rejected=keys[1], first=said[0], second=said[1])
    shared = _shared(*answers)
    if shared < turns[0] - 1:
        raise RowError("data.pair_prompts_differ", chosen=keys[0], rejected=keys[1], turn=shared + 1)


def _shared(first: list[Message], second: list[Message]) -> int:
    """How many messages two conversations begin with in common; their last ones are never shared."""
    count = 0
    limit = min(len(first), len(second)) - 1
    while count < limit and first[count] == second[count]:
        count += 1
    return count


def stanford(row: Value) -> Row:
    """SHP: a post and two comments; `labels` is 1 where the first was preferred, and 0 where the second was."""
    label = str(row["labels"]).strip()
    if label not in ("0", "1"):
        raise RowError("data.pair_label", found=label)
    first, second = text_of(row, "human_ref_A"), text_of(row, "human_ref_B")
    if first == second:
        raise RowError("data.same_pair", chosen="human_ref_A", rejected="human_ref_B")
    chosen, rejected = (first, second) if label == "1" else (second, first)
    return {
        "prompt": [{"role": "user", "content": text_of(row, "history")}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


# -- lists ------------------------------------------------------------------------------------------------------------
def has_scores(row: Value) -> bool:
    """Whether the answers have scores, beside them or in a list of their own."""
    return _first_has(row, SCORES) or any(isinstance(row.get(key), list) for key in SCORE_LISTS)


def has_ranks(row: Value) -> bool:
    """Whether the answers have ranks, and no scores."""
    return not has_scores(row) and (_first_has(row, ("rank",)) or isinstance(row.get("ranks"), list))


def is_ultrafeedback(row: Value) -> bool:
    return _first_has(row, ("fine-grained_score", "overall_score", "annotations"))


def _first_has(row: Value, keys: tuple[str, ...]) -> bool:
    answers = next((row[key] for key in LISTS if row.get(key)), None)
    first = answers[0] if isinstance(answers, list) else None
    return isinstance(first, dict) and any(key in first for key in keys)


def ranked_by_score(row: Value) -> Row:
    return _ranked(row, lambda answer: _number(answer, SCORES), SCORE_LISTS, sign=1)


def ranked_by_rank(row: Value) -> Row:
    return _ranked(row, lambda answer: _number(answer, ("rank",)), ("ranks",), sign=-1)


def ultrafeedback(row: Value) -> Row:
    """The mean over the aspects where there is one: some of the published overall scores are wrong (10 for 1.0)."""
    return _ranked(row, _aspects, (), sign=1)


def _aspects(answer: Mapping[str, Any]) -> float | None:
    fine = _number(answer, ("fine-grained_score",))
    if fine is not None:
        return fine
    aspects = answer.get("annotations")
    ratings = [
        rating
        for aspect in (aspects.values() if isinstance(aspects, dict) else ())
        if isinstance(aspect, dict) and (rating := _number(aspect, ("Rating",))) is not None
    ]
    return sum(ratings) / len(ratings) if ratings else _number(answer, ("overall_score",))


def _ranked(
    row: Value, score_of: Callable[[Mapping[str, Any]], float | None], lists: tuple[str, ...], *, sign: int
) -> Row:
    """`score_of` an answer that is an object; answers that are texts have theirs in one of `lists`."""
    key = present(row, LISTS)
    entries = row[key]
    if not isinstance(entries, list) or not all(isinstance(entry, str | dict) for entry in entries):
        raise RowError("data.not_answers", key=key, found=kind_of(entries))
    beside = next((row[name] for name in lists if isinstance(row.get(name), list)), None)
    if beside is not None and len(beside) != len(entries):
        raise RowError("data.unequal_scores", answers=len(entries), scores=len(beside))
    answers = []
    for place, entry in enumerate(entries):
        objects = isinstance(entry, dict)
        content = text_of(entry, present_text(entry)) if objects else text_of({key: entry}, key)
        score = _finite(beside[place]) if beside is not None else score_of(entry) if objects else None
        if score is not None:
            answers.append({"content": content, "score": sign * score})
    if len(answers) < 2:
        raise RowError("data.few_answers", answers=len(entries), scored=len(answers))
    return {"prompt": check_order(asked_in(row, present(row, PROMPTS)), answered=False), "answers": answers}


def present_text(answer: Mapping[str, Any]) -> str:
    """Under which key an answer's text stands."""
    return next((key for key in TEXTS if answer.get(key) is not None), "content")


def _number(answer: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    return next((number for key in keys if (number := _finite(answer.get(key))) is not None), None)


def _finite(value: Any) -> float | None:
    """A number, also one written as text ("4"); None for anything else ("N/A")."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
