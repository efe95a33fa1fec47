"""What people note of a run: a star, tags, a few words. `notes.json` in the run's directory, and nowhere else.

    change(run, star=True, add=["baseline"])
    read_notes(run).tags

They are no settings: the config stays what the run was started with, and a resume leaves them alone. Whoever changes
them holds the run's directory locked meanwhile, so that a page and a terminal never undo each other's change.
"""

from __future__ import annotations

import fcntl
import os
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import InputError
from core.records import Record
from core.rundir import RunDir, read_record, write_record
from core.system import whole_text

MOST_TAGS, LONGEST_TAG, LONGEST_NOTE = 12, 32, 4000  # the last two in characters


class Notes(Record):
    """`notes.json`. changed_at: seconds since the epoch; 0 for a run of which nobody has noted anything."""

    star: bool = False
    tags: list[str] = []
    note: str = ""
    changed_at: float = 0.0


def notes_file(run: RunDir) -> Path:
    return run.path / "notes.json"


def read_notes(run: RunDir) -> Notes:
    return read_record(notes_file(run), Notes) or Notes()


def change(
    run: RunDir,
    *,
    star: bool | None = None,
    note: str | None = None,
    tags: Iterable[str] | None = None,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
) -> Notes:
    """Write what is given and leave the rest: `tags` replaces them all, `add` and `remove` some.

    Raises InputError `notes.bad_tag`, `notes.many_tags`, `notes.long`; nothing is written then.
    """
    if note is not None and len(note) > LONGEST_NOTE:
        raise InputError("notes.long", length=len(note), limit=LONGEST_NOTE)
    with _alone(run):
        found = read_notes(run)
        kept = [*(found.tags if tags is None else tags), *add]
        gone = {_folded(tag) for tag in remove}
        wanted = {_folded(tag): tag for tag in map(_tag, kept) if _folded(tag) not in gone}
        if len(wanted) > MOST_TAGS:
            raise InputError("notes.many_tags", count=len(wanted), limit=MOST_TAGS)
        found = Notes(
            star=found.star if star is None else star,
            tags=list(wanted.values()),
            note=found.note if note is None else whole_text(note.strip()),
            changed_at=time.time(),
        )
        write_record(notes_file(run), found)
    return found


def _tag(text: str) -> str:
    """A tag without spaces round it. Raises InputError `notes.bad_tag`."""
    tag = " ".join(text.split())
    strange = "," in tag or any(unicodedata.category(char).startswith("C") for char in tag)
    if not tag or strange or len(tag) > LONGEST_TAG:
        raise InputError("notes.bad_tag", tag=text, limit=LONGEST_TAG)
    return tag


def _folded(tag: str) -> str:
    """What makes two tags the same."""
    return " ".join(tag.split()).casefold()


@contextmanager
def _alone(run: RunDir) -> Iterator[None]:
    """Nobody else changes the notes meanwhile; the kernel lets go when this process ends, however it ends."""
    folder = os.open(run.path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
