"""What the shapes of rows are called on the page (`shapes.formats.SHAPES`), and the forms they are exported in."""

from __future__ import annotations

SHAPE_NAMES: dict[str, tuple[str, str]] = {
    "shape.preference": ("preference pairs", "偏好对"),
    "shape.shp": ("SHP pairs", "SHP 偏好对"),
    "shape.ultrafeedback": ("UltraFeedback ratings", "UltraFeedback 评分"),
    "shape.ranked-scores": ("answers with scores (higher is better)", "带分数的回答（越高越好）"),
    "shape.ranked-ranks": ("answers with ranks (lower is better)", "带名次的回答（越小越好）"),
    "shape.oasst-trees": ("oasst trees: dialogues", "oasst 对话树：对话"),
    "shape.oasst-trees-ranked": ("oasst trees: ranked answers", "oasst 对话树：带名次的回答"),
    "shape.oasst-table": ("oasst message table: dialogues", "oasst 消息表：对话"),
    "shape.oasst-table-ranked": ("oasst message table: ranked answers", "oasst 消息表：带名次的回答"),
    "shape.choice": ("choice questions", "选择题"),
    "shape.medmcqa": ("MedMCQA (counted from 0)", "MedMCQA（从 0 数起）"),
    "shape.medmcqa-from-1": ("MedMCQA (counted from 1)", "MedMCQA（从 1 数起）"),
    "shape.choice-options": ("choice questions", "选择题"),
    "shape.sharegpt": ("ShareGPT", "ShareGPT"),
    "shape.messages": ("OpenAI messages", "OpenAI messages"),
    "shape.belle": ("Belle, several turns", "Belle 多轮对话"),
    "shape.alpaca": ("Alpaca", "Alpaca"),
    "shape.question-lists": ("lists of questions and answers", "问答列表"),
    "shape.prompt-response": ("question and answer", "问答"),
    "shape.huatuogpt": ("HuatuoGPT (问 / 答)", "HuatuoGPT（问 / 答）"),
    "shape.parallel": ("parallel text", "平行语料"),
    "shape.parallel-back": ("parallel text, backwards", "平行语料（反向）"),
    "shape.parallel-both": ("parallel text, both ways", "平行语料（双向）"),
    "shape.prompt": ("questions without answers", "仅有问题"),
    "shape.text": ("plain text", "纯文本"),
    "shape.text-paragraphs": ("plain text: a blank line ends a document", "纯文本：空行分隔文档"),
    "shape.text-file": ("plain text: a file is a document", "纯文本：一个文件为一篇文档"),
    # forms of export that are no shape of their own
    "shape.prompt-text": ("questions as text", "仅有问题（纯文本）"),
    "shape.preference-text": ("preference pairs as text", "偏好对（纯文本）"),
    "shape.ranked": ("answers with scores", "带分数的回答"),
}
