"""The device of a server: claimed next to other servers, alone visible, and given up to a training that waits.

Torch-free: `take` has to run before torch is imported, which looks at `CUDA_VISIBLE_DEVICES` once.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import DeviceError, RunError
from core.hardware import Device, find
from core.jobs.queue import Claim, Holder, acquire

HOLDER = "chat server"  # what a run that waits for the device reads
IDLE_POLL = 5.0  # seconds between two looks at whether the server is needed
YIELD_SECONDS = 15.0  # a server that was asked nothing for so long makes room for a training
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """`device` is torch's name of it in this process (`cuda` for several), `shown` the one that users know; `claim` is
    None on the CPU.

    A claim is never given back by hand: it ends with the process, and so does the memory that it stands for.
    """

    device: str
    shown: str
    gpus: tuple[Device, ...] = ()
    claim: Claim | None = None

    def awaited(self) -> bool:
        """Whether a run is queued for the device: then one more sharer would not get it either."""
        if self.claim is None:
            return False
        try:
            acquire(self.gpus, self.claim.content.holder, shared=True).release()
        except DeviceError:
            return True
        except RunError:  # the folder of the claims hangs or is gone: nobody can queue there now
            return False
        return False


def take(device: str, holder: Holder) -> Place:
    """Claim `device` (`cpu:0`, `cuda:1`, `cuda:0,cuda:1`) and hide every other GPU from this process, as the ranks of a
    run do.

    By UUID: torch and NVML may count GPUs in different orders. Raises DeviceError `serve.gpu_busy`, `device.unknown`.
    """
    if device.startswith("cpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return Place("cpu", device)
    gpus = tuple(find(device.split(",")))
    try:
        claim = acquire(gpus, holder, shared=True)
    except DeviceError as error:
        raise DeviceError("serve.gpu_busy", **error.params) from error
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.uuid for gpu in gpus)
    return Place("cuda:0" if len(gpus) == 1 else "cuda", device, gpus, claim)


def end_when_idle(
    idle_seconds: Callable[[], float], limit: float, awaited: Callable[[], bool], stop: Callable[[], None]
) -> None:
    """Call `stop` once the server was idle for `limit` seconds, or for `YIELD_SECONDS` while its device is awaited."""
    while (idle := idle_seconds()) < limit:
        if idle > YIELD_SECONDS and awaited():
            log.info("a run waits for the device: the server ends")
            break
        time.sleep(min(IDLE_POLL, max(0.1, limit - idle)))
    stop()
