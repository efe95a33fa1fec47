"""Strings of docs/fields (`webui.field_pages`), which are not on the page."""

from __future__ import annotations

# (English, Chinese)
WORDS: dict[str, tuple[str, str]] = {
    "title": ("Settings of `{name}`", "`{name}` 的参数"),
    "index": ("Settings", "参数一览"),
    "written": (
        "Written by `python -m webui.field_pages` from the declarations in `core/configs/`.",
        "由 `python -m webui.field_pages` 根据 `core/configs/` 中的声明生成。",
    ),
    "use": (
        "Each is set as `section.name=value` behind `python -m core {name}`, in a YAML file, or in the page's form. "
        "A setting marked ° is on the page with *Show advanced settings*.",
        "写法是 `python -m core {name}` 后面跟 `部分.名称=值`，也可以写进 YAML 文件，或在页面表单里填。"
        "带 ° 的参数要在页面上打开“显示高级参数”才能看到。",
    ),
    "flat": (
        "Each is set as `name=value` behind `python -m core {name}`.",
        "写法是 `python -m core {name}` 后面跟 `名称=值`。",
    ),
    "head": (
        "| setting | on the page | takes | default | meaning |",
        "| 参数 | 页面上的名称 | 取值 | 默认值 | 说明 |",
    ),
    "needed": ("**needed**", "**必填**"),
    "empty": ("empty", "空"),
    "presets": ("Presets", "预设"),
    "preset_head": ("| preset | what it is for |", "| 预设 | 适用情况（英文原文） |"),
    "steps": ("Steps of a recipe", "配方的步骤"),
    "steps_about": (
        "What `recipe.steps` is made of, as `- do: near` and below it its settings; behind `data clean` as "
        '`--step "near threshold=0.8"`.',
        "`recipe.steps` 由这些步骤组成：写作 `- do: near`，其下是它的参数；在 `data clean` 之后写作 "
        '`--step "near threshold=0.8"`。',
    ),
    "stage_head": ("| stage | what it is |", "| 阶段 | 说明 |"),
    "talk": ("Chat and server", "对话与服务"),
    "other": ("[中文]({file})", "[English]({file})"),
    "all": ("[All stages]({file})", "[全部阶段]({file})"),
}
ABOUT_ZH = {  # the stages' own words are English
    "pretrain": "继续预训练：在纯文本语料上接着训练。",
    "sft": "监督微调：学习对话里助手的回答。",
    "reward": "奖励模型：从偏好对学会给回答打分，供 PPO 使用。",
    "ppo": "强化学习：模型自己写回答，从得分中学习。",
    "dpo": "直接偏好优化：直接从偏好对学习，不需要奖励模型。",
    "merge": "合并：把一个运行的适配器并入基座，得到一个独立的模型目录。",
    "push": "上传：把完成的适配器或模型连同模型卡片传到 Hugging Face。",
    "evaluate": "评估：同一批数据上比较多个模型，列出得与失。",
    "predict": "批量推理：逐行回答一个问题文件，中断后可接着跑。",
    "score": "打分：用奖励模型给每一行的回答打分。",
    "vocabulary": "扩充词表：把常用词或词表里的词变成一个词元。",
    "fetch": "引入模型或适配器：和其他运行一样可查看、停止、继续。",
    "import": "导入数据：把文件或模型站上的数据集变成工作区的数据集。",
    "prepare": "数据配方：按顺序清洗、整理数据集，得到新版本。",
    "perplexity": "困惑度：衡量模型对文本有多“意外”，判断值不值得用来预训练。",
    "annotate": "标注：由接口、模型或人来评分、排序、改写，或生成新数据。",
}
