"""Rollout after rollout: what a PPO run does between its first prompt and its last checkpoint.

    1  draw the next prompts, in an endless stream of permutations; every rank samples its share    (`rollout.sample`)
    2  score: what the roles say of each answer, what the sources of reward say; gather from all ranks
    3  per-token rewards, advantages, whitened over the whole rollout                                (`math`)
    4  learn                                                                                         (`learning`)
    5  write figures and answers; answer the held-out prompts, save, end early where asked to

Everything random is keyed: noise by (seed, number of the answer), permutations by (seed, rollout, epoch). So what a
checkpoint has to hold is weights, the optimizer, β and the number of rollouts done, and a resumed run equals an
uninterrupted one. A stop is seen between tokens and packs by a run of one process, between rollouts by one of several.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from core.alarms import alarms
from core.configs.changes import SETTINGS, refused
from core.configs.stages import PPOConfig
from core.data.encode.packing import order_of
from core.errors import ConfigError, RunError, StopRequested
from core.messages import sentence
from core.ppo.episodes import Scribe
from core.ppo.learning import Learner
from core.ppo.lessons import Judged, figures_of, lessons_of, rewards_of
from core.ppo.math import steered
from core.ppo.rewards import Sources
from core.ppo.roles import Roles
from core.ppo.rollout import Prompt, sample, score
from core.ppo.saving import load_roles, save_roles
from core.report import RunContext
from core.rundir import MARK, Checkpoint, read_json, read_jsonl, write_json
from core.training.batching import Row
from core.training.checkpoints import writing
from core.training.stage_loop import tensorboard

STATE = "state.json"
OPTIMIZER = "optimizer.pt"
HELD_OUT = 1 << 32  # added to the seed for held-out prompts: always the same noise, and never that of training
UNTOLD = ("reward_std", "entropy")  # of held-out answers
TOO_FAR = 1e9  # what counts against a checkpoint beyond the KL bound


@dataclass(frozen=True)
class Scene:
    """What there is to work with. `demonstrate`: a prompt's own answer as a row to learn, None: it has none.

    context: tokens that the model can see. granted: tokens of a padded batch whose memory may be taken.
    """

    roles: Roles
    sources: Sources
    train: Sequence[Prompt]
    held_out: Sequence[Prompt]
    stop_ids: Sequence[int]
    tokenizer: Any
    context: int | None
    granted: int
    demonstrate: Callable[[Prompt], Row | None]


class Loop:
    """`run` goes on from the last whole checkpoint, or begins. `ended` tells why it came back before its time."""

    def __init__(self, context: RunContext, config: PPOConfig, scene: Scene) -> None:
        self.context, self.config, self.scene, self.report = context, config, scene, context.report
        self.size = config.rollout.prompts
        self.steps = -(-config.ppo.episodes // self.size)
        self.step, self.beta, self.tokens = 0, config.ppo.kl_coefficient, 0
        self.evaluated: dict[int, dict[str, float]] = {}
        self.saved = 0  # the step of the last checkpoint; on the disk other ranks may look before rank 0 has renamed it
        self.kl = 0.0  # of the last rollout
        self.ended: tuple[str, dict[str, Any]] | None = None
        self.seconds: dict[str, float] = {}
        self.step_seconds: float | None = None
        self.scribe = Scribe(context.run, scene.tokenizer, writes=context.rank == 0)
        self.board = tensorboard(context) if config.logging.tensorboard and context.rank == 0 else None
        self.learner = Learner(
            scene.roles,
            config.ppo,
            config.optim,
            steps=self.steps,
            granted=scene.granted,
            temperature=config.rollout.temperature,
            seed=config.run.seed,
            rank=context.rank,
            world_size=context.world_size,
        )

    def run(self) -> None:
        """All rollouts that are left. Raises StopRequested, with everything saved that was done."""
        self._resume()
        try:
            while not self._agreed_to_stop():
                if self._due() and self.step not in self.evaluated:
                    self._evaluate()
                if self._saves():
                    self._save()
                if self.step >= self.steps or self._ends():
                    return
                self._round()
            raise StopRequested
        except StopRequested:
            self._save()
            raise
        finally:
            if self.board is not None:
                self.board.close()

    # -- one rollout --------------------------------------------------------------------------------------------------
    def _round(self) -> None:
        began = time.monotonic()
        self.seconds = {}
        self._phase("training", total=self.steps, step=self.step)
        numbers = range(self.step * self.size, min((self.step + 1) * self.size, self.config.ppo.episodes))
        asked = [(number, self.scene.train[self._place(number)]) for number in numbers]
        answers = self._answers(asked, self.config.run.seed)  # 1, 2
        demonstrate = self.scene.demonstrate if self.config.ppo.sft_coefficient > 0 else None
        lessons, figures = lessons_of(answers, self.config, self.beta, demonstrate)  # 3
        with self._timed("learning"):
            figures |= self.learner.learn(lessons, self.step)  # 4
        self.step += 1
        figures |= self._pace(answers, time.monotonic() - began)
        self._tell(answers, figures)  # 5
        if self.config.ppo.kl_target is not None:
            kl, goal, horizon = figures["kl"], self.config.ppo.kl_target, self.config.ppo.kl_horizon
            self.beta = steered(self.beta, kl, goal, len(answers), horizon)

    def _place(self, number: int) -> int:
        """The prompt of answer `number`, in permutation after permutation: fewer prompts than a rollout come again."""
        count = len(self.scene.train)
        return int(order_of(count, self.config.run.seed, number // count)[number % count])

    def _answers(self, asked: Sequence[tuple[int, Prompt]], seed: int) -> list[Judged]:
        """1 and 2: answers to all prompts, from all ranks, in their order."""
        scene, rollout = self.scene, self.config.rollout
        rank, world_size = self.context.rank, self.context.world_size
        mine = asked[rank::world_size]
        with self._timed("sampling"):
            samples = sample(
                scene.roles, mine, rollout, stop_ids=scene.stop_ids, context=scene.context, seed=seed,
                check_stop=self._check_stop,
            )  # fmt: skip
        with self._timed("scoring"):
            scored = score(
                scene.roles, samples, temperature=rollout.temperature, granted=scene.granted,
                check_stop=self._check_stop,
            )  # fmt: skip
            scores = scene.sources.score(samples) if samples else {}
        worth = scene.sources.total(scores) if samples else np.zeros(0)
        own = [
            Judged(each, said, {label: values[at] for label, values in scores.items()}, float(worth[at]))
            for at, (each, said) in enumerate(zip(samples, scored, strict=True))
        ]
        if world_size == 1:
            return own
        gathered: list[list[Judged]] = [[] for _ in range(world_size)]
        dist.all_gather_object(gathered, own)
        return [gathered[at % world_size][at // world_size] for at in range(len(asked))]

    def _pace(self, answers: Sequence[Judged], seconds: float) -> dict[str, float]:
        """Speeds by phase: tokens drawn, tokens read by the roles, tokens learnt from (once an epoch), a second."""
        drawn = sum(len(each.sample.ids) for each in answers)
        read = drawn + sum(len(each.sample.prompt.ids) for each in answers)
        self.tokens += read
        self.step_seconds = seconds
        work = {"sampling": drawn, "scoring": read, "learning": read * self.config.ppo.epochs}
        took = {phase: max(self.seconds.get(phase, 0.0), 1e-9) for phase in work}
        return {
            "episodes": min(self.step * self.size, self.config.ppo.episodes),
            "tokens": self.tokens,
            **{f"{phase}_seconds": took[phase] for phase in work},
            **{f"{phase}_tokens_per_second": work[phase] / took[phase] for phase in work},
            "tokens_per_second": read / seconds,
        }

    # -- 5: figures, evaluation, ends ---------------------------------------------------------------------------------
    def _tell(self, answers: Sequence[Judged], figures: dict[str, float]) -> None:
        self.kl = figures["kl"]
        rewards = rewards_of(answers, self.config.rewards.missing_end)
        self.scribe.write(f"step-{self.step}", self.step, answers, rewards.tolist())
        if self.step % self.config.logging.steps == 0 or self.step == self.steps:
            self._write(figures)
        self._phase("training", total=self.steps, step=self.step)

    def _write(self, figures: dict[str, float]) -> None:
        self.report.metrics(self.step, self._epoch(), **figures)
        for name, value in figures.items() if self.board is not None else ():
            self.board.add_scalar(name, value, self.step)

    def _epoch(self) -> float:
        return round(min(1.0, self.step * self.size / self.config.ppo.episodes), 4)

    def _due(self) -> bool:
        held_out, every = bool(self.scene.held_out), self.config.evaluation.steps
        return held_out and (self.step % every == 0 or self.step >= self.steps or self.ended is not None)

    def _evaluate(self) -> None:
        """The held-out prompts, answered with the same noise as ever; a checkpoint of this step is told the outcome."""
        answers = self._answers(list(enumerate(self.scene.held_out)), self.config.run.seed + HELD_OUT)
        rewards = rewards_of(answers, self.config.rewards.missing_end)
        figures = figures_of(answers, rewards)
        found = {f"eval_{name}": value for name, value in figures.items() if not name.startswith(UNTOLD)}
        found["eval_reward_error"] = float(rewards.std() / len(rewards) ** 0.5) if len(rewards) > 1 else 0.0
        self.evaluated[self.step] = found
        self.scribe.write(f"held-out-{self.step}", self.step, answers, rewards.tolist())
        self._write(found)
        if self.saved == self.step:
            self._tell_checkpoint()

    def _ends(self) -> bool:
        """Whether the run ends before its time; then it says why, and is evaluated and saved once more."""
        if self.ended is None and self.step:
            self.ended = self._agreed(self._reason_to_end())
            if self.ended is not None:
                self.report.end_early(self.ended[0], **self.ended[1])
                if self._due() and self.step not in self.evaluated:
                    self._evaluate()
                self._save()
        return self.ended is not None

    def _reason_to_end(self) -> tuple[str, dict[str, Any]] | None:
        """A code of `core.messages` and its parameters."""
        policy = self.config.ppo
        if policy.max_kl is not None and self.kl > policy.max_kl:
            return "ppo.kl_exceeded", {"step": self.step, "kl": f"{self.kl:.1f}", "limit": policy.max_kl}
        if self.scene.sources.spent:
            return "ppo.judge_spent", {"step": self.step, "limit": self.config.rewards.judge_limit}
        if policy.stop_on_alarm:
            rows, _ = read_jsonl(self.context.run.metrics_file)
            raised = [alarm for alarm in alarms(rows) if alarm.ended is None]
            if raised:
                said = sentence(raised[-1].code, raised[-1].params)[0]
                return "ppo.alarm_stop", {"step": self.step, "alarm": said}
        patience = self.config.evaluation.patience
        merits = [self._merit(figures) for _, figures in sorted(self.evaluated.items())]
        if patience is not None and len(merits) > patience and min(merits[-patience:]) >= min(merits[:-patience]):
            return "run.no_better", {"step": self.step, "patience": patience}
        return None

    def _merit(self, figures: dict[str, float]) -> float:
        """What decides which checkpoint is the best, the lower the better: held-out reward, at bounded KL."""
        bound, kl = self.config.evaluation.best_max_kl, figures.get("eval_kl")
        too_far = kl is None or (bound is not None and kl > bound)  # no number is null in a file
        return TOO_FAR if too_far else -figures["eval_reward"]

    # -- checkpoints --------------------------------------------------------------------------------------------------
    def _saves(self) -> bool:
        every = self.config.saving.steps or self.config.evaluation.steps  # also where nothing is held out
        return self.step >= self.steps or self.step % every == 0

    def _save(self) -> None:
        """A checkpoint of this step, unless there is one or nothing has been learnt."""
        if self.saved == self.step:
            return
        if not all(torch.isfinite(p).all() for each in self.learner.learners.values() for p in each):
            raise RunError("ppo.policy_nan", step=self.step)
        self._phase("saving")
        began, scene, rank = time.monotonic(), self.scene, self.context.rank
        limit = self.config.saving.limit
        with writing(self.context.run, self.step, self._mark, limit=limit, rank=rank, barrier=self._barrier) as folder:
            if rank == 0:
                save_roles(scene.roles, scene.tokenizer, folder)
                torch.save(self.learner.optimizer.state_dict(), folder / OPTIMIZER)
                state = {"step": self.step, "beta": self.beta, "tokens": self.tokens, "kl": self.kl}
                write_json(folder / STATE, state)
                write_json(folder / SETTINGS, self.config.model_dump(mode="json"))
        self.saved = self.step
        self._phase("training", total=self.steps, step=self.step, save_seconds=time.monotonic() - began)

    def _mark(self) -> dict[str, Any]:
        """What COMPLETE says."""
        return {"step": self.step, "saved_at": time.time(), **self._compared()}

    def _compared(self) -> dict[str, float]:
        """What checkpoints are compared by. The trainer's word for it is a loss: the reward, turned round."""
        figures = self.evaluated.get(self.step)
        return {"eval_loss": -figures["eval_reward"], "best_by": self._merit(figures)} if figures else {}

    def _tell_checkpoint(self) -> None:
        """The checkpoint of this step was saved before it was evaluated."""
        mark = self.context.run.checkpoints / f"step-{self.step}" / MARK
        if self.context.rank == 0 and mark.is_file():
            write_json(mark, read_json(mark) | self._compared())

    def _resume(self) -> None:
        """Take up the last whole checkpoint. Raises ConfigError where it was made with settings that must stay."""
        rows, _ = read_jsonl(self.context.run.metrics_file)
        self.evaluated = {row["step"]: row for row in rows if row.get("eval_reward") is not None}
        checkpoints = self.context.run.complete_checkpoints()
        if not checkpoints:
            return
        last: Checkpoint = checkpoints[-1]
        problems = refused(
            read_json(last.path / SETTINGS) or {}, self.config.model_dump(mode="json"), self.context.run.id
        )
        if problems:
            raise ConfigError(problems)
        load_roles(self.scene.roles, last.path)
        state = torch.load(last.path / OPTIMIZER, weights_only=True, map_location="cpu")  # its counters stay there
        self.learner.optimizer.load_state_dict(state)
        found = read_json(last.path / STATE)
        self.step, self.beta, self.tokens = found["step"], found["beta"], found["tokens"]
        self.saved, self.kl = self.step, found.get("kl") or 0.0
        if last.eval_loss is None and self.step in self.evaluated:
            self._tell_checkpoint()

    def _phase(self, name: str, **fields: Any) -> None:
        left = None if self.step_seconds is None else (self.steps - self.step) * self.step_seconds
        self.report.phase(
            name, epoch=self._epoch(), tokens=self.tokens, step_seconds=self.step_seconds, eta_seconds=left, **fields
        )

    # -- ranks and stops ----------------------------------------------------------------------------------------------
    def _check_stop(self) -> None:
        """Raises StopRequested where one process may leave alone: nothing has been learnt from this rollout yet."""
        if self.context.world_size == 1:
            self.report.check_stop()

    def _agreed_to_stop(self) -> bool:
        asked = self.report.stop_requested()
        if self.context.world_size > 1:
            flag = torch.tensor(int(asked), device=self.scene.roles.base.device)
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
            asked = bool(flag.item())
        return asked

    def _agreed(self, reason: str | None) -> str | None:
        """The first rank's reason that has one: a rank may have read the metrics before rank 0 had written them."""
        if self.context.world_size == 1:
            return reason
        reasons: list[str | None] = [None] * self.context.world_size
        dist.all_gather_object(reasons, reason)
        return next((each for each in reasons if each is not None), None)

    def _barrier(self) -> None:
        if self.context.world_size > 1:
            dist.barrier()

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        self._phase(phase)
        began = time.monotonic()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - began
