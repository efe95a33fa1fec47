"""The Chinese wording of `core.messages_choice`: why a multiple-choice exam cannot be held."""

from __future__ import annotations

CHOICE_ZH: dict[str, tuple[str, str]] = {
    "evaluate.no_dev": (
        "每道选择题前要放 {shots} 个示例，但没有指定从哪个数据集取。",
        "请在 data.dev 中指定示例集，或设 data.shots=0。",
    ),
    "evaluate.no_shots": (
        "data.dev 指定了示例集，但 data.shots 为 0，不会用到。",
        "请把 data.shots 设为每题前的示例数（通常为 5），或清空 data.dev。",
    ),
    "evaluate.few_examples": (
        "{ref} 只有 {rows} 行，而要求 {shots} 个示例。",
        "请减小 data.shots，或换一个示例集。",
    ),
    "evaluate.no_question": (
        "{ref} 中没有一道题放得进模型一次能读的 {context} 个词元。",
        "请用上下文更长的模型。",
    ),
}
