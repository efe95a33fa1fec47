"""bitsandbytes only where something is in 8 or 4 bits: importing it takes a second, and PEFT does so for everybody.

    with left_out():                     whoever begins imports its heavy modules in here
        import core.recipes.sft
    bnb = bitsandbytes()                 from now on PEFT and Transformers know it, too

What it brings along is most of torch's compiler. PEFT and Transformers ask once whether it is installed, and remember
the answer; it is theirs that changes here. Imports nothing heavy itself.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

NAME = "bitsandbytes"
# Functions that say whether it is installed, by module; each keeps its first answer.
ASKED = (
    ("peft.import_utils", "is_bnb_available"),
    ("peft.import_utils", "is_bnb_4bit_available"),
    ("transformers.utils.import_utils", "is_bitsandbytes_available"),
)


@contextmanager
def left_out() -> Iterator[None]:
    """As if it were not installed, for the imports within, and for PEFT until `bitsandbytes` is called."""
    if NAME in sys.modules:
        yield
        return
    sys.modules[NAME] = None  # type: ignore[assignment]  # to the import system: there is no such module
    try:
        yield
        _ask()
    finally:
        del sys.modules[NAME]


def bitsandbytes() -> ModuleType:
    """The package. Raises ImportError where it is not installed."""
    found = importlib.import_module(NAME)
    for module, name in ASKED:
        if module in sys.modules:
            getattr(sys.modules[module], name).cache_clear()
    return found


def _ask() -> None:
    for module, name in ASKED:
        if module in sys.modules:
            getattr(sys.modules[module], name)()
