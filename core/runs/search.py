"""Which runs a few words mean: every word has to be in what the run is called, made of, or said of it."""

from __future__ import annotations

from core.jobs.summaries import RunSummary


def fits(run: RunSummary, text: str) -> bool:
    """Whether each word of `text` is in the run's name, id, stage, model, data, tags or note; `#word` is a tag's
    beginning."""
    tags = [tag.casefold() for tag in run.tags]
    said = " ".join([run.name, run.id, run.stage, run.made_of, run.note, *tags]).casefold()
    for word in text.casefold().split():
        tag = word[1:]
        if not (any(each.startswith(tag) for each in tags) if word.startswith("#") and tag else word in said):
            return False
    return True
