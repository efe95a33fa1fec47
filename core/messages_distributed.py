"""What is said of several processes and several hosts: sentence and remedy by code. See `core.messages`."""

from __future__ import annotations

DISTRIBUTED: dict[str, tuple[str, str]] = {
    "distributed.no_rendezvous": (
        "{hosts} hosts have no place to meet.",
        "Set distributed.rendezvous to HOST:PORT, the first host's address and a free port there.",
    ),
    "distributed.one_host": (
        "One host meets nobody: a rendezvous is for several.",
        "Leave distributed.rendezvous empty, or set distributed.hosts.",
    ),
    "distributed.offload_needs_shards": (
        "With ddp every device holds everything; nothing of it is moved to main memory.",
        "Set distributed.strategy to fsdp, zero2 or zero3, or distributed.offload to none.",
    ),
    "distributed.offload_fsdp": (
        "FSDP moves weights, gradients and optimizer to main memory together, not the optimizer alone.",
        "Set distributed.offload=all, or distributed.strategy to zero2 or zero3.",
    ),
    "distributed.offload_zero2": (
        "ZeRO-2 keeps all weights on every device; only the optimizer can go to main memory.",
        "Set distributed.offload=optimizer, or distributed.strategy=zero3.",
    ),
    "distributed.offload_on_cpu": (
        "The CPU's memory is the main memory: there is nothing to move.",
        "Set distributed.offload=none.",
    ),
    "distributed.stage_not_sharded": (
        "This stage cannot train with {strategy}: it computes a policy beside its reference, and reads weights that a "
        "shard does not hold.",
        "Set distributed.strategy=ddp, with adapters (tuning.method=lora) and, if memory is short, "
        "quantization.kind=nf4.",
    ),
    "distributed.one_process": (
        "{strategy} splits a training over several processes, and this is one.",
        "Name several devices, such as devices.use=[cuda:0,cuda:1], or set distributed.strategy=ddp.",
    ),
    "distributed.quantised": (
        "{kind} weights cannot be split by {strategy}: blocks of them belong together with their scales.",
        "Set quantization.kind=none (a shard of bf16 weights is small), or distributed.strategy=ddp.",
    ),
    "distributed.no_fp16": (
        "fp16 with {strategy} is not offered: the loss scale would differ between shards.",
        "Set model.dtype=bf16.",
    ),
    "distributed.optimizer": (
        "The state of {optimizer} cannot be split by {strategy}.",
        "Set optim.optimizer=adamw (its state is split: with N devices each has 1/N of it), or "
        "distributed.strategy=ddp.",
    ),
    "distributed.no_difficulty": (
        "With {strategy} no device holds the model before training, so its losses cannot order the rows.",
        "Set data.difficulty to column or length, or distributed.strategy=ddp.",
    ),
    "distributed.no_deepspeed": (
        "{strategy} needs DeepSpeed, which is not installed.",
        "Run `pip install deepspeed` in Galen's environment on every host, or set distributed.strategy=fsdp.",
    ),
    "distributed.no_waiting": (
        "A run on several hosts is started by hand, and cannot wait for others to end ({runs}).",
        "Start it when they have ended, or set distributed.hosts=1.",
    ),
    "fit.rung_shard": (
        "Weights, gradients and optimizer split over the GPUs (FSDP2), gathered layer by layer.",
        "",
    ),
    "resume.strategy": (
        "It was {before} and cannot become {now} now: the optimizer's state is kept as that strategy splits it.",
        "Start a new run with model.base={run}:last, or resume it as it was.",
    ),
    "run.rank_killed": (
        "Rank {rank} was killed, by the system for lack of memory or by somebody (signal 9).",
        "Ask for less memory, or find out what ended it on host {host}; Resume goes on from the last checkpoint.",
    ),
    "run.host_lost": (
        "Nothing was heard for {seconds} s from host {host}, which had ranks {ranks}.",
        "See whether it is up and sees this workspace; Resume goes on from the last checkpoint.",
    ),
    "run.elsewhere": (
        "{run} runs on other hosts ({host}); it can be asked to stop from here, not killed.",
        "Press Ctrl-C in the terminals where torchrun was started.",
    ),
    "run.wrong_world": (
        "torchrun started {found} processes, and the run's settings say {wanted}.",
        "Start it with the commands that `python -m core jobs hosts {run}` prints.",
    ),
    "run.not_set_aside": (
        "{run} has ended already.",
        "Resume it first, on the page or with `python -m core jobs resume {run}`; then start it on its hosts.",
    ),
    "run.not_for_hosts": (
        "{run} is a run of this host alone.",
        "Start or resume it on the page or with `python -m core jobs resume {run}`.",
    ),
}
