"""The prompts of a PPO run: which rows, as which tokens; and the rows' own answers, where something needs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from core.configs.stages import PPOConfig
from core.data.encode.encoding import IGNORED, Encoder
from core.data.kinds import kinds_for
from core.data.store.library import Dataset, open_dataset
from core.errors import DataError, ModelError, Problem
from core.evaluation.answers import asked
from core.ppo.rollout import Prompt, Sample
from core.records import DataUsed
from core.report import RunContext
from core.training.batching import Row
from core.training.delivery import data_used
from core.training.preparing import choose_rows, split_rows

SHOWN_LINES = 100  # unusable rows listed in an error
AT_ONCE = 500


@dataclass(frozen=True)
class Prompts:
    train: list[Prompt]
    held_out: list[Prompt]
    facts: list[DataUsed]


def read_prompts(context: RunContext, config: PPOConfig, encoder: Encoder) -> Prompts:
    """Training and held-out prompts. Raises DataError with the rows that cannot be used, unless told to drop them."""
    data, seed = config.data, config.run.seed
    dataset = open_dataset(context.workspace, data.train)
    rows = choose_rows(len(dataset), data.max_rows, seed)
    if data.validation is not None:
        other = open_dataset(context.workspace, data.validation)
        chosen = choose_rows(len(other), config.evaluation.prompts, seed)
        train, facts = _read(context, config, encoder, dataset, rows)
        held_out, more = _read(context, config, encoder, other, chosen)
        return Prompts(list(train.values()), list(held_out.values()), [facts, more])
    kept, out = split_rows(len(rows), data.validation_split, seed)
    out = out[choose_rows(len(out), config.evaluation.prompts, seed)]
    found, facts = _read(context, config, encoder, dataset, rows[np.concatenate([kept, out])])
    learnt, watched = ([found[row] for row in rows[part].tolist() if row in found] for part in (kept, out))
    if not learnt:
        raise DataError("ppo.no_prompts", ref=dataset.ref)
    return Prompts(learnt, watched, [facts])


def _read(
    context: RunContext, config: PPOConfig, encoder: Encoder, dataset: Dataset, rows: np.ndarray
) -> tuple[dict[int, Prompt], DataUsed]:
    """The prompts of these rows, by row."""
    kinds = kinds_for("ppo")
    if dataset.card.kind not in kinds:
        raise DataError("data.wrong_kind", ref=dataset.ref, kind=dataset.card.kind, needed=" | ".join(kinds))
    report, limit = context.report, config.data.max_length
    report.phase("tokenising", total=len(rows), unit="row")
    found: dict[int, Prompt] = {}
    unusable: dict[int, Problem] = {}
    for start in range(0, len(rows), AT_ONCE):
        report.check_stop()
        indices = rows[start : start + AT_ONCE].tolist()
        for index, line, row in zip(indices, dataset.lines(indices), dataset.take(indices), strict=True):
            messages, reference = asked(dataset.card.kind, row)
            problem = {"line": line, "excerpt": messages[-1]["content"][:120]}
            try:
                ids = np.array(encoder.prompt_ids(messages), dtype=np.int32)
            except ModelError as error:
                unusable[index] = Problem("data.template_refuses_row", {"detail": str(error)}, **problem)
                continue
            if len(ids) > limit:
                unusable[index] = Problem("ppo.long_prompt", {"tokens": len(ids), "max_length": limit}, **problem)
                continue
            found[index] = Prompt(line, messages, ids, reference)
        report.progress(start + len(indices))
    shown = [unusable[index] for index in sorted(unusable)[:SHOWN_LINES]]
    if unusable and config.data.bad_rows == "stop":
        raise DataError("ppo.unusable_prompts", ref=dataset.ref, count=len(unusable), max_length=limit, problems=shown)
    if not found:
        raise DataError("ppo.no_prompts", ref=dataset.ref, problems=shown)
    print(f"{dataset.ref}: {len(found)} prompts, {len(unusable)} left out")
    return found, data_used(dataset, len(found), sorted(unusable))


# -- the rows' own answers --------------------------------------------------------------------------------------------
def demonstrations(encoder: Encoder, prompts: Sequence[Prompt], limit: int, *, longest: int) -> list[Sample]:
    """Up to `limit` of the rows' own answers, as if they had been sampled. longest: as `demonstrated`."""
    rows = ((prompt, row) for prompt in prompts if (row := demonstrated(encoder, prompt, longest)) is not None)
    return [
        Sample(number, prompt, row[0][len(prompt.ids) :], ended=True, logprobs=np.zeros(0, np.float32))
        for number, (prompt, row) in enumerate(islice(rows, limit))
    ]


def demonstrated(encoder: Encoder, prompt: Prompt, longest: int) -> Row | None:
    """(ids, labels) of a prompt with the row's own answer; None where it has none of at most `longest` tokens."""
    if prompt.reference is None:
        return None
    try:
        encoded = encoder.encode([*prompt.messages, {"role": "assistant", "content": prompt.reference}])
    except ModelError:  # its template takes no such answer
        return None
    if len(encoded.input_ids) > longest:
        return None
    ids, labels = np.array(encoded.input_ids, np.int32), np.array(encoded.labels, np.int32)
    labels[: len(prompt.ids)] = IGNORED  # of a conversation, the last answer alone
    return ids, labels


def demonstrator(encoder: Encoder, longest: int) -> Callable[[Prompt], Row | None]:
    """`demonstrated`, each prompt once. Known by what it says: between ranks a prompt travels as a copy."""
    known: dict[tuple[bytes, str | None], Row | None] = {}

    def find(prompt: Prompt) -> Row | None:
        key = prompt.ids.tobytes(), prompt.reference
        if key not in known:
            known[key] = demonstrated(encoder, prompt, longest)
        return known[key]

    return find
