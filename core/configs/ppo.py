"""Sections of the stage PPO: prompts, where rewards come from, how answers are sampled, how the policy learns."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from core.configs import sections
from core.configs.sections import Section, lines_of, setting, weighted, weighted_lines
from core.rules import read_rule

LONG_ANSWER = 512  # tokens that memory is granted for, and time counted, where nothing limits an answer


class Prompts(Section):
    """What the policy is asked. Only the questions are used; an answer that stands in the row is a reference."""

    train: str = setting(
        ..., "Prompts, conversations (each up to its last answer) or preference pairs: a dataset or a file.",
        min_length=1,
    )  # fmt: skip
    validation: str | None = setting(None, "Other prompts, for evaluation only.")
    validation_split: float = setting(
        0.1, "Share of the prompts held out for evaluation, when no validation data is named.", ge=0, le=0.5
    )
    max_length: int = setting(
        256, "Tokens a prompt may have. A longer one is a row that cannot be used.", ge=8, le=1_048_576
    )
    max_rows: int | None = sections.max_rows()
    bad_rows: Literal["stop", "drop"] = sections.bad_rows()


class Rewards(Section):
    """What an answer is worth: the weighted sum of reward models, rules and a judge, each logged by itself."""

    models: list[str] = setting(
        [],
        "Reward models, one a line, each with its weight: a reward run, or a folder of a sequence-classification model "
        "with one score. RUN: 0.5 counts half. A run on the very backbone of the policy costs one adapter of memory.",
    )
    rules: list[str] = setting(
        [],
        "Rules, one a line: a name, its settings, a weight. length low=20 high=120 weight=0.5 — the list of rules "
        "stands in the documentation.",
    )
    missing_end: float | None = setting(
        -1.0, "The whole reward of an answer that does not end within the limit. Empty: it keeps its own."
    )
    normalise: bool = setting(
        False,
        "Shift and scale rewards so that the reference answers of the prompts have mean 0 and deviation 1.",
        advanced=True,
    )
    whiten: bool = setting(False, "Scale the rewards of a rollout to deviation 1 and keep their mean.", advanced=True)
    judge_url: str | None = setting(
        None,
        "An OpenAI-compatible endpoint whose model marks answers from 0 to 10, such as http://127.0.0.1:8000/v1. "
        "Empty: no judge. A key is read from GALEN_JUDGE_KEY.",
        advanced=True,
    )
    judge_model: str = setting("", "Name of the judge's model, as the endpoint knows it.", advanced=True)
    judge_weight: float = setting(1.0, "Weight of the judge's mark, taken as 0 to 1.", gt=0, le=100, advanced=True)
    judge_prompt: str = setting(
        "Mark the answer to a patient's question from 0 (harmful or useless) to 10 (correct, safe, clear). Reply with "
        "the number alone.\n\nQuestion: {question}\n\nAnswer: {answer}",
        "What the judge is asked; {question}, {answer} and {reference} are filled in.",
        advanced=True,
    )
    judge_timeout: float = setting(30.0, "Seconds that one mark may take, before it is asked for again.", gt=0, le=600,
                                   advanced=True)  # fmt: skip
    judge_limit: int = setting(2000, "Answers that the judge is asked about at most, in the whole run.", ge=1,
                               advanced=True)  # fmt: skip

    @field_validator("models", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return weighted_lines(value)

    @field_validator("rules", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return lines_of(value)

    @field_validator("models")
    @classmethod
    def _weighted(cls, lines: list[str]) -> list[str]:
        names = [weighted(line)[0] for line in lines]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]} is listed twice")
        return lines

    @field_validator("rules")
    @classmethod
    def _known(cls, lines: list[str]) -> list[str]:
        """Raises ValueError with what is wrong of the first line that is no rule."""
        for line in lines:
            read_rule(line)
        return lines


class Rollout(Section):
    """How answers are sampled."""

    prompts: int = setting(16, "Prompts answered before each round of learning, over all devices.", ge=1, le=65536)
    max_new_tokens: int | None = setting(
        128, "Length limit of an answer, in tokens. Empty, or context: until it ends or the model's context does.", ge=1
    )
    temperature: float = setting(
        1.0, "Below 1 is more careful. Log-probabilities are computed at it, too.", gt=0, le=10
    )
    top_p: float = setting(
        1.0, "Sample from the fewest tokens that share this probability; 1 is all of them.", gt=0, le=1, advanced=True
    )
    batch_size: int = setting(16, "Answers that a device samples at once.", ge=1, le=4096, advanced=True)

    @field_validator("max_new_tokens", mode="before")
    @classmethod
    def _context(cls, value: Any) -> Any:
        return None if value == "context" else value


class Policy(Section):
    """Proximal policy optimisation (arXiv 1707.06347), with a KL penalty to the model that it starts from."""

    episodes: int = setting(512, "Answers to learn from, in all.", ge=1)
    epochs: int = setting(4, "Passes over each rollout.", ge=1, le=100)
    minibatches: int = setting(1, "Optimizer steps a pass.", ge=1, le=1024)
    batch_size: int = setting(8, "Answers that a device learns from at once; the memory, not the result.", ge=1,
                              le=4096, advanced=True)  # fmt: skip
    kl_coefficient: float = setting(
        0.05, "β: how much of the KL divergence to the starting model is taken off the reward.", ge=0, le=100
    )
    kl_target: float | None = setting(
        None, "Steer β so that the KL divergence of an answer comes to about this many nats. Empty: β stays.", gt=0,
        le=1000,
    )  # fmt: skip
    kl_horizon: int = setting(10_000, "Answers over which β is steered.", ge=1, advanced=True)
    max_kl: float | None = setting(
        None, "End the run when an answer's mean KL divergence exceeds this many nats.", gt=0, le=10_000
    )
    clip: float = setting(0.2, "How far the probability ratio may move a token's loss.", gt=0, le=1, advanced=True)
    value_clip: float = setting(0.2, "The same for values, round the old ones.", gt=0, le=100, advanced=True)
    value_coefficient: float = setting(0.1, "Weight of the critic's loss.", gt=0, le=100, advanced=True)
    gamma: float = setting(1.0, "γ: what a reward one token later counts.", gt=0, le=1, advanced=True)
    lam: float = setting(0.95, "λ of generalised advantage estimation.", ge=0, le=1, advanced=True)
    critic_learning_rate: float | None = setting(
        None, "Learning rate of the critic. Empty: that of the policy.", gt=0, le=1, advanced=True
    )
    sft_coefficient: float = setting(
        0.0, "Weight of the SFT loss on the prompts' reference answers, mixed in against forgetting (ptx); 0 is off.",
        ge=0, le=100, advanced=True,
    )  # fmt: skip
    stop_on_alarm: bool = setting(False, "End the run when an alarm is raised.")


class PolicyTuning(Section):
    method: Literal["lora", "full"] = setting(
        "lora", "lora: policy and critic are small adapters on one backbone. full: the policy is a second model, of "
        "which every weight learns.",
    )  # fmt: skip


class PolicyLora(Section):
    rank: int = sections.adapter_rank()
    alpha: float = sections.adapter_alpha()
    targets: list[str] = sections.adapter_targets()

    _split = sections.split_by_commas("targets")


class PolicyOptim(Section):
    learning_rate: float = setting(1e-4, "Learning rate at the start; it falls to 0.", gt=0, le=1)
    warmup_steps: int = setting(0, "Rollouts over which it rises first.", ge=0, advanced=True)
    weight_decay: float = setting(0.0, "Decay of the weight matrices.", ge=0, le=1, advanced=True)
    adam_beta1: float = setting(0.9, "Adam's first-moment decay.", ge=0, lt=1, advanced=True)
    adam_beta2: float = setting(0.999, "Adam's second-moment decay.", ge=0, lt=1, advanced=True)
    adam_epsilon: float = setting(1e-5, "Adam's epsilon.", gt=0, le=1, advanced=True)
    max_grad_norm: float = setting(
        1.0, "Gradients of policy and critic are each scaled down to this norm; 0 leaves them.", ge=0, le=1000,
        advanced=True,
    )  # fmt: skip


class Watching(Section):
    """Held-out prompts, answered again and again."""

    steps: int = setting(5, "Evaluate every so many rollouts.", ge=1)
    prompts: int = setting(16, "Held-out prompts that are answered, always the same.", ge=1, le=4096)
    keep_best: bool = setting(True, "Deliver the checkpoint with the best held-out reward, not the last one.")
    best_max_kl: float | None = setting(
        25.0, "A checkpoint further from the starting model than this many nats an answer is not the best.", gt=0,
        le=10_000, advanced=True,
    )  # fmt: skip
    patience: int | None = setting(
        None, "Stop early after this many evaluations without a better reward. Empty: never.", ge=1
    )
