"""The table of stages: what each is called, how it is configured, and which recipe runs it."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import field_validator, model_validator

from core.configs import annotate, data, evaluating, models, pairs, predict, sections
from core.configs.conflicts import adapters_go_on, conflict, one_device, quantised_is_frozen, shared_out
from core.configs.distributed import Distributed
from core.configs.models import Answers, Compared, Tests
from core.configs.ppo import Policy, PolicyLora, PolicyOptim, PolicyTuning, Prompts, Rewards, Rollout, Watching
from core.configs.sections import Section

PLUGINS = "GALEN_PLUGINS"
HUB_NAME = re.compile(r"[A-Za-z0-9_](?:[\w.-]{0,94}[\w])?", re.ASCII)  # an owner's, or a repository's


class StageConfig(Section):
    """A stage's settings: nothing but sections, in the order of the page. Every stage has `run` and `devices`."""

    run: sections.Run = sections.Run()
    devices: sections.Devices = sections.Devices()

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, data: Any) -> Any:
        """A section of which only some settings are given keeps the defaults that the stage declares for the others."""
        if not isinstance(data, dict):
            return data
        own = {
            name: field.default.model_dump(exclude_unset=True)
            for name, field in cls.model_fields.items()
            if isinstance(field.default, Section) and isinstance(data.get(name), dict)
        }
        return {**data, **{name: {**values, **data[name]} for name, values in own.items()}}


class PretrainConfig(StageConfig):
    """Continue-pretraining on plain documents."""

    model: sections.Model
    data: sections.Documents
    run: sections.Run = sections.Run()
    tuning: sections.Tuning = sections.Tuning()
    lora: sections.Lora = sections.Lora()
    quantization: sections.Quantization = sections.Quantization()
    schedule: sections.Schedule = sections.Schedule(epochs=1)
    optim: sections.Optim = sections.Optim()
    evaluation: sections.Evaluation = sections.Evaluation(prompts=["糖尿病的早期症状包括", "The common cold is"])
    saving: sections.Saving = sections.Saving()
    logging: sections.Logging = sections.Logging()
    devices: sections.Devices = sections.Devices()
    distributed: Distributed = Distributed()

    _continued, _quantised = adapters_go_on(), quantised_is_frozen()
    _shared = shared_out(can_shard=True)


class SFTConfig(StageConfig):
    """Supervised fine-tuning on conversations."""

    model: sections.Model
    data: sections.Data
    run: sections.Run = sections.Run()
    tuning: sections.Tuning = sections.Tuning()
    lora: sections.Lora = sections.Lora()
    quantization: sections.Quantization = sections.Quantization()
    schedule: sections.Schedule = sections.Schedule()
    optim: sections.Optim = sections.Optim()
    evaluation: sections.Evaluation = sections.Evaluation()
    saving: sections.Saving = sections.Saving()
    logging: sections.Logging = sections.Logging()
    devices: sections.Devices = sections.Devices()
    distributed: Distributed = Distributed()

    _continued, _quantised = adapters_go_on(), quantised_is_frozen()
    _shared = shared_out(can_shard=True)


class RewardConfig(StageConfig):
    """A reward model from preference pairs: it scores answers, so that PPO can learn from the scores."""

    model: sections.Model
    data: pairs.Pairs
    run: sections.Run = sections.Run()
    tuning: sections.Tuning = sections.Tuning()
    lora: sections.Lora = sections.Lora()
    quantization: sections.Quantization = sections.Quantization()
    preference: pairs.Preference = pairs.Preference()
    schedule: sections.Schedule = sections.Schedule(epochs=1)
    optim: pairs.PairOptim = pairs.PairOptim()
    evaluation: pairs.Judging = pairs.Judging()
    saving: sections.Saving = sections.Saving()
    logging: sections.Logging = sections.Logging()
    devices: sections.Devices = sections.Devices()
    distributed: Distributed = Distributed()

    _continued, _quantised = adapters_go_on(), quantised_is_frozen()
    _shared = shared_out(can_shard=True)

    @field_validator("optim")
    @classmethod
    def _no_noise(cls, value: pairs.PairOptim) -> pairs.PairOptim:
        """NEFTune helps models that write; none of its authors' reasons holds for a score."""
        if value.neftune_alpha:
            raise conflict("reward.no_noise", "optim.neftune_alpha")
        return value


HEADS = ("lm_head", "embed_out")  # what families call the head over the vocabulary


