"""A model's weights, rewritten a file at a time: `.bin` as safetensors, and whatever else becomes of each tensor.

    rewrite(source, target)                                 the same tensors
    rewrite(source, target, change)                         change(name, tensor) → the tensors that take its place

No more than one file's tensors are in memory at once. A file appears under its name when it is whole, and the index
when all are. No code in a `.bin` file is run. Imports torch.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from core.errors import ModelError
from core.models.families import read_config
from core.models.tensors import Spec, TensorFile, write_file
from core.models.weights import INDEX, SINGLE, bin_files, weight_files
from core.rundir import write_text

Change = Callable[[str, Tensor], Mapping[str, Tensor]]
OnFile = Callable[[int, int], None]  # (files done, files in all)


def same(name: str, tensor: Tensor) -> Mapping[str, Tensor]:
    return {name: tensor}


def rewrite(
    source: Path, target: Path, change: Change = same, on_file: OnFile = lambda done, total: None
) -> dict[str, str]:
    """Write the weights of folder `source` into folder `target`. Returns which file holds which tensor.

    Raises ModelError `model.bin_refused` (naming what a `.bin` file asked for), `model.bin_unreadable`,
    `model.torn_weights`, and whatever `change` raises.
    """
    files = weight_files(source) or bin_files(source)
    tied = bool(read_config(source).get("tie_word_embeddings", False))
    where: dict[str, str] = {}
    total = 0
    for number, path in enumerate(files, start=1):
        on_file(number - 1, len(files))
        name = file_name(number, len(files))
        tensors: dict[str, Tensor] = {}
        for key, tensor in read_tensors(path):
            tensors.update(change(key, tensor))
        tensors = plain(tensors, tied)
        specs = {key: Spec.of(tensor) for key, tensor in tensors.items()}
        write_file(target / name, specs, ([tensor] for tensor in tensors.values()))
        where.update(dict.fromkeys(tensors, name))
        total += sum(tensor.nbytes for tensor in tensors.values())
    write_index(target, where, total)
    on_file(len(files), len(files))
    return where


def file_name(number: int, count: int) -> str:
    """Of weight file `number` of `count`, counted from 1."""
    return SINGLE if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"


def write_index(target: Path, where: Mapping[str, str], size: int) -> None:
    """Say which file of `target` holds which tensor, of `size` bytes together; a single file needs no index."""
    if set(where.values()) != {SINGLE}:
        write_text(target / INDEX, json.dumps({"metadata": {"total_size": size}, "weight_map": where}, indent=1))


def read_tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a safetensors or `.bin` file, one after another. Raises as `rewrite`."""
    if path.suffix != ".safetensors":
        yield from read_bin(path).items()
        return
    file = TensorFile(path)
    for name in file.names:
        yield name, file.read(name)


def read_bin(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch file. Raises ModelError `model.bin_refused` and `model.bin_unreadable`."""
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # written before PyTorch 1.6, which cannot be mapped
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"(?:GLOBAL|class|function) ([\w.]+)", str(error))
        if asked:
            raise ModelError("model.bin_refused", path=str(path), object=asked[1]) from error
        raise ModelError("model.bin_unreadable", path=str(path), detail="it is damaged") from error
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise ModelError("model.bin_unreadable", path=str(path), detail="it is damaged or of another kind") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError("model.bin_unreadable", path=str(path), detail="it holds more than named tensors")
    return content


def plain(tensors: Mapping[str, Tensor], tied: bool = False) -> dict[str, Tensor]:
    """Contiguous tensors of their own: safetensors stores no sharing. A tied head is left out, as Transformers does."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        shared = tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        if shared and tied and name.endswith("lm_head.weight"):
            continue
        result[name] = tensor.clone().contiguous() if shared else tensor.contiguous()
    return result
