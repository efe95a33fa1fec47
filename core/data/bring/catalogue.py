"""The field's public datasets, and the settings of the run that would import each. Nothing is fetched here.

    for entry in entries(text="huatuo", stage="sft", language="zh"):
        entry.config()

They are listed in `presets/catalogue/*.yaml`, which a maintainer edits; what an entry may say is the `Entry` below.
Ids, licences and sizes are those of the sets' own pages as far as these could be looked up; what is not known is left
out and shown so. A few row counts and file names are from memory: what the hub lists decides at the import.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from core.configs.data import ImportRows, ImportSource
from core.configs.files import SHIPPED, parse_yaml
from core.configs.stages import ImportConfig

FOLDER = SHIPPED / "catalogue"
AREAS = ("medical", "questions", "preference", "general", "corpora")  # files, in the order of the list


class Said(BaseModel):
    """One sentence in both languages of the page."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    en: str
    zh: str

    def text(self, lang: str) -> str:
        return self.zh if lang == "zh" else self.en


class Entry(BaseModel):
    """One set, or a part of one that is imported by itself.

    `rows` and `megabytes` of the files that would be fetched are rounded where the set's page rounds, None where it
    says nothing; `licence` is as the page writes it, "" where it states none. `stages` are those it was made for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    title: Said
    repo: str
    about: Said
    files: list[str]
    area: str = ""
    hub: Literal["huggingface", "modelscope"] = "huggingface"
    revision: str = "main"
    format: str = ""
    columns: dict[str, str] = {}
    rows: int | None = None
    megabytes: int | None = None
    languages: list[str]
    stages: list[str]
    licence: str = ""
    warning: Said | None = None

    def config(self, *, name: str = "") -> ImportConfig:
        """The import run that brings it into the workspace; unusable rows are dropped and recorded, not in the way."""
        source = ImportSource(repo=self.repo, hub=self.hub, revision=self.revision, files=list(self.files))
        rows = ImportRows(name=name or self.name, format=self.format, columns=dict(self.columns), bad_rows="drop")
        return ImportConfig(source=source, rows=rows)

    def matches(self, words: Iterable[str]) -> bool:
        """Whether every word occurs in what the entry says of itself, in either language."""
        said = [self.name, self.repo, self.licence, self.title.en, self.title.zh, self.about.en, self.about.zh]
        text = " ".join(said).casefold()
        return all(word.casefold() in text for word in words)


@cache
def catalogue() -> tuple[Entry, ...]:
    """Every entry, in the order of the files. Raises ValueError for a file that is not as it should be."""
    found = [entry for area in AREAS for entry in _read(FOLDER / f"{area}.yaml", area)]
    names = [entry.name for entry in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"listed twice in the catalogue: {', '.join(sorted(twice))}")
    return tuple(found)


def entries(*, text: str = "", stage: str = "", language: str = "") -> list[Entry]:
    """The entries that fit all that is asked; an empty wish fits everything."""
    return [
        entry
        for entry in catalogue()
        if entry.matches(text.split())
        and (not stage or stage in entry.stages)
        and (not language or language in entry.languages)
    ]


def entry_named(name: str) -> Entry | None:
    return next((entry for entry in catalogue() if entry.name == name), None)


def _read(path: Path, area: str) -> list[Entry]:
    return [Entry.model_validate({**item, "area": area}) for item in parse_yaml(path.read_text(encoding="utf-8"))]