class DPOConfig(StageConfig):
    """Direct preference optimisation: a model that writes learns from pairs, without a reward model."""

    model: sections.Model
    data: pairs.Pairs
    run: sections.Run = sections.Run()
    tuning: sections.Tuning = sections.Tuning()
    lora: sections.Lora = sections.Lora()
    quantization: sections.Quantization = sections.Quantization()
    dpo: pairs.Direct = pairs.Direct()
    schedule: sections.Schedule = sections.Schedule(epochs=1)
    optim: pairs.DirectOptim = pairs.DirectOptim()
    evaluation: sections.Evaluation = sections.Evaluation()
    saving: sections.Saving = sections.Saving()
    logging: sections.Logging = sections.Logging()
    devices: sections.Devices = sections.Devices()
    distributed: Distributed = Distributed()

    _continued, _quantised = adapters_go_on(), quantised_is_frozen()
    _shared = shared_out(can_shard=False)

    @model_validator(mode="after")
    def _compared(self) -> DPOConfig:
        """What would make the policy differ from its reference by more than what was learnt, or be ignored."""
        if self.optim.neftune_alpha:
            raise conflict("dpo.no_noise", "optim.neftune_alpha")
        if any(name.rsplit(".", 1)[-1] in HEADS for name in self.lora.targets):
            raise conflict("dpo.no_head", "lora.targets")
        if self.lora.dropout:
            raise conflict("dpo.no_dropout", "lora.dropout")
        if (self.dpo.loss == "robust") != (self.optim.label_smoothing > 0):
            raise conflict("dpo.smoothing", "optim.label_smoothing")
        return self


# What the trainers take. They share all sections but `data`, `evaluation` and their own.
TrainingConfig = PretrainConfig | SFTConfig | RewardConfig | DPOConfig


class PPOConfig(StageConfig):
    """Reinforcement learning from rewards: the policy writes answers, and learns from what they score."""

    model: sections.Model
    data: Prompts
    run: sections.Run = sections.Run()
    rewards: Rewards = Rewards()
    rollout: Rollout = Rollout()
    ppo: Policy = Policy()
    tuning: PolicyTuning = PolicyTuning()
    lora: PolicyLora = PolicyLora()
    quantization: sections.Quantization = sections.Quantization()
    optim: PolicyOptim = PolicyOptim()
    evaluation: Watching = Watching()
    saving: sections.Saving = sections.Saving()
    logging: sections.Logging = sections.Logging()
    devices: sections.Devices = sections.Devices()
    distributed: Distributed = Distributed()

    _quantised = quantised_is_frozen()
    _shared = shared_out(can_shard=False)

    @model_validator(mode="after")
    def _rewarded(self) -> PPOConfig:
        if not (self.rewards.models or self.rewards.rules or self.rewards.judge_url):
            raise conflict("ppo.no_reward", "rewards.models")
        if self.model.dtype == "fp16":  # its small gradients would need a loss scale
            raise conflict("ppo.no_fp16", "model.dtype")
        return self


class VocabularyConfig(StageConfig):
    """Extending a model's vocabulary: frequent words of a corpus, or a list of them, become tokens."""

    model: models.Base
    words: models.Words = models.Words()
    run: sections.Run = sections.Run()


class MergeConfig(StageConfig):
    """Merging a run's adapters into their base: one model folder that needs nothing else."""

    model: models.Merged
    run: sections.Run = sections.Run()
    devices: sections.Devices = sections.Devices()

    _one = one_device()


class PushConfig(StageConfig):
    """Sending a finished run's adapter or model to Hugging Face, with a model card."""

    model: models.Sent
    to: models.Repository
    run: sections.Run = sections.Run()

    @model_validator(mode="after")
    def _named(self) -> PushConfig:
        """As the hub names things: two parts, no `--` or `..`, and no end that git has taken."""
        parts = self.to.repo.split("/")
        odd = "--" in self.to.repo or ".." in self.to.repo or self.to.repo.endswith(".git")
        if len(parts) != 2 or odd or not all(HUB_NAME.fullmatch(part) for part in parts):
            raise conflict("push.bad_repo", "to.repo", repo=self.to.repo)
        return self


class EvaluateConfig(StageConfig):
    """Comparing models: loss and perplexity, pair accuracy, answers to prompts."""

    models: Compared = Compared()  # not models.Compared: in here `models` is this field
    data: Tests = Tests()
    generation: Answers = Answers()
    safety: evaluating.Safety = evaluating.Safety()
    judging: evaluating.Judging = evaluating.Judging()
    report: evaluating.Report = evaluating.Report()
    run: sections.Run = sections.Run()
    devices: sections.Devices = sections.Devices()

    _one = one_device()

    @model_validator(mode="after")
    def _complete(self) -> EvaluateConfig:
        for code, key, params in evaluating.lacking(self.models, self.judging, self.report):
            raise conflict(code, key, **params)
        return self


