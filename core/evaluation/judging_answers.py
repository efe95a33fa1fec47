"""What becomes of a comparison's answers once they are there: figures, rewards, and who beats the first model.

Each of these is written before the next begins, so that a resumed run goes on where this one was stopped. A judge that
cannot be loaded or does not answer stops nothing: the result says why there is no figure of it.
"""

from __future__ import annotations

import gc

import torch

from core.configs.evaluating import Judging
from core.configs.stages import EvaluateConfig
from core.errors import GalenError, InputError, RunError
from core.evaluation import comparing
from core.evaluation.contenders import shown_name
from core.evaluation.notes import Notes
from core.evaluation.rewarding import rewards
from core.evaluation.said import answer_items, summed
from core.records_evaluation import Item, Judges, Refusal, Said
from core.report import RunContext
from core.training.judges import load_judge
from core.workspace import Workspace


def judges_of(workspace: Workspace, judging: Judging) -> Judges:
    """Who judges, as results name them."""
    judges = Judges()
    if judging.reward is not None:
        judges.reward, judges.reward_id = shown_name(workspace, judging.reward), judging.reward
    if judging.by == "model" and judging.base is not None:
        judges.by, judges.by_id = shown_name(workspace, judging.base), judging.base
    elif judging.by == "endpoint":
        judges.by, judges.by_id = judging.model, f"{judging.url} {judging.model}"
    return judges


def count_answers(notes: Notes, config: EvaluateConfig, place: int, seconds: float) -> None:
    """One model has answered: what can be said of its answers by themselves."""
    items = answer_items(place, notes.questions, notes.replies_of(place))
    notes.items(items)
    notes.answered(notes.counted(place, seconds), _sums(notes, config, place, items))


def _sums(notes: Notes, config: EvaluateConfig, place: int, items: list[Item]) -> list[Said]:
    """A model's answers in figures, a `Said` for each source of questions."""
    replies = {reply.number: reply for reply in notes.replies_of(place)}
    seed, resamples = config.run.seed, config.report.resamples
    return summed(place, notes.questions, replies, items, seed=seed, resamples=resamples)


def reward_answers(context: RunContext, config: EvaluateConfig, dtype: torch.dtype, notes: Notes) -> None:
    """The mean reward of every model's answers."""
    places = notes.open_to("reward")
    if config.judging.reward is None or not places:
        return
    report = context.report
    report.phase("loading")
    try:
        model = load_judge(
            context.workspace,
            config.judging.reward,
            device=context.device,
            dtype=dtype,
            max_length=config.data.max_length,
            trust_remote_code=config.models.trust_remote_code,
        )
    except InputError as error:
        notes.unjudged(refusal(error))
        return
    questions = {question.number: question for question in notes.questions}
    for place in places:
        replies = notes.replies_of(place)
        report.phase("scoring", total=len(replies), unit="row")
        scores = rewards(
            model, questions, replies, tokens=config.data.tokens, check_stop=report.check_stop,
            on_progress=report.progress,
        )  # fmt: skip
        notes.judged_answers(place, "reward", {number: {"reward": score} for number, score in scores.items()}, [])
        notes.sums(place, _sums(notes, config, place, notes.answer_items(place)))
    del model
    let_go()


def compare_answers(context: RunContext, config: EvaluateConfig, notes: Notes) -> None:
    """Every model's answers beside the base's, by whoever the config names."""
    places, base = notes.open_to("win"), notes.found.base
    if config.judging.by == "none" or not places:
        return
    answers = notes.found.answers_of(base)
    if answers is None or not answers.answers:
        if answers is not None and answers.refusal is not None:
            notes.unjudged(answers.refusal)
        return
    try:
        with comparing.comparer(context, config) as compare:
            for place in places:
                pairs = comparing.pairs(notes.questions, notes.replies_of(place), notes.replies_of(base))
                context.report.phase("comparing", total=len(pairs), unit="row")
                verdicts = compare(place, pairs, context.report.progress)
                notes.judged_answers(place, "win", comparing.outcomes(verdicts), verdicts)
                notes.sums(place, _sums(notes, config, place, notes.answer_items(place)))
    except (InputError, RunError) as error:
        notes.unjudged(refusal(error))


def refusal(error: GalenError) -> Refusal:
    return Refusal(code=error.code, params=error.params)


def let_go() -> None:
    """A model's modules refer to each other: its memory is wanted for the next one."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
