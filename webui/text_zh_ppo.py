"""The Chinese wording of `core.messages_ppo`."""

from __future__ import annotations

PPO_ZH: dict[str, tuple[str, str]] = {
    # 奖励
    "ppo.no_reward": (
        "没有任何来源能说明回答的好坏。",
        "请在 rewards.models 中指定一个已完成的奖励模型运行，或在 rewards.rules 中写一条规则。",
    ),
    "ppo.reward_nan": (
        "奖励来源 {source} 对 {count} 个回答没有给出数值。",
        "训练发散或在 fp16 下溢出的奖励模型会这样：请换它的另一个检查点，或设 model.dtype=fp32。",
    ),
    "ppo.judge_down": (
        "评审 {url} 没有给出分数：{detail}。",
        "请检查它的地址、模型名称和 GALEN_JUDGE_KEY 中的密钥，并确认它正在运行；然后继续。已打的分数会保留。",
    ),
    "ppo.no_references": (
        "{ref} 中没有一行带参考回答，而 rewards.normalise 和 ppo.sft_coefficient 需要它们。",
        "请选择对话或偏好对数据，或设 rewards.normalise=false 和 ppo.sft_coefficient=0。",
    ),
    # DPO
    "dpo.no_noise": ("DPO 训练时不加 NEFTune 噪声。", "请设置 optim.neftune_alpha=0。"),
    "dpo.no_dropout": ("DPO 训练时适配器不用 dropout，这样模型与参考模型的差别只来自学习。", "请设置 lora.dropout=0。"),
    "dpo.no_head": (
        "DPO 直接用输出头自身的权重计算概率：加在它上面的适配器不会被训练。",
        "请从 lora.targets 中去掉输出头。",
    ),
    "dpo.own_logits": (
        "{architecture} 计算 logits 的方式与 TRL 的 DPO 不同：对数概率相差 {apart} 奈特。",
        "请选择其他系列的模型，例如 Llama、Qwen 或 Mistral。",
    ),
    "dpo.smoothing": (
        "dpo.loss=robust 与大于 0 的 optim.label_smoothing 要一起使用：后者是标错的偏好的比例。",
        "请设置 dpo.loss=robust 和例如 optim.label_smoothing=0.1；或两者都保持原样。",
    ),
    # 模型
    "ppo.own_logits": (
        "{architecture} 在输出层之后还会截断或缩放 logits，本项目的 PPO 不计算这一步。",
        "请选择其他系列的模型，例如 Llama、Qwen 或 Mistral。",
    ),
    "ppo.no_fp16": ("PPO 不使用 fp16 计算：其微小梯度会消失。", "请使用 bf16 或 fp32。"),
    "ppo.no_stop": (
        "{model} 的分词器没有结束回答的词元，回答永远不会结束。",
        "请在 tokenizer_config.json 中设置 eos_token，或选择对话模型。",
    ),
    "ppo.no_room": (
        "模型的上下文为 {context} 个词元，容不下 {prompt} 个词元的提示和 {new} 个词元的回答。",
        "请调低 data.max_length 或 rollout.max_new_tokens。",
    ),
    # 提示
    "ppo.long_prompts": (
        "{rows} 条提示中约有 {count} 条超过 {max_length} 个词元。",
        "请调大 data.max_length，或设 data.bad_rows=drop 以跳过它们。",
    ),
    "ppo.unusable_prompts": (
        "{ref} 中有 {count} 条提示无法使用：超过 {max_length} 个词元，或被对话模板拒绝。",
        "请调高 data.max_length，缩短它们，或设 data.bad_rows=drop 以跳过它们。",
    ),
    "ppo.long_prompt": ("此提示有 {tokens} 个词元，上限为 {max_length}。", "请调高 data.max_length，或缩短它。"),
    "ppo.no_prompts": ("{ref} 中没有一条提示可以使用。", "请选择其他数据，或调高 data.max_length。"),
    # 运行的结束
    "judge.nothing_marked": (
        "裁判 {source} 对 {count} 个回答都没有打出分数：它的回复不是评分范围内的数字。",
        "请手动试一下，换一个能遵循指令的模型，或修改 rewards.judge_prompt。",
    ),
    "ppo.reward_unread": (
        "使用自己分词器的奖励模型无法读取对第 {line} 行提示的回答：连同回答，对话超过了该模型上下文的 {length} 个词元，"
        "或其对话模板不接受它。",
        "请调低 data.max_length 或 rollout.max_new_tokens，或选择别的奖励模型。",
    ),
    "reward.unknown": (
        "没有奖励模型“{run}”：没有这样的运行、工作区模型或文件夹。",
        "请选择已完成的奖励运行，或训练一个：`python -m core reward`。已删除的不能再用。",
    ),
    "ppo.kl_exceeded": (
        "运行在第 {step} 步结束：回答与起始模型的 KL 散度已达 {kl} nat，而 ppo.max_kl 为 {limit}。",
        "请调高 ppo.kl_coefficient 或设置 ppo.kl_target，调低 optim.learning_rate，或放宽 ppo.max_kl。",
    ),
    "ppo.judge_spent": (
        "运行在第 {step} 步结束：裁判打分的回答数已达 rewards.judge_limit={limit}。",
        "请调高 rewards.judge_limit：没有它的打分，奖励便无法与之前的相比。",
    ),
    "ppo.alarm_stop": (
        "运行在第 {step} 步因警报而结束：{alarm}",
        "请按警报的建议调整后重新开始；若仍要继续，请设 ppo.stop_on_alarm=false。",
    ),
    "ppo.policy_nan": (
        "第 {step} 步的损失为无穷大或不是数值。",
        "请调低 optim.learning_rate，或使用 bf16 或 fp32，然后重新开始；最后一个完好的检查点仍在。",
    ),
    # 警报
    "alarm.hacking": (
        "奖励从 {before} 升到 {reward}，而回答越走越偏：KL 散度 {kl} nat，长度 {length} 个词元"
        "（开始时 {length_before}）。策略可能在钻奖励的空子。",
        "请阅读最近一次采样中得分最高的回答。如果它们并没有更好，请调高 ppo.kl_coefficient 或设置 ppo.kl_target，"
        "加一条长度或重复的规则，并从更早的检查点开始。",
    ),
    "alarm.collapsed_reward": (
        "同一批回答的得分几乎相同（标准差不超过 {std}）：从中学不到东西。",
        "要么任务已经解决，要么奖励分不出好坏：请查看各来源的奖励，调高 rollout.temperature，或增加一个来源。",
    ),
    "alarm.ratio": (
        "还没有从这批回答中学习，概率比就已偏离 {ratio}；bf16 下 0.05 属于正常。",
        "请设 model.dtype=fp32。如果仍然如此，说明模型在打分和学习时的计算不一致：请报告此问题。",
    ),
    "alarm.entropy": (
        "策略对几乎每个词元都已确定：熵从 {before} 降到 {entropy} nat。",
        "它不再尝试新的说法。请调高 ppo.kl_coefficient 或调低 optim.learning_rate，并从更早的检查点开始。",
    ),
    "alarm.truncated": (
        "至少 {percent} % 的回答没有在长度限制内结束，几乎所有回答都得到同样的惩罚。",
        "请调高 rollout.max_new_tokens，从学会结束回答的模型（SFT）开始，或将 rewards.missing_end 留空。",
    ),
    "alarm.critic": (
        "价值模型完全解释不了奖励（解释方差 {explained}），优势估计大多是噪声。",
        "请调高 ppo.critic_learning_rate，增加每次采样的提示数，或让价值模型从奖励模型运行开始。",
    ),
}
