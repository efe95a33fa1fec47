"""Strings of what is brought in from elsewhere, and of what it takes on the disk."""

from __future__ import annotations

SHELF_TEXT: dict[str, tuple[str, str]] = {
    "form.other_model": ("Another model, or an adapter", "其他模型或适配器"),
    "form.source_hint": ("owner/name, folder, or file.gguf", "owner/name、文件夹或 .gguf 文件"),
    "form.model_came": ("“{name}” is here now, and chosen.", "“{name}”已导入，并已选中。"),
    "run.lora": ("LoRA", "LoRA"),
    "run.lora_facts": (
        "rank {rank}, alpha {alpha}, scaling {scaling} ({rule})",
        "秩 {rank}，alpha {alpha}，缩放 {scaling}（{rule}）",
    ),
    "run.lora_plain": ("alpha / rank", "alpha / 秩"),
    "run.lora_stabilised": ("rank-stabilised, alpha / √rank", "rsLoRA，alpha / √秩"),
    "run.lora_odd": ("{n} layers with their own", "{n} 层另有设定"),
    "stage.adapter": ("brought-in adapter", "导入的适配器"),
    "disk.title": ("Models and disk", "模型与磁盘"),
    "disk.none": ("Nothing is stored yet.", "还没有存储任何内容。"),
    "disk.total": ("{size} in all", "共 {size}"),
    "disk.name": ("Name", "名称"),
    "disk.size": ("Size", "大小"),
    "disk.is_model": ("model", "模型"),
    "disk.is_adapter": ("adapter", "适配器"),
    "disk.is_download": ("unfinished download", "未完成的下载"),
    "disk.is_cache": ("cache", "缓存"),
    "disk.is_made": ("whole model of a run", "运行产生的完整模型"),
    "disk.needed": ("{n} run(s) need it", "{n} 个运行需要它"),
    "disk.breaks": ("These stop working without it: {runs}.", "删除后以下运行将无法使用：{runs}。"),
    "disk.whole_run": ("Its run goes with it.", "它所属的运行会一并删除。"),
    "disk.shares": ("its files are those of {name}", "文件与 {name} 共用"),
    "disk.points": ("its files stay in {path}", "文件保留在 {path}"),
    "disk.remade": ("made again when it is needed", "需要时会重新生成"),
    "disk.goes_on": ("a second attempt goes on from it", "再次获取时会从此处继续"),
    "disk.remove": ("Delete", "删除"),
    "disk.sure": ("Delete it", "确认删除"),
    "disk.keep": ("Keep", "保留"),
    "disk.removed": ("“{name}” was deleted; {size} are free again.", "“{name}”已删除，释放 {size}。"),
}
