"""The Chinese wording of `core.messages_merge`."""

from __future__ import annotations

MERGE_ZH: dict[str, tuple[str, str]] = {
    "merge.disagrees": (
        "合并后的模型与 {run} 不一致：输出相差 {difference}，超出舍入误差。",
        "没有交付任何东西。请试 model.dtype=fp32；如果仍然如此，请反馈。",
    ),
    "merge.wrong_numbers": (
        "合并后的权重文件不等于 {run} 与其基座之和：有一个数相差 {places} 个末位单位。",
        "没有交付任何东西。请检查磁盘后重试；如果仍然如此，请反馈。",
    ),
    "merge.torn_files": ("合并后的权重文件与为 {run} 写出的内容不符。", "没有交付任何东西。请检查磁盘后重试。"),
    "merge.overflow": (
        "{run} 合并后有一个权重在 {dtype} 下不是有效的数。",
        "没有交付任何东西。超出 model.dtype=fp16 范围的数可用 bf16 或 fp32 存放；"
        "若已是这些格式，则是训练发散了：请选更早的检查点。",
    ),
    "merge.joined": ("合并将在内存中对整个模型进行：{tensor} 在基座文件中不是一个独立的张量。", ""),
    "merge.quantised_files": ("合并将在内存中对整个模型进行：基座的文件是量化的。", ""),
}
