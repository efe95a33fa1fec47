"""A server's device: alone visible, shared with other servers, given up to a training that waits."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from core import hardware
from core.errors import DeviceError
from core.hardware import Device
from core.jobs.queue import Claim, Holder, acquire
from core.serving import place

GPUS = [Device(f"cuda:{index}", "GPU", f"GPU-{index}", 1, 1, True) for index in range(2)]
TRAINING = Holder(run="sft-x", workspace="/w")


@pytest.fixture(autouse=True)
def _two_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hardware, "_gpus", lambda: GPUS)
    monkeypatch.setenv("GALEN_LOCK_DIR", str(tmp_path / "locks"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


def take(device: str) -> place.Place:
    return place.take(device, Holder(run=place.HOLDER, workspace="/w"))


def test_only_its_own_gpu_is_visible_and_by_uuid() -> None:
    taken = take("cuda:1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert (taken.device, taken.shown) == ("cuda:0", "cuda:1")
    assert taken.claim is not None
    taken.claim.release()


def test_several_gpus_are_claimed_and_visible_together() -> None:
    taken = take("cuda:1,cuda:0")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-0"
    assert (taken.device, taken.shown) == ("cuda", "cuda:1,cuda:0")
    with pytest.raises(DeviceError):
        acquire([GPUS[0]], TRAINING)
    assert taken.claim is not None
    taken.claim.release()


def test_on_the_cpu_no_gpu_is_visible() -> None:
    found = take("cpu:0")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert (found.device, found.shown, found.claim, found.awaited()) == ("cpu", "cpu:0", None, False)


def test_a_held_gpu_is_refused() -> None:
    claim = acquire([GPUS[0]], TRAINING)
    with pytest.raises(DeviceError) as error:
        take("cuda:0")
    assert (error.value.code, error.value.params["holder"]) == ("serve.gpu_busy", "sft-x")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    claim.release()


def test_a_training_that_waits_is_noticed_and_knows_for_whom() -> None:
    taken = take("cuda:1")
    assert not taken.awaited()
    elsewhere = Claim([GPUS[0]], TRAINING)
    assert not taken.awaited()
    second = Claim([GPUS[1]], Holder(run=place.HOLDER, workspace="/w"), shared=True)
    assert second.try_take() == []
    assert not taken.awaited(), "another server shares the device"
    second.release()
    waiting = Claim([GPUS[1]], TRAINING)
    assert waiting.try_take() == [place.HOLDER]
    assert taken.awaited()
    assert waiting.try_take() == [place.HOLDER], "the look left nothing behind"
    assert taken.claim is not None
    taken.claim.release()
    assert waiting.try_take() == []
    for claim in (elsewhere, waiting):
        claim.release()


@pytest.mark.parametrize(("idle", "awaited", "ends"), [(20, True, True), (20, False, False), (10, True, False)])
def test_an_idle_server_ends_for_a_training(
    monkeypatch: pytest.MonkeyPatch, idle: float, awaited: bool, ends: bool
) -> None:
    monkeypatch.setattr(place, "IDLE_POLL", 0.01)
    seconds, stopped = [idle], threading.Event()
    watch = threading.Thread(
        target=place.end_when_idle, args=(lambda: seconds[0], 600, lambda: awaited, stopped.set), daemon=True
    )
    watch.start()
    assert stopped.wait(5 if ends else 0.1) is ends
    seconds[0] = 601
    watch.join(5)
    assert stopped.is_set()
