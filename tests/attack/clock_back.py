"""The drill on a machine whose clock is set back an hour while it works: a plugin for `tests.attack.clock`.

`GALEN_PLUGINS=tests.attack.clock_back` has every process of the run import this. From the moment on at which the file
that GALEN_CLOCK_BACK names is there, `time.time()` is an hour behind in all of them, as after `date -s`.
"""

from __future__ import annotations

import os
import time

from tests.drill import STAGES

__all__ = ["HOUR", "STAGES", "VARIABLE"]

VARIABLE = "GALEN_CLOCK_BACK"
HOUR = 3600.0
_true_time = time.time


def _time() -> float:
    return _true_time() - (HOUR if os.path.exists(os.environ.get(VARIABLE, "")) else 0.0)


time.time = _time
