"""What the attacks share: a tally of what was done and found, and the command line round it."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

SHOWN = 20  # findings that are printed


@dataclass
class Tally:
    """`done`: how often what was done; `figures`: what was measured; `findings`: what should not be."""

    done: Counter[str] = field(default_factory=Counter)
    figures: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def find(self, what: str) -> None:
        self.findings.append(what)
        print(f"FOUND  {what}", file=sys.stderr, flush=True)


Attack = Callable[[int, int], Tally]  # (count, seed)


def command(attack: Attack, *, count: int, doc: str | None) -> int:
    """Run `attack` as the command line asks, and print what came of it. Returns the exit status."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=count, help=f"how often (default: {count})")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    args = parser.parse_args()
    start = time.monotonic()
    tally = attack(args.count, args.seed)
    for what, times in sorted(tally.done.items()):
        print(f"{times:7d}  {what}")
    for what, figure in tally.figures.items():
        print(f"{figure:>12}  {what}")
    for found in tally.findings[:SHOWN]:
        print(f"FOUND    {found}")
    print(f"{len(tally.findings)} found in {time.monotonic() - start:.0f} s (seed {args.seed})")
    return 1 if tally.findings else 0
