"""Strings of a run on several hosts."""

from __future__ import annotations

DISTRIBUTED_TEXT: dict[str, tuple[str, str]] = {
    "hosts.type": (
        "The run waits for its hosts. Type this on each of them, in Galen's folder there:",
        "运行在等待各主机。请在每台主机的 Galen 文件夹中输入：",
    ),
    "fit.part_masters": ("optimizer's weights", "优化器的权重"),
    "fit.part_gathered": ("gathered layers", "汇集的层"),
    "hosts.host": ("Host {n}", "主机 {n}"),
}
