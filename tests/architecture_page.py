"""`python -m tests.architecture_page` writes what docs/architecture.md says of files and imports, between its marks.

A folder's and a file's line is the first sentence of its docstring; the arrows are those of `test_architecture.py`. The
rest of the document is written by hand.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.docs_tools import ROOT
from tests.test_architecture import EVERYBODY, MAY_IMPORT

PAGE = ROOT / "docs" / "architecture.md"
TOGETHER = {  # files of one kind, in one line
    "core/messages_": "Sentences and remedies of a part, by code.",
    "core/records_": "The records that a stage's runs leave, typed.",
    "webui/text_": "Strings of a part of the page, in English and Chinese.",
}
LEAVES = "the leaves"


def parts() -> dict[str, str]:
    """What stands between each pair of marks."""
    return {"graph": graph(), "arrows": arrows(), "tree": tree()}


def page(text: str) -> str:
    """`text` with everything between its marks written anew."""
    for name, made in parts().items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{made}\n{end}{rest.partition(end)[2]}"
    return text


# -- the tree ---------------------------------------------------------------------------------------------------------
def tree() -> str:
    """Every Python file of `core` and `webui`, folder by folder."""
    lines = []
    for folder in ("core", "webui"):
        for init in sorted((ROOT / folder).rglob("__init__.py"), key=lambda file: str(file.parent)):
            place = init.parent
            lines += [f"\n**`{place.relative_to(ROOT)}/`** {sentence(init)}\n", *_files(place)]
    return "\n".join(lines).strip("\n")


def _files(folder: Path) -> list[str]:
    lines: dict[str, str] = {}
    for file in sorted(folder.glob("*.py")):
        name = str(file.relative_to(ROOT))
        kind = next((start for start in TOGETHER if name.startswith(start)), None)
        if kind is not None:
            lines[kind] = f"- `{Path(kind).name}*.py` {TOGETHER[kind]}"
        elif file.name != "__init__.py":
            lines[name] = f"- `{file.name}` {sentence(file)}"
    return list(lines.values())


def sentence(file: Path) -> str:
    """The first sentence of a file's docstring. Raises ValueError where it has none."""
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not said:
        raise ValueError(f"{file} does not say what it is")
    first = " ".join(said.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z`])", first)[0].replace("<", "&lt;")


# -- the arrows -------------------------------------------------------------------------------------------------------
def arrows() -> str:
    """A line a package: what of the project it may import besides itself."""
    lines = ["| package | may import |", "|---|---|"]
    for name, allowed in MAY_IMPORT.items():
        others = [f"`{each}`" for each in allowed if each not in EVERYBODY]
        own = [LEAVES] if set(EVERYBODY) <= set(allowed) else []
        lines.append(f"| `{name}` | {', '.join([*own, *others])} |")
    leaves = ", ".join(f"`{name.removeprefix('core.')}`" for name in EVERYBODY)
    return "\n".join([*lines, "", f"The leaves, which everybody may import, are these modules of `core`: {leaves}."])


def graph() -> str:
    """The same as a picture, without the arrows that follow from others; a dashed one leads to some modules only."""
    reached = {name: _packages(name, allowed) for name, allowed in MAY_IMPORT.items()}
    lines = []
    for name, targets in reached.items():
        further = {beyond for target in targets for beyond in _all(target, reached)}
        for target in sorted(targets - further):
            whole = target in MAY_IMPORT[name] or name == "core.cli"
            lines.append(f"  {_node(name)} {'-->' if whole else '-.->'} {_node(target)}")
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


def _packages(name: str, allowed: tuple[str, ...]) -> set[str]:
    """The packages into which the arrows of `name` lead."""
    if "core" in allowed:
        return {each for each in MAY_IMPORT if each.startswith("core.") and each != name}
    return {each for each in MAY_IMPORT for module in allowed if module == each or module.startswith(f"{each}.")}


def _all(name: str, reached: dict[str, set[str]]) -> set[str]:
    return set().union(*(({target} | _all(target, reached)) for target in reached[name]))


def _node(name: str) -> str:
    return name.removeprefix("core.")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
