"""The Chinese wording of `core.messages_predict`: why a file of prompts, or a line of it, cannot be answered."""

from __future__ import annotations

PREDICT_ZH: dict[str, tuple[str, str]] = {
    "predict.no_model": (
        "没有指定模型。",
        "请设置 model.base（base_model），或把 model.lora（lora_model）设为一个运行，它知道自己的基座。",
    ),
    "predict.raw_system": (
        "系统提示是对话的一部分，而不用模板就没有对话。",
        "请清空 data.system，或设 data.with_prompt=true。",
    ),
    "predict.raw_template": (
        "不使用模板时，不会按 {template} 提问。",
        "请清空 model.template，或设 data.with_prompt=true。",
    ),
    "predict.no_template": (
        "{model} 没有对话模板，不知道该如何向它提问。",
        "请设 model.template={suggested}（该系列常用的模板），或其他内置模板：{known}。"
        "设 data.with_prompt=false（with_prompt=false）则按原文续写每一行。",
    ),
    "predict.no_adapter": (
        "没有适配器“{adapter}”：既没有叫这个名字的运行，也没有这个文件夹。",
        "`python -m core jobs list` 可列出运行；模型站上的适配器要先导入："
        "`python -m core model import {adapter} base=BASE`。",
    ),
    "predict.whole_model": (
        "{adapter} 是完整的模型，没有可以加在 {base} 上的适配器。",
        "请把它写作 model.base（base_model），不写适配器。",
    ),
    "predict.other_base": (
        "{adapter} 是在 {expected} 上训练的，不是 {base}。",
        "请选择那个基座，或换用这个基座的适配器。若其实是同一模型的另一个名字："
        "先 `python -m core model import {adapter} base={base}`，再使用由此得到的运行。",
    ),
    "predict.no_tokenizer": ("{path} 中没有分词器。", "请指定含有 tokenizer.json 的文件夹。"),
    "predict.large_tokenizer": (
        "{path} 中的分词器有 {tokens} 个词元，模型只有 {rows} 行词向量。",
        "请使用训练该模型时的分词器，或清空 model.tokenizer（tokenizer_path）。",
    ),
    "predict.same_file": ("{path} 就是提问文件本身。", "请为回答另指定一个文件。"),
    "predict.no_folder": ("没有可以写入回答的文件夹 {path}。", "请先创建，或另指定一个文件。"),
    "predict.is_folder": ("{path} 是文件夹。", "请指定其中的文件，例如 {path}/predictions.jsonl。"),
    "predict.would_overwrite": ("{path} 已经存在，而且不是预测结果。", "请另指定一个文件，或先移走它。"),
    "predict.gpus": ("“{value}”不是 GPU 编号。", "请写编号：gpus=0，或 gpus=0,1。"),
    "chat.one_model": (
        "使用另一个分词器或不用模板时，一次只能有一个模型回答：{names} 不止一个。",
        "lora_model 请只写其中一个。",
    ),
    "predict.changed": (
        "已有 {count} 行是在这些设置改变之前回答的：{keys}。",
        "请改回原来的设置，或启动新的运行。",
    ),
    "resume.answers": (
        "回答前面的行时它是 {before}，其余的行却会是 {now}。",
        "请不改它而继续 {run}，或启动新的运行。",
    ),
    "predict.file_changed": (
        "{file} 与回答前 {count} 行时已不相同。",
        "请恢复原来的内容，或启动新的运行。",
    ),
    "predict.weights_changed": (
        "权重与回答前 {count} 行时已不相同。",
        "请恢复原来的权重，或启动新的运行。",
    ),
    "predict.nothing": (
        "{count} 行中没有一行能够回答，第一行的原因：{detail}",
        "output/predictions.jsonl 中有每一行的原因。",
    ),
    "predict.blank_line": ("这一行是空的。", ""),
    "predict.asks_nothing": (
        "这一行没有提问：其中有 {found}。",
        "请写纯文本，或 prompt、instruction、question、messages、conversations。",
    ),
    "predict.asks_more": ("这一行有 {count} 个问题，而一行只得到一个回答。", "请每行写一个问题。"),
    "predict.raw_turns": (
        "这一行是一段对话，只有模板能把它变成文本。",
        "请设 data.with_prompt=true，或改用纯文本。",
    ),
    "predict.no_room": ("提示有 {tokens} 个词元，模型只能容纳 {context} 个：没有回答的余地。", "请缩短提示。"),
}
