"""The shaping steps by name, for the tables of `core.data.steps`."""

from __future__ import annotations

from core.data.steps import convert, order, pairs, split
from core.data.steps.base import KindAfter, Overall, Parting, PerRowMaker

PER_ROW: dict[str, PerRowMaker] = {
    "source": order.source,
    "convert": convert.convert,
    "pairs": pairs.pairs,
    "hindsight": pairs.hindsight,
    "rounds": convert.rounds,
    "system": convert.system,
}
OVERALL: dict[str, Overall] = {
    "shuffle": order.shuffle,
    "sort": order.sort,
    "sample": order.sample,
    "take": order.take,
    "select": order.select,
}
PARTING: dict[str, Parting] = {"split": split.split}
KIND_AFTER: dict[str, KindAfter] = {
    "convert": convert.converts,
    "pairs": pairs.makes_pairs,
    "hindsight": pairs.makes_dialogues,
    "rounds": convert.takes_messages,
    "system": convert.takes_turns,
    "split": split.parts,
}
