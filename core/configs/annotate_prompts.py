"""What annotators are asked where a config does not say it: a text for every task, in Chinese and in English.

Names in braces are filled in by `core.annotating.prompts`; braces round anything else stay as they are.
"""

from __future__ import annotations

from typing import Literal

Of = Literal["rows", "documents"]  # what a task looks at: questions with their answers, or plain text
Language = Literal["zh", "en"]

PROMPTS: dict[tuple[str, Of], dict[Language, str]] = {
    ("difficulty", "rows"): {
        "en": "Question: {question}\n\n"
        "Rate how hard it is to answer this question correctly, from 1 (anybody knows the answer) to 5 (hard even for "
        "experts). Reply with the number alone.",
        "zh": "问题：{question}\n\n"
        "正确回答这个问题有多难？请用 1（人人都知道）到 5（专家也觉得难）打分，只回复一个数字。",
    },
    ("score", "rows"): {
        "en": "Mark the answer to the question.\n\nQuestion: {question}\n\nAnswer: {answer}\n\n"
        "How good is the answer, from 0 (wrong or harmful) to 10 (correct, safe, complete and clear)? Reply with the "
        "number alone.",
        "zh": "请给下面问题的回答打分。\n\n问题：{question}\n\n回答：{answer}\n\n"
        "这个回答有多好？请用 0（错误或有害）到 10（正确、安全、完整、清楚）打分，只回复一个数字。",
    },
    ("score", "documents"): {
        "en": "Mark a text as material to learn from.\n\nText: {document}\n\n"
        "How good is it, from 0 (noise, advertising or falsehood) to 10 (true, informative and well written)? Reply "
        "with the number alone.",
        "zh": "请把下面的文本当作学习材料打分。\n\n文本：{document}\n\n"
        "它有多好？请用 0（噪声、广告或不实内容）到 10（真实、有信息量、行文良好）打分，只回复一个数字。",
    },
    ("rank", "rows"): {
        "en": "Question: {question}\n\n{answers}\n\n"
        "Put these answers to the question in order, the best first: correct and safe before wrong or risky, clear "
        "before unclear. Reply with all their numbers, separated by >, and nothing else.",
        "zh": "问题：{question}\n\n{answers}\n\n"
        "请把以上回答从好到差排序：正确、安全的在前，清楚的优先。只回复全部编号，用 > 隔开，不要写别的。",
    },
    ("improve", "rows"): {
        "en": "Question: {question}\n\nAnswer given: {answer}\n\n"
        "Write a better answer to the question than the one given: correct, safe, complete and clear. Reply with the "
        "better answer alone.",
        "zh": "问题：{question}\n\n现有回答：{answer}\n\n"
        "请写一个比现有回答更好的回答：正确、安全、完整、清楚。只回复更好的回答。",
    },
    ("instruct", "rows"): {
        "en": "Here are examples of questions with their answers.\n\n{examples}\n\n"
        "Write {count} new ones of the same kind, about other things. Begin each question with “Question:” and each "
        "answer with “Answer:”.",
        "zh": "下面是一些问题和回答的例子。\n\n{examples}\n\n"
        "请写出 {count} 组同类的新问题和回答，内容不要与例子重复。每个问题以“问题：”开头，每个回答以“回答：”开头。",
    },
    ("instruct", "documents"): {
        "en": "Text: {document}\n\n"
        "Write {count} questions that this text answers, each with its answer taken from the text. Begin each question "
        "with “Question:” and each answer with “Answer:”.",
        "zh": "文本：{document}\n\n"
        "请写出 {count} 个能由这段文本回答的问题，并给出取自文本的回答。"
        "每个问题以“问题：”开头，每个回答以“回答：”开头。",
    },
}

# Of each task, the names of which its prompt must hold one; of several, one of each.
NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "difficulty": (("question",),),
    "score": (("answer", "document"),),
    "rank": (("question",), ("answers",)),
    "improve": (("question",), ("answer",)),
    "instruct": (("examples", "document"),),
}


def lacking(task: str, prompt: str) -> str:
    """The names that `prompt` has to hold for `task` and does not, as `{a} or {b}`; "" where it holds them."""
    for names in NEEDED[task]:
        if not any(f"{{{name}}}" in prompt for name in names):
            return " / ".join(f"{{{name}}}" for name in names)
    return ""
