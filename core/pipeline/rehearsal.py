"""A rehearsal: every stage of a chain, a few steps each, before anybody spends hours on it. Torch-free.

    steps = samples(workspace, tiny(workspace))     the whole chain on the samples that ship, with the tiny model
    steps = limited(plan(workspace, wanted, base))  the user's own chain: its models, data, devices and memory settings
    runs = start(workspace, steps)                  real runs, queued as any chain; `run.rehearsal` marks them

What is cut down is only how much is done: optimizer steps, rows, episodes, questions. What memory depends on (lengths,
batches, ranks, number formats, devices) stays, so a chain that comes through will not run out of it later, as far as
few rows can tell. What several hosts share is rehearsed on this one alone, where a sharded model needs more room.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from core.configs.changes import rows_in_step
from core.configs.stages import EvaluateConfig, MergeConfig, PPOConfig, StageConfig
from core.data.bring.samples import SAMPLES, bring_sample
from core.errors import GalenError, RunError
from core.jobs import store
from core.models.library import bottom_of, read_card, resolve_base
from core.models.tiny import NAME as TINY
from core.pipeline.plan import WRITES, Step, Wanted, plan, queue
from core.records_report import TaxReport, report_file
from core.rundir import RunDir, State, read_record, state_of
from core.system import python_command, python_environment
from core.workspace import Workspace

STEPS = 2  # optimizer steps of a stage, and rollouts of PPO
FEWEST_ROWS = 16
QUESTIONS, TEST_ROWS, ANSWER = 4, 12, 32  # of an evaluation: asked, measured, and tokens of an answer


# -- the chain of the samples -----------------------------------------------------------------------------------------
def tiny(workspace: Workspace) -> str:
    """The name of the tiny model, which is built where the workspace has none. Raises RunError `rehearsal.no_tiny`."""
    card = read_card(workspace, TINY)
    if card is None or card.source != TINY:  # another model of that name is not taken for it
        command = python_command("core.models.tiny", str(workspace.path))
        ended = subprocess.run(command, env=python_environment(), stdin=subprocess.DEVNULL, capture_output=True)
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip().splitlines() or [str(ended.returncode)]
            raise RunError("rehearsal.no_tiny", detail=said[-1])
    return TINY


def samples(workspace: Workspace, base: str, language: str = "en", stages: Sequence[str] = ()) -> list[Step]:
    """Every stage from `base` on, on the samples of one language; `stages`: only these. Raises as `plan`."""

    def sample(stage: str) -> str:
        return bring_sample(workspace, SAMPLES / stage / f"{language}.jsonl").ref

    short = {"data.max_length": 256}
    asked = {"evaluation.prompts": ["What are the early signs of diabetes?"], "evaluation.max_new_tokens": 12}
    batch = {"schedule.batch_size": 4, "schedule.gradient_accumulation": 1}
    pairs = {**short, **batch, "data.train": sample("reward")}
    chain: dict[str, dict[str, Any]] = {
        "pretrain": {**batch, **asked, "data.train": sample("pretrain"), "data.block_size": 128},
        "sft": {**short, **batch, **asked, "data.train": sample("sft"), "data.validation_split": 0.2},
        "reward": pairs | {"data.validation_split": 0.2},
        "ppo": {**short, "data.train": sample("ppo"), "rollout.prompts": 4, "rollout.max_new_tokens": 16,
                "ppo.epochs": 1, "rewards.rules": ["length low=4 high=40"]},
        "dpo": {**pairs, **asked},
        "merge": {"model.base": "{ppo}"},
        "evaluate": {"models.chain": "{ppo}", "models.runs": ["{dpo}"], "judging.reward": "{reward}",
                     "report.domain": [sample("evaluate")], "report.general": [sample("general")],
                     "data.rows": [sample("sft")]},
    }  # fmt: skip
    left_out = [name for name in chain if stages and name not in stages]
    wanted = []
    for name, settings in chain.items():
        if name not in left_out:
            named = {key: value for key, value in settings.items() if not _names(value, left_out)}
            wanted.append(Wanted(name, name, values=named))
    return limited(plan(workspace, wanted, base))


def _names(value: Any, steps: Sequence[str]) -> bool:
    texts = value if isinstance(value, list) else [value]
    return any(text == f"{{{step}}}" for text in texts for step in steps)


# -- limits -----------------------------------------------------------------------------------------------------------
def limited(steps: Sequence[Step]) -> list[Step]:
    """The same steps with little to do."""
    return [replace(step, config=_limited(step.config)) for step in steps]


def _limited(config: StageConfig) -> StageConfig:
    data = config.model_dump(mode="json")
    schedule, evaluation, saving = (data.get(name) or {} for name in ("schedule", "evaluation", "saving"))
    if schedule:
        schedule |= {"max_steps": _least(schedule["max_steps"], STEPS), "max_tokens": None}
    rows = max(FEWEST_ROWS, STEPS * rows_in_step(data))
    if isinstance(config, PPOConfig):
        data["ppo"]["episodes"] = _least(config.ppo.episodes, STEPS * config.rollout.prompts)
        rows = max(FEWEST_ROWS, config.rollout.prompts)
    if isinstance(config, EvaluateConfig):
        _limit_evaluation(data)
    elif "max_rows" in (data.get("data") or {}):
        data["data"]["max_rows"] = _least(data["data"]["max_rows"], 2 * rows)  # some of them are held out
    if "steps" in evaluation:
        evaluation["steps"] = STEPS
    if isinstance(evaluation.get("prompts"), list):
        evaluation["prompts"] = evaluation["prompts"][:1]
    elif "prompts" in evaluation:
        evaluation["prompts"] = _least(evaluation["prompts"], QUESTIONS)
    if "max_new_tokens" in evaluation:
        evaluation["max_new_tokens"] = _least(evaluation["max_new_tokens"], ANSWER)
    if saving:
        saving["steps"] = None
    if isinstance(config, MergeConfig):
        data["model"]["folder"] = ""  # a merge stays in its run, and goes with it
    if "distributed" in data:
        data["distributed"] |= {"hosts": 1, "rendezvous": ""}
        if len(data["devices"]["use"]) == 1:  # there is nobody left to share the model with
            data["distributed"] |= {"strategy": "ddp", "offload": "none"}
    data["run"]["retries"] = 0
    return type(config).model_validate(data)


def _limit_evaluation(data: dict[str, Any]) -> None:
    data["data"]["max_rows"] = _least(data["data"]["max_rows"], TEST_ROWS)
    generation = data["generation"]
    generation["max_prompts"] = _least(generation["max_prompts"], QUESTIONS)
    generation["max_new_tokens"] = _least(generation["max_new_tokens"], ANSWER)
    data["judging"]["limit"] = _least(data["judging"]["limit"], 2 * QUESTIONS)


def _least(asked: int | None, most: int) -> int:
    return most if asked is None else min(asked, most)


# -- its runs ---------------------------------------------------------------------------------------------------------
def start(workspace: Workspace, steps: Sequence[Step]) -> list[RunDir]:
    """Queue `steps` as one rehearsal. Raises as `queue`."""
    name = f"rehearsal {time.strftime('%Y-%m-%d %H:%M:%S')}"
    return queue(workspace, [_marked(step, name) for step in steps])


def _marked(step: Step, name: str) -> Step:
    own = step.config.run.model_copy(update={"rehearsal": name, "name": f"rehearsal {step.name}"})
    return replace(step, config=step.config.model_copy(update={"run": own}))


def rehearsal_of(run: RunDir) -> str:
    """The name of the rehearsal that a run belongs to; "" for none."""
    return str((run.config().get("run") or {}).get("rehearsal") or "")


def rehearsals(workspace: Workspace) -> dict[str, list[RunDir]]:
    """The runs of each rehearsal, in the order in which they were queued; the newest rehearsal first."""
    found: dict[str, list[RunDir]] = {}
    for run in workspace.runs():
        if name := rehearsal_of(run):
            found.setdefault(name, []).insert(0, run)
    return {name: in_order(runs) for name, runs in found.items()}


def in_order(runs: Sequence[RunDir]) -> list[RunDir]:
    """`runs` as they were queued."""
    submitted = {run.id: status.submitted_at if (status := run.status()) is not None else 0.0 for run in runs}
    return sorted(runs, key=lambda run: (run.when, submitted[run.id]))


def remove(workspace: Workspace, name: str = "") -> list[str]:
    """End and delete the runs of the rehearsal `name`, or of all; the ids of what is gone. Raises GalenError."""
    gone = []
    for rehearsal, runs in rehearsals(workspace).items():
        if name in ("", rehearsal):
            for run in reversed(runs):
                if state_of(run).live:
                    store.kill(run)
                store.delete(workspace, run)
                gone.append(run.id)
    return gone


# -- what comes of it -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Outcome:
    """Where a rehearsal leads: `base` and `tuned` are to be asked side by side, `report` says what was gained and lost.

    Each is None until there is one.
    """

    base: str | None = None
    tuned: str | None = None
    evaluation: RunDir | None = None
    report: TaxReport | None = None

    @property
    def chat(self) -> str:
        """The address of the chat with both of them, behind that of the page; "" where nothing was tuned."""
        if not self.base or not self.tuned:
            return ""
        panes = ",".join(quote(name, safe="") for name in (self.base, self.tuned))  # a name may have a comma of its own
        return f"?tab=chat&panes={quote(panes, safe=',')}"


def outcome(workspace: Workspace, runs: Sequence[RunDir]) -> Outcome:
    """What the finished ones of `runs` have made."""
    done = [run for run in runs if state_of(run) is State.SUCCEEDED]
    tuned = next((run for stage in WRITES for run in done if run.stage == stage), None)
    measured = next((run for run in reversed(done) if run.stage == "evaluate"), None)
    return Outcome(
        base=_base_of(workspace, tuned) if tuned is not None else None,
        tuned=tuned.id if tuned is not None else None,
        evaluation=measured,
        report=read_record(report_file(measured.output), TaxReport) if measured is not None else None,
    )


def _base_of(workspace: Workspace, run: RunDir) -> str:
    """What the chain of `run` began with, by its name in the workspace where it has one."""
    text = bottom_of(workspace, run.id)
    try:
        folder = resolve_base(workspace, text)
    except GalenError:  # it was deleted since
        return text
    return folder.name if folder.parent == workspace.models_dir else text
