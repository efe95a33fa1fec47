"""Labels and Chinese help of the settings of the stage annotate. The tables have the form of `text_fields`'s."""

from __future__ import annotations

ANNOTATE_FIELDS: dict[str, tuple[str, str, str]] = {
    "task.kind": (
        "Task",
        "任务",
        "difficulty：1 到 5，写入难度列，课程学习按它排序；score：0 到 10，换算成 0 到 1 写入评分列，可供步骤筛选；"
        "rank：给多个回答排序，用来做偏好对；improve：写更好的回答；instruct：由例子或文档写出新的问答。",
    ),
    "task.ranks": (
        "Compared",
        "比较方式",
        "模型如何比较回答。order：放在一个提示词里排序，需要较强的模型；marks：像 score 任务那样逐个打分，同分不成对。",
    ),
    "task.makes": (
        "Becomes",
        "用作",
        "更好的回答变成什么：偏好对（原回答为较差者），或换上新回答的对话。",
    ),
    "task.prompt_en": (
        "Prompt, English rows",
        "提示词（英文行）",
        "对英文行问什么。{question}、{answer}、{answers}、{document}、{examples}、{count} 会按任务填入。"
        "留空：用自带的提示词。",
    ),
    "task.prompt_zh": ("Prompt, Chinese rows", "提示词（中文行）", "对中文行问什么，写法相同。"),
    "annotate:data.rows": ("Rows", "数据行", "数据集或文件：对话、提示、偏好对、带排序的回答，或文档。"),
    "annotate:data.max_rows": ("Rows at most", "最多行数", "最多标注多少行，由随机种子选取。留空：全部。"),
    "data.output": ("New dataset", "新数据集", "新数据集的名称。留空：由原名称和任务生成。"),
    "annotator.kind": (
        "Annotator",
        "标注者",
        "endpoint：OpenAI 兼容接口背后的模型；model：已完成的运行或工作区里的模型，由本机加载；"
        "person：由人在页面或终端里按键标注。",
    ),
    "annotator.url": ("Endpoint", "接口地址", "接口的地址，例如 http://127.0.0.1:8000/v1。"),
    "annotator.model": ("Its model", "接口的模型", "接口所用的模型名称。"),
    "annotator.base": ("Model that answers", "由谁回答", "由哪个已完成的运行或模型来回答。"),
    "annotator.max_new_tokens": ("Reply length", "回复长度", "一个回复的长度上限（词元）。"),
    "annotator.temperature": ("Temperature", "温度", "0 总是取最可能的词元。"),
    "annotator.price_in": ("Price, prompts", "输入价格", "一百万个输入词元的价格，货币自定。0：不计算。"),
    "annotator.price_out": ("Price, replies", "输出价格", "一百万个输出词元的价格。"),
    "annotator.at_once": ("At once", "并发数", "同时向接口询问多少个提示词。"),
    "annotator.timeout": ("Time limit", "超时", "接口的一个回复最多等待的秒数，超过则重新询问。"),
    "annotator.key": (
        "Key's variable",
        "密钥变量",
        "存放接口密钥的环境变量：GALEN_ANNOTATE_KEY，或以 GALEN_ANNOTATE_KEY_ 开头的名称。密钥本身不会写入任何地方。",
    ),
    "annotator.tokens": ("Tokens at a time", "单次词元数", "模型一次计算的词元数；越少越省内存。"),
    "annotator.template": ("Chat template", "对话模板", "模型没有对话模板时，用这个内置模板。"),
    "annotator.trust_remote_code": (
        "Trust the model's code",
        "信任模型代码",
        "运行模型自带的 Python 代码。仅用于你信任的作者。",
    ),
    "answers.base": ("Answers by", "回答来自", "由哪个运行或模型写出要比较的回答。留空：比较行里已有的回答。"),
    "answers.count": ("Answers each", "每题回答数", "每个问题写几个回答。"),
    "answers.own": ("With the row's own", "含原有回答", "行里已有的回答也参加比较。"),
    "answers.temperature": ("Their temperature", "回答的温度", "为 0 时每次都会写出同样的回答。"),
    "answers.max_new_tokens": ("Their length", "回答的长度", "一个回答的长度上限（词元）。"),
    "new.rows": ("New rows", "新行数", "最多写出多少新行。"),
    "new.each": ("Rows a reply", "每次行数", "一次回复里要求写几行。"),
    "new.examples": ("Examples", "例子数", "每个提示词里给出几行作为例子，由随机种子选取。"),
    "new.threshold": ("Too similar", "相似上限", "新问题与已有问题的相似度（字符 5 元组的 Jaccard）达到它就丢弃。"),
    "new.against": ("Not as in", "避免重复", "更多数据集，每行一个：其中的问题不再出现。"),
}

ANNOTATE_SECTIONS: dict[str, tuple[str, str]] = {
    "task": ("Task", "任务"),
    "annotator": ("Annotator", "标注者"),
    "answers": ("Answers to compare", "要比较的回答"),
    "new": ("New rows", "新行"),
}

ANNOTATE_CHOICES: dict[tuple[str, str], tuple[str, str]] = {
    ("task.kind", "difficulty"): ("Difficulty", "难度"),
    ("task.kind", "score"): ("Score", "评分"),
    ("task.kind", "rank"): ("Rank answers", "回答排序"),
    ("task.kind", "improve"): ("Better answers", "改进回答"),
    ("task.kind", "instruct"): ("New rows", "写新行"),
    ("task.ranks", "order"): ("In one order", "一次排序"),
    ("task.ranks", "marks"): ("Marked one by one", "逐个打分"),
    ("task.makes", "pairs"): ("Preference pairs", "偏好对"),
    ("task.makes", "conversations"): ("Conversations", "对话"),
    ("annotator.kind", "endpoint"): ("Endpoint", "接口"),
    ("annotator.kind", "model"): ("Model here", "本机模型"),
    ("annotator.kind", "person"): ("A person", "人工"),
}
