"""bitsandbytes only where something is in 8 or 4 bits: importing it takes a second, and PEFT does so for everybody.

    with left_out():                     whoever begins imports its heavy modules in here
        import core.recipes.sft
    bnb = bitsandbytes()                 from now on PEFT knows it, too

What it brings along is most of torch's compiler. PEFT and Transformers ask once whether it is installed, and remember
the answer. PEFT's is to be no, or it would import it for every adapter; that of Transformers, whose optimizers in 8
bits ask for it, is forgotten after the imports. Imports nothing heavy itself.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

NAME = "bitsandbytes"
# Functions that say whether it is installed, by module; each keeps its first answer.
PEFT = (("peft.import_utils", "is_bnb_available"), ("peft.import_utils", "is_bnb_4bit_available"))
TRANSFORMERS = (("transformers.utils.import_utils", "is_bitsandbytes_available"),)


@contextmanager
def left_out() -> Iterator[None]:
    """As if it were not installed, for the imports within, and for PEFT until `bitsandbytes` is called."""
    if NAME in sys.modules:
        yield
        return
    sys.modules[NAME] = None  # type: ignore[assignment]  # to the import system: there is no such module
    try:
        yield
        for ask in _loaded(PEFT):
            ask()
    finally:
        del sys.modules[NAME]
        _forget(TRANSFORMERS)


def bitsandbytes() -> ModuleType:
    """The package. Raises ImportError where it is not installed."""
    found = importlib.import_module(NAME)
    _forget(PEFT)
    return found


def _loaded(functions: Sequence[tuple[str, str]]) -> list[Any]:
    return [getattr(sys.modules[module], name) for module, name in functions if module in sys.modules]


def _forget(functions: Sequence[tuple[str, str]]) -> None:
    for asked in _loaded(functions):
        asked.cache_clear()
