"""The Chinese wording of `core.messages_distributed`."""

from __future__ import annotations

DISTRIBUTED_ZH: dict[str, tuple[str, str]] = {
    "distributed.no_rendezvous": (
        "{hosts} 台主机没有会合地址。",
        "请把 distributed.rendezvous 设为 主机:端口，即第一台主机的地址和其上的空闲端口。",
    ),
    "distributed.one_host": (
        "只有一台主机时不需要会合地址。",
        "请清空 distributed.rendezvous，或设置 distributed.hosts。",
    ),
    "distributed.offload_needs_shards": (
        "ddp 时每个设备都持有全部内容，不会移到内存。",
        "请把 distributed.strategy 设为 fsdp、zero2 或 zero3，或把 distributed.offload 设为 none。",
    ),
    "distributed.offload_fsdp": (
        "FSDP 只能把权重、梯度和优化器一起移到内存，不能只移优化器。",
        "请设 distributed.offload=all，或把 distributed.strategy 设为 zero2 或 zero3。",
    ),
    "distributed.offload_zero2": (
        "ZeRO-2 的每个设备都保留全部权重，只有优化器能移到内存。",
        "请设 distributed.offload=optimizer，或 distributed.strategy=zero3。",
    ),
    "distributed.offload_on_cpu": ("CPU 用的就是内存，没有可移的内容。", "请设 distributed.offload=none。"),
    "distributed.stage_not_sharded": (
        "这个阶段不能用 {strategy} 训练：它同时计算策略和参考模型，要读分片里没有的权重。",
        "请设 distributed.strategy=ddp，用适配器（tuning.method=lora）；内存不足时再设 quantization.kind=nf4。",
    ),
    "distributed.one_process": (
        "{strategy} 把训练分到多个进程，而这里只有一个。",
        "请选择多个设备，例如 devices.use=[cuda:0,cuda:1]，或设 distributed.strategy=ddp。",
    ),
    "distributed.quantised": (
        "{strategy} 不能切分 {kind} 权重：每块权重必须与其缩放系数在一起。",
        "请设 quantization.kind=none（bf16 权重的分片本来就小），或 distributed.strategy=ddp。",
    ),
    "distributed.no_fp16": ("{strategy} 不支持 fp16：各分片的损失缩放会不一致。", "请设 model.dtype=bf16。"),
    "distributed.optimizer": (
        "{strategy} 不能切分 {optimizer} 的状态。",
        "请设 optim.optimizer=adamw（其状态会切分，N 个设备各存 1/N），或 distributed.strategy=ddp。",
    ),
    "distributed.no_difficulty": (
        "{strategy} 时训练前没有设备持有整个模型，不能按损失给数据行排序。",
        "请把 data.difficulty 设为 column 或 length，或设 distributed.strategy=ddp。",
    ),
    "distributed.no_deepspeed": (
        "{strategy} 需要 DeepSpeed，而它没有安装。",
        "请在每台主机的 Galen 环境中运行 `pip install deepspeed`，或设 distributed.strategy=fsdp。",
    ),
    "distributed.no_waiting": (
        "多台主机上的运行由人手动启动，不能等待其他运行（{runs}）结束。",
        "请在它们结束后再启动，或设 distributed.hosts=1。",
    ),
    "fit.rung_shard": ("把权重、梯度和优化器切分到各 GPU（FSDP2）：计算时逐层汇集。", ""),
    "resume.strategy": (
        "原来是 {before}，现在不能改为 {now}：优化器状态按原策略切分保存。",
        "请用 model.base={run}:last 新建运行，或按原样继续。",
    ),
    "run.rank_killed": (
        "进程 {rank} 被杀死：系统内存不足，或有人结束了它（信号 9）。",
        "请减少内存用量，或查明主机 {host} 上是什么结束了它；继续会从最后一个检查点开始。",
    ),
    "run.host_lost": (
        "{seconds} 秒没有主机 {host} 的消息，它负责进程 {ranks}。",
        "请查看它是否在运行、能否访问此工作区；继续会从最后一个检查点开始。",
    ),
    "run.elsewhere": (
        "{run} 在其他主机（{host}）上运行；从这里可以请求停止，不能强行结束。",
        "请在启动 torchrun 的终端里按 Ctrl-C。",
    ),
    "run.wrong_world": (
        "torchrun 启动了 {found} 个进程，而运行的设置要求 {wanted} 个。",
        "请用 `python -m core jobs hosts {run}` 打印的命令启动。",
    ),
    "run.not_set_aside": (
        "{run} 已经结束。",
        "请先在页面上或用 `python -m core jobs resume {run}` 继续，再在各主机上启动。",
    ),
    "run.not_for_hosts": (
        "{run} 只属于这台主机。",
        "请在页面上或用 `python -m core jobs resume {run}` 启动或继续。",
    ),
}
