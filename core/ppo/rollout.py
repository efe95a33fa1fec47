"""From prompts to sampled answers, and what the roles say of them.

    samples = sample(roles, asked, settings, …)         answers, drawn token by token with the cache
    scored = score(roles, samples, …)                   log π_old, log π_ref, values, entropies of every answer token

Sampling goes by buckets of like length, padded on the left with positions from the mask [rule 2]; rows that have ended
leave the batch. A draw is one uniform number put into the distribution's cumulative sum. The numbers depend on (seed,
key) alone, so neither the batch nor the rank of a prompt changes what is drawn [rule 26].

Scoring goes through packs without padding, so there is nothing to mask: a row ends with its first stop token [rule 7],
and log-probabilities and values exist at answer tokens only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from core.configs.ppo import Rollout
from core.data.dialogue import Message
from core.data.encode.encoding import IGNORED
from core.evaluation.decoding import drawn, nucleus
from core.ppo.roles import POLICY, REFERENCE, Roles
from core.training.attention import plain_attention
from core.training.batching import Row

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Prompt:
    """A row of the data: where it stands, the conversation up to the answer, its ids, and the row's own answer."""

    line: int
    messages: list[Message]
    ids: Ints
    reference: str | None = None


@dataclass(frozen=True)
class Sample:
    """An answer: its ids, the stop token with which it `ended` among them. logprobs: as the sampler saw them.

    `number` is the answer's in the run.
    """

    number: int
    prompt: Prompt
    ids: Ints
    ended: bool
    logprobs: Floats

    @property
    def row(self) -> Row:
        """(ids, labels) of prompt and answer; only the answer is labelled."""
        ids = np.concatenate([self.prompt.ids, self.ids])
        return ids, np.concatenate([np.full(len(self.prompt.ids), IGNORED, dtype=ids.dtype), self.ids])


@dataclass(frozen=True)
class Scored:
    """What the roles say of one answer of t tokens, each [t]. `old` are the learner's own log-probabilities."""

    old: Floats
    reference: Floats
    values: Floats
    entropies: Floats

    @property
    def kl(self) -> Floats:
        """log π_old − log π_ref of the drawn tokens, in nats."""
        return self.old - self.reference


# -- sampling ---------------------------------------------------------------------------------------------------------
@torch.no_grad()
def sample(
    roles: Roles,
    asked: Sequence[tuple[int, Prompt]],
    settings: Rollout,
    *,
    stop_ids: Sequence[int],
    context: int | None,
    seed: int,
    check_stop: Callable[[], None],
) -> list[Sample]:
    """An answer for every (number, prompt), in this order. `context`: tokens that the model can see.

    Raises what `check_stop` raises, between two tokens.
    """
    by_length = sorted(range(len(asked)), key=lambda at: (len(asked[at][1].ids), at))
    found: dict[int, Sample] = {}
    for start in range(0, len(by_length), settings.batch_size):
        places = by_length[start : start + settings.batch_size]
        few = [asked[at] for at in places]
        limits = [answer_limit(len(prompt.ids), settings.max_new_tokens, context) for _, prompt in few]
        found.update(zip(places, _sample_batch(roles, few, settings, stop_ids, limits, seed, check_stop), strict=True))
    return [found[at] for at in range(len(asked))]


def answer_limit(prompt: int, new: int | None, context: int | None) -> int:
    """Tokens that an answer to a prompt of so many tokens may have."""
    room = math.inf if context is None else context - prompt
    return int(min(room, math.inf if new is None else new))


