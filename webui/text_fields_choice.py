"""Labels and Chinese help of the settings by which multiple-choice questions are asked."""

from __future__ import annotations

CHOICE_FIELDS: dict[str, tuple[str, str, str]] = {
    "data.dev": (
        "Examples",
        "示例集",
        "选择题数据集或文件，其中靠前的题作为示例放在每道题之前。",
    ),
    "data.shots": ("Shots", "示例数", "每道选择题前放几个示例；有类别时先取同类别的。"),
    "data.choice_by": (
        "Answered by",
        "作答方式",
        "选择题怎样作答。letters：列出选项，后接字母（C-Eval、CMMLU、MMLU 的做法）；"
        "texts：不列选项，后接选项原文（ARC 的做法）。",
    ),
    "data.choice_chat": ("Ask in chat", "用对话提问", "通过对话模板提选择题，而不是作为纯文本。"),
    "data.choice_preamble": ("Preamble", "题前说明", "放在示例之前的一段话；{category} 代表题目的类别。"),
    "evaluate:data.max_length": (
        "Max tokens",
        "最大长度",
        "对话或偏好对看多少个词元，较长文档的窗口有多少个词元；选择题按模型上下文。",
    ),
    "data.stride": (
        "Stride",
        "步长",
        "较长文档的窗口每次前移多少个词元：每个窗口只预测新进入的这些词元，其余作为上文。越小上文越长，也越慢。"
        "留空：半个窗口；与窗口等长：窗口首尾相接。",
    ),
}

CHOICE_CHOICES: dict[tuple[str, str], tuple[str, str]] = {
    ("data.choice_by", "letters"): ("Letter", "字母"),
    ("data.choice_by", "texts"): ("Text", "原文"),
}
