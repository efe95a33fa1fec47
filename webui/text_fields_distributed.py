"""Labels and Chinese help of the settings by which processes and hosts share a training."""

from __future__ import annotations

DISTRIBUTED_FIELDS: dict[str, tuple[str, str, str]] = {
    "distributed.strategy": (
        "Strategy",
        "并行方式",
        "每个设备持有什么。ddp：全部。fsdp（PyTorch 的 FSDP2）、zero3（DeepSpeed）：权重、梯度和优化器各一份分片。"
        "zero2（DeepSpeed）：全部权重，梯度和优化器的分片。",
    ),
    "distributed.offload": (
        "Offload",
        "移到内存",
        "哪些内容放在内存而不是显存，会慢很多。optimizer：优化器状态（zero2、zero3）；all：权重、梯度和优化器"
        "（fsdp、zero3）。",
    ),
    "distributed.hosts": ("Hosts", "主机数", "一起计算的主机数。它们共用此工作区的文件夹，各有上面所选的设备。"),
    "distributed.rendezvous": (
        "Rendezvous",
        "会合地址",
        "多台主机时在哪里会合，主机:端口。即第一台主机的地址和其上的空闲端口。",
    ),
}

DISTRIBUTED_SECTIONS: dict[str, tuple[str, str]] = {"distributed": ("Several devices and hosts", "多设备与多主机")}

DISTRIBUTED_CHOICES: dict[tuple[str, str], tuple[str, str]] = {
    ("distributed.strategy", "ddp"): ("DDP", "DDP"),
    ("distributed.strategy", "fsdp"): ("FSDP2", "FSDP2"),
    ("distributed.strategy", "zero2"): ("ZeRO-2", "ZeRO-2"),
    ("distributed.strategy", "zero3"): ("ZeRO-3", "ZeRO-3"),
    ("distributed.offload", "none"): ("none", "不移"),
    ("distributed.offload", "optimizer"): ("optimizer", "优化器"),
    ("distributed.offload", "all"): ("all", "全部"),
}
