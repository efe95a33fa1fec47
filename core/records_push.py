"""What a run of the stage `push` has sent: `output/pushed.json`. Torch-free."""

from __future__ import annotations

from pathlib import Path

from core.records import Record


class Pushed(Record):
    """What lies on the hub now. `url` opens it in a browser; `commit` is the one that was made, `size` bytes were sent.

    `private`: as the repository is, which may be more private than what was asked for.
    """

    run: str
    repo: str
    revision: str
    url: str
    commit: str
    private: bool
    files: list[str]
    size: int


def pushed_file(output: Path) -> Path:
    return output / "pushed.json"
