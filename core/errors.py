"""Every exception that Galen raises on purpose.

    GalenError                 a code, its parameters, a sentence and a remedy
    ├── InputError             what the user gave cannot be used              exit status 2
    │   ├── ConfigError        one `Problem` per wrong field
    │   ├── DataError          one `Problem` per unusable row or file
    │   ├── ModelError         a model, adapter, tokenizer or template that cannot be used
    │   └── DeviceError        a device that does not exist or cannot do what was asked
    ├── RunError               a run that failed                              exit status 1
    └── StopRequested          somebody asked the run to stop                 exit status 130

The English sentences live in `core.messages`, keyed by code. One place turns an error into terminal text
(`core.cli.output`), one into page text (`webui.messages`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from core.messages import sentence


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where: a config field (`key`), a row of a file (`line`), or neither.

    `params` fill the sentence that `core.messages` holds for `code`; `excerpt` shows the offending text.
    """

    code: str
    params: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    line: int | None = None
    excerpt: str | None = None

    @property
    def message(self) -> str:
        return sentence(self.code, self.params)[0]

    @property
    def remedy(self) -> str:
        return sentence(self.code, self.params)[1]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "message": self.message, "remedy": self.remedy}

    def __str__(self) -> str:
        places = [self.key, None if self.line is None else f"line {self.line}"]
        where = "".join(f"{place}: " for place in places if place)
        return " ".join(part for part in (where + self.message, self.remedy) if part)


class GalenError(Exception):
    """Base of the tree. `code` and `params` are stable and translatable, `str(error)` is the English text."""

    exit_status = 1

    def __init__(self, code: str, *, problems: Iterable[Problem] = (), **params: Any) -> None:
        self.code = code
        self.params = params
        self.problems = list(problems)
        super().__init__(code, params)

    @property
    def message(self) -> str:
        return sentence(self.code, self.params)[0]

    @property
    def remedy(self) -> str:
        return sentence(self.code, self.params)[1]

    def as_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "params": self.params,
            "message": self.message,
            "remedy": self.remedy,
            "problems": [problem.as_dict() for problem in self.problems],
        }

    def __str__(self) -> str:
        head = " ".join(part for part in (self.message, self.remedy) if part)
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])


class InputError(GalenError):
    exit_status = 2


class ConfigError(InputError):
    """All wrong fields of a config at once; `key` of each problem is the dotted key."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        problems = list(problems)
        super().__init__("config.invalid", problems=problems, count=len(problems))


class DataError(InputError):
    """A file or dataset that cannot be used; row problems carry the line number and an excerpt."""


class ModelError(InputError):
    """A model, adapter, tokenizer or chat template that cannot be used."""


class DeviceError(InputError):
    """A device that does not exist, or cannot do what was asked."""


class RunError(GalenError):
    """A run that failed after it had started."""


class StopRequested(GalenError):
    """Raised inside a run once it has seen `stop_requested` and has left everything in order; with a code of its own
    where it has done what it can and waits for somebody."""

    exit_status = 130

    def __init__(self, code: str = "run.stopped", **params: Any) -> None:
        super().__init__(code, **params)
