"""Whatever breaks in a server, as an error that its asker is told; the traceback goes to the log. Torch-free."""

from __future__ import annotations

import logging

from core.errors import GalenError, RunError

log = logging.getLogger(__name__)


def explained(error: Exception) -> GalenError:
    """`error` itself if it is one of ours, else RunError `serve.failed` with its first line."""
    if isinstance(error, GalenError):
        return error
    log.error("a request broke off", exc_info=error)
    said = str(error).strip()
    return RunError("serve.failed", detail=said.splitlines()[0] if said else type(error).__name__)
