"""What Galen says about runs that wait for others, chains and rehearsals: (sentence, remedy) by code.

The Chinese wording is `webui/text_zh_pipeline.py`.
"""

from __future__ import annotations

_GO_ON = (
    "This run starts when that one has succeeded: mend what was wrong, or name a changed setting, and `python -m core "
    "jobs resume {parent} [KEY=VALUE]`; or start it anew in its place: `python -m core jobs replace {parent} "
    "[KEY=VALUE]`. Or start this one without waiting, if it needs nothing of that one (`python -m "
    "core jobs release {run}`), or cancel it (`python -m core jobs stop {run}`)."
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
    "pipeline.no_steps": (
        "The chain has no steps.",
        "Name its stages in order, such as `sft=starter-cpu reward=starter-cpu ppo evaluate`, or a chain file.",
    ),
    "pipeline.no_start": ("{run} makes nothing that another run could start from.", "Name another step or run."),
    "pipeline.twice": ("Two steps are called {name}.", "Give one of them a name of its own, and `stage:` in it."),
    "pipeline.not_step": (
        "{name} is no step of a chain.",
        "Write its settings below it, with `preset`, `config` and `stage` as texts; `base` is the name of a model.",
    ),
    "pipeline.bad_word": (
        "'{word}' is no word of a chain.",
        "Write a stage ({stages}), STAGE=PRESET, STAGE=FILE, STAGE.section.key=value, model.base=MODEL or CHAIN.yaml.",
    ),
    "rehearsal.no_tiny": ("The tiny model could not be built: {detail}.", "Name another one: model.base=starter."),
    "run.no_hand_over": (
        "What the runs before this one have made could not be taken over (exit status {exit_code}).",
        "The whole message is in log/supervisor.log of the run's folder. Resume tries again.",
    ),
}
