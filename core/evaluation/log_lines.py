"""A comparison in lines for a log: each model, and under it a line for every figure. Torch-free."""

from __future__ import annotations

from core.messages import sentence
from core.records_evaluation import Answering, Cell, Evaluation, Said


def lines(found: Evaluation) -> list[str]:
    """The table for the log, a line for each figure."""
    told = []
    for place, judged in enumerate(found.models):
        told.append(judged.name)
        for number, exam in enumerate(found.exams):
            cell = found.cell(place, number)
            told.append(f"    {exam.dataset}: {said(cell) if cell is not None else 'not measured'}")
        replies = found.answers_of(place)
        if replies is not None:
            told.append(f"    answers: {told_of(replies)}")
        told += [
            f"    {found.sources[each.source].name}: {in_figures(each)}" for each in found.said if each.model == place
        ]
    return told + [f"no judgement: {sentence(each.code, each.params)[0]}" for each in found.judges.unjudged]


def said(cell: Cell) -> str:
    if cell.refusal is not None:
        return sentence(cell.refusal.code, cell.refusal.params)[0]
    figures = cell.figures
    if "chance" in figures:
        return chosen(cell)
    if "accuracy" in figures:
        return f"{figures['accuracy']:.1%}{spread(cell)} of {cell.rows} pairs in order, by {cell.by}"
    about = f" ± {figures['loss_error']:.3f}" if "loss_error" in figures else ""
    predicted = f"loss {figures['loss']:.3f}{about}, perplexity {figures['perplexity']:.4g}"
    return f"{predicted}, {figures['bits_per_byte']:.3f} bits a byte, {cell.rows} rows"


def spread(cell: Cell) -> str:
    """The standard error of the accuracy; a single row has none."""
    return f" ± {cell.figures['accuracy_error']:.1%}" if "accuracy_error" in cell.figures else ""


def chosen(cell: Cell) -> str:
    figures = cell.figures
    macro = f", {figures['macro']:.1%} as the mean of {len(cell.groups)} categories" if "macro" in figures else ""
    fewer = f", {figures['fewer_shots']:.0f} with fewer examples" if figures["fewer_shots"] else ""
    return (
        f"{figures['accuracy']:.1%}{spread(cell)} of {cell.rows} questions right{macro} (acc_norm "
        f"{figures['accuracy_norm']:.1%}, guessing {figures['chance']:.1%}){fewer}"
    )


def in_figures(said: Said) -> str:
    """The figures of one model's answers to the questions of one source, in a line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in said.figures.items())


def told_of(replies: Answering) -> str:
    if replies.refusal is not None:
        return sentence(replies.refusal.code, replies.refusal.params)[0]
    return f"{replies.answers} answers, {replies.tokens:.0f} tokens on average, {replies.cut_off} cut off at the limit"
