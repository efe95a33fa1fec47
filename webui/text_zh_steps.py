"""The Chinese wording of `core.messages_steps`."""

from __future__ import annotations

STEPS_ZH: dict[str, tuple[str, str]] = {
    # 配方
    "step.unknown": ("没有名为“{step}”的步骤。", "`python -m core data clean --help` 会列出所有步骤。"),
    "step.wrong_kind": (
        "步骤 {step} 不能处理“{kind}”类型的行；它可以处理 {needed}。",
        "请在它之前加一个 `convert` 步骤，或去掉它。",
    ),
    "step.kinds_differ": (
        "{other} 的行是“{other_kind}”类型，而 {first} 的是“{kind}”类型。",
        "只能混合同一类型的数据集；`convert` 步骤可以转换类型。",
    ),
    "step.not_last": ("步骤 {step} 会产生多个数据集。", "请把它放在配方的最后。"),
    "step.no_source": ("没有任何行来自“{source}”；现有来源：{known}。", "是不是想写“{nearest}”？"),
    "step.nothing_left": (
        "{name} 没有剩下任何行。各步骤前后的行数：{steps}。",
        "请放宽丢弃最多的那个步骤；预览会说明每行被丢弃的原因。",
    ),
    "step.not_words": ("“{text}”不是一个步骤。", "请写步骤名和设置，例如：near threshold=0.8。"),
    "step.slow_pattern": (
        "表达式 {pattern} 在第 {line} 行上耗时超过 {seconds} 秒。",
        "请不要重复有歧义的选择：(a|aa)+ 会尝试所有切分方式。",
    ),
    "step.no_words": ("没有可查找的词。", "请选择主题，或给出自己的词或词表。"),
    "step.words_not_utf8": ("词表 {file} 不是 UTF-8 编码。", "请另存为 UTF-8，每行一个词。"),
    "step.no_scores": ("还没有任何行有评分。", "请在它之前加一个 `quality` 步骤，或先对这些行做标注。"),
    "step.no_losses": (
        "运行 {run} 没有困惑度结果。",
        "请填写一个已完成的 perplexity 阶段的运行：`python -m core jobs list`。",
    ),
    # 清洗步骤丢弃一行的原因
    "step.exact": ("与 {source} 的第 {line} 行内容相同。", ""),
    "step.near": ("与 {source} 的第 {line} 行有 {percent}% 相同。", ""),
    "step.few_chars": ("共 {count} 个字符，少于 {limit}。", ""),
    "step.many_chars": ("共 {count} 个字符，多于 {limit}。", ""),
    "step.few_answer": ("回答有 {count} 个字符，少于 {limit}。", ""),
    "step.many_answer": ("回答有 {count} 个字符，多于 {limit}。", ""),
    "step.few_turns": ("共 {count} 轮，少于 {limit}。", ""),
    "step.many_turns": ("共 {count} 轮，多于 {limit}。", ""),
    "step.repeated_pieces": ("有一段文本的 {percent}% 在前文说过，例如：{text}", ""),
    "step.repeated_lines": ("有一段文本的 {percent}% 是重复的行，例如：{text}", ""),
    "step.symbols": ("{percent}% 的字符是符号或数字。", ""),
    "step.language": ("语言是“{language}”。", ""),
    "step.contains": ("含有 {what}：{text}", ""),
    "step.lacks": ("不含所要求的任何一项：{what}。", ""),
    "step.words": ("含有 {topics} 方面的词：{words}。", ""),
    "step.contaminated": ("与测试集 {test} 的第 {line} 行有相同片段：{text}", ""),
    "step.low_score": ("评分为 {score}，低于 {limit}；最弱的一项是“{weakest}”。", ""),
    "step.unscored": ("没有评分。", ""),
    "step.low_own_score": ("评分为 {score}，低于 {limit}。", ""),
    "step.bucket": ("位于 {buckets} 个桶中的第 {bucket} 个；只保留 {kept}。", ""),
    "step.cannot_convert": ("“{kind}”类型的行不能转换成“{to}”。", "可以转换成：{possible}。"),
    "step.all_rows": (
        "步骤 {step} 作用于所有行，但设置了 only_sources 或 except_sources。",
        "请把两者留空，或先把那些行做成单独的数据集。",
    ),
    "step.no_pairs": ("它的 {answers} 个回答之间分数差距不够大。", "请调低 min_gap。"),
    "step.taken_out": ("按行号移除。", ""),
    "step.split_too_many": ("划分需要 {wanted} 行，而总共只有 {rows} 行。", "请减少验证集或测试集的行数。"),
    "step.split_empty": (
        "{name} 集没有分到任何行：太多行近似重复，必须放在一起。",
        "请先去重、增加所需行数，或关闭 `together`。",
    ),
}

# What the sentences above name by a word of the settings, as their parameters.
NAMED_PARAMS = ("weakest", "topics", "what", "language", "kind", "other_kind")
NAMES_ZH: dict[str, str] = {
    "length": "长度",
    "repetition": "重复",
    "symbols": "符号",
    "ending": "结尾",
    "phrases": "套话",
    "echo": "复述问题",
    "surprise": "困惑度",
    "violence": "暴力",
    "sexual": "色情",
    "gambling": "赌博",
    "self-harm": "自残自杀",
    "drugs": "毒品",
    "quackery": "虚假医疗广告",
    "own": "自备词表",
    "url": "链接",
    "email": "邮箱",
    "phone": "电话",
    "id_card": "身份证号",
    "bank_card": "银行卡号",
    "html": "HTML",
    "pattern": "表达式",
    "zh": "中文",
    "en": "拉丁文字",
    "mixed": "中英混合",
    "code": "代码",
    "other": "其他",
    "text": "纯文本",
    "messages": "对话",
    "prompt": "提示",
    "preference": "偏好对",
    "ranked": "排序回答",
    "choice": "选择题",
}
