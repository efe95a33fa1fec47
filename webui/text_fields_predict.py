"""Labels and Chinese help of the settings of the stage predict; see `text_fields`."""

from __future__ import annotations

PREDICT_FIELDS: dict[str, tuple[str, str, str]] = {
    "predict:model.base": (
        "Model",
        "模型",
        "已完成的运行、工作区里的模型，或本地文件夹。留空：适配器所属的基座。",
    ),
    "model.lora": (
        "Adapter",
        "适配器",
        "加在模型上的适配器：一个运行，或其他程序写出的文件夹。以运行为模型时自带其适配器。",
    ),
    "model.tokenizer": ("Tokenizer", "分词器", "另一个分词器所在的文件夹。留空：用它们自带的。"),
    "predict:model.dtype": ("Number format", "数值格式", "权重的数值格式。auto：设备支持时用 bf16，否则 fp32。"),
    "predict:model.template": (
        "Chat template",
        "对话模板",
        "内置对话模板的名称，用于没有模板、或曾用其他模板训练的模型。留空：用模型自己的。",
    ),
    "data.file": (
        "Prompts",
        "提问",
        "要问的内容：每行一个问题的纯文本，或每行一问的 JSONL（JSON、CSV、Parquet），或工作区的数据集。"
        "行中已有的回答不会被看到。",
    ),
    "data.predictions": ("Copy to", "另存到", "回答同时写入的文件，JSON Lines 格式。留空：只保存在运行里。"),
    "data.with_prompt": (
        "Use template",
        "使用模板",
        "按对话模板提问。关闭：每一行是一段文本，由模型接着写。",
    ),
    "data.system": ("System message", "系统提示", "加在每个问题之前的系统提示；自带系统提示的问题除外。"),
    "predict:data.max_rows": ("Max lines", "最多行数", "只问前面这么多行。"),
    "data.window": ("Window", "窗口", "一起按长度排序的行数；回答仍按文件的顺序。"),
    "predict:data.tokens": (
        "Tokens at a time",
        "单次词元数",
        "一次计算的词元数，含提示和回答。留空：按能容纳的数量。",
    ),
    "predict:generation.temperature": ("Temperature", "温度", "0：总是取概率最大的词元；越高越多样。"),
    "generation.top_k": ("Top-k", "Top-k", "最多从这么多个最可能的词元中采样；0 为全部。"),
    "generation.repetition_penalty": ("Repetition penalty", "重复惩罚", "大于 1：已经说过的词元更不容易再出现。"),
}
