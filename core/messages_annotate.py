"""What is said where rows cannot be annotated: sentence and remedy by code. See `core.messages`."""

from __future__ import annotations

ANNOTATE: dict[str, tuple[str, str]] = {
    "annotate.endpoint_down": (
        "The endpoint at {url} does not answer: {detail}.",
        "Check its address, its model's name and the key in {key}, and that it is running; then resume the run. What "
        "it has said is kept.",
    ),
}
