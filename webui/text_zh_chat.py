"""The Chinese wording of `core.messages_chat`: saved conversations and votes."""

from __future__ import annotations

CHAT_ZH: dict[str, tuple[str, str]] = {
    "chat.nothing_said": ("还没有可保存的内容。", "请先提问。"),
    "chat.name_taken": ("已有另一段对话保存为“{name}”。", "请换一个名称，或删除那一段。"),
    "chat.not_saved": ("没有名为“{name}”的已存对话。", "可能已被删除，请从列表中选择。"),
    "chat.too_many": ("指定了 {count} 个模型，最多并排 {most} 个。", "请减少 lora_model 中的数目。"),
    "chat.not_here": ("这里不能向“{model}”提问；可选的有 {known}。", "请选择其中之一。"),
    "votes.no_pairs": (
        "还没有投票能构成偏好对：{ties} 个平局，{bad} 个都不好，{histories} 个对应不同的历史，{same} 个文字相同。",
        "请在“对话”页向两个模型提问，并选出更好的回答。",
    ),
}
