"""From a model folder to a Transformers model on a device. Imports torch; everything before that is `library`.

Safetensors only: `.bin` weights are rewritten when a model is brought in (`convert`). A folder that lacks weights is
refused, where Transformers would fill the gaps with random numbers and carry on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from core import late
from core.errors import GalenError, ModelError
from core.hardware import devices
from core.models import architectures, families
from core.models.conversions import find_layout

architectures.register()

# Model types whose authors' code was never taken into Transformers, and the nearest kin that was.
SUCCESSORS = {
    "qwen": "qwen2", "internlm": "llama", "internlm2": "llama", "yi": "llama", "aquila": "llama", "baichuan": "llama",
    "chatglm": "glm", "xverse": "llama", "skywork": "llama", "orion": "llama", "moss": "codegen",
    "RefinedWeb": "falcon", "RefinedWebModel": "falcon", "deepseek": "deepseek_v2",
}  # fmt: skip

NOT_PUBLISHED = (*families.OWN_CLASSES, "chatglm", "baichuan")  # a model of that type needs this project, or its code
STEM = re.compile(r"[a-z]+")  # of a model type: its family

SPREAD = "cuda"  # as a device: all GPUs together

TORCH_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def resolve_dtype(name: str, device: str) -> torch.dtype:
    """The number format that `auto`, `bf16`, `fp16` or `fp32` means on `device` (`cpu`, `cuda:0`).

    auto is bf16 where the hardware computes in it, else fp32. Raises ModelError `model.fp16_cpu`, `model.bf16_device`.
    """
    on_cpu = device.split(":")[0] == "cpu"
    if name == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    if name == "fp16" and on_cpu:
        raise ModelError("model.fp16_cpu")
    if name == "bf16" and not has_bf16(device):
        raise ModelError("model.bf16_device", device=device)
    return TORCH_DTYPES[name]


def has_bf16(device: str) -> bool:
    """Whether the hardware multiplies in bf16 (on a CPU: AVX512-BF16, AMX, or ARM's BF16)."""
    wanted = "cpu:0" if device.startswith("cpu") else "cuda:0" if device == SPREAD else device
    return any(found.bf16 for found in devices() if found.id == wanted)


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype,
    device: str,
    attention: str = "auto",
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """The causal language model in `folder`, in eval mode on `device`. Raises ModelError with the reason.

    device `cuda` (without a number): the layers are spread over all GPUs that this process sees.
    """
    config = families.read_config(folder)
    if not families.writes_text(config):
        raise ModelError("model.not_causal", path=str(folder), architecture=families.architecture(config))
    transformers_logging.disable_progress_bar()
    options: dict[str, Any] = {} if attention == "auto" else {"attn_implementation": attention}
    if device == SPREAD:
        options["device_map"] = "balanced"
    try:
        if (config.get("quantization_config") or {}).get("quant_method") == late.NAME:
            late.bitsandbytes()
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **options,
        )
    except GalenError:
        raise
    except Exception as error:
        raise explained(error, folder, config) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError("model.missing_weights", path=str(folder), count=len(missing), example=missing[0])
    if device != SPREAD:
        model.to("cpu" if device.startswith("cpu") else device)
    return model.eval()


def explained(error: Exception, folder: Path, config: dict[str, Any]) -> GalenError:
    """What Transformers raised, as one of ours; running out of memory stays what it is."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        raise error
    text = str(error)
    kind = str(config.get("model_type", "?"))
    if find_layout(config) is not None:
        return ModelError("model.published", path=str(folder), kind=kind)
    about = {"path": str(folder), "kind": kind, "nearest": nearest(kind)}
    if "trust_remote_code" in text:
        return ModelError("model.needs_code" if about["nearest"] else "model.needs_code_alone", **about)
    if "does not recognize this architecture" in text or "Unrecognized" in text:
        return ModelError("model.unknown_architecture" if about["nearest"] else "model.unknown_kind", **about)
    detail = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return ModelError("model.load_failed", path=str(folder), detail=detail)


def nearest(kind: str) -> str:
    """The model type that is known to work here and is kin of `kind`: what its authors' later models became, or a later
    or an earlier one of the same family (`glm5`: `glm4`). "" where none is: what is spelt alike may be anything."""
    known = [each for family in families.FAMILIES for each in family.model_types if each not in NOT_PUBLISHED]
    stem = STEM.match(kind.lower())
    kin = [each for each in known if stem is not None and STEM.match(each)[0] == stem[0]]  # type: ignore[index]
    return SUCCESSORS.get(kind) or (max(kin) if kin else "")
