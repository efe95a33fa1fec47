"""`run.webhook`: an address that is told when a run ends, by one POST of JSON from the run's supervisor (on several
hosts from rank 0's keeper).

    {"run": …, "name": …, "stage": …, "state": "failed", "reason": …, "remedy": …, "seconds": …, "attempt": …,
     "host": …, "final_metrics": {…}}

Whatever becomes of it, the run's end is the same: what failed is a line in log/supervisor.log. `$NAME` in the address
is filled in from the environment at that moment; the address itself is written nowhere, since it may be a secret.
Nobody is told of a run whose supervisor was killed.
"""

from __future__ import annotations

import os
import re
from typing import Any

from core.jobs.summaries import summary
from core.rundir import RunDir

PATIENCE = 10.0  # seconds for the whole call
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)


def address_of(run: RunDir) -> str:
    """What the run's config says; "" for none."""
    return str((run.config().get("run") or {}).get("webhook") or "")


def message(run: RunDir) -> dict[str, Any]:
    """What is said of a run that is over: its lock is free."""
    now, manifest, status = summary(run), run.manifest(), run.status()
    return {
        "run": run.id,
        "name": now.name,
        "stage": now.stage,
        "state": str(now.state),
        "reason": now.reason,
        "remedy": now.why.remedy if now.why is not None else "",
        "seconds": now.duration,
        "attempt": now.attempt,
        "host": status.host if status is not None else "",
        "final_metrics": manifest.final_metrics if manifest is not None else {},
    }


def tell(run: RunDir) -> str:
    """Tell the run's webhook that it is over, and return a sentence for the log; "" where it has none."""
    address = address_of(run)
    if not address:
        return ""
    missing = [name for name in _variables(address) if name not in os.environ]
    if missing:
        return f"the webhook was not told: there is no {missing[0]} in the environment"
    import httpx  # takes a quarter of a second, which most runs need not spend

    url = VARIABLE.sub(lambda found: os.environ[found[1] or found[2]], address)
    try:
        answer = httpx.post(url, json=message(run), timeout=PATIENCE, follow_redirects=False)
    except Exception as error:  # also of an address that is none; its text would hold the address
        return f"the webhook was not told: {type(error).__name__}"
    if answer.is_success:
        return "the webhook was told"
    return f"the webhook answered {answer.status_code}"


def _variables(address: str) -> list[str]:
    return [braced or plain for braced, plain in VARIABLE.findall(address)]
