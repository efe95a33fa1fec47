"""Parquet files with flipped bits, read in processes of their own: a library in C++ can end the whole process.

    python -m tests.attack.damaged_parquet --count 100000

Found is an exception that is not DataError, and a process that ends by a signal; its last file is named by its number,
and `--count 1 --seed …` reads that one alone.
"""

from __future__ import annotations

import io
import random
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.data.files.containers import parquet_rows
from core.errors import DataError
from tests.attack.tools import Tally, command
from tests.webui_tools import ROOT

AT_ONCE = 5000  # files that one process reads
TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "发烧"}]
TABLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("none", {"text": ["a", "b", "发烧"] * 5}),
    ("zstd", {"messages": [TALK] * 6}),
    ("snappy", {"map": pa.array([[("k", "v")], None] * 4, pa.map_(pa.string(), pa.string())), "n": list(range(8))}),
)


def damaged(number: int) -> bytes:
    rng = random.Random(number)
    compression, columns = TABLES[number % len(TABLES)]
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression=compression)
    data = bytearray(out.getvalue())
    for _ in range(rng.choice([1, 1, 2, 8])):
        data[rng.randrange(4, len(data) - 8)] ^= 1 << rng.randrange(8)
    return bytes(data)


def read_all(first: int, count: int) -> None:
    """In the child: say which file is next, and what is wrong with how it was read."""
    for number in range(first, first + count):
        print(number, flush=True)
        try:
            for _ in parquet_rows(io.BufferedReader(io.BytesIO(damaged(number)))):  # type: ignore[arg-type]
                pass
        except DataError:
            continue
        except Exception as error:
            print(f"file {number}: {error!r}", file=sys.stderr)


def attack(count: int, seed: int) -> Tally:
    tally = Tally()
    for first in range(seed, seed + count, AT_ONCE):
        size = min(AT_ONCE, seed + count - first)
        words = [sys.executable, "-m", "tests.attack.damaged_parquet", "read", str(first), str(size)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        read = done.stdout.split()
        tally.done["damaged files read or refused"] += len(read)
        for line in done.stderr.splitlines():
            if line.startswith("file ") or "terminate" in line:
                tally.find(line)
        if done.returncode:
            tally.find(f"file {read[-1] if read else first} ends the process: {done.returncode}: {done.stderr[-300:]}")
    return tally


def main() -> int:
    if sys.argv[1:2] == ["read"]:
        read_all(int(sys.argv[2]), int(sys.argv[3]))
        return 0
    return command(attack, count=100_000, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
