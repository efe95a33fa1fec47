"""Chinese sentences of `core.messages_annotate`, by code."""

from __future__ import annotations

ANNOTATE_ZH: dict[str, tuple[str, str]] = {
    "annotate.endpoint_down": (
        "接口 {url} 没有应答：{detail}。",
        "检查地址、模型名称和 {key} 中的密钥，以及它是否在运行，然后继续运行；已得到的回复都已保存。",
    ),
}
