"""What a PPO run keeps of every sampled answer: the lines of `rollouts/step-<n>.jsonl` and `held-out-<n>.jsonl`.

Written by rank 0 of `core.ppo.loop`, read by the page; one file a rollout, whole or not there.
"""

from __future__ import annotations

from core.records import Record


class Episode(Record):
    """One answer. `number` counts all answers of the run from 0; held-out ones are numbered by their prompt.

    line: where the prompt stands in its dataset's source. prompt: the whole conversation up to the answer, as text;
    question its last message. pieces: the answer's tokens as text, the end mark among them; kl: of each, log π_old −
    log π_ref in nats. scores: by reward source, before weights. reward: what was learnt from, without the KL penalty.
    ended: with an end mark, within the limit.
    """

    step: int
    number: int
    line: int
    prompt: str
    question: str
    answer: str
    reference: str | None = None
    pieces: list[str] = []
    kl: list[float] = []
    scores: dict[str, float] = {}
    reward: float
    ended: bool
