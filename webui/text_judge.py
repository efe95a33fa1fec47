"""Strings of the Evaluate page."""

from __future__ import annotations

JUDGE: dict[str, tuple[str, str]] = {
    "tab.evaluate": ("Evaluate", "评估"),
    # -- evaluate
    "evaluate.intro": (
        "Puts a base and what was made of it on the same rows, in one table: what was gained in the domain, and what "
        "it cost elsewhere.\n"
        "A chain fills in a run's base and all its stages. Domain and general sets are measured, and their questions "
        "answered; test data and prompts are compared besides.\n"
        "Take rows that no model has been trained on.",
        "让基座和由它得到的模型面对同样的数据，结果列成一张表：领域里得到了什么，其他方面付出了什么。\n"
        "选一个运行的链，就填入它的基座和全部阶段。领域集和通用集既测量，也让模型回答其中的问题；测试数据和提示另作比较。\n"
        "请使用任何模型都没有训练过的数据。",
    ),
    "evaluate.none_shown": (
        "No comparison is shown. Choose models and data on the left and press Start; the table appears here.",
        "当前未显示比较。在左侧选好模型和数据后点“开始”，表格会显示在这里。",
    ),
    "judge.not_yet": ("The table begins with the first model.", "加载第一个模型后开始填表。"),
    "judge.model": ("Model", "模型"),
    "judge.base": ("base", "基座"),
    "judge.on": ("on {base}", "基于 {base}"),
    "judge.rows": ("{n} rows", "{n} 行"),
    "judge.loss": ("loss", "损失"),
    "judge.loss_help": (
        "Mean surprise a token in nats, with its standard error. Lower is better.",
        "每个词元的平均损失（奈特）及其标准误，越低越好。",
    ),
    "judge.perplexity": ("perplexity", "困惑度"),
    "judge.perplexity_help": (
        "Between how many tokens the model hesitates, as it were. Lower is better.",
        "相当于模型在多少个词元之间犹豫，越低越好。",
    ),
    "judge.bits": ("bits / byte", "比特/字节"),
    "judge.bits_help": (
        "The same surprise spread over the bytes of the text: comparable between tokenizers. Lower is better.",
        "把损失摊到文本的每个字节上：不同分词器之间可以比较，越低越好。",
    ),
    "judge.accuracy": ("pair accuracy", "配对准确率"),
    "judge.accuracy_help": (
        "Share of the pairs whose better answer is preferred, with its standard error; a tie is lost.",
        "更偏好较好回答的偏好对所占比例及其标准误；平局算错。",
    ),
    "judge.margin": ("margin", "分差"),
    "judge.margin_help": (
        "How far the better answer lies ahead on average: in scores, or in nats a token.",
        "更好的回答平均领先多少：以得分计，或以每词元奈特计。",
    ),
    "judge.tokenizers_differ": (
        "These models cut text into different tokens: compare them by bits a byte.",
        "这些模型的分词方式不同：请按比特/字节比较。",
    ),
    "judge.by_likelihood": (
        "A language model prefers the answer whose tokens it finds likelier on average; a reward model the one that it "
        "scores higher.",
        "语言模型偏好平均每词元概率更高的回答，奖励模型偏好得分更高的回答。",
    ),
    "judge.left_out": (
        "Up to {n} rows of a dataset could not be used by a model and are left out of its figures.",
        "某个数据集中最多有 {n} 行无法用于某个模型，未计入其指标。",
    ),
    "judge.no_prompts": (
        "No prompts were asked. Choose a dataset of prompts and start again; the answers stand side by side here.",
        "没有提问。选择一个提示数据集后重新开始，回答会并排显示在这里。",
    ),
    "judge.no_answers_yet": (
        "Once prompts were asked, the answers stand side by side here.",
        "提问之后，回答会并排显示在这里。",
    ),
    "judge.reference": ("In the data", "数据中的回答"),
    "judge.tokens": ("{n} tokens", "{n} 词元"),
    "judge.end_length": ("cut off at the limit", "达到上限被截断"),
    "judge.end_too_long": ("The prompt leaves no room for an answer.", "提示过长，没有回答的余地。"),
    "judge.end_refused": ("The model's template takes no such conversation.", "模型的模板不接受这样的对话。"),
    "judge.no_files": ("The sheets can be saved once the run is over.", "运行结束后可以保存表格文件。"),
    "judge.files_at": ("They lie in {path}, too.", "这些文件也在 {path} 中。"),
    "phase.switching": ("Loading the next model", "加载下一个模型"),
}
