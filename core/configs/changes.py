"""Which settings of a run may be others when it goes on from a checkpoint, and why the rest may not.

A checkpoint holds weights, the optimizer's state, the learning-rate schedule and the place in the order of the rows.
What these were made with must stay: a new learning rate would be ignored without a word, since the schedule is loaded
from the checkpoint, and another seed would show some rows twice and others never. What only says how the run is watched
and saved may change, and so may the split of a step into batches, which does not change its sum (that of DPO hardly).
A rollout of PPO counts its prompts over all devices, so there batches and devices may change as they like; so may what
ends the run early, and how the judge is reached. Of a prediction everything that decides what is said must stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import Problem

SETTINGS = "settings.json"  # in a checkpoint: the config that it was made with
FREE_SECTIONS = ("evaluation", "saving", "logging")
FREE = (
    "run.name", "run.retries", "run.webhook", "run.after", "run.rehearsal", "devices.use", "model.attention",
    "tuning.gradient_checkpointing", "rollout.batch_size", "ppo.batch_size", "ppo.max_kl", "ppo.stop_on_alarm",
    "rewards.judge_timeout", "rewards.judge_limit", "data.predictions", "distributed.rendezvous",
)  # fmt: skip
MOVABLE = "rewards.judge_url"  # the same judge may listen elsewhere now; whether there is one must stay
# Their product is the rows of a step.
STEP = ("schedule.batch_size", "schedule.gradient_accumulation", "devices.use", "distributed.hosts")
CODES = {
    "optim": "resume.schedule", "schedule": "resume.schedule", "data": "resume.order", "run": "resume.order",
    "distributed": "resume.strategy",
}  # fmt: skip


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted key, value before, value now) of every setting that two configs, as JSON, have in both and not alike."""
    return [
        (f"{section}.{name}", old, now[section][name])
        for section, settings in before.items()
        if isinstance(settings, Mapping) and section in now
        for name, old in settings.items()
        if name in now[section] and now[section][name] != old
    ]


def refused(before: Mapping[str, Any], now: Mapping[str, Any], run: str) -> list[Problem]:
    """A problem for every setting that must be, for the checkpoints of `run`, what it was."""
    problems = []
    same_step = rows_in_step(before) == rows_in_step(now)
    for key, old, new in changes(before, now):
        section = key.partition(".")[0]
        params = {"before": old, "now": new, "run": run}
        if key in STEP:
            if not same_step:
                params |= {"rows": rows_in_step(before), "rows_now": rows_in_step(now)}
                problems.append(Problem("resume.step", params, key=key))
        elif not (section in FREE_SECTIONS or key in FREE or (key == MOVABLE and old and new)):
            code = "resume.weights" if "ppo" in before else CODES.get(section, "resume.weights")
            code = "resume.answers" if "file" in (before.get("data") or {}) else code
            problems.append(Problem(code, params, key=key))
    return problems


def rows_in_step(config: Mapping[str, Any]) -> int:
    """The rows of an optimizer step over all devices; 0 for a stage that has none."""
    schedule, devices = config.get("schedule") or {}, config.get("devices") or {}
    hosts = int((config.get("distributed") or {}).get("hosts", 1))
    each = int(schedule.get("batch_size", 0)) * int(schedule.get("gradient_accumulation", 0))
    return each * max(1, len(devices.get("use") or ())) * hosts
