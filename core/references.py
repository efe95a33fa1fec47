"""How a user names weights of a run: `RUN`, `RUN:best`, `RUN:last` or `RUN:step-40`."""

from __future__ import annotations

from pydantic import BaseModel

from core.errors import InputError


class RunRef(BaseModel):
    """`RUN`, `RUN:best`, `RUN:last` or `RUN:step-40`: which weights of which run. Plain `RUN` is what it delivered."""

    run: str
    which: str = "output"

    @classmethod
    def parse(cls, text: str) -> RunRef:
        run, _, which = text.partition(":")
        which = which or "output"
        if which not in ("output", "best", "last") and not which.removeprefix("step-").isdigit():
            raise InputError("run.bad_reference", reference=text)
        return cls(run=run, which=which)

    def __str__(self) -> str:
        return self.run if self.which == "output" else f"{self.run}:{self.which}"
