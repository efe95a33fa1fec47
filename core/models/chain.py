"""A chain of LoRA adapters as one adapter on the root. Merging it into the root's weights is `core.models.changes`.

W + Σ sᵢ Bᵢ Aᵢ is what a chain comes to, whichever of the two is done. One adapter with A = [A₁; A₂; …] and
B = [s₁B₁ s₂B₂ …], of rank Σ rᵢ and scaling 1, gives just that, with factors in fp32; plain PEFT loads it on the root.

Plain LoRA on linear layers only, as PEFT writes it. Refused: DoRA, biases, layers trained whole beside the adapter, and
everything else whose sum is no such product. Imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import ModelError
from core.models.weights import ADAPTER, ADAPTER_CONFIG, SCORE, lora_scaling
from core.rundir import read_json, write_json

PREFIX, A, B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
FROZEN = ".base_layer.weight"  # a copy that PEFT writes of a head that has an adapter
HEAD_MODULES = ("classifier", "score")  # what PEFT itself writes as trained whole for SEQ_CLS
NOT_PLAIN = (
    "use_dora", "lora_bias", "layer_replication", "trainable_token_indices", "target_parameters",
    "alora_invocation_tokens", "use_qalora",
)  # fmt: skip
MERGEABLE = ("lora_bias",)  # of these: what is no product all the same, but can be added to a model's weights
PICKING = ("exclude_modules", "layers_to_transform")  # with these, a list of targets does not say it all


@dataclass(frozen=True)
class Factors:
    """What one adapter adds to one layer: scaling · B A, with a [r, in] and b [out, r], both fp32."""

    a: Tensor
    b: Tensor
    scaling: float

    def product(self) -> Tensor:
        """[out, in], fp32."""
        return self.scaling * (self.b @ self.a)


def read_adapter(folder: Path) -> dict[str, Factors]:
    """The factors by the layer's name in the base model. Raises ModelError `chain.not_plain` or `chain.unreadable`."""
    config = read_config(folder)
    check_plain(folder, config)
    tensors = load_file(folder / ADAPTER)
    found = {}
    for key, a in tensors.items():
        if key.endswith(A) and key.startswith(PREFIX):
            name = key.removeprefix(PREFIX).removesuffix(A)
            b = tensors.get(f"{PREFIX}{name}{B}")
            if b is None:
                raise ModelError("chain.unreadable", path=str(folder), detail=f"{name} has no second factor")
            found[name] = Factors(a.float(), b.float(), own_scaling(config, name, a.shape[0]))
    alone = [key for key in tensors if key.endswith(B) and key.removesuffix(B) + A not in tensors]
    if alone:
        raise ModelError("chain.unreadable", path=str(folder), detail=f"{alone[0]} has no first factor")
    odd = [key for key in tensors if not key.endswith((A, B, FROZEN)) and key != PREFIX + SCORE]
    if odd:
        raise ModelError("chain.not_plain", path=str(folder), detail=f"it holds {odd[0]}")
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json. Raises ModelError `chain.unreadable`."""
    config = read_json(folder / ADAPTER_CONFIG)
    if not isinstance(config, dict):
        raise ModelError("chain.unreadable", path=str(folder), detail=f"{ADAPTER_CONFIG} is missing or torn")
    return config


def check_plain(folder: Path, config: dict[str, Any], *, whole: bool = False) -> None:
    """Raise ModelError `chain.not_plain` unless what the adapter does is a sum of products, or with `whole`, of
    products, biases and weights that were trained whole."""
    if config.get("peft_type") != "LORA":
        raise ModelError("chain.not_plain", path=str(folder), detail=f"it is of the type {config.get('peft_type')}")
    odd = [key for key in NOT_PLAIN if config.get(key) and not (whole and key in MERGEABLE)]
    if not whole:
        odd += ["modules_to_save"] if set(config.get("modules_to_save") or []) - set(HEAD_MODULES) else []
        odd += ["bias"] if config.get("bias", "none") != "none" else []
    if odd:
        raise ModelError("chain.not_plain", path=str(folder), detail=f"it was made with {odd[0]}")


def own_scaling(config: dict[str, Any], name: str, rank: int) -> float:
    """That of a layer of its own `rank`, with PEFT's own exceptions by name (`alpha_pattern`)."""
    patterns = config.get("alpha_pattern") or {}
    alpha = next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), None)
    return lora_scaling(config, rank, alpha)


# -- one adapter for the whole chain ----------------------------------------------------------------------------------
def concatenate(folders: Sequence[Path], target: Path, *, base: str) -> None:
    """Write the adapters of `folders`, laid on each other in this order, into `target` as one adapter of `base`.

    A layer's rank is the sum of its ranks; layers may differ. Raises as `read_adapter`.
    """
    chain = [read_adapter(folder) for folder in folders]
    names = sorted({name for adapter in chain for name in adapter})
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for name in names:
        links = [adapter[name] for adapter in chain if name in adapter]
        tensors[f"{PREFIX}{name}{A}"] = torch.cat([link.a for link in links], 0).contiguous()
        tensors[f"{PREFIX}{name}{B}"] = torch.cat([link.scaling * link.b for link in links], 1).contiguous()
        ranks[name] = sum(link.a.shape[0] for link in links)
    usual = max(sorted(set(ranks.values())), key=list(ranks.values()).count)
    others = {name: rank for name, rank in ranks.items() if rank != usual}
    configs = [read_json(folder / ADAPTER_CONFIG) for folder in folders]
    config = {key: None if key in PICKING else value for key, value in configs[-1].items()}
    config.update(
        base_model_name_or_path=base,
        target_modules=_targets(configs, names),
        r=usual,
        lora_alpha=usual,
        rank_pattern=others,
        alpha_pattern=others,
        use_rslora=False,
        modules_to_save=None,
        task_type="CAUSAL_LM",
        inference_mode=True,
        lora_dropout=0.0,
    )
    target.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target / ADAPTER, metadata={"format": "pt"})
    write_json(target / ADAPTER_CONFIG, config)


def _targets(configs: Sequence[dict[str, Any]], names: list[str]) -> list[str]:
    """The layers that any link has: their short names where that says it exactly, else every one in full."""
    lists = [config.get("target_modules") for config in configs]
    if any(not isinstance(each, list) for each in lists) or any(c.get(key) for c in configs for key in PICKING):
        return names
    return sorted({name for each in lists if each for name in each})
