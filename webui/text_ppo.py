"""Strings of the PPO tab: rewards and rules, figures, alarms, the rollout browser."""

from __future__ import annotations

PPO: dict[str, tuple[str, str]] = {
    "tab.ppo": ("PPO", "强化学习"),
    "form.learns_ppo": ("prompts, conversations or preference pairs", "提示、对话或偏好对"),
    "ppo.intro": (
        "The model writes answers, and learns from what they score.\n"
        "Start from an SFT run: PPO improves answers, it does not teach a model to answer at all.\n"
        "It finds what the reward pays for, whatever was meant. A reward model that its gate calls unfit teaches "
        "nonsense; rules alone work, too.\n"
        "Read the answers below while it runs: a rising reward proves nothing by itself.",
        "模型自己写回答，并从回答得到的分数中学习。\n"
        "从监督微调的运行开始：PPO 让回答更好，但教不会一个还不会回答的模型。\n"
        "奖励奖什么，它就学什么，不管本意如何。检验不合格的奖励模型只会教出胡话；只用规则也可以。\n"
        "运行时请读下面的回答：奖励上升本身并不说明什么。",
    ),
    "ppo.method_ppo": ("PPO: from rewards", "PPO：从奖励学习"),
    "ppo.method_dpo": ("DPO: from preference pairs", "DPO：从偏好对学习"),
    "form.learns_dpo": ("preference pairs", "偏好对"),
    "dpo.intro": (
        "The model learns from pairs of answers, of which one was preferred. No reward model, nothing is sampled.\n"
        "Start from an SFT run, best on data like the pairs: DPO moves what is likely, it does not teach new answers.\n"
        "Accuracy is how often the chosen answer has gained more than the rejected one since the start; both may have "
        "lost. That is no proof of better answers: read those below, and compare in Evaluate.",
        "模型从成对的回答中学习，每对里有一个更受偏好。不需要奖励模型，也不采样。\n"
        "从监督微调的运行开始，最好用过与偏好对相近的数据：DPO 只改变哪种回答更可能出现，教不会新的回答。\n"
        "准确率是：与开始时相比，被选中的回答有多少次比被拒的回答增长更多；两者也可能都变得更不可能。"
        "这并不证明回答更好：请读下面的回答，并在“评估”页比较。",
    ),
    "figure.chosen": ("chosen's score", "被选中回答的得分"),
    "figure.rejected": ("rejected's score", "被拒回答的得分"),
    "figure.eval_chosen": ("held-out chosen's score", "留出对中被选中回答的得分"),
    "figure.eval_rejected": ("held-out rejected's score", "留出对中被拒回答的得分"),
    # -- rewards
    "rewards.none": (
        "No reward model yet: train one in the Reward tab, or use rules alone.",
        "还没有奖励模型：可在“奖励模型”页训练一个，或只用规则。",
    ),
    "rewards.found": ("Reward models of this workspace", "工作区里的奖励模型"),
    "rewards.add": ("Add", "加入"),
    "rewards.remove": ("Remove", "移除"),
    "rewards.models_hint": ("Add one below; RUN: 0.5 counts half", "从下面加入；RUN: 0.5 表示权重减半"),
    "rewards.rules_hint": ("length low=20 high=120 weight=0.5", "length low=20 high=120 weight=0.5"),
    "rewards.fit": ("fit for PPO", "可用于 PPO"),
    "rewards.unfit": ("not fit for PPO", "不能用于 PPO"),
    "rewards.unjudged": ("never judged on held-out pairs", "没有用留出的偏好对检验过"),
    "rewards.accuracy": ("{share} of {n} held-out pairs in order", "{n} 个留出偏好对中 {share} 排对"),
    "rewards.rule_list": ("All rules ({n})", "全部规则（{n}）"),
    # -- figures
    "figure.reward": ("reward", "奖励"),
    "figure.eval_reward": ("held-out reward", "留出奖励"),
    "figure.reward_std": ("spread of rewards", "奖励标准差"),
    "figure.eval_reward_error": ("error of the held-out reward", "留出奖励的误差"),
    "figure.eval_kl": ("held-out KL", "留出 KL"),
    "figure.length": ("length", "回答长度"),
    "figure.eval_length": ("held-out length", "留出长度"),
    "figure.kl_coefficient": ("KL coefficient β", "KL 系数 β"),
    "figure.entropy": ("entropy", "熵"),
    "figure.no_end": ("without an end", "未结束比例"),
    "figure.eval_no_end": ("held-out without an end", "留出未结束比例"),
    "figure.policy_loss": ("policy loss", "策略损失"),
    "figure.value_loss": ("value loss", "价值损失"),
    "figure.approx_kl": ("KL of the step", "本步 KL"),
    "figure.ratio_off": ("first ratio off by", "首批比值偏差"),
    "figure.clip_fraction": ("clipped", "裁剪比例"),
    "figure.value_clip_fraction": ("values clipped", "价值裁剪比例"),
    "figure.explained_variance": ("explained variance", "解释方差"),
    "figure.critic_grad_norm": ("critic's gradient norm", "价值模型梯度范数"),
    "figure.sft_loss": ("SFT loss", "SFT 损失"),
    "figure.episodes": ("answers", "回答"),
    "figure.sampling_tokens_per_second": ("sampled tokens / s", "采样词元/秒"),
    "figure.scoring_tokens_per_second": ("scored tokens / s", "打分词元/秒"),
    "figure.learning_tokens_per_second": ("learnt tokens / s", "学习词元/秒"),
    "phase.sampling": ("Sampling answers", "采样回答"),
    "phase.scoring": ("Scoring answers", "给回答打分"),
    "phase.learning": ("Learning", "学习"),
    # -- above the curves
    "ppo.none_shown": (
        "No run is shown. Choose model, prompts and rewards on the left and press Start; reward and KL appear here.",
        "当前未选择运行。在左侧选好模型、提示和奖励后点“开始”，奖励和 KL 会显示在这里。",
    ),
    "alarm.since": ("(since step {step})", "（自第 {step} 步起）"),
    "alarm.was": ("steps {step} to {end}", "第 {step} 至 {end} 步"),
    "alarm.over": ("{n} alarms that are over", "{n} 个已解除的报警"),
    "ppo.experience": ("{episodes} answers, {tokens} tokens", "{episodes} 个回答，{tokens} 词元"),
    "ppo.held_out": (
        "held-out reward {before} → {after} at step {step}",
        "留出奖励 {before} → {after}（第 {step} 步）",
    ),
    "ppo.error_help": (
        "Before training and now, ± one standard error over the held-out prompts.",
        "训练前与现在，± 为留出提示上的一个标准误。",
    ),
    "ppo.experience_help": ("What has been learnt from so far.", "到目前为止学习过的回答和词元。"),
    # -- the rollout browser
    "run.rollouts": ("Rollouts", "采样回答"),
    "rollouts.none": (
        "Every sampled answer is kept, with its scores; the first rollout appears here.",
        "每个采样的回答连同得分都会保留，第一批完成后显示在这里。",
    ),
    "rollouts.none_held_out": (
        "The held-out prompts are answered before training and at every evaluation; the answers appear here.",
        "训练前和每次评估时会回答留出的提示，回答显示在这里。",
    ),
    "rollouts.training": ("Training", "训练"),
    "rollouts.held_out": ("Held-out", "留出"),
    "rollouts.sampled": ("As sampled", "原顺序"),
    "rollouts.highest": ("Highest", "最高分"),
    "rollouts.lowest": ("Lowest", "最低分"),
    "rollouts.step": ("step", "步"),
    "rollouts.of": ("of {n}", "/ {n}"),
    "rollouts.before": ("earlier", "更早"),
    "rollouts.after": ("later", "更晚"),
    "rollouts.newest": ("newest", "最新"),
    "rollouts.page_before": ("previous page", "上一页"),
    "rollouts.page_after": ("next page", "下一页"),
    "rollouts.all_steps": ("all steps", "全部步"),
    "rollouts.search": ("Search all steps", "搜索全部步"),
    "rollouts.facts": (
        "{n} answers: reward {reward}, KL {kl}, {ended} ended",
        "{n} 个回答：奖励 {reward}，KL {kl}，{ended} 个正常结束",
    ),
    "rollouts.hits": ("{n} found, down to step {step}", "找到 {n} 个，查到第 {step} 步"),
    "rollouts.hits_all": ("{n} found in all steps", "全部步中找到 {n} 个"),
    "rollouts.older": ("Search earlier steps", "搜索更早的步"),
    "rollouts.no_hits": ("Nothing found.", "没有找到。"),
    "rollouts.shade": (
        "Shading: each token's KL in nats. Green: likelier than before PPO; grey: less likely.",
        "底色为每个词元的 KL（nat）：绿色表示比 PPO 之前更可能，灰色表示更不可能。",
    ),
    "rollouts.kl": ("KL {kl}", "KL {kl}"),
    "rollouts.cut": ("cut off at the limit", "达到上限被截断"),
    "rollouts.where": ("#{number} · step {step}", "#{number} · 第 {step} 步"),
    "rollouts.prompt_where": ("line {line} · step {step}", "第 {line} 行 · 第 {step} 步"),
    "rollouts.whole_prompt": ("Whole prompt", "完整提示"),
    "rollouts.reference": ("Answer in the data", "数据中的回答"),
    "rollouts.whole_answer": ("The whole answer", "完整回答"),
    "rollouts.over_time": ("Over time", "看变化"),
    "rollouts.all_prompts": ("All prompts", "全部提示"),
    "rollouts.next_prompt": ("next prompt", "下一个提示"),
    "rollouts.last_prompt": ("previous prompt", "上一个提示"),
    "rollouts.evaluations": ("{n} evaluations, the first one before training", "{n} 次评估，第一次在训练前"),
    "rollouts.evaluations_cut": (
        "the first and the newest {shown} of {n} evaluations",
        "{n} 次评估中的首次和最新 {shown} 次",
    ),
    "rollouts.empty_answer": ("(nothing was written)", "（什么也没写）"),
}

# What Galen's own rules give (`core.rules`); a team's rule is described in its own words.
RULES_ZH: dict[str, str] = {
    "length": "回答为 low 到 high 个词元时得 1；之外线性降到 0：没有词元，或达到 high 的两倍。",
    "repetition": "没有重复得 0，最低 -1：负的重复片段比例。片段为连续 size 个词；中文等不分词的文字按字计。",
    "language": "回答的字母文字中属于 wanted 的比例，0 到 1：zh（汉字）或 en（拉丁字母）。",
    "format": "回答中能找到正则表达式 pattern 得 1，否则得 0。^…$ 表示整个回答。",
    "mention": "所列词语（以 | 分隔，如 words=去医院|仅供参考）中出现的比例，0 到 1。不计大小写、全半角和空白；"
    "拉丁字母的词须整词出现。",
    "avoid": "所列词语（以 | 分隔）出现任何一个得 -1，否则得 0。查找方式与 mention 相同。",
    "match": "回答与参考答案相同（不计大小写、全半角和空白）得 1；否则或没有参考答案得 0。",
    "number": "回答的最后一个数与参考答案的相同得 1；否则或任一方没有数得 0。允许相差参考值的 tolerance 倍。",
}
