"""What Galen says about runs that wait for others, chains and rehearsals: (sentence, remedy) by code.

The Chinese wording is `webui/text_zh_pipeline.py`.
"""

from __future__ import annotations

_GO_ON = (
    "This run starts when that one has succeeded: mend what was wrong and `python -m core jobs resume {parent}`. Or "
    "start this one without waiting (`python -m core jobs release {run}`), or cancel it (`python -m core jobs stop "
    "{run}`)."
)

PIPELINE: dict[str, tuple[str, str]] = {
    "run.held_failed": ("Held: it waits for {parent}, which failed. {why}", _GO_ON),
    "run.held_stopped": ("Held: it waits for {parent}, which was stopped. {why}", _GO_ON),
    "run.held_interrupted": ("Held: it waits for {parent}, which was interrupted. {why}", _GO_ON),
    "run.held_gone": (
        "Held: it waits for {parent}, which is there no longer.",
        "Start this one without waiting (`python -m core jobs release {run}`), or cancel it (`python -m core jobs stop "
        "{run}`).",
    ),
    "run.not_waiting": ("The run '{run}' does not wait for another one: it is {state}.", ""),
    "run.after_itself": ("{run} would wait for itself.", "Leave it out of run.after, and whatever waits for it."),
    "run.no_hand_over": (
        "What the runs before this one have made could not be taken over (exit status {exit_code}).",
        "The whole message is in log/supervisor.log of the run's folder. Resume tries again.",
    ),
}
