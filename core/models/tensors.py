"""Safetensors files, read and written a few rows at a time, so that no more of them need be in memory. Imports torch.

    TensorFile(path).rows("model.norm.weight", 0, 64)
    write_file(path, {"model.norm.weight": Spec(torch.bfloat16, (64,))}, [blocks])      blocks: its rows, in order

Files are read, and never mapped: what a process has touched of a mapped file counts as its memory while the map lives.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from core.errors import ModelError
from core.models.weights import read_header

KINDS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "C64": torch.complex64, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NAMES = {kind: name for name, kind in KINDS.items()}
ALIGNED = 8  # bytes; where the numbers of a file begin


@dataclass(frozen=True)
class Spec:
    """A tensor's number format and shape. Its rows are the slices along the first dimension; a scalar is one row."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Spec:
        return cls(tensor.dtype, tuple(tensor.shape))

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return math.prod(self.shape[1:])

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """A safetensors file to read from. Raises ModelError `model.torn_weights` where it is cut off or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = read_header(path)
        with open(path, "rb") as file:
            self._begin = 8 + struct.unpack("<Q", file.read(8))[0]

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @property
    def names(self) -> list[str]:
        """In the order in which they lie in the file."""
        return sorted(self._entries, key=lambda name: self._entries[name]["data_offsets"][0])

    def spec(self, name: str) -> Spec:
        entry = self._entries[name]
        if entry["dtype"] not in KINDS:
            detail = f"{name} holds numbers of the kind {entry['dtype']}"
            raise ModelError("model.torn_weights", path=str(self.path), detail=detail)
        return Spec(KINDS[entry["dtype"]], tuple(entry["shape"]))

    def read(self, name: str) -> Tensor:
        """The whole tensor."""
        spec = self.spec(name)
        return self.rows(name, 0, spec.rows).view(spec.shape)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """[stop - start, …], in memory of its own; a scalar as [1]."""
        spec = self.spec(name)
        size = spec.width * spec.dtype.itemsize
        buffer = torch.empty((stop - start) * size, dtype=torch.uint8)
        with open(self.path, "rb") as file:
            file.seek(self._begin + self._entries[name]["data_offsets"][0] + start * size)
            if file.readinto(buffer.numpy()) != len(buffer):
                raise ModelError("model.torn_weights", path=str(self.path), detail=f"{name} is cut off")
        return buffer.view(spec.dtype).view(stop - start, *spec.shape[1:])


def write_file(path: Path, specs: Mapping[str, Spec], contents: Iterable[Iterable[Tensor]]) -> None:
    """Write the tensors of `specs`, in this order; `contents` gives the rows of each, few or all at a time.

    The file appears under its name when it is whole. Raises OSError, naming the file, where the disk is full, and
    whatever comes of `contents`: nothing is left then.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(_header(specs))
            for (name, spec), blocks in zip(specs.items(), contents, strict=True):
                begin = file.tell()
                for block in blocks:
                    file.write(block.contiguous().view(-1).view(torch.uint8).numpy())
                if file.tell() - begin != spec.nbytes:
                    raise AssertionError(f"{name}: {file.tell() - begin} bytes of {spec.nbytes}")
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _header(specs: Mapping[str, Spec]) -> bytes:
    """The table of contents with its length before it, as the format has it."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, spec in specs.items():
        table[name] = {"dtype": NAMES[spec.dtype], "shape": spec.shape, "data_offsets": [at, at + spec.nbytes]}
        at += spec.nbytes
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    return struct.pack("<Q", len(text)) + text
