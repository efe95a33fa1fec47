"""The Chinese wording of `core.messages_evaluate`."""

from __future__ import annotations

EVALUATE_ZH: dict[str, tuple[str, str]] = {
    "evaluate.nobody": (
        "没有要测量的模型。",
        "请在 models.runs 中指定模型和运行，或在 models.chain 中指定一个运行，比较它的整条链。",
    ),
    "evaluate.no_chain": ("“{run}”不是运行，没有可以展开的链。", "请指定一个运行；单独的模型请写进 models.runs。"),
    "evaluate.no_endpoint": (
        "通过接口评判需要地址和模型名称。",
        "请同时填写 judging.url 和 judging.model，或设 judging.by=none。",
    ),
    "evaluate.no_judge": ("没有指定做比较的运行。", "请填写 judging.base，或设 judging.by=none。"),
    "evaluate.judge_down": (
        "无法向 {url} 的评判模型提问：{detail}。",
        "请检查 judging.url 和 judging.model；如需密钥，从环境变量 {key} 读取。之后继续运行即可，问过的不会再问。",
    ),
    "evaluate.both_sets": ("{ref} 既是领域集又是通用集。", "请从其中一处去掉它。"),
    "flags.unusable": ("{path} 中没有可用的红线问题：{count} 行不符合要求。", "请改正；格式见 data/safety/zh.jsonl。"),
    "flags.line": ("这一行不是红线问题：{detail}。", "需要一个问题（question），以及 needs 或 forbids 中的规则。"),
    "report.no_evaluation": (
        "{run} 没有做过比较。",
        "请指定已完成的评估运行；`python -m core jobs list` 会列出它们。",
    ),
    "report.no_model": (
        "{run} 中没有写文本的模型，无从比较训练的代价。",
        "请比较会写文本的模型；奖励模型看偏好对准确率。",
    ),
    "report.live": ("{run} 仍在运行，结束时会自己写出报告。", "请等它结束。"),
    "report.told": ("{model} 与 {base} 相比。领域：{domain}。通用：{general}。", ""),
    "report.no_roles": (
        "无法说明 {model} 相对 {base} 的得失：没有指定领域集和通用集。",
        "请在 report.domain 和 report.general 中指定。",
    ),
    "report.gained": ("变好：{changes}", ""),
    "report.lost": ("变差：{changes}", ""),
    "report.open": ("说不出差别，所有差值的区间都包含零", ""),
    "report.not_named": ("没有指定数据集", ""),
    "report.not_measured": ("没有可比较的指标", ""),
    "report.too_few": ("行数太少，无法判断变化是否偶然", ""),
    "report.change_accuracy": ("{set} 的准确率 {before} → {after}（{change} 个百分点，区间 {low} 至 {high}）", ""),
    "report.change_safe": ("{set} 的红线通过率 {before} → {after}（{change} 个百分点，区间 {low} 至 {high}）", ""),
    "report.change_win": ("{set} 的胜率 {after}（比持平 {change} 个百分点，区间 {low} 至 {high}）", ""),
    "report.change_perplexity": ("{set} 的困惑度 {before} → {after}（{change}，区间 {low} 至 {high}）", ""),
    "report.change_bits_per_byte": ("{set} 的比特/字节 {before} → {after}（{change}，区间 {low} 至 {high}）", ""),
    "report.change_reward": ("{set} 的奖励得分 {before} → {after}（{change}，区间 {low} 至 {high}）", ""),
    "report.longer": ("{set} 的回答变长，{before} → {after} 词元（{change}，区间 {low} 至 {high}）", ""),
    "report.shorter": ("{set} 的回答变短，{before} → {after} 词元（{change}，区间 {low} 至 {high}）", ""),
    "report.unread": (
        "{pairs} 对回答中有 {unread} 对，评判模型的话无法判读。",
        "请换一个能听从指令的评判模型，小模型做不到。",
    ),
    "report.few_rows": ("部分指标背后不足 {few} 行（{sets}），区间比较粗略。", "请用更多行测量。"),
    "report.tokenizers_differ": ("这些模型的分词方式不同：困惑度不能互相比较，比特/字节可以。", ""),
    "report.settings_differ": (
        "这些运行的设置不同（{settings}），差别可能由此而来。",
        "请在同一个运行中测量所有模型。",
    ),
    "report.smoke_test": ("红线问题按词语规则判定，只是冒烟测试：请读过回答再下结论。", ""),
    "report.learnt": (
        "{models} 正是用 {set} 训练的：在它上面变好不等于真的变好。请用任何阶段都没有训练过的行来测量。",
        "",
    ),
    "report.many": ("每个区间只针对一个差值：二十个本无差别的差值中，预计会有一个看起来有差别。", ""),
}
