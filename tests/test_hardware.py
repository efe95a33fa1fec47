"""What the machine tells of itself, where this machine cannot be asked: ARM's features, and parts of a GPU (MIG)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pynvml
import pytest

from core import hardware

ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd atomics {more}\nCPU implementer\t: 0x41\n"


@pytest.fixture(autouse=True)
def _fresh_facts() -> Any:
    hardware._cpu_facts.cache_clear()
    yield
    hardware._cpu_facts.cache_clear()


@pytest.mark.parametrize(("more", "bf16"), [("i8mm bf16 dgh", True), ("i8mm dgh", False)])
def test_arm_features(monkeypatch: pytest.MonkeyPatch, more: str, bf16: bool) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: ARM.format(more=more))
    monkeypatch.setattr(hardware, "memory", lambda: (2, 1))
    assert hardware._cpu(0).bf16 is bf16


def test_a_mig_instance_computes_like_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instance has a name, a UUID and memory, and no compute capability."""

    def capability(handle: str) -> tuple[int, int]:
        if handle == "mig":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return (9, 0)

    def parent(handle: str) -> str:
        if handle != "mig":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return "gpu"

    monkeypatch.setattr(pynvml, "nvmlDeviceGetCudaComputeCapability", capability)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", parent)
    assert hardware._capability("mig") == hardware._capability("gpu") == (9, 0)


def test_a_gpu_that_tells_nothing_is_taken_for_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: str) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetCudaComputeCapability", refuse)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", refuse)
    assert hardware._capability("gpu") == ()
