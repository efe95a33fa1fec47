"""Weights, gradients and optimizer split over ranks: PyTorch's FSDP2, and DeepSpeed's ZeRO.

    turn = Turn(context, config)                       before the model is read, onto `turn.device`
    objective = turn.shard(objective)                  after the fast path is chosen, before the trainer is made
    with whole(objective): …                           outside of its forward: what its root holds, gathered
    tensors = gathered(objective)                      full copies of what a checkpoint holds; all ranks call it
    parameter.copy_(spread(parameter, tensor))         the reverse, for one parameter

FSDP2 shards each decoder layer by itself and the rest (embeddings, last norm, head, score head) as one; a layer is
gathered while it computes, in its own number formats. The Trainer and Accelerate are told that the model is placed
already (`is_distributed_loading_by_transformers`), and do everything else as for any other. DeepSpeed wraps the model
itself, when the Trainer prepares it.

Collectives meet only where every rank calls as many: the trainer levels the packs of a step, an evaluation those of a
walk, and the fixed prompts are answered by all ranks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from core.configs.distributed import DEEPSPEED, SPLITS_WEIGHTS, Distributed
from core.report import Report, RunContext

BUCKET = 50_000_000  # numbers that DeepSpeed adds or gathers at once
Tensors = dict[str, Tensor]  # whole ones, by name


def splits_weights(config: Any) -> bool:
    """Whether a rank holds only its share of the weights."""
    return config.distributed.strategy in SPLITS_WEIGHTS


def offloads(config: Any) -> bool:
    """Whether FSDP keeps its shares in main memory."""
    section = getattr(config, "distributed", None)
    return section is not None and section.strategy == "fsdp" and section.offload == "all"


def own_path(config: Any) -> str | None:
    """Why the fast path is not tried, as a log line says it; None: it is."""
    if config.model.attention != "auto":
        return f"model.attention={config.model.attention} was asked for"
    if config.distributed.strategy == "zero3":  # its hooks sit on layers that the fused ones do not call
        return "distributed.strategy=zero3 gathers weights layer by layer"
    return None


def stop_of(report: Report, config: Any) -> Callable[[], bool]:
    """What a fixed prompt's answer asks at every token: nothing, where all ranks must write it to the end."""
    return _never if splits_weights(config) else report.stop_requested


def _never() -> bool:
    return False


# -- FSDP2 ------------------------------------------------------------------------------------------------------------
class Turn:
    """Where a rank reads its model, and when.

    device: main memory, where no device is to hold all weights. With FSDP the ranks of a host read one after the other:
    whoever has the turn holds the whole model until `shard` has left it its share. In between nothing may wait for
    another rank.
    """

    def __init__(self, context: RunContext, config: Any) -> None:
        self.device = "cpu" if splits_weights(config) else context.device
        self.moved, self.mesh = offloads(config), None
        self.lock: int | None = None
        if config.distributed.strategy != "fsdp":
            return
        from torch.distributed.device_mesh import init_device_mesh

        self.mesh = init_device_mesh(context.device.split(":")[0], (context.world_size,))
        path = context.run.log_dir / f"reading-{socket.gethostname()}.lock"
        self.lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def shard(self, objective: nn.Module) -> nn.Module:
        """`objective` with its weights shared out in place, where the strategy is FSDP; else as it is."""
        if self.mesh is None:
            return objective
        from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

        policy = CPUOffloadPolicy() if self.moved else OffloadPolicy()
        for layer in _layers(objective):
            fully_shard(layer, mesh=self.mesh, offload_policy=policy)
        fully_shard(objective, mesh=self.mesh, offload_policy=policy)
        objective.is_distributed_loading_by_transformers = True  # type: ignore[assignment]
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None
        return objective


