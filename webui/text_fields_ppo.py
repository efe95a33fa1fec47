"""Labels and Chinese help of the settings of the stage PPO, in the form of `text_fields.FIELDS`, which takes them in.

A key that other stages have, too, stands here as `ppo:key` where it means something else.
"""

from __future__ import annotations

PPO_FIELDS: dict[str, tuple[str, str, str]] = {
    "ppo:data.train": (
        "Prompts",
        "提示数据",
        "提示、对话（取到最后一个回答之前）或偏好对：数据集或文件。",
    ),
    "ppo:data.validation": ("Held-out prompts", "留出提示", "另一批提示，仅用于评估。"),
    "ppo:data.validation_split": ("Held-out share", "留出比例", "未指定留出提示时，从提示中留出用于评估的比例。"),
    "ppo:data.max_length": ("Max prompt tokens", "提示最大长度", "一个提示允许的词元数，超过的行不能使用。"),
    # -- DPO
    "dpo:data.max_length": ("Max tokens", "最大长度", "问题加回答允许的词元数。超长时先去掉最早的整轮。"),
    "dpo:optim.learning_rate": (
        "Learning rate",
        "学习率",
        "峰值学习率。LoRA 宜 5e-6 到 1e-4，全量宜 5e-7。",
    ),
    "dpo:optim.label_smoothing": ("Mistaken preferences", "错误偏好的比例", "认为标错的偏好所占的比例。"),
    "dpo.beta": ("Hold β", "约束强度 β", "把模型约束在原来附近的强度。越小，越会为了偏好对而偏离。"),
    "dpo.loss": (
        "Loss",
        "损失函数",
        "sigmoid：论文中的 DPO。robust：有一部分偏好标错了（比例见 optim.label_smoothing）。"
        "ipo：不会无止境地拉开两个回答。hinge：拉开到一定差距为止。",
    ),
    "dpo.sft_weight": ("SFT loss", "SFT 损失权重", "加上多少对被选中回答的 SFT 损失，使它们仍然可能出现。0 表示不加。"),
    # -- rewards
    "rewards.models": (
        "Reward models",
        "奖励模型",
        "每行一个，可带权重：奖励模型运行，或只给一个分数的序列分类模型文件夹。RUN: 0.5 表示权重减半。"
        "与策略同一主干的运行只多占一个适配器的内存。",
    ),
    "rewards.rules": (
        "Rules",
        "规则",
        "每行一条：名称、参数、权重，例如 length low=20 high=120 weight=0.5。全部规则列在下方和文档中。",
    ),
    "rewards.missing_end": (
        "Reward without end",
        "未结束的奖励",
        "未在长度上限内结束的回答，整个奖励改为此值。留空：保留它自己的奖励。",
    ),
    "rewards.normalise": (
        "Normalise by references",
        "按参考答案归一",
        "平移和缩放奖励，使提示自带的参考答案均值为 0、标准差为 1。",
    ),
    "rewards.whiten": ("Scale each rollout", "按批缩放奖励", "把每批采样的奖励缩放到标准差为 1，均值不变。"),
    "rewards.judge_url": (
        "AI judge's address",
        "AI 评审地址",
        "OpenAI 兼容接口，由其模型给回答打 0 到 10 分，例如 http://127.0.0.1:8000/v1。留空：不用评审。"
        "密钥取自 GALEN_JUDGE_KEY。",
    ),
    "rewards.judge_model": ("Judge's model", "评审模型", "评审模型在该接口中的名称。"),
    "rewards.judge_weight": ("Judge's weight", "评审权重", "评审分数（换算到 0 至 1）的权重。"),
    "rewards.judge_prompt": (
        "What the judge is asked",
        "评审提示词",
        "向评审提出的问题；{question}、{answer}、{reference} 会被替换。",
    ),
    "rewards.judge_timeout": ("Judge's time limit", "评审超时", "一次打分最多等待的秒数，超过则重新询问。"),
    "rewards.judge_limit": ("Judge's answer limit", "评审上限", "整个运行最多让评审看多少个回答。"),
    # -- rollout
    "rollout.prompts": ("Prompts a rollout", "每批提示数", "每轮学习之前回答多少个提示（所有设备合计）。"),
    "rollout.max_new_tokens": (
        "Answer length",
        "回答长度",
        "回答的长度上限（词元）。留空或写 context：直到回答结束或模型上下文用尽。",
    ),
    "rollout.temperature": ("Temperature", "温度", "低于 1 更谨慎。对数概率也按此温度计算。"),
    "rollout.top_p": ("Top-p", "Top-p", "从合计达到此概率的最少词元中采样；1 为全部。"),
    "rollout.batch_size": ("Sampled at once", "采样批大小", "每个设备同时采样多少个回答。"),
    # -- ppo
    "ppo.episodes": ("Answers to learn from", "学习的回答数", "总共从多少个回答中学习。"),
    "ppo.epochs": ("Passes a rollout", "每批遍数", "每批采样学习几遍。"),
    "ppo.minibatches": ("Steps a pass", "每遍步数", "每遍做几次优化步。"),
    "ppo.batch_size": ("Learnt from at once", "学习批大小", "每个设备同时从多少个回答学习；只影响内存，不影响结果。"),
    "ppo.kl_coefficient": ("KL coefficient β", "KL 系数 β", "β：从奖励中扣除多少与起点模型的 KL 散度。"),
    "ppo.kl_target": (
        "KL target",
        "KL 目标",
        "自动调节 β，使每个回答的 KL 散度接近此值（nat）。留空：β 不变。",
    ),
    "ppo.kl_horizon": ("KL horizon", "KL 调节跨度", "β 在多少个回答上调节。"),
    "ppo.max_kl": ("Stop above KL", "KL 上限", "回答的平均 KL 散度超过此值（nat）就结束运行。"),
    "ppo.clip": ("Policy clip", "策略裁剪", "概率比对词元损失的影响最多到多远。"),
    "ppo.value_clip": ("Value clip", "价值裁剪", "同样用于价值，以旧值为中心。"),
    "ppo.value_coefficient": ("Critic's weight", "价值模型权重", "价值模型损失的权重。"),
    "ppo.gamma": ("Discount γ", "折扣 γ", "γ：晚一个词元的奖励算多少。"),
    "ppo.lam": ("GAE λ", "GAE λ", "广义优势估计的 λ。"),
    "ppo.critic_learning_rate": ("Critic's rate", "价值模型学习率", "价值模型的学习率。留空：与策略相同。"),
    "ppo.sft_coefficient": (
        "SFT mix-in",
        "SFT 混入",
        "混入提示参考答案上的 SFT 损失以防遗忘（ptx）的权重；0 为关闭。",
    ),
    "ppo.stop_on_alarm": ("Stop on alarm", "报警即停", "出现报警时结束运行。"),
    # -- what other stages have, too
    "ppo:tuning.method": (
        "Method",
        "微调方式",
        "lora：策略和价值模型是同一主干上的小型适配器；full：策略是第二个模型，训练全部权重。",
    ),
    "ppo:optim.learning_rate": ("Learning rate", "学习率", "起始学习率，逐渐降到 0。"),
    "optim.warmup_steps": ("Warm-up rollouts", "预热批数", "学习率先在多少批采样内升起。"),
    "ppo:optim.max_grad_norm": (
        "Gradient clip",
        "梯度裁剪",
        "策略和价值模型的梯度范数各自超过它时按比例缩小；0 为不裁剪。",
    ),
    "ppo:evaluation.steps": ("Evaluate every", "评估间隔", "每多少批采样评估一次。"),
    "ppo:evaluation.prompts": ("Held-out prompts", "留出提示数", "评估时回答多少个留出的提示，每次都是同一批。"),
    "ppo:evaluation.keep_best": ("Keep the best", "交付最佳", "交付留出提示上奖励最高的检查点，而不是最后一个。"),
    "evaluation.best_max_kl": (
        "Best within KL",
        "最佳的 KL 上限",
        "每个回答与起点模型的 KL 散度超过此值（nat）的检查点不算最佳。",
    ),
    "ppo:evaluation.patience": ("Patience", "早停耐心", "连续这么多次评估奖励没有提高就停止。留空：不早停。"),
}

PPO_SECTIONS: dict[str, tuple[str, str]] = {
    "dpo": ("DPO loss", "DPO 损失"),
    "rewards": ("Rewards", "奖励"),
    "rollout": ("Sampling", "采样"),
    "ppo": ("Learning", "学习"),
}
