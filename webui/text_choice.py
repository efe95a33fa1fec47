"""Strings of multiple choice on the Evaluate page, and of its list of rows."""

from __future__ import annotations

CHOICE_TEXT: dict[str, tuple[str, str]] = {
    "judge.share_right": ("right", "答对"),
    "judge.share_right_help": (
        "Share of the questions whose right choice is the likeliest, with its standard error (lm-eval's acc).",
        "正确选项概率最高的题所占比例及其标准误（即 lm-eval 的 acc）。",
    ),
    "judge.norm": ("by length", "按长度"),
    "judge.norm_help": (
        "The same, with the log-likelihood divided by the characters of the choice (lm-eval's acc_norm). By letters it "
        "is the same figure.",
        "同上，但对数似然先除以选项的字符数（即 lm-eval 的 acc_norm）。按字母作答时两者相同。",
    ),
    "judge.macro": ("per category", "类别平均"),
    "judge.macro_help": (
        "The mean of the categories' shares: each counts once, however many questions it has.",
        "各类别正确率的平均：每个类别只算一次，不论题数。",
    ),
    "judge.shots": ("{n}-shot", "{n} 个示例"),
    "judge.by_letters": ("by letter", "按字母"),
    "judge.by_texts": ("by text", "按选项原文"),
    "judge.in_chat": ("in chat", "对话式"),
    "judge.guessing": ("Guessing would give {share} on {dataset}.", "在 {dataset} 上随机猜测的正确率是 {share}。"),
    "judge.fewer_shots": (
        "Up to {n} questions had fewer examples than asked for: more did not fit into the model's context.",
        "最多有 {n} 道题的示例少于设定：再多就超出模型的上下文。",
    ),
    "run.items": ("Rows", "逐行"),
    "items.none": ("There are no rows to show: no dataset was measured.", "没有可显示的行：没有测量任何数据集。"),
    "items.none_yet": (
        "This model has no figures on these rows, or not yet.",
        "这个模型在这些行上没有指标，或尚未测量。",
    ),
    "items.gone": (
        "{ref} is no longer in the workspace: its texts cannot be shown.",
        "{ref} 已不在工作区，无法显示原文。",
    ),
    "items.dataset": ("Dataset", "数据集"),
    "items.category": ("Category", "类别"),
    "items.rows": ("rows", "行数"),
    "items.every_category": ("all categories", "全部类别"),
    "items.worst": ("Worst first", "先看最差"),
    "items.best": ("Best first", "先看最好"),
    "items.in_order": ("As in the file", "文件顺序"),
    "items.before": ("Page before", "上一页"),
    "items.after": ("Next page", "下一页"),
    "items.page": ("{n} of {of} · {rows} rows", "{n} / {of} · {rows} 行"),
    "items.chose_right": ("Right: {said}", "答对：{said}"),
    "items.chose_wrong": ("Wrong: {said} instead of {right}", "答错：选 {said}，应为 {right}"),
    "items.ahead": ("ahead by {margin}", "领先 {margin}"),
    "items.behind": ("behind by {margin}", "落后 {margin}"),
    "items.is_right": ("right", "正确"),
    "items.is_said": ("chosen", "所选"),
    "items.in_pair_order": ("In order", "顺序正确"),
    "items.out_of_order": ("Out of order", "顺序颠倒"),
    "items.chosen": ("Better answer", "较好的回答"),
    "items.rejected": ("Worse answer", "较差的回答"),
    "items.bits": ("{bits} bits a byte, {tokens} tokens", "{bits} 比特/字节，{tokens} 词元"),
    "items.by_category": ("{dataset}: {n} categories", "{dataset}：{n} 个类别"),
}
