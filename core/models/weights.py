"""What lies in a model folder, read without loading it: which files hold weights, whether they are whole, and how many.

Torch-free. A safetensors file begins with its own table of contents, so a folder of many gigabytes is checked in
milliseconds and a torn download is found before anything starts.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.errors import ModelError
from core.rundir import read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
BIN_SINGLE, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
ADAPTER_BIN = "adapter_model.bin"
LORA_ALPHA, LORA_RANK = 8, 8  # PEFT's own, where an adapter's config names none
VALUE_HEADS = ("value_head.safetensors", "value_head.bin")  # LLaMA-Factory's reward models keep TRL's head there
PUBLISHED = "published_config.json"  # of a converted model: what the checkpoint came with
SCORE_HEAD = {"type": "linear", "pooling": "last_end_of_turn"}  # what manifests say of a score head
SCORE = "score.weight"  # the head of a model that scores; of an adapter it lies beside the factors, and is no link
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt")
NAMED = 5  # missing files that are told by name
MAX_HEADER = 100_000_000  # bytes; the format's own limit
DTYPES = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64", "F8_E4M3": "fp8", "I8": "int8", "U8": "uint8"}


@dataclass(frozen=True)
class WeightFacts:
    """Sums over a folder's weight files: number of weights, their usual number format, bytes on disk."""

    parameters: int
    dtype: str
    size: int


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model (or of an adapter folder), in order. Empty where there are none.

    Raises ModelError `model.torn_weights` where the index names a file that is missing.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    return _sharded(folder, INDEX) or ([folder / ADAPTER] if (folder / ADAPTER).is_file() else [])


def bin_files(folder: Path) -> list[Path]:
    """The same for PyTorch's older `.bin` form."""
    return [folder / BIN_SINGLE] if (folder / BIN_SINGLE).is_file() else _sharded(folder, BIN_INDEX)


def _sharded(folder: Path, index: str) -> list[Path]:
    content = read_json(folder / index)
    if not isinstance(content, dict):
        return []
    # Names come from a file of unknown origin: only names inside the folder count.
    where = content.get("weight_map")
    if not isinstance(where, dict):
        raise ModelError("model.torn_weights", path=str(folder), detail=f"{index} does not say which file holds what")
    names = sorted({Path(str(name)).name for name in where.values()})
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        verb = "are" if len(missing) > 1 else "is"
        raise ModelError(
            "model.torn_weights", path=str(folder), detail=f"{', '.join(missing[:NAMED])}{more} {verb} missing"
        )
    return [folder / name for name in names]


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Tensor name → {dtype, shape, data_offsets} of a safetensors file.

    Raises ModelError `model.torn_weights` where the file is shorter than its table says, or is no safetensors file.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER
        if length >= min(MAX_HEADER, size):
            raise ModelError("model.torn_weights", path=str(path), detail="its table of contents is cut off")
        try:
            header = orjson.loads(file.read(length))
            header.pop("__metadata__", None)
            end = 8 + length + max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
            all(map(math.prod, (entry["shape"] for entry in header.values())))
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise ModelError("model.torn_weights", path=str(path), detail="its table of contents is damaged") from error
    if size < end:
        raise ModelError("model.torn_weights", path=str(path), detail=f"it has {size} bytes of {end}")
    return dict(header)


def inspect(folder: Path) -> WeightFacts:
    """Counts over all weight files of `folder`; each is checked to be whole. Raises as `read_header`."""
    formats: Counter[str] = Counter()
    total = 0
    for path in weight_files(folder):
        total += path.stat().st_size
        for entry in read_header(path).values():
            formats[entry["dtype"]] += math.prod(entry["shape"])
    usual = formats.most_common(1)[0][0] if formats else ""
    return WeightFacts(sum(formats.values()), DTYPES.get(usual, usual.lower()), total)


def check_folder(folder: Path) -> None:
    """Raise the ModelError that says why `folder` cannot be a base model; return where it can."""
    if not (folder / "config.json").is_file():
        if (folder / ADAPTER_CONFIG).is_file():
            named = (read_json(folder / ADAPTER_CONFIG) or {}).get(
                "base_model_name_or_path"
            ) or "which it does not name"
            raise ModelError("model.is_adapter", path=str(folder), base=named)
        raise ModelError("model.not_a_model", path=str(folder))
    files = weight_files(folder)
    if not files:
        raise ModelError("model.bin_only" if bin_files(folder) else "model.no_weights", path=str(folder))
    for path in files:
        read_header(path)
    if not has_tokenizer(folder):
        raise ModelError("model.no_tokenizer_files", path=str(folder))


def lora_scaling(config: Mapping[str, Any], rank: float | None = None, alpha: float | None = None) -> float:
    """What a LoRA's product is multiplied by: alpha / rank, or alpha / √rank where it is rank-stabilised.

    config: adapter_config.json. rank, alpha: those of one layer, where it has its own.
    """
    rank = float(config.get("r") or LORA_RANK) if rank is None else rank
    alpha = float(config.get("lora_alpha") or LORA_ALPHA) if alpha is None else alpha
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter's config says of it: `rank` and `alpha` of most layers, what the product of the factors is
    multiplied by, `odd` layers with a rank or alpha of their own, and the layers that it changes."""

    rank: int
    alpha: float
    scaling: float
    stabilised: bool
    odd: int
    targets: tuple[str, ...]

    def sentence(self) -> str:
        """`rank 8, alpha 16, scaling 5.657 (rank-stabilised: alpha / √rank), on q_proj, v_proj`."""
        rule = "rank-stabilised: alpha / √rank" if self.stabilised else "alpha / rank"
        odd = f", {self.odd} layers with their own" if self.odd else ""
        return (
            f"rank {self.rank}, alpha {self.alpha:g}, scaling {self.scaling:.4g} ({rule}){odd}, on "
            f"{', '.join(self.targets)}"
        )


def adapter_facts(folder: Path) -> AdapterFacts | None:
    """Of the LoRA in `folder`; None where there is none."""
    config = read_json(folder / ADAPTER_CONFIG)
    if not isinstance(config, dict):
        return None
    targets = config.get("target_modules") or ()
    names = [targets] if isinstance(targets, str) else [str(name) for name in targets]
    odd = {*(config.get("rank_pattern") or {}), *(config.get("alpha_pattern") or {})}
    return AdapterFacts(
        rank=int(config.get("r") or LORA_RANK),
        alpha=float(config.get("lora_alpha") or LORA_ALPHA),
        scaling=lora_scaling(config),
        stabilised=bool(config.get("use_rslora")),
        odd=len(odd),
        targets=tuple(sorted({name.rpartition(".")[2] for name in names})),
    )


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def has_template(folder: Path) -> bool:
    """Whether the tokenizer in `folder` brings a chat template."""
    config = read_json(folder / "tokenizer_config.json") or {}
    return (folder / "chat_template.jinja").is_file() or bool(config.get("chat_template"))
