"""What a reward run makes of the answers: one score each. The model is loaded once, when all answers are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from core.data.encode.pairs import Unusable, encode_batch
from core.evaluation.said import answered
from core.records_evaluation import Question, Reply
from core.training.judges import Judge

STRETCH = 64  # answers between two looks at the stop request


def rewards(
    judge: Judge,
    questions: Mapping[int, Question],
    replies: Sequence[Reply],
    *,
    tokens: int,
    check_stop: Callable[[], None],
    on_progress: Callable[[int], None],
) -> dict[int, float]:
    """The score of every answer, by the question's number; none for a question that is too long for the judge.

    `on_progress` gets the number of answers done.
    """
    scores: dict[int, float] = {}
    usable = answered(replies)
    for start in range(0, len(usable), STRETCH):
        check_stop()
        part = usable[start : start + STRETCH]
        encoded = encode_batch(judge.encoder, [(questions[reply.number].messages, [reply.text]) for reply in part])
        fits_in = [not isinstance(found, Unusable) for found in encoded]
        trees = [found[0] for found in encoded if not isinstance(found, Unusable)]
        if start == 0 and trees:
            judge.warm_up(trees)
        fitting = [reply for reply, fits in zip(part, fits_in, strict=True) if fits]
        for reply, [score] in zip(fitting, judge.score(trees, tokens=tokens), strict=True):
            scores[reply.number] = score
        on_progress(start + len(part))
    return scores
