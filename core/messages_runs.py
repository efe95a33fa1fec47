"""What Galen says about runs beside each other: notes, curves, checkpoints, archives. (sentence, remedy) by code.

The Chinese wording is `webui/text_zh_runs.py`.
"""

from __future__ import annotations

RUNS: dict[str, tuple[str, str]] = {
    "run.imported": (
        "The run {run} came from elsewhere as an archive, and cannot be resumed here.",
        "Start a new one with its settings; its result can be served, merged and trained on.",
    ),
    "notes.bad_tag": (
        "'{tag}' is no tag.",
        "A tag is a word or a few, without commas, of at most {limit} characters.",
    ),
    "notes.many_tags": ("That would be {count} tags.", "A run has at most {limit}."),
    "notes.long": ("The note has {length} characters.", "At most {limit} are kept."),
    "runs.too_many": ("{count} runs are too many to be told apart.", "Choose at most {limit}."),
    "runs.too_few": ("One run alone has nothing beside it.", "Name at least two."),
    "runs.bad_ending": ("{name} has no ending that says what to write.", "Use one of {known}."),
    "runs.no_figure": (
        "None of the runs has logged {metric} by {axis}.",
        "Choose another figure, or the step as axis.",
    ),
    "runs.no_metric": ("None of the runs has logged '{metric}'; there are {known}.", "Choose one of these."),
    "runs.no_checkpoint": ("{run} has no checkpoint {name}; there are {known}.", "Choose one of these."),
    "archive.exists": ("{path} is there already.", "Choose another name, or replace it with --overwrite."),
    "archive.no_folder": ("There is no folder {folder}.", "Make it, or choose another."),
    "archive.changed": ("{file} changed while it was being packed.", "Nothing was written. Try again."),
    "archive.not_one": (
        "{name} is no archive of a run, or not all of it: {detail}.",
        "Nothing was imported. Export the run once more, and compare the size of the file after copying it.",
    ),
    "archive.bad_name": (
        "{name} holds an entry that no run has, or that would lie elsewhere: {entry}.",
        "Nothing was imported. Take archives only from people you know.",
    ),
    "archive.other_files": (
        "The files in {name} are not those of its index.",
        "Nothing was imported. It was changed after it was made: ask for a new one.",
    ),
    "archive.too_large": (
        "{name} would become {size}, more than a run's files ever unpack to.",
        "Nothing was imported. Take archives only from people you know.",
    ),
    "archive.wrong_content": (
        "{file} in {name} is not what the archive's index says, or makes no sense.",
        "Nothing was imported. Copy the archive again, or ask for a new one.",
    ),
    "archive.is_here": (
        "The run {run} is in this workspace already.",
        "Delete it first if the archive's is to take its place.",
    ),
}
