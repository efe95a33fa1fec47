"""The shaping steps on the page: for every step and setting its label in English and Chinese, and its help in Chinese.

The English help is the setting's own description (`core.configs.shape_steps`).
"""

from __future__ import annotations

STEP_TEXT: dict[str, tuple[str, str, str]] = {
    "sample": ("Sample", "抽样", "随机保留一部分行，顺序不变。"),
    "sample.share": ("Share", "比例", "未指定行数时，保留多大比例的行。"),
    "sample.rows": ("Rows", "行数", "保留多少行。留空则按比例。"),
    "sample.by_source": (
        "From every source",
        "按来源分别抽取",
        "对每个来源分别按比例或行数抽取，使小来源也得以保留。",
    ),
    "take": ("Take a range", "取一段", "保留一段连续的行：前一千行，或第 5001 至 6000 行。"),
    "take.rows": ("Rows", "行数", "保留多少行。"),
    "take.start": ("First row", "起始行", "从第几行开始保留，从 1 数起。"),
    "select": ("Pick rows", "按行号挑选", "按行号保留或移除行。"),
    "select.rows": ("Row numbers", "行号", "行号从 1 数起，例如 3, 7, 10-20。"),
    "select.keep": ("Keep these", "只保留这些行", "只保留这些行；关闭则移除它们。"),
    "shuffle": ("Shuffle", "打乱顺序", "随机打乱各行的顺序；种子相同，顺序也相同。"),
    "sort": ("Sort", "排序", "按某个数值排序，例如课程学习中由易到难。没有该数值的行排在最后。"),
    "sort.by": ("By", "依据", "排序依据：行自带的难度或得分、总字符数、回答字符数或轮数。"),
    "sort.descending": ("Largest first", "从大到小", "最大的排在最前。"),
    "source": ("Rename source", "更改来源名", "给各行另一个来源名，供其他步骤据此选择。"),
    "source.new": ("New name", "新名称", "来源的新名称。"),
    "source.old": ("Old name", "原名称", "只更改这一来源的行。留空则更改所有行。"),
    "convert": ("Convert", "转换类型", "把行转换成另一种类型：对话变为纯文本或 PPO 提示，偏好对变为对话，等等。"),
    "convert.to": (
        "Into",
        "转换为",
        "text：用于继续预训练的文档。messages：对话（偏好对取更好的回答，带分数的回答取最好的，选择题取题目与答案）。"
        "prompt：用于 PPO 的问题。preference：由带分数的回答组成的偏好对。",
    ),
    "convert.role_names": ("Write role names", "写出角色名", "转换为纯文本时，在每轮之前写明是谁在说话。"),
    "convert.prompts": (
        "Which questions",
        "取哪些问题",
        "取对话中的哪些问题：第一个（first）、最后一个连同之前的全部内容（last），或每一个连同其之前的内容（every）。",
    ),
    "pairs": ("Make pairs", "组成偏好对", "由带分数的多个回答组成偏好对。分数相同的回答不成对。"),
    "pairs.which": (
        "Which pairs",
        "怎样配对",
        "all：每个回答与每个更差的回答配对。best-worst：最好的与最差的。adjacent：每个与紧接其后的更差者。",
    ),
    "pairs.min_gap": ("Minimum gap", "最小分差", "分数至少要相差多少。"),
    "hindsight": ("Chain of hindsight", "后见链", "把偏好对变成注明哪个回答更好的对话（chain of hindsight）。"),
    "hindsight.order": (
        "Order",
        "顺序",
        "bad-good：先差后好。good-bad：先好后差。both：两种都要（每对两行）。all：如论文所述，再加上单独的好与差（每对四行）。",
    ),
    "hindsight.good": ("Words for good", "好回答的提示语", "写在更好的回答之前。留空则用与该行语言相同的固定提示语。"),
    "hindsight.bad": ("Words for bad", "差回答的提示语", "写在较差的回答之前。留空则用与该行语言相同的固定提示语。"),
    "rounds": ("Split into rounds", "拆成单轮", "把多轮对话拆成一问一答的行。"),
    "rounds.history": ("Keep history", "保留历史", "每行保留其问题之前的各轮；关闭则每行独立成立。"),
    "system": ("System message", "系统提示", "设置、替换或移除系统提示。"),
    "system.action": ("Action", "操作", "set：仅在没有时设置。replace：全部替换。remove：全部移除。"),
    "system.text": ("Text", "内容", "系统提示的内容；移除时不需要。"),
    "split": ("Split", "划分数据集", "把行分成训练集、验证集和测试集：NAME-train、NAME-validation、NAME-test。"),
    "split.validation": ("Validation", "验证集", "小于 1 为比例，1 及以上为行数。"),
    "split.test": ("Test", "测试集", "小于 1 为比例，1 及以上为行数。0 表示不要。"),
    "split.train": (
        "Training",
        "训练集",
        "小于 1 为比例，1 及以上为行数。0 表示其余所有行；否则多出的行不进入任何一集。",
    ),
    "split.by_source": ("From every source", "按来源分层", "从每个来源取相同的比例。"),
    "split.together": (
        "Keep alike rows together",
        "近似的行放在一起",
        "近似重复的行和同一问题的不同回答进入同一集，避免泄露答案。",
    ),
    "split.threshold": ("Similarity", "相似度", "多相似（字符五元组的 Jaccard 相似度）才算近似。"),
}
