"""Strings of the inner tab where a file of prompts is answered."""

from __future__ import annotations

PREDICT_TEXT: dict[str, tuple[str, str]] = {
    "stage.predict": ("many prompts", "批量预测"),
    "phase.counting": ("Counting lines", "统计行数"),
    "phase.predicting": ("Answering", "回答中"),
    "chat.tab_chat": ("Chat", "对话"),
    "chat.tab_predict": ("Many prompts", "批量预测"),
    "predict.intro": (
        "A file of prompts, answered line by line: one output line for each, in the same order.\n"
        "Plain lines, or JSONL in any of the known row shapes; an answer that a row has already is not looked at.\n"
        "A line that cannot be asked gets the reason in its place. A run that was interrupted goes on where it was.",
        "逐行回答一个提问文件：每行一个输出，顺序不变。\n"
        "可以是每行一问的纯文本，也可以是任何已知行格式的 JSONL；行中已有的回答不会被看到。\n"
        "无法提问的行会写明原因；中断的运行从中断处继续。",
    ),
    "predict.none_shown": (
        "No answers are shown. Choose a model and prompts on the left and press Start; they appear here.",
        "当前未显示回答。在左侧选好模型和提问后点“开始”，回答会显示在这里。",
    ),
    "predict.upload": ("Upload a file of prompts", "上传提问文件"),
    "predict.drop_note": ("plain lines, JSONL, JSON, CSV or Parquet", "纯文本、JSONL、JSON、CSV 或 Parquet"),
    "predict.took": ("{name} lies in the workspace: {path}", "{name} 已存入工作区：{path}"),
    "predict.sampling": ("How answers are drawn", "回答方式"),
    "predict.way_greedy": ("The likeliest answer", "最可能的回答"),
    "predict.way_article": ("As in the article", "与文章相同"),
    "predict.not_yet": ("The answers begin once the model is loaded.", "加载模型后开始回答。"),
    "predict.asked": ("asked", "提问"),
    "predict.answer": ("answer", "回答"),
    "predict.last": ("The last {n} answers so far", "最近的 {n} 个回答"),
    "predict.end": ("The last {n} of {count} lines", "共 {count} 行，最后 {n} 行"),
    "predict.summary": (
        "{answered} of {lines} lines answered, {cut} cut off at the limit, {failed} without an answer",
        "{lines} 行中回答了 {answered} 行，{cut} 行达到上限被截断，{failed} 行没有回答",
    ),
    "predict.pace": ("{pace} lines a second", "每秒 {pace} 行"),
    "predict.by": ("by {base} {sha256}", "由 {base} {sha256} 回答"),
    "predict.cut": ("cut off", "被截断"),
    "predict.copy": ("A copy lies in {path}.", "另有一份在 {path}。"),
}
