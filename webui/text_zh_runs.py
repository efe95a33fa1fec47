"""The Chinese wording of `core.messages_runs`."""

from __future__ import annotations

RUNS_ZH: dict[str, tuple[str, str]] = {
    "run.imported": (
        "运行 {run} 是从别处导入的归档，不能在这里继续。",
        "可以用它的参数新建运行；它的产物可以部署、合并，也可以作为训练起点。",
    ),
    "notes.bad_tag": ("“{tag}”不能作标签。", "标签是一个或几个词，不含逗号，最多 {limit} 个字符。"),
    "notes.many_tags": ("这样就有 {count} 个标签了。", "每个运行最多 {limit} 个。"),
    "notes.long": ("备注有 {length} 个字符。", "最多保存 {limit} 个。"),
    "runs.too_many": ("{count} 个运行太多，画在一起无法分辨。", "最多选 {limit} 个。"),
    "runs.too_few": ("只有一个运行，没有可以对照的。", "请至少选两个。"),
    "runs.bad_ending": ("从 {name} 的后缀看不出要写成什么。", "可用 {known}。"),
    "runs.no_figure": ("所选运行都没有按 {axis} 记录 {metric}。", "请换一个指标，或以步数为横轴。"),
    "runs.no_metric": ("所选运行都没有记录“{metric}”；现有 {known}。", "请从中选择。"),
    "runs.no_checkpoint": ("{run} 没有检查点 {name}；现有 {known}。", "请从中选择。"),
    "archive.exists": ("{path} 已存在。", "请换一个名称，或用 --overwrite 覆盖。"),
    "archive.no_folder": ("没有文件夹 {folder}。", "请先建立，或换一个。"),
    "archive.changed": ("打包时 {file} 发生了变化。", "什么都没有写出，请再试一次。"),
    "archive.not_one": (
        "{name} 不是运行的归档，或者不完整：{detail}。",
        "什么都没有导入。请重新导出该运行，并在复制后核对文件大小。",
    ),
    "archive.bad_name": (
        "{name} 中有运行不会有的、或会落到别处的条目：{entry}。",
        "什么都没有导入。请只使用可信来源的归档。",
    ),
    "archive.other_files": ("{name} 中的文件与其索引不符。", "什么都没有导入。它在生成后被改动过，请索取新的归档。"),
    "archive.too_large": (
        "{name} 解开后会有 {size}，运行的文件不会膨胀到这么大。",
        "什么都没有导入。请只使用可信来源的归档。",
    ),
    "archive.wrong_content": (
        "{name} 中的 {file} 与归档的索引不符，或内容不合理。",
        "什么都没有导入。请重新复制归档，或索取新的。",
    ),
    "archive.is_here": ("运行 {run} 已在本工作区中。", "如要以归档中的为准，请先删除现有的。"),
}