def _layers(objective: nn.Module) -> list[nn.Module]:
    """The decoder layers of the model inside: the modules that Transformers itself never splits."""
    names = {name for module in objective.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    return [module for module in objective.modules() if type(module).__name__ in names]


def is_fsdp(objective: Any) -> bool:
    return bool(getattr(objective, "is_distributed_loading_by_transformers", False))


@contextlib.contextmanager
def whole(objective: Any) -> Iterator[None]:
    """Within: calls that go past the objective's forward find what its root holds. All ranks enter together."""
    if not is_fsdp(objective):
        yield
        return
    objective._get_fsdp_state()._lazy_init()  # or the first layer that such a call reaches would take itself for a root
    objective.unshard()
    try:
        yield
    finally:
        objective.reshard()


# -- weights out and in -----------------------------------------------------------------------------------------------
def gathered(objective: nn.Module, *, everything: bool) -> Tensors | None:
    """Full copies in main memory, by name, of the parameters that learn, or of `everything`; None where nothing is
    split. All ranks call it; only rank 0 keeps what comes."""
    if not is_split(objective):
        return None
    keeps, found = dist.get_rank() == 0, {}
    for name, parameter in objective.named_parameters(remove_duplicate=False):
        if everything or parameter.requires_grad:
            full = _full(parameter)
            if keeps:
                found[name] = full.detach().cpu().clone()
    return found


def is_split(model: nn.Module) -> bool:
    """Whether a rank holds a share of the weights of this model."""
    return any(map(_is_split, model.parameters()))


def _is_split(parameter: Tensor) -> bool:
    return hasattr(parameter, "full_tensor") or hasattr(parameter, "ds_id")


def _full(parameter: Tensor) -> Tensor:
    if hasattr(parameter, "full_tensor"):
        found: Tensor = parameter.full_tensor()
        return found
    if hasattr(parameter, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.detach().clone()
    return parameter


def beneath(tensors: Tensors | None, prefix: str) -> Tensors | None:
    """Those of a part of the model, by its own names."""
    if tensors is None:
        return None
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def spread(parameter: Tensor, tensor: Tensor) -> Tensor:
    """`tensor`, which every rank has whole, in the form that `parameter` is held in."""
    if not hasattr(parameter, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    there = tensor.to(parameter.device_mesh.device_type)
    shared = distribute_tensor(there, parameter.device_mesh, parameter.placements, src_data_rank=None)
    return shared.to(parameter.device)


def local(parameter: Tensor) -> Tensor:
    """What of `parameter` lies here."""
    return parameter.to_local() if hasattr(parameter, "to_local") else parameter  # type: ignore[no-any-return]


# -- the optimizer's state --------------------------------------------------------------------------------------------
def save_optimizer(objective: nn.Module, optimizer: Any, folder: str) -> None:
    """Every rank its share, so that a run may go on with another number of ranks."""
    import torch.distributed.checkpoint as checkpoint
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    state = get_optimizer_state_dict(objective, _plain(optimizer))
    checkpoint.save({"optimizer": state}, checkpoint_id=folder)


def load_optimizer(objective: nn.Module, optimizer: Any, folder: str) -> None:
    """The reverse of `save_optimizer`."""
    import torch.distributed.checkpoint as checkpoint
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    state = {"optimizer": get_optimizer_state_dict(objective, _plain(optimizer))}
    checkpoint.load(state, checkpoint_id=folder)
    set_optimizer_state_dict(objective, _plain(optimizer), state["optimizer"])


def _plain(optimizer: Any) -> torch.optim.Optimizer:
    """Without Accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)


# -- DeepSpeed --------------------------------------------------------------------------------------------------------
def deepspeed_config(config: Any, context: RunContext) -> dict[str, Any] | None:
    """What DeepSpeed is told, as its documentation names it; None for another strategy.

    Numbers stay in the formats that the recipe has given them: weights that learn in fp32, products under autocast. A
    step's packs are this project's business, so DeepSpeed sees one micro-batch a step and its last backward.
    """
    section: Distributed = config.distributed
    if section.strategy not in DEEPSPEED:
        return None
    stage = int(section.strategy[-1])
    zero: dict[str, Any] = {
        "stage": stage,
        "contiguous_gradients": True,
        "overlap_comm": context.device != "cpu",
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
    }
    place = {"device": "cpu", "pin_memory": context.device != "cpu"}
    if section.offload != "none":
        zero["offload_optimizer"] = place
    if section.offload == "all":
        zero["offload_param"] = place
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.optim.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": False},
        "fp16": {"enabled": False},
    }


def read_alone() -> None:
    """From now on a model that Transformers reads is read by this rank alone: with ZeRO-3 it would be split at once."""
    unset_hf_deepspeed_config()


# -- ranks in step ----------------------------------------------------------------------------------------------------
def most(count: int, device: torch.device, world_size: int) -> int:
    """The largest of the ranks' counts."""
    if world_size == 1:
        return count
    counts = torch.tensor(count, device=device)
    dist.all_reduce(counts, op=dist.ReduceOp.MAX)
    return int(counts.item())