def _sample_batch(
    roles: Roles,
    asked: Sequence[tuple[int, Prompt]],
    settings: Rollout,
    stop_ids: Sequence[int],
    limits: Sequence[int],
    seed: int,
    check_stop: Callable[[], None],
) -> list[Sample]:
    device = roles.base.device
    uniform = torch.stack([uniforms(seed, number, max(limits)) for number, _ in asked]).to(device)
    allowed = torch.tensor(limits, device=device)
    stops = torch.tensor(list(stop_ids), device=device)
    ids, mask = _left_padded([prompt.ids for _, prompt in asked], device)
    drawn: list[list[int]] = [[] for _ in asked]
    logprobs: list[list[float]] = [[] for _ in asked]
    alive = list(range(len(asked)))  # the rows that are still in the batch
    open_rows = torch.ones(len(asked), dtype=torch.bool, device=device)
    cache = None
    with roles.computing(POLICY) as model, plain_attention(model, roles.stock):
        for at in range(max(limits)):
            check_stop()
            positions = (mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
            output = model.get_decoder()(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            logits = roles.next_logits(POLICY, output.last_hidden_state[:, -1]).float() / settings.temperature
            tokens = draw(logits, uniform[:, at], settings.top_p)
            found = logits.log_softmax(-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
            for row, token, logprob, going in zip(
                alive, tokens.tolist(), found.tolist(), open_rows.tolist(), strict=True
            ):
                if going:
                    drawn[row].append(token)
                    logprobs[row].append(logprob)
            open_rows &= ~torch.isin(tokens, stops) & (allowed > at + 1)
            left = int(open_rows.sum())
            if not left:
                break
            ids, mask = tokens.unsqueeze(1), F.pad(mask, (0, 1), value=1)
            if left <= len(alive) // 2:
                kept = open_rows.nonzero().squeeze(1)
                cache.batch_select_indices(kept)
                ids, mask, uniform = ids[kept], mask[kept], uniform[kept]
                allowed, open_rows = allowed[kept], open_rows[kept]
                alive = [alive[row] for row in kept.tolist()]
    return [
        Sample(number, prompt, np.array(tokens, np.int32), tokens[-1] in stop_ids, np.array(found, np.float32))
        for (number, prompt), tokens, found in zip(asked, drawn, logprobs, strict=True)
    ]


def uniforms(seed: int, number: int, count: int) -> Tensor:
    """`count` numbers in [0, 1) for answer `number`, the same wherever it is sampled; a longer draw begins alike."""
    key = np.random.SeedSequence((number, seed)).generate_state(2, np.uint32)
    generator = torch.Generator().manual_seed(int(key[0]) << 31 | int(key[1]) >> 1)
    return torch.rand(count, generator=generator, dtype=torch.float64)


def draw(logits: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """One token a row, from the nucleus; logits [n, v], uniform [n] → [n]."""
    return drawn(nucleus(logits, top_p) if top_p < 1 else logits, uniform)


def _left_padded(rows: Sequence[Ints], device: torch.device) -> tuple[Tensor, Tensor]:
    """(ids, mask), both [n, width]. What stands under the mask's zeros is looked at by nobody."""
    width = max(map(len, rows))
    ids = np.stack([np.pad(row, (width - len(row), 0)) for row in rows])
    mask = np.stack([np.pad(np.ones(len(row), np.int64), (width - len(row), 0)) for row in rows])
    return torch.from_numpy(ids.astype(np.int64)).to(device), torch.from_numpy(mask).to(device)


# -- scoring ----------------------------------------------------------------------------------------------------------
@torch.no_grad()
def score(
    roles: Roles, samples: Sequence[Sample], *, temperature: float, granted: int, check_stop: Callable[[], None]
) -> list[Scored]:
    """What policy, reference and critic say of every answer, in packs for the memory of `granted` tokens.

    Log-probabilities are at the temperature that was sampled at [rule 6].
    """
    found: dict[int, Scored] = {}
    for pack in roles.packing(granted).packs([each.row for each in samples]):
        check_stop()
        here = pack.to(roles.base.device)
        old, entropies = roles.logprobs(POLICY, here, temperature, entropy=True)
        reference, _ = roles.logprobs(REFERENCE, here, temperature)
        columns = torch.stack([old, reference, roles.values(here), entropies]).cpu().numpy()
        counts = [len(samples[member].ids) for member in pack.members]
        for member, part in zip(pack.members, np.split(columns, np.cumsum(counts)[:-1], axis=1), strict=True):
            found[member] = Scored(*part)
    return [found[at] for at in range(len(samples))]


@torch.no_grad()
def judged(
    roles: Roles, judge: str, samples: Sequence[Sample], *, granted: int, check_stop: Callable[[], None]
) -> list[float]:
    """The score of every answer by a reward model on the backbone, at its last token [rule 3]."""
    found: dict[int, float] = {}
    for pack in roles.packing(granted).packs([each.row for each in samples]):
        check_stop()
        found.update(zip(pack.members, roles.scores(judge, pack.to(roles.base.device)).tolist(), strict=True))
    return [found[at] for at in range(len(samples))]