class PredictConfig(StageConfig):
    """Answering a file of prompts, one output line a line; it goes on where it was interrupted."""

    model: predict.Answering = predict.Answering()
    data: predict.Asked
    generation: predict.Sampled = predict.Sampled()
    run: sections.Run = sections.Run()
    devices: sections.Devices = sections.Devices()

    @model_validator(mode="after")
    def _complete(self) -> PredictConfig:
        for code, key, params in predict.lacking(self.model, self.data):
            raise conflict(code, key, **params)
        return self


class ScoreConfig(StageConfig):
    """Scoring answers with a reward model: one score a row."""

    model: models.Judge
    data: models.Scored
    run: sections.Run = sections.Run()
    devices: sections.Devices = sections.Devices()

    _one = one_device()


class FetchConfig(StageConfig):
    """Bringing a model or an adapter in: a run like any other, so it can be followed, stopped and resumed."""

    model: models.FetchSource = models.FetchSource()


class ImportConfig(StageConfig):
    """Making a file, or a dataset of a hub, a dataset of the workspace."""

    source: data.ImportSource = data.ImportSource()
    rows: data.ImportRows = data.ImportRows()


class PrepareConfig(StageConfig):
    """Cleaning and shaping datasets by a recipe: steps in the order given, a new version as the result."""

    recipe: data.Recipe


class PerplexityConfig(StageConfig):
    """How surprising a model finds answers (for the step `quality`) or documents: are they worth pretraining on?"""

    model: sections.Model
    data: data.Scored
    run: sections.Run = sections.Run()
    devices: sections.Devices = sections.Devices()

    _one = one_device()


class AnnotateConfig(StageConfig):
    """Annotating rows: an endpoint, a model or a person grades, ranks or improves them, or new rows are written."""

    task: annotate.Task = annotate.Task()
    data: annotate.Annotated
    annotator: annotate.Annotator = annotate.Annotator()
    answers: annotate.Sampled = annotate.Sampled()
    new: annotate.NewRows = annotate.NewRows()
    run: sections.Run = sections.Run()
    devices: sections.Devices = sections.Devices()

    _one = one_device()

    @model_validator(mode="after")
    def _possible(self) -> AnnotateConfig:
        if (fault := annotate.fault(self.task, self.annotator)) is not None:
            raise conflict(fault.code, fault.key, **fault.params)
        return self


@dataclass(frozen=True)
class Stage:
    """`recipe` is imported by name, and only by the process that runs it. `uses_devices`: waits for its devices."""

    name: str
    config: type[StageConfig]
    recipe: str
    uses_devices: bool = True
    computes: Callable[[Mapping[str, Any]], bool] = lambda config: True  # whether a run with this config, as JSON, does

    def waits(self, config: Mapping[str, Any]) -> bool:
        """Whether a run with this config, as JSON, computes on its devices, and so waits for them."""
        return self.uses_devices and self.computes(config)


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("pretrain", PretrainConfig, "core.recipes.pretrain"),
        Stage("sft", SFTConfig, "core.recipes.sft"),
        Stage("reward", RewardConfig, "core.recipes.reward"),
        Stage("ppo", PPOConfig, "core.recipes.ppo"),
        Stage("dpo", DPOConfig, "core.recipes.dpo"),
        Stage("merge", MergeConfig, "core.recipes.merge"),
        Stage("push", PushConfig, "core.recipes.push", uses_devices=False),
        Stage("evaluate", EvaluateConfig, "core.recipes.evaluate"),
        Stage("predict", PredictConfig, "core.recipes.predict"),
        Stage("score", ScoreConfig, "core.recipes.score"),
        Stage("vocabulary", VocabularyConfig, "core.recipes.vocabulary", uses_devices=False),
        Stage("fetch", FetchConfig, "core.recipes.fetch", uses_devices=False),
        Stage("import", ImportConfig, "core.recipes.import_data", uses_devices=False),
        Stage("prepare", PrepareConfig, "core.recipes.prepare", uses_devices=False),
        Stage("perplexity", PerplexityConfig, "core.recipes.perplexity"),
        Stage("annotate", AnnotateConfig, "core.recipes.annotate", computes=annotate.computes),
    )
}

# A module named in GALEN_PLUGINS adds stages of its own (`STAGES`, a list of Stage), or rules (`core.rules`).
for _module in filter(None, os.environ.get(PLUGINS, "").split(",")):
    STAGES.update({stage.name: stage for stage in getattr(importlib.import_module(_module), "STAGES", ())})
