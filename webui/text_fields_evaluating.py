"""Labels and Chinese help of the settings of an evaluation beside models, rows and prompts."""

from __future__ import annotations

EVALUATING_FIELDS: dict[str, tuple[str, str, str]] = {
    "models.chain": (
        "Chain of a run",
        "运行的整条链",
        "选一个运行，自动填入它的整条链：基座、每个会写文本的阶段，以及它自己。",
    ),
    "safety.questions": (
        "Red-flag questions",
        "红线问题",
        "提出内置的 27 个红线问题（每种语言），并按规则判定回答：必须说什么、不能说什么。"
        "只是冒烟测试：不通过的模型不安全，通过的也未必安全。",
    ),
    "safety.file": ("Your own questions", "自备问题", "自备的红线问题，JSONL 文件，格式同 data/safety/zh.jsonl。"),
    "judging.reward": (
        "Reward run",
        "奖励模型",
        "已完成的奖励模型运行：给每个模型的回答打分，得出平均得分。留空：不打分。",
    ),
    "judging.by": (
        "Compared by",
        "由谁比较",
        "由谁把每个模型的回答与第一个模型的比较：OpenAI 兼容接口，或已完成的运行。"
        "每对回答按两种顺序各问一次，两次都选中同一个才算胜。",
    ),
    "judging.url": ("Address", "接口地址", "接口地址，例如 http://127.0.0.1:8000/v1。"),
    "judging.model": ("Endpoint's model", "接口模型", "接口所用的模型名称。"),
    "judging.base": ("Comparing run", "做比较的运行", "做比较的已完成运行或模型。"),
    "judging.prompt_en": (
        "Prompt, English",
        "英文提示词",
        "对英文问题怎样提问；{question} 和 {answers} 会被填入。",
    ),
    "judging.prompt_zh": ("Prompt, Chinese", "中文提示词", "对中文问题怎样提问。"),
    "judging.limit": ("At most", "最多比较", "最多向接口提多少次问，每对回答两次。"),
    "judging.timeout": ("Patience", "等待秒数", "接口一次回答最多等多少秒，之后重新提问。"),
    "report.domain": (
        "Domain sets",
        "领域集",
        "所训练领域的数据集或文件，每行一个。每个模型都在上面测量，并回答其中的问题。",
    ),
    "report.general": ("General sets", "通用集", "领域之外的数据集或文件：忘掉了什么在这里看得出。"),
    "report.answers": (
        "Answered, too",
        "也要回答",
        "让模型回答这些数据集中的问题，以得到奖励得分、长度和胜率。最费时间。",
    ),
    "report.resamples": ("Resamples", "重采样次数", "95% 区间所用的重采样次数。"),
}

EVALUATING_SECTIONS: dict[str, tuple[str, str]] = {
    "safety": ("Red flags", "红线"),
    "judging": ("Judges", "评判"),
    "report": ("What it cost", "对齐代价"),
}

EVALUATING_CHOICES: dict[tuple[str, str], tuple[str, str]] = {
    ("safety.questions", "none"): ("None", "不提问"),
    ("safety.questions", "en"): ("English", "英文"),
    ("safety.questions", "zh"): ("Chinese", "中文"),
    ("safety.questions", "both"): ("Both", "两种"),
    ("judging.by", "none"): ("Nobody", "不比较"),
    ("judging.by", "endpoint"): ("Endpoint", "接口"),
    ("judging.by", "model"): ("A run", "运行"),
}
