"""What concerns the stage ppo: its ends, its sources of reward, its prompts, and its alarms. See `core.messages`."""

from __future__ import annotations

PPO: dict[str, tuple[str, str]] = {
    # -- rewards
    "ppo.no_reward": (
        "Nothing says what an answer is worth.",
        "Name a finished reward run in rewards.models, or a rule in rewards.rules.",
    ),
    "ppo.reward_unread": (
        "A reward model with a tokenizer of its own cannot read an answer to the prompt of line {line}: with it the "
        "conversation has more than the {length} tokens of that model's context, or its chat template refuses it.",
        "Lower data.max_length or rollout.max_new_tokens, or choose another reward model.",
    ),
    "ppo.reward_nan": (
        "The reward source {source} gave no number for {count} answer(s).",
        "A reward model does so whose training diverged, or that overflows in fp16: choose another checkpoint, or "
        "set model.dtype=fp32.",
    ),
    "ppo.judge_down": (
        "The judge at {url} gives no marks: {detail}.",
        "Check its address, its model's name and the key in GALEN_JUDGE_KEY, and that it is running; then resume the "
        "run. What it has marked is kept.",
    ),
    "ppo.no_references": (
        "No row of {ref} has a reference answer, and rewards.normalise and ppo.sft_coefficient need them.",
        "Choose conversations or preference pairs, or set rewards.normalise=false and ppo.sft_coefficient=0.",
    ),
    # -- DPO
    "dpo.no_noise": ("DPO is trained without NEFTune's noise.", "Set optim.neftune_alpha=0."),
    "dpo.no_dropout": (
        "DPO trains without the adapters' dropout: model and reference differ by what was learnt alone.",
        "Set lora.dropout=0.",
    ),
    "dpo.no_head": (
        "DPO computes log-probabilities from the head's own weights: an adapter on it would not be trained.",
        "Take the head out of lora.targets.",
    ),
    "dpo.own_logits": (
        "{architecture} computes its logits otherwise than TRL does for DPO: log-probabilities are {apart} nats apart.",
        "Choose a model of another family, such as Llama, Qwen or Mistral.",
    ),
    "dpo.smoothing": (
        "dpo.loss=robust and optim.label_smoothing above 0 go together: it is the share of mistaken preferences.",
        "Set dpo.loss=robust and, for example, optim.label_smoothing=0.1; or leave both as they were.",
    ),
    # -- models
    "ppo.own_logits": (
        "{architecture} caps or scales its logits behind the head, which PPO does not compute here.",
        "Choose a model of another family, such as Llama, Qwen or Mistral.",
    ),
    "ppo.no_fp16": ("PPO does not compute in fp16: its small gradients would vanish.", "Use bf16 or fp32."),
    "ppo.no_stop": (
        "The tokenizer of {model} has no token that ends an answer, so no answer would ever end.",
        "Give it an eos_token in tokenizer_config.json, or choose a chat model.",
    ),
    "ppo.no_room": (
        "The model's context of {context} tokens has no room for prompts of {prompt} and answers of {new}.",
        "Lower data.max_length or rollout.max_new_tokens.",
    ),
    # -- prompts
    "ppo.long_prompts": (
        "About {count} of {rows} prompts have more than {max_length} tokens.",
        "Raise data.max_length, or set data.bad_rows=drop to learn without them.",
    ),
    "ppo.unusable_prompts": (
        "{count} prompt(s) of {ref} cannot be used: they have more than {max_length} tokens, or the chat template "
        "refuses them.",
        "Raise data.max_length, shorten them, or set data.bad_rows=drop to learn without them.",
    ),
    "ppo.long_prompt": (
        "This prompt has {tokens} tokens; {max_length} are allowed.",
        "Raise data.max_length, or shorten it.",
    ),
    "ppo.no_prompts": ("No prompt of {ref} can be used.", "Choose other data, or raise data.max_length."),
    "reward.unknown": (
        "There is no reward model '{run}': no such run, model of the workspace, or folder.",
        "Choose a finished reward run, or train one: `python -m core reward`. A deleted one cannot be used any more.",
    ),
    "judge.nothing_marked": (
        "The judge {source} has given none of {count} answers a mark: what it replied was no number in its scale.",
        "Try it by hand, name a model that follows instructions, or change rewards.judge_prompt.",
    ),
    # -- ends of a run
    "ppo.kl_exceeded": (
        "The run ended at step {step}: answers had moved {kl} nats from the starting model, and ppo.max_kl is {limit}.",
        "Raise ppo.kl_coefficient or set ppo.kl_target, lower optim.learning_rate, or allow more with ppo.max_kl.",
    ),
    "ppo.judge_spent": (
        "The run ended at step {step}: the judge has marked as many answers as rewards.judge_limit={limit} allows.",
        "Raise rewards.judge_limit: without its marks, rewards would not compare with earlier ones.",
    ),
    "ppo.alarm_stop": (
        "The run ended at step {step} because an alarm was raised: {alarm}",
        "Do what the alarm advises and start again, or set ppo.stop_on_alarm=false to go on all the same.",
    ),
    "ppo.policy_nan": (
        "The loss of step {step} is infinite or not a number.",
        "Lower optim.learning_rate, or use bf16 or fp32, and start again; the last good checkpoint is kept.",
    ),
    # -- alarms
    "alarm.hacking": (
        "The reward rose from {before} to {reward} while answers drifted off: KL {kl} nats, {length} tokens (at the "
        "start {length_before}). The policy may be fooling the reward.",
        "Read the highest-scored answers of the last rollout. If they are no better, raise ppo.kl_coefficient or set "
        "ppo.kl_target, add a rule on length or repetition, and start from an earlier checkpoint.",
    ),
    "alarm.collapsed_reward": (
        "All answers of a rollout are worth nearly the same (deviation {std} at most): none teaches anything.",
        "Either the task is solved, or the reward cannot tell answers apart: look at the reward by source, raise "
        "rollout.temperature, or add a source of reward.",
    ),
    "alarm.ratio": (
        "Before anything was learnt from a rollout, probabilities were off by {ratio} already; 0.05 is normal in bf16.",
        "Set model.dtype=fp32. If it stays, the model scores answers otherwise than it learns from them: report it.",
    ),
    "alarm.entropy": (
        "The policy has become nearly certain of every token: entropy fell from {before} to {entropy} nats.",
        "It tries nothing new any more. Raise ppo.kl_coefficient or lower optim.learning_rate, and start from an "
        "earlier checkpoint.",
    ),
    "alarm.truncated": (
        "At least {percent} % of the answers do not end within the limit, so nearly all get the same penalty.",
        "Raise rollout.max_new_tokens, start from a model that has learnt to end its answers (SFT), or leave "
        "rewards.missing_end empty.",
    ),
    "alarm.critic": (
        "The critic explains nothing of the rewards (explained variance {explained}), so advantages are mostly noise.",
        "Raise ppo.critic_learning_rate, take more prompts a rollout, or start the critic from a reward run.",
    ),
}
