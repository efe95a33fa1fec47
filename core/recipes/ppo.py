"""PPO: a policy writes answers, and learns from what they score.

    1  read the tokenizer and the prompts; hold some out for evaluation
    2  load the backbone with its chain merged; lay policy, critic and reward adapters on it; the reference is none
    3  take the fast path, if it agrees with the model's own forward
    4  gather the sources of reward: reward models, rules, a judge
    5  rollout after rollout: sample, score, advantages, learn; evaluate, save (`core.ppo.loop`)
    6  deliver the policy of the best or last checkpoint and the manifest

Run it with `python -m core ppo … rewards.models=RUN` or `rewards.rules=…`. The result is an adapter, or with
tuning.method=full a model, like that of SFT. Left out: an entropy bonus, and methods that compare several answers to
one prompt (RLOO, GRPO).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import set_seed

from core.alarms import alarms
from core.configs.ppo import LONG_ANSWER
from core.configs.stages import PPOConfig
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.errors import DataError, ModelError
from core.messages import sentence
from core.models import families
from core.models.backbone import load_backbone
from core.models.context import answer_problems
from core.models.library import find_base
from core.models.loading import resolve_dtype
from core.models.parents import Parent, resolve_parent
from core.ppo.casting import RewardLine, cast, reward_lines
from core.ppo.episodes import answer_text
from core.ppo.judge import AIJudge
from core.ppo.loop import Loop, Scene
from core.ppo.prompts import Prompts, demonstrations, demonstrator, read_prompts
from core.ppo.rewards import Source, Sources, labels_of, of_adapter, of_judge, of_model, of_rule
from core.ppo.roles import Roles
from core.records_reward import PairReport
from core.report import RunContext
from core.rules import read_rule
from core.rundir import read_jsonl, read_record
from core.training.batching import Pack
from core.training.delivery import deliver
from core.training.judges import Judge, judge_of
from core.training.preparing import join_ranks
from core.training.tuning import trainable_count

DEMONSTRATIONS = 64  # reference answers that rewards are normalised by
UNLIMITED = 1 << 20


def main(context: RunContext) -> None:
    """One rank of a PPO run, from the first phase to the manifest."""
    config = PPOConfig.model_validate(context.config.model_dump())
    report = context.report
    state = join_ranks(context)

    # 1
    parent = resolve_parent(context.workspace, config.model.base)
    tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=config.model.trust_remote_code)
    encoder = Encoder(tokenizer, template=config.model.template or parent.template)
    if not encoder.stop_ids:
        raise ModelError("ppo.no_stop", model=config.model.base)
    tokenizer.chat_template = encoder.template_text  # goes wherever the trained weights go
    context_length = room(parent, config)
    with state.main_process_first():
        prompts = read_prompts(context, config, encoder)
    needs_references(config, prompts)

    # 2
    report.phase("loading")
    dtype = resolve_dtype(config.model.dtype, context.device)
    lines = reward_lines(context.workspace, config.rewards.models, parent, encoder.template_sha256)
    roles = load_roles(context, config, parent, dtype, [line.adapter for line in lines if line.adapter is not None])
    report.check_stop()
    learning, total = trainable_count(roles)
    print(f"{config.tuning.method}: {learning:,} of {total:,} parameters learn ({learning / total:.2%}), in {dtype}")

    # 3
    sample = sample_pack(prompts).to(roles.base.device)
    if not roles.reads_plainly(sample):
        raise ModelError("ppo.own_logits", architecture=type(roles.base).__name__)
    if config.model.attention == "auto":
        reason = roles.speed_up(sample)
    else:
        reason = f"model.attention={config.model.attention} was asked for"
    print("fast path: on" if reason is None else f"fast path: off, because {reason}")

    # 4
    longest = config.data.max_length + (config.rollout.max_new_tokens or LONG_ANSWER)
    granted = config.ppo.batch_size * longest
    check_stop = report.check_stop if context.world_size == 1 else _never
    text = partial(answer_text, tokenizer)
    sources = Sources(gather(context, config, lines, roles, granted, dtype, check_stop), text)
    if config.rewards.normalise:
        sources.normalise(demonstrations(encoder, prompts.train, DEMONSTRATIONS, longest=longest))

    # 5
    scene = Scene(
        roles, sources, prompts.train, prompts.held_out, encoder.stop_ids, tokenizer, context_length, granted,
        demonstrator(encoder, longest),
    )  # fmt: skip
    Loop(context, config, scene).run()
    if context.rank == 0:
        tell_alarms(context)

    # 6
    if context.rank == 0:
        report.phase("delivering")
        trained = roles.backbone if roles.policy is None else roles.policy
        deliver(context, config, trained, dtype, parent, encoder, tokenizer, prompts.facts)


def room(parent: Parent, config: PPOConfig) -> int | None:
    """Tokens that the model can see. Raises ModelError where a prompt would leave none of them for an answer."""
    for problem in answer_problems(parent.folder, config.data.max_length, config.rollout.max_new_tokens):
        raise ModelError(problem.code, **problem.params)
    return families.context_length(families.read_config(parent.folder))


def load_roles(
    context: RunContext, config: PPOConfig, parent: Parent, dtype: torch.dtype, shared: Sequence[Path]
) -> Roles:
    """The backbone with an adapter for each role; with method full, the policy beside it."""
    section = config.model
    load = partial(
        load_backbone, parent, device=context.device, attention=section.attention,
        trust_remote_code=section.trust_remote_code,
    )  # fmt: skip
    backbone = load(dtype=dtype, quantization=config.quantization).requires_grad_(False)
    full = config.tuning.method == "full"
    policy = load(dtype=torch.float32).requires_grad_(True) if full else None
    set_seed(config.run.seed)
    mixed = full or config.quantization.kind != "none"
    autocast = dtype if mixed and dtype != torch.float32 else None
    return cast(backbone, config.lora, shared, policy=policy, autocast=autocast)


def sample_pack(prompts: Prompts) -> Pack:
    """Two short prompts, every token a label, to compare the two paths on."""
    short = sorted((prompt.ids for prompt in prompts.train), key=len)
    chosen = [short[0], short[len(short) // 4]]
    return Pack.of([(ids, ids) for ids in chosen])


def gather(
    context: RunContext,
    config: PPOConfig,
    lines: Sequence[RewardLine],
    roles: Roles,
    granted: int,
    dtype: torch.dtype,
    check_stop: Callable[[], None],
) -> list[Source]:
    """Every source of reward that the config names; `lines` are its reward models."""
    rules = [read_rule(line) for line in config.rewards.rules]
    names = [*(line.label for line in lines), *(rule.label for rule in rules)]
    labels = iter(labels_of([*names, "judge"] if config.rewards.judge_url else names))
    found = []
    on_backbone = iter(roles.judges)
    for line in lines:
        shared = line.adapter is not None
        scorer = (
            of_adapter(roles, next(on_backbone), granted, check_stop)
            if shared
            else of_model(_load_apart(context, config, line, dtype), granted, check_stop)
        )
        print(f"reward model {line.text}: {'an adapter on the backbone' if shared else 'loaded apart'}")
        print("".join(f"  its run calls it unfit: {said}\n" for said in objections(context, line)), end="")
        found.append(Source(next(labels), line.weight, scorer))
    found += [Source(next(labels), rule.weight, of_rule(rule)) for rule in rules]
    if config.rewards.judge_url:
        share = max(1, config.rewards.judge_limit // context.world_size)  # each rank asks about its own answers
        asking = config.rewards.model_copy(update={"judge_limit": share})
        judge = AIJudge(asking, context.run.path / f"judge-{context.rank}.jsonl", check_stop)
        judge.check()
        found.append(Source(next(labels), config.rewards.judge_weight, of_judge(judge), judge=judge))
    return found


def tell_alarms(context: RunContext) -> None:
    """What the page shows beside the curves, for whoever reads the log."""
    rows, _ = read_jsonl(context.run.metrics_file)
    for alarm in alarms(rows):
        since = f"since step {alarm.step}" if alarm.ended is None else f"steps {alarm.step} to {alarm.ended}"
        print(f"alarm, {since}: {' '.join(sentence(alarm.code, alarm.params))}")


def objections(context: RunContext, line: RewardLine) -> list[str]:
    """Why the gate of a reward run says that PPO should not learn from it; [] where it does not, or there is none."""
    ref = find_base(context.workspace, line.text)
    report = read_record(context.workspace.run(ref.run).pairs_file, PairReport) if ref is not None else None
    reasons = [] if report is None or report.gate.fit else report.gate.reasons
    return [sentence(reason.code, reason.params)[0] for reason in reasons]


def _load_apart(context: RunContext, config: PPOConfig, line: RewardLine, dtype: torch.dtype) -> Judge:
    """A reward model with a backbone of its own; how long a text may be is for its own context to say."""
    parent = resolve_parent(context.workspace, line.text, scoring=True)
    return judge_of(
        parent,
        line.text,
        device=context.device,
        dtype=dtype,
        max_length=families.context_length(families.read_config(parent.folder)) or UNLIMITED,
        template=config.model.template,
        trust_remote_code=config.model.trust_remote_code,
    )


def needs_references(config: PPOConfig, prompts: Prompts) -> None:
    """Raise DataError `ppo.no_references` where the rows' own answers are wanted and there are none."""
    wanted = config.rewards.normalise or config.ppo.sft_coefficient > 0
    if wanted and not any(prompt.reference for prompt in prompts.train):
        raise DataError("ppo.no_references", ref=config.data.train)


def _never() -> None:
    """With several ranks nobody leaves in the middle of a rollout."""
