"""The state of a run in words: one that waits for a run that did not succeed is held, wherever it is shown. No gradio.

`held` is what `core.jobs.waiting.held` says of the run: None for one that will start by itself, or does not wait.
"""

from __future__ import annotations

from core.errors import Problem
from core.rundir import State
from webui.figures import esc
from webui.text import t


def state_text(state: State, held: Problem | None, lang: str) -> str:
    return t("pipeline.held", lang) if held is not None else t(f"state.{state.value}", lang)


def state_class(state: State, held: Problem | None) -> str:
    """What the style sheets know the state by."""
    return "held" if held is not None else state.value


def badge(state: State, held: Problem | None, lang: str) -> str:
    return f'<span class="badge {state_class(state, held)}">{esc(state_text(state, held, lang))}</span>'
