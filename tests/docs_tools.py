"""What the tests of the documents share: their files, and in each the commands, words in code, headings and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HISTORY = ("CHANGELOG.md", "docs/lab.md")  # say what was, not what is: only their links and commands are looked at
MARK = re.compile(r"<!-- (/?)\w+ -->")  # round what is generated within a document
FENCE = re.compile(r"^\s*```(\w*)\s*$")
SPAN = re.compile(r"(?<!`)`(?!`)((?:[^`\n]|\n(?!\n))+)`(?!`)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")
ENDS = ("&&", "||", ";", "|")  # of a command within a line
ASSIGNED = re.compile(r"[A-Z_][A-Z0-9_]*=.*")


@dataclass(frozen=True)
class Said:
    """A piece of a document: a command, a word in code, the target of a link."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def documents() -> list[str]:
    """Every document, by its path from the root."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("data/**/*.md"), *ROOT.glob("tests/**/*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def lines_of(file: str) -> list[str]:
    return (ROOT / file).read_text(encoding="utf-8").splitlines()


def _fences(file: str) -> Iterator[tuple[int, str, str | None]]:
    """(number, line, language of the fence it stands in; None outside), without fences and what is generated."""
    inside: str | None = None
    generated = False
    for number, line in enumerate(lines_of(file), 1):
        fence, mark = FENCE.match(line), MARK.fullmatch(line)
        if mark or generated:
            generated = mark is None or not mark.group(1)
        elif fence:
            inside = None if inside is not None else fence.group(1)
        else:
            yield number, line, inside


def blocks(file: str, language: str) -> list[Said]:
    """The texts of the fenced blocks in `language`, each with its first line."""
    found: list[Said] = []
    before = -1
    for number, line, inside in _fences(file):
        if inside != language:
            continue
        if number == before + 1:
            last = found[-1]
            found[-1] = Said(file, last.line, f"{last.text}\n{line}")
        else:
            found.append(Said(file, number, line))
        before = number
    return found


def command_lines(file: str) -> list[Said]:
    """Every line of a shell in the ```bash blocks; one that ends in a backslash goes on in the next."""
    found = []
    for block in blocks(file, "bash"):
        begun, at = "", block.line
        for number, line in enumerate(block.text.split("\n"), block.line):
            at = at if begun else number
            begun += line
            if begun.endswith("\\"):
                begun = begun[:-1]
            else:
                found.append(Said(file, at, begun))
                begun = ""
    return [each for each in found if each.text.strip() and not each.text.strip().startswith("#")]


@dataclass(frozen=True)
class Command:
    """One program with its words. assigned: what was put before it, as in `GALEN_PASSWORD=… python run_webui.py`."""

    words: tuple[str, ...]
    assigned: tuple[str, ...] = ()


def commands_of(line: str) -> list[Command]:
    """The commands of a line, without comments and redirections. Raises ValueError for quotes that do not close."""
    found: list[list[str]] = [[]]
    redirected = False
    for word in shlex.split(line, comments=True):
        if word in ENDS:
            found.append([])
        elif word in (">", "<"):
            redirected = True
        elif redirected:
            redirected = False
        else:
            found[-1].append(word)
    made = []
    for words in filter(None, found):
        count = next((at for at, word in enumerate(words) if not ASSIGNED.fullmatch(word)), len(words))
        made.append(Command(tuple(words[count:]), tuple(words[:count])))
    return made


def prose(file: str) -> str:
    """The document with empty lines in the place of its blocks, so that places are still those of its lines."""
    lines = [""] * len(lines_of(file))
    for number, line, inside in _fences(file):
        lines[number - 1] = line if inside is None else ""
    return "\n".join(lines)


def spans(file: str) -> list[Said]:
    """Every word in code outside of the fenced blocks."""
    text = prose(file)
    return [
        Said(file, text.count("\n", 0, found.start()) + 1, " ".join(found.group(1).replace("\\|", "|").split()))
        for found in SPAN.finditer(text)
    ]


def links(file: str) -> list[Said]:
    """Targets of links and pictures, but for those elsewhere on the net."""
    text = SPAN.sub(lambda found: "\n" * found.group().count("\n"), prose(file))
    found = [
        Said(file, text.count("\n", 0, each.start()) + 1, each.group(1) or each.group(2))
        for each in LINK.finditer(text)
    ]
    return [each for each in found if not re.match(r"[a-z]+:", each.text)]


def anchors(file: str) -> set[str]:
    """What GitHub makes of the headings: lower case, blanks as hyphens, nothing but letters, digits, - and _."""
    found: list[str] = []
    for _, line, inside in _fences(file):
        heading = HEADING.match(line) if inside is None else None
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            same = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", each) is not None for each in found)
            found.append(f"{slug}-{same}" if same else slug)
    return set(found)
